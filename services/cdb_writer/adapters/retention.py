"""Market data past retention leave the database for a file, and only then; everything else is kept for ever.

Export and removal are two steps. Removal looks at the file again: it must be there, whole, and hold each event that is
removed, otherwise nothing is.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path

from psycopg2.extensions import connection

from services.cdb_writer.adapters.reading import export_line, read_events, read_export
from services.common.errors import StoreError
from services.common.runtime.state_folder import sync_folder

__all__ = ["Export", "drop_exported", "due_days", "export_day", "retain"]

_MARKET_DATA_OF_DAY = "channel = 'market_data' AND day = DATE '{day}'"


@dataclass(frozen=True)
class Export:
    """A file of market data of one day."""

    day: str
    first_seq: int
    last_seq: int
    events: int
    file: str
    sha256: bytes


def due_days(database: connection, today: str, retention_days: int) -> list[str]:
    """Return the days before `today` less retention that still have market data in the database, oldest first."""
    limit = (date.fromisoformat(today) - timedelta(days=retention_days)).isoformat()
    with database, database.cursor() as cur:
        cur.execute(
            "SELECT to_char(day, 'YYYY-MM-DD') FROM event_store.events "
            "WHERE day < %s AND channel = 'market_data' GROUP BY day ORDER BY day",
            (limit,),
        )
        return [day for (day,) in cur.fetchall()]


def export_day(database: connection, day: str, folder: Path) -> Export | None:
    """Write a day's market data to a file in `folder` and note it; None when there are none left to write.

    The file is complete or not there. Equal events give equal bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{day}.draft"
    first = last = events = 0
    with draft.open("wb") as raw:
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
            for row in read_events(database, condition=_MARKET_DATA_OF_DAY.format(day=date.fromisoformat(day))):
                packed.write(export_line(row))
                first, last, events = first or row.seq, row.seq, events + 1
        raw.flush()
        os.fsync(raw.fileno())
    database.rollback()
    if not events:
        draft.unlink()
        return None
    name = f"market_data_{day}_{first}.jsonl.gz"
    digest = sha256(draft.read_bytes()).digest()
    draft.replace(folder / name)
    sync_folder(folder)
    export = Export(day, first, last, events, name, digest)
    with database, database.cursor() as cur:
        cur.execute(
            "INSERT INTO event_store.exports (day, first_seq, last_seq, events, file, sha256) "
            "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (day, first_seq) DO UPDATE "
            "SET last_seq = excluded.last_seq, events = excluded.events, file = excluded.file, "
            "sha256 = excluded.sha256, exported_at = clock_timestamp() WHERE exports.dropped_at IS NULL",
            (day, first, last, events, name, digest),
        )
        if cur.rowcount != 1:
            raise StoreError(f"market data of {day} from {first} on were exported and dropped before")
    return export


def drop_exported(database: connection, export: Export, folder: Path) -> None:
    """Remove a day's exported market data from the database.

    Raises:
        StoreError: the file is missing or changed, or does not hold exactly what would be removed.
    """
    path = folder / export.file
    if not path.exists() or sha256(path.read_bytes()).digest() != export.sha256:
        raise StoreError(f"{path.name} is missing or changed: market data of {export.day} stay in the database")
    in_file = [row.seq for row in read_export(path)]
    with database, database.cursor() as cur:
        cur.execute(
            "DELETE FROM event_store.events WHERE channel = 'market_data' AND day = %s AND seq = ANY(%s)",
            (export.day, in_file),
        )
        if cur.rowcount != export.events or len(in_file) != export.events:
            raise StoreError(
                f"{path.name} holds {len(in_file)} events, {export.events} were exported and {cur.rowcount} of them "
                f"are in the database: market data of {export.day} stay there"
            )
        cur.execute(
            "UPDATE event_store.exports SET dropped_at = clock_timestamp() WHERE day = %s AND first_seq = %s",
            (export.day, export.first_seq),
        )


def retain(database: connection, today: str, retention_days: int, folder: Path) -> Iterator[Export]:
    """Export and remove all market data past retention, day by day; yields what was moved."""
    for day in due_days(database, today, retention_days):
        export = export_day(database, day, folder)
        if export is not None:
            drop_exported(database, export, folder)
            yield export
