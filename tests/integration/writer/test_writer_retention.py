"""Market data past retention: exported, looked at, and only then removed; the audit trail stays whole."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from services.cdb_writer.adapters.connection import Connect
from services.cdb_writer.adapters.housekeeping import Housekeeping
from services.cdb_writer.adapters.reading import read_all, read_export
from services.cdb_writer.adapters.rebuild import rebuild
from services.cdb_writer.adapters.retention import drop_exported, due_days, export_day, retain
from services.cdb_writer.adapters.store import EventStore, read_cursor
from services.cdb_writer.chain import verify
from services.common.errors import StoreError
from services.common.settings import Infrastructure
from services.common.timestamps import DAY_US
from tests.integration.writer.writer_support import query, read_tables, wait_for, write_all
from tests.unit.writer.journal_story import START, tell

pytestmark = pytest.mark.integration

DAY = "2021-05-19"
COUNT = "SELECT count(*) FROM event_store.events WHERE channel = 'market_data' AND day = '2021-05-19'"


@pytest.fixture
def filled(connect: Connect, store: EventStore) -> Iterator[connection]:
    """A connection to a store with two days of events."""
    write_all(store, tell(31, 1200).entries)
    opened = connect()
    yield opened
    opened.close()


def test_only_days_past_retention_are_due(filled: connection) -> None:
    """Thirty days kept: the thirty-first day after it the first one is due, not before."""
    assert due_days(filled, "2021-06-18", 30) == []
    assert due_days(filled, "2021-06-19", 30) == [DAY]
    assert due_days(filled, "2021-06-20", 30) == [DAY, "2021-05-20"]


def test_exported_and_removed_events_still_verify(
    filled: connection, connect: Connect, store: EventStore, tmp_path: Path
) -> None:
    """Market data of the day leave the database, everything else stays; with the file the chain is whole again."""
    before = list(read_all(filled))
    tables = read_tables(connect)
    (export,) = retain(filled, "2021-06-19", 30, tmp_path)
    assert export.events > 0
    assert query(connect, COUNT) == [(0,)]
    assert query(connect, "SELECT count(*) FROM event_store.events")[0][0] == len(before) - export.events
    assert not verify(read_all(filled), expected=read_cursor(filled).head).ok
    assert list(read_all(filled, tmp_path)) == before
    assert verify(read_all(filled, tmp_path), expected=read_cursor(filled).head).ok
    query(connect, "DELETE FROM portfolio_snapshots")
    assert rebuild(store, tmp_path) == before[-1].seq
    assert read_tables(connect) == tables
    assert list(retain(filled, "2021-06-19", 30, tmp_path)) == []


def test_equal_events_give_equal_files(filled: connection, tmp_path: Path) -> None:
    """An export repeated after a crash before the removal is the same file, byte for byte."""
    first = export_day(filled, DAY, tmp_path)
    assert first is not None
    content = (tmp_path / first.file).read_bytes()
    assert export_day(filled, DAY, tmp_path) == first
    assert (tmp_path / first.file).read_bytes() == content
    assert [row.seq for row in read_export(tmp_path / first.file)][-1] == first.last_seq
    assert export_day(filled, "2020-01-01", tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.file]


@pytest.mark.security
def test_nothing_is_removed_without_its_file(filled: connection, connect: Connect, tmp_path: Path) -> None:
    """A missing or changed file, or one that does not hold what would be removed: refused, all rows stay."""
    count = query(connect, COUNT)
    export = export_day(filled, DAY, tmp_path)
    assert export is not None
    path = tmp_path / export.file
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(StoreError, match="missing or changed"):
        drop_exported(filled, export, tmp_path)
    path.write_bytes(content + b"x")
    with pytest.raises(StoreError, match="missing or changed"):
        drop_exported(filled, export, tmp_path)
    path.write_bytes(content)
    query(connect, "DELETE FROM event_store.events WHERE seq = %s", (export.last_seq,))
    with pytest.raises(StoreError, match="stay there"):
        drop_exported(filled, export, tmp_path)
    assert query(connect, COUNT) == [(count[0][0] - 1,)]


def test_the_same_day_of_a_later_run_gets_a_file_of_its_own(
    filled: connection, connect: Connect, store: EventStore, tmp_path: Path
) -> None:
    """A day that was exported and removed and then played again is exported again beside the first."""
    list(retain(filled, "2021-06-19", 30, tmp_path))
    head = read_cursor(filled).head.seq
    write_all(store, tell(32, 300, run_id="run-2", first=head + 1, start=START - DAY_US).entries)
    write_all(store, tell(33, 300, run_id="run-3", first=read_cursor(filled).head.seq + 1).entries)
    moved = list(retain(filled, "2021-06-20", 30, tmp_path))
    assert [export.day for export in moved] == ["2021-05-18", "2021-05-19", "2021-05-20"][: len(moved)]
    assert len(moved) >= 2
    assert query(connect, "SELECT count(*) FROM event_store.exports WHERE day = '2021-05-19'") == [(2,)]
    assert verify(read_all(filled, tmp_path), expected=read_cursor(filled).head).ok


def test_a_foreign_line_in_an_export_is_named(tmp_path: Path) -> None:
    """A file that is none of ours is refused with the line."""
    path = tmp_path / "market_data_2021-05-19_1.jsonl.gz"
    path.write_bytes(gzip.compress(b"1 1 cdb_ws feed:1\n"))
    with pytest.raises(StoreError, match="line 1"):
        list(read_export(path))


def test_housekeeping_runs_once_a_day(
    infrastructure: Infrastructure, filled: connection, connect: Connect, tmp_path: Path
) -> None:
    """A new day of the run begins it on a thread of its own; without a folder nothing ever happens."""
    counted: list[float] = []
    idle = Housekeeping(infrastructure, None, 30, counted.append)
    idle.day("2021-06-19")
    idle.stop()
    working = Housekeeping(infrastructure, tmp_path, 30, counted.append)
    working.day("2021-06-19")
    wait_for(lambda: counted, "exported")
    working.stop()
    working.day("2021-06-19")
    assert len(counted) == 1
    assert working.failure is None
    assert query(connect, COUNT) == [(0,)]


def test_housekeeping_says_why_it_failed(
    infrastructure: Infrastructure, filled: connection, connect: Connect, tmp_path: Path
) -> None:
    """A folder that cannot be written: the reason stands in `failure`, nothing is removed, and it is tried again."""
    count = query(connect, COUNT)
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    housekeeping = Housekeeping(infrastructure, blocked, 30, lambda _: None)
    housekeeping.day("2021-06-19")
    reason = wait_for(lambda: housekeeping.failure, "a failure")
    assert "FileExistsError" in reason or "NotADirectoryError" in reason
    housekeeping.stop()
    assert query(connect, COUNT) == count
