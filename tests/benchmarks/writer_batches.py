"""The writer's exactly-once batches against raw COPY of the same rows in transactions of the same size."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2.extensions import connection

from services.cdb_writer.adapters.connection import connector
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore
from services.cdb_writer.recorder import Recorder
from services.cdb_writer.rows import EventRow
from services.common.channels import WS
from services.common.events import Control, Event
from services.common.identity import derive_id
from services.common.journal.entry import Entry, JournalId
from services.common.settings import Infrastructure, load_settings
from tests.benchmarks.pipeline_chain import START_US, Feed

__all__ = ["measure_writer"]

BATCH = 1_000


def _entries(count: int) -> list[Entry]:
    feed = Feed.__new__(Feed)
    feed.run_id, feed.together = "bench", False
    started = Control(
        event_id=derive_id("bench", "started"),
        timestamp=START_US,
        producer=WS,
        action="started",
        service=WS,
        run_id="bench",
    )
    events: list[Event] = [started, *(_same_day(feed, number) for number in range(count - 1))]
    return [Entry(JournalId(1, n), e.channel, e.producer, f"feed:{n}", e.data) for n, e in enumerate(events, 1)]


def _same_day(feed: Feed, number: int) -> Event:
    event = feed.event(number)
    return event.model_copy(update={"timestamp": START_US + number})


def _copy_rows(database: connection, rows: Sequence[EventRow]) -> None:
    lines = "".join(
        "\t".join(
            [*("\\N" if v is None else str(v) for v in row[:-2]), f"\\\\x{row.data.hex()}", f"\\\\x{row.hash.hex()}"]
        )
        + "\n"
        for row in rows
    )
    with database, database.cursor() as cursor:
        cursor.copy_expert(f"COPY raw_copy ({', '.join(EventRow._fields)}) FROM STDIN", io.StringIO(lines))


def measure_writer(environment: Mapping[str, str], *, count: int) -> dict[str, Any]:
    """Return events per second: raw COPY, the store alone, and decode + chain + fold + store; with the ratios.

    Batches alternate between the two sides, so that both meet the same disk.
    """
    infra = load_settings(Infrastructure, environment)
    connect = connector(infra)
    migrate(connect)
    store = EventStore(connect)
    stored = store.open()
    recorder = Recorder(stored.head, stored.state)
    raw = connect()
    with raw, raw.cursor() as cursor:
        cursor.execute("CREATE TABLE raw_copy (LIKE event_store.events INCLUDING DEFAULTS, PRIMARY KEY (day, seq))")
    entries = _entries(count)
    copying = storing = folding = 0.0
    for start in range(0, count, BATCH):
        begun = time.perf_counter()
        batch = recorder.fold(entries[start : start + BATCH])
        folded = time.perf_counter()
        store.write(batch)
        stored_at = time.perf_counter()
        _copy_rows(raw, batch.events)
        copied = time.perf_counter()
        folding += folded - begun
        storing += stored_at - folded
        copying += copied - stored_at
    raw.close()
    store.close()
    return {
        "raw_copy_per_second": count / copying,
        "store_per_second": count / storing,
        "fold_and_store_per_second": count / (folding + storing),
        "ratio_store": copying / storing,
        "ratio_fold_and_store": copying / (folding + storing),
    }
