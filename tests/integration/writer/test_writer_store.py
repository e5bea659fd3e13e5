"""Batches against a real PostgreSQL: whole or not at all, and never twice."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import psycopg2
import pytest

from services.cdb_writer.adapters.connection import Connect
from services.cdb_writer.adapters.reading import read_events
from services.cdb_writer.adapters.rebuild import rebuild
from services.cdb_writer.adapters.store import EventStore, read_cursor
from services.cdb_writer.chain import ChainHead, verify
from services.cdb_writer.recorder import Recorder
from services.cdb_writer.rows import TABLES
from services.common.errors import LeaseHeld, StoreError
from services.common.events import Alert
from tests.integration.writer.writer_support import (
    query,
    read_tables,
    reference_tables,
    stored_cursor,
    stored_entries,
    verified,
    write_all,
)
from tests.unit.writer.journal_story import START, Story, tell

pytestmark = pytest.mark.integration


def test_what_is_written_is_what_was_folded(store: EventStore, connect: Connect) -> None:
    """Events keep their exact bytes, the chain verifies, the cursor has head and state, every table has rows."""
    entries = tell(1, 600).entries
    recorder = write_all(store, entries)
    assert stored_entries(connect) == entries
    assert verified(connect).ok
    stored = stored_cursor(connect)
    assert stored.head == recorder.head
    assert stored.state == recorder.projection.dump()
    assert all(content for content in read_tables(connect).values())
    assert query(connect, "SELECT count(*) FROM risk_decisions WHERE NOT approved")[0][0] > 0
    assert query(connect, "SELECT DISTINCT code FROM alerts") == [("TEST",)]
    assert query(connect, "SELECT run_id, first_seq FROM event_store.runs") == [("run-1", 1)]
    assert query(connect, "SELECT epoch, first_seq FROM event_store.epochs") == [(1, 1)]


def test_money_keeps_every_digit(store: EventStore, connect: Connect) -> None:
    """Twenty-eight digits and eighteen decimals come back as they went in."""
    story = Story()
    story.begin()
    price = Decimal("1234567890.123456789012345678")
    story.signal(price, pct_change=Decimal("-0.000000000000000001"))
    write_all(store, story.entries)
    assert query(connect, "SELECT price, pct_change FROM signals") == [(price, Decimal("-0.000000000000000001"))]


def test_batch_sizes_do_not_matter(store: EventStore, connect: Connect, another_connect: Connect) -> None:
    """One event a transaction leaves the same tables as two hundred."""
    entries = tell(2, 150).entries
    write_all(store, entries, size=1)
    assert read_tables(connect) == reference_tables(another_connect, entries)


def test_a_repeated_batch_is_refused(store: EventStore, connect: Connect) -> None:
    """The cursor has moved on: the same batch cannot go in again, and nothing of it does."""
    entries = tell(3, 100).entries
    batch = Recorder(ChainHead(), None).fold(entries)
    store.write(batch)
    before = read_tables(connect)
    with pytest.raises(StoreError, match="cursor stands elsewhere"):
        store.write(batch)
    assert read_tables(connect) == before
    assert query(connect, "SELECT count(*) FROM event_store.events") == [(len(entries),)]


def test_a_batch_on_another_chain_is_refused(store: EventStore) -> None:
    """The right number with another hash before it does not go in."""
    entries = tell(3, 100).entries
    recorder = Recorder(ChainHead(), None)
    store.write(recorder.fold(entries[:50]))
    batch = recorder.fold(entries[50:])
    with pytest.raises(StoreError, match="cursor stands elsewhere"):
        store.write(dataclasses.replace(batch, before=ChainHead(50, 1, bytes(32))))


def test_a_batch_that_fails_halfway_leaves_nothing(store: EventStore, connect: Connect) -> None:
    """A row that PostgreSQL refuses takes events and cursor back with it; the store stays usable."""
    entries = tell(3, 100).entries
    recorder = Recorder(ChainHead(), None)
    batch = recorder.fold(entries)
    broken = [*batch.rows]
    place = next(i for i, row in enumerate(broken) if row.table == "orders")
    broken[place] = dataclasses.replace(broken[place], size=Decimal("NaN"))  # type: ignore[call-arg]
    with pytest.raises(StoreError, match="refuses the batch 1 to"):
        store.write(dataclasses.replace(batch, rows=broken))
    assert query(connect, "SELECT count(*) FROM event_store.events") == [(0,)]
    assert stored_cursor(connect).head == ChainHead()
    store.write(batch)
    assert verified(connect).ok


def test_a_second_writer_is_refused(store: EventStore, connect: Connect) -> None:
    """While one store is open, another cannot be; closed, it can."""
    second = EventStore(connect)
    with pytest.raises(LeaseHeld, match="another writer"):
        second.open(lock_wait_sec=0.2)
    store.close()
    second.open(lock_wait_sec=5)
    with pytest.raises(psycopg2.OperationalError):
        store.write(Recorder(ChainHead(), None).fold(tell(1, 5).entries))
    second.close()


@pytest.mark.chaos
def test_a_session_cut_off_loses_its_lock_and_nothing_else(store: EventStore, connect: Connect) -> None:
    """When the server ends the session, writing fails, the lock is free, and the same batch goes in after `open`."""
    batch = Recorder(ChainHead(), None).fold(tell(4, 60).entries)
    query(  # waits until the session is gone, and its lock with it
        connect,
        "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity "
        "WHERE application_name = 'cdb_writer' AND pid <> pg_backend_pid() AND datname = current_database()",
    )
    with pytest.raises((psycopg2.OperationalError, psycopg2.InterfaceError)):
        store.write(batch)
    assert store.open().head == batch.before
    store.write(batch)
    assert store.open().head == batch.after


def test_partitions_come_with_their_days(store: EventStore, connect: Connect) -> None:
    """Each UTC day of event time has its partition; a reader of another day does not hold the writer up."""
    reader = connect()
    with reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM event_store.events")
        entries = tell(5, 1200).entries
        assert len({entry.event.timestamp // 86_400_000_000 for entry in entries}) == 2
        write_all(store, entries)
    reader.close()
    names = query(connect, "SELECT inhrelid::regclass::text FROM pg_inherits ORDER BY 1")
    assert ("event_store.events_20210519",) in names
    assert ("event_store.events_20210520",) in names
    again = EventStore(connect)
    store.close()
    again.open()
    story = tell(5, 1300)
    write_all(again, story.entries[len(entries) :])
    again.close()
    assert verified(connect).ok


def test_each_closed_day_has_its_anchor(store: EventStore, connect: Connect) -> None:
    """The anchor is the hash of the last event before midnight."""
    entries = tell(5, 1200).entries
    write_all(store, entries)
    ((seq, day, digest),) = query(connect, "SELECT seq, day::text, hash FROM event_store.chain_anchor")
    assert day == "2021-05-19"
    assert query(connect, "SELECT hash FROM event_store.events WHERE seq = %s", (seq,)) == [(digest,)]


def test_the_same_run_played_again_changes_no_row(store: EventStore, connect: Connect) -> None:
    """A run repeated under its own run_id (another run between) leaves the tables as they were."""
    first = tell(6, 200)
    write_all(store, first.entries)
    before = read_tables(connect)
    second = tell(7, 100, run_id="run-2", first=len(first.entries) + 1)
    write_all(store, second.entries)
    third = tell(6, 200, first=len(first.entries) + len(second.entries) + 1)
    write_all(store, third.entries)
    after = read_tables(connect)
    for table, rows in before.items():
        own = after[table].copy()
        for row in rows:
            own.remove(row)
        place = next(kind for kind in TABLES if kind.table == table).columns().index("run_id")
        assert {row[place] for row in own} <= {"run-2"}


@pytest.mark.security
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE event_store.events SET data = replace(convert_from(data, 'UTF8'), '1.0', '1.1')::bytea", 77),
        ("UPDATE event_store.events SET producer = 'cdb_core'", 77),
        ("UPDATE event_store.events SET timestamp = timestamp + interval '1 microsecond'", 77),
        ("DELETE FROM event_store.events", 77),
        ("UPDATE event_store.events SET hash = sha256('x')", 77),
    ],
)
def test_a_tampered_row_is_named(store: EventStore, connect: Connect, change: str, named: int) -> None:
    """Whoever changes one stored event is found out, with the event's number."""
    write_all(store, tell(8, 120).entries)
    assert verified(connect).ok
    query(connect, f"{change} WHERE seq = 77")
    assert verified(connect).broken_at == named


