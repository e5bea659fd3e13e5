"""Reads the whole audit trail in order: from the database, and market data past retention from their files."""

from __future__ import annotations

import gzip
import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from psycopg2.extensions import connection

from services.cdb_writer.envelope import read_envelope
from services.cdb_writer.rows import EventRow
from services.common import channels
from services.common.errors import StoreError
from services.common.journal.entry import Entry, JournalId

__all__ = ["export_line", "read_all", "read_events", "read_export"]

ROWS_A_PAGE: Final = 10_000

_AS_TEXT: Final = {
    "day": "to_char(day, 'YYYY-MM-DD')",
    "timestamp": 'to_char(timestamp, \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\')',
}
_COLUMNS: Final = ", ".join(_AS_TEXT.get(name, name) for name in EventRow._fields)
_SEQ: Final = EventRow._fields.index("seq")


def read_events(database: connection, after: int = 0, *, condition: str = "true") -> Iterator[EventRow]:
    """Yield the events that stand in the database after a number, in order, page by page, as they stand there."""
    query = (
        f"SELECT {_COLUMNS} FROM event_store.events "  # noqa: S608 -- only our own column names and conditions
        f"WHERE seq > %s AND {condition} ORDER BY seq LIMIT %s"
    )
    while True:
        with database.cursor() as cur:
            cur.execute(query, (after, ROWS_A_PAGE))
            page = cur.fetchall()
        for row in page:
            yield EventRow._make((*row[:-2], bytes(row[-2]), bytes(row[-1])))
        if len(page) < ROWS_A_PAGE:
            return
        after = page[-1][_SEQ]


def read_all(database: connection, export_folder: Path | None = None, after: int = 0) -> Iterator[EventRow]:
    """Yield every event after a number, in order; those that were dropped come from their files.

    Files are opened when their turn comes. A file that is missing leaves a hole, which the chain shows.
    """
    with database.cursor() as cur:
        cur.execute(
            "SELECT first_seq, file FROM event_store.exports WHERE dropped_at IS NOT NULL AND last_seq > %s "
            "ORDER BY first_seq",
            (after,),
        )
        waiting = [] if export_folder is None else [(first, export_folder / name) for first, name in cur.fetchall()]
    streams: list[tuple[int, int, EventRow, Iterator[EventRow]]] = []

    def put(number: int, stream: Iterator[EventRow]) -> None:
        row = next(stream, None)
        if row is not None:
            heapq.heappush(streams, (row.seq, number, row, stream))

    put(0, read_events(database, after))
    opened = 0
    while streams or opened < len(waiting):
        while opened < len(waiting) and (not streams or waiting[opened][0] <= streams[0][0]):
            path = waiting[opened][1]
            opened += 1
            if path.exists():
                put(opened, (row for row in read_export(path) if row.seq > after))
        if streams:
            _, number, row, stream = heapq.heappop(streams)
            yield row
            put(number, stream)


def export_line(row: EventRow) -> bytes:
    """Return the line of an exported event: number, epoch, producer, cause and hash, then the exact bytes."""
    return f"{row.seq} {row.epoch} {row.producer} {row.cause} {row.hash.hex()} ".encode() + row.data + b"\n"


def read_export(path: Path) -> Iterator[EventRow]:
    """Yield the market data of an export file.

    Raises:
        StoreError: a line is none of ours; it is named.
    """
    with gzip.open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                seq, epoch, producer, cause, digest, data = line.rstrip(b"\n").split(b" ", 5)
                entry = Entry(
                    JournalId(int(epoch), int(seq)), channels.MARKET_DATA, producer.decode(), cause.decode(), data
                )
                row = EventRow.of(entry, read_envelope(entry.channel, data), bytes.fromhex(digest.decode()))
            except ValueError as error:
                raise StoreError(f"{path.name}, line {number}: no exported event: {error}") from error
            yield row
