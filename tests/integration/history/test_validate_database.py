"""`claire validate` on a database: a recorded day holds with its tables; what is changed there is found and named."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from claire.audit.validate import NothingToValidate, Verdict, validate
from claire.cli import app
from claire.embedded import EmbeddedPostgres
from claire.history.source import DatabaseHistory
from services.cdb_writer.adapters.connection import Connect
from services.cdb_writer.adapters.retention import retain
from services.cdb_writer.adapters.store import EventStore
from services.cdb_writer.chain import ChainHead, link
from services.common.events import Order
from tests.integration.writer.writer_support import query, stored_entries, write_all
from tests.unit.audit.recorded_day import Day, busy_day

pytestmark = pytest.mark.integration


@cache
def day() -> Day:
    """Return the day that is written, made by the first test that wants it: every test process collects this file."""
    return busy_day(1, 300)


DOUBLE_LAST = (
    "INSERT INTO event_store.events SELECT day, seq + 1, epoch, channel, type, event_id, producer, cause, timestamp, "
    "correlation_id, causation_id, data, hash FROM event_store.events ORDER BY seq DESC LIMIT 1"
)


def place_of(kind: type[Any]) -> int:
    """Return the number of the first event of a type in the middle of the day."""
    return next(entry.id.n for entry in day().entries[300:] if isinstance(entry.event, kind))


def judged(connect: Connect, folder: Path | None = None) -> Verdict:
    """Validate the database."""
    database = connect()
    try:
        return validate(DatabaseHistory(database, "here", folder))
    finally:
        database.close()


def rehash(connect: Connect) -> None:
    """Chain all stored events anew, as somebody with the database in his hands would."""
    head, database = ChainHead(), connect()
    with database, database.cursor() as cur:
        cur.execute("DROP TRIGGER IF EXISTS events_are_kept ON event_store.events")
        for entry in stored_entries(connect):
            head = ChainHead(entry.id.n, entry.id.epoch, link(head.hash, entry))
            cur.execute("UPDATE event_store.events SET hash = %s WHERE seq = %s", (head.hash, head.seq))
        cur.execute(
            "UPDATE event_store.cursor SET chain_head = %s, seq = %s, epoch = %s", (head.hash, head.seq, head.epoch)
        )
    database.close()


@pytest.fixture
def written(store: EventStore, connect: Connect) -> Connect:
    """A database with the day in it."""
    write_all(store, day().entries)
    return connect


def test_a_recorded_day_holds_with_its_tables(
    written: Connect, embedded_postgres: EmbeddedPostgres, database: str
) -> None:
    """Every event, the anchors of closed days, and every row of the five tables."""
    done = CliRunner().invoke(app, ["validate", "--dsn", embedded_postgres.dsn(database), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert found["entries"] == len(day().entries)
    rows = found["checked"]["table_rows"]
    for table in ("signals", "orders", "trades", "positions", "portfolio_snapshots"):
        assert rows[table] == query(written, f"SELECT count(*) FROM {table}")[0][0] > 0
    assert found["checked"]["anchors"] > 0


def test_an_empty_store_is_nothing_to_validate(store: EventStore, connect: Connect) -> None:
    """Two initial states are equal, and prove nothing."""
    assert store.is_open
    with pytest.raises(NothingToValidate):
        judged(connect)


def replaced(connect: Connect, n: int, old: bytes, new: bytes) -> None:
    """Change bytes of a stored event."""
    (data,) = query(connect, "SELECT data FROM event_store.events WHERE seq = %s", (n,))[0]
    assert old in bytes(data)
    query(
        connect,
        "UPDATE event_store.events SET data = %s WHERE seq = %s",
        (bytes(data).replace(old, new, 1), n),
    )


def test_a_changed_byte_is_found_by_the_chain_and_by_deriving_again(written: Connect) -> None:
    """Also when the whole chain was made anew: then only what the machines decide says what stood there."""
    order = place_of(Order)
    replaced(written, order, b'"reduce_only":false', b'"reduce_only":true ')
    assert judged(written).differences[0].check == "chain"
    replaced(written, order, b'"reduce_only":true ', b'"reduce_only":false')
    assert judged(written).ok
    replaced(written, order, b'"reduce_only":false', b'"reduce_only":true')
    rehash(written)
    difference = judged(written).differences[0]
    assert (difference.check, difference.n, difference.field) == ("derivation", order, "reduce_only")
    assert (difference.recorded, difference.derived) == ("true", "false")
    assert difference.event_id == day().entries[order - 1].event.event_id


@pytest.mark.parametrize(
    ("statement", "check", "field"),
    [
        ("DELETE FROM event_store.events WHERE seq = 400", "chain", "n"),
        (DOUBLE_LAST, "chain", "hash"),
        ("UPDATE event_store.chain_anchor SET hash = sha256('x')", "chain", "chain_anchor"),
        ("UPDATE event_store.cursor SET chain_head = sha256('x')", "chain", "end of the chain"),
        ("UPDATE event_store.events SET cause = '3' WHERE seq = {order}", "derivation", "event"),
        ("UPDATE trades SET fees = fees * 2", "tables", "trades"),
        ("UPDATE portfolio_snapshots SET cash = cash + 1", "tables", "portfolio_snapshots"),
        ("DELETE FROM trades", "tables", "trades"),
        ("UPDATE positions SET run_id = run_id || '-forged'", "tables", "positions"),
        ("UPDATE signals SET metadata = '{{\"window\": 1.5}}'", "tables", "metadata"),
    ],
)  # fmt: skip
def test_what_is_changed_in_the_database_is_named(written: Connect, statement: str, check: str, field: str) -> None:
    """A missing and a doubled event, an anchor, the cursor, a cause, and rows of the tables."""
    query(written, statement.format(order=place_of(Order)))
    difference = judged(written).differences[0]
    assert difference.check == check
    assert field in difference.field


def test_market_data_that_were_moved_out_are_read_as_well(written: Connect, short_folder: Path) -> None:
    """A history with a day in files holds like any other."""
    database = written()
    assert len(list(retain(database, "2024-10-01", 30, short_folder))) == 2
    database.close()
    assert judged(written, short_folder).ok
