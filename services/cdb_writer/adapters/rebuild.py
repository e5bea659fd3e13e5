"""Builds the five tables anew from the events: they hold nothing that the events do not say."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from services.cdb_writer.adapters.reading import read_all
from services.cdb_writer.adapters.store import EventStore, write_rows
from services.cdb_writer.chain import ChainHead
from services.cdb_writer.recorder import Recorder
from services.cdb_writer.rows import TABLES
from services.common.errors import StoreError

__all__ = ["rebuild"]

EVENTS_A_STEP = 5_000


def rebuild(store: EventStore, export_folder: Path | None = None, progress: Callable[[int], None] | None = None) -> int:
    """Replace the content of the five tables by the fold of all events, whole or not at all; returns how many.

    The chain is walked on the way. The store must be open (and so no other writer be at work).

    Args:
        store: where.
        export_folder: where market data past retention were put.
        progress: called with the number of events folded so far.

    Raises:
        StoreError: the chain is broken; the event is named and nothing was changed.
    """
    database = store.database
    with database, database.cursor() as cur:
        cur.execute("SELECT seq, chain_head FROM event_store.cursor FOR UPDATE")
        row = cur.fetchone()
        if row is None:
            raise StoreError("event_store.cursor is empty; restore the database from a backup")
        cur.execute("TRUNCATE " + ", ".join(table.table for table in TABLES))
        recorder = Recorder(ChainHead(), None)
        events = read_all(database, export_folder)
        state: bytes | None = None
        while page := list(islice(events, EVENTS_A_STEP)):
            batch = recorder.fold([event.entry for event in page])
            for stored, chained in zip(page, batch.events, strict=True):
                if stored != chained:
                    raise StoreError(f"event {stored.seq} is not what was hashed; the tables stay as they are")
            write_rows(cur, batch.rows)
            state = batch.state
            if progress is not None:
                progress(recorder.head.seq)
        if (recorder.head.seq, recorder.head.hash) != (row[0], bytes(row[1])):
            raise StoreError(f"the events end at {recorder.head.seq}, the cursor says {row[0]}")
        cur.execute("UPDATE event_store.cursor SET state = %s", (state,))
    return recorder.head.seq