@pytest.mark.security
def test_free_text_of_any_kind_is_stored(store: EventStore, connect: Connect) -> None:
    """Tabs, line breaks, backslashes, NUL, quotes, emoji: exact bytes in the store, and rows in the tables."""
    odd = "a\tb\nc\\d\r'\"\\N\x00 \u2028 \U0001f600"
    story = Story()
    story.begin()
    story.signal(Decimal(1), reason=odd, correlation_id=odd, inputs={odd: odd})
    story.add(
        Alert(
            event_id=odd, timestamp=START, producer="cdb_risk", level="INFO", code="ODD", message=odd, causation_id=odd
        )
    )
    write_all(store, story.entries)
    assert stored_entries(connect) == story.entries
    assert verified(connect).ok
    clean = odd.replace("\x00", "\ufffd")
    assert query(connect, "SELECT reason, correlation_id, metadata FROM signals") == [(clean, clean, {clean: clean})]
    assert query(connect, "SELECT alert_id FROM alerts") == [(clean,)]
    assert "text" in query(connect, "SELECT event FROM event_store.events_json WHERE channel = 'alerts'")[0][0]


def test_rebuilt_tables_are_equal(store: EventStore, connect: Connect) -> None:
    """Emptied and changed tables come back from the events, to the last digit, with the same state."""
    write_all(store, tell(9, 900).entries)
    before, state = read_tables(connect), stored_cursor(connect).state
    query(connect, "DELETE FROM trades")
    query(connect, "UPDATE portfolio_snapshots SET total_equity = 1")
    query(connect, "UPDATE event_store.cursor SET state = NULL")
    assert rebuild(store) == stored_cursor(connect).head.seq
    assert read_tables(connect) == before
    assert stored_cursor(connect).state == state


