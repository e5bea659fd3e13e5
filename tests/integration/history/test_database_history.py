"""The history in PostgreSQL: the same entries as in a file, also those that were moved out of the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from claire.database import DatabaseUnreachable
from claire.embedded import EmbeddedPostgres
from claire.history.record import HistoryUnusable
from claire.history.source import ChainBroken, DatabaseHistory, open_history
from claire.history.span import Span
from services.cdb_writer.adapters.connection import Connect
from services.cdb_writer.adapters.retention import retain
from services.cdb_writer.adapters.store import EventStore
from services.common import channels
from tests.integration.writer.writer_support import query, write_all
from tests.unit.writer.journal_story import tell

pytestmark = pytest.mark.integration

STORY = tell(11, 900)


def test_a_database_gives_the_entries_that_were_written(store: EventStore, connect: Connect) -> None:
    """All of them, in order, with the chain at each, up to the cursor; parts by number and by time as well."""
    recorder = write_all(store, STORY.entries)
    database = connect()
    try:
        history = DatabaseHistory(database, "here")
        assert (history.total, history.tip) == (len(STORY.entries), recorder.head)
        links = list(history.links())
        assert [entry for entry, _ in links] == STORY.entries
        assert links[-1][1] == recorder.head
        assert [history.anchors[n] for n in history.anchors] == [
            head for _, head in links if head.seq in history.anchors
        ]
        assert len(history.anchors) == 1
        assert list(history.links(Span(100, 130))) == links[99:130]
        since = Span.parse("2021-05-19T23:50:00", "2021-05-19T23:55:00")
        found = list(history.entries(since))
        clock = [entry for entry in STORY.entries if entry.producer == channels.WS]
        first = next(e for e in clock if b'"timestamp":"2021-05-19T23:5' in e.data)
        assert found[0] == first
        assert found[-1].id.n < len(STORY.entries)
        assert list(history.entries(Span.parse("2031-01-01"))) == []
    finally:
        database.close()


def test_later_events_belong_to_a_later_look(store: EventStore, connect: Connect) -> None:
    """What is written while it is read does not show."""
    write_all(store, STORY.entries[:500])
    database = connect()
    try:
        history = DatabaseHistory(database, "here")
        entries = history.entries()
        read = [next(entries)]
        write_all(store, STORY.entries[500:])
        read += entries
        assert read == STORY.entries[:500]
    finally:
        database.close()


def test_market_data_past_retention_come_from_their_files(
    store: EventStore, connect: Connect, short_folder: Path
) -> None:
    """With the folder the history is whole, from any place; without it the missing events and their file are named."""
    recorder = write_all(store, STORY.entries)
    database = connect()
    exports = list(retain(database, "2021-07-01", 30, short_folder))
    assert len(exports) == 2
    database.close()
    database = connect()
    try:
        history = DatabaseHistory(database, "here", short_folder)
        links = list(history.links())
        assert [entry for entry, _ in links] == STORY.entries
        assert links[-1][1] == recorder.head
        moved = next(entry.id.n for entry in STORY.entries[100:] if entry.channel == channels.MARKET_DATA)
        assert list(history.links(Span(first=moved + 1))) == links[moved:]
        span = Span.parse("2021-05-19T23:50:00", "2021-05-19T23:51:00")
        clock = [e.id.n for e in STORY.entries if e.producer == channels.WS and b"2021-05-19T23:5" in e.data]
        assert next(history.entries(span)).id.n == clock[0]
        without = DatabaseHistory(database, "here")
        with pytest.raises(HistoryUnusable, match=rf"market data of 2021-05-19.*{exports[0].file}.*--export-dir"):
            list(without.entries())
        (short_folder / exports[1].file).write_bytes(b"")
        with pytest.raises(HistoryUnusable):
            list(history.entries())
        (short_folder / exports[1].file).unlink()
        with pytest.raises(HistoryUnusable, match="it is not in"):
            list(history.entries())
    finally:
        database.close()


@pytest.mark.parametrize(
    ("statement", "n", "field"),
    [
        ("UPDATE event_store.events SET data = overlay(data PLACING '9'::bytea FROM 40) WHERE seq = 321", 321, "hash"),
        ("UPDATE event_store.events SET causation_id = 'somebody' WHERE seq = 321", 321, "columns"),
        ("DELETE FROM event_store.events WHERE seq = 321", 321, "n"),
        ("DELETE FROM event_store.events WHERE seq > 890", 891, "end of the chain"),
    ],
)
def test_what_was_changed_in_the_database_is_found(
    store: EventStore, connect: Connect, statement: str, n: int, field: str
) -> None:
    """A changed byte, a changed column, a missing event, a cut end: each is named by its number."""
    write_all(store, STORY.entries)
    query(connect, statement)
    database = connect()
    try:
        with pytest.raises(ChainBroken) as broken:
            list(DatabaseHistory(database, "here").entries())
        assert (broken.value.n, broken.value.field) == (n, field)
    finally:
        database.close()


def test_what_is_no_store_is_named(
    embedded_postgres: EmbeddedPostgres, store: EventStore, connect: Connect, database: str, short_folder: Path
) -> None:
    """A folder where nothing ran, an empty database, a store whose cursor is gone."""
    with pytest.raises(DatabaseUnreachable), open_history(None, short_folder / "none"):
        pass
    with (
        pytest.raises(HistoryUnusable, match="no event store yet"),
        open_history(None, short_folder, embedded_postgres.dsn("postgres")),
    ):
        pass
    query(connect, "DELETE FROM event_store.cursor")
    with (
        pytest.raises(HistoryUnusable, match="cursor is empty"),
        open_history(None, short_folder, embedded_postgres.dsn(database)),
    ):
        pass