def test_rebuilding_from_a_broken_chain_changes_nothing(store: EventStore, connect: Connect) -> None:
    """A tampered event stops the rebuilding, and the tables stay."""
    write_all(store, tell(9, 300).entries)
    before = read_tables(connect)
    query(connect, "UPDATE event_store.events SET producer = 'cdb_core' WHERE seq = 200")
    with pytest.raises(StoreError, match="200"):
        rebuild(store)
    assert read_tables(connect) == before
    query(connect, "DELETE FROM event_store.events WHERE seq > 250")
    query(connect, "UPDATE event_store.events SET producer = 'cdb_ws' WHERE seq = 200")
    with pytest.raises(StoreError):
        rebuild(store)
    assert read_tables(connect) == before


def test_a_missing_cursor_is_a_contradiction(store: EventStore, connect: Connect) -> None:
    """Somebody removed the cursor's row: the writer does not begin anew."""
    query(connect, "DELETE FROM event_store.cursor")
    with pytest.raises(StoreError, match="cursor is empty"):
        store.open()
    with pytest.raises(psycopg2.OperationalError, match="not open"):
        store.check()


def test_the_walk_can_start_at_an_anchor(store: EventStore, connect: Connect) -> None:
    """A later part of the chain is verified from a known head."""
    write_all(store, tell(10, 120).entries)
    ((digest,),) = query(connect, "SELECT hash FROM event_store.events WHERE seq = 60")
    database = connect()
    report = verify(
        read_events(database, after=60), start=ChainHead(60, 1, bytes(digest)), expected=read_cursor(database).head
    )
    database.close()
    assert report.ok
    assert report.events > 60
