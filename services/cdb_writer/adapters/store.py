"""The store: one transaction per batch holds the events, the rows of the five tables and the cursor.

So nothing is written twice. The connection that writes holds an advisory lock for its life: there is one writer. A
batch goes in only on top of the chain head that it was made for (`UPDATE cursor … WHERE seq = expected`). After a lost
connection the cursor tells whether the batch in flight was committed.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, cast

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection, cursor
from psycopg2.extras import execute_values

from services.cdb_writer.adapters.connection import Connect
from services.cdb_writer.chain import ChainHead
from services.cdb_writer.recorder import Batch
from services.cdb_writer.rows import TABLES, EventRow, Row
from services.common.errors import LeaseHeld, StoreError

__all__ = ["EventStore", "StoredCursor", "read_cursor", "write_rows"]

WRITER_LOCK: Final = 0x636C616972650002
"""Key of the advisory lock that the one writer holds."""


COPY_CHUNK: Final = 1 << 18
REFUSED: Final = (psycopg2.IntegrityError, psycopg2.DataError, psycopg2.ProgrammingError)


@dataclass(frozen=True)
class StoredCursor:
    """What the database holds: the last event, and the states of projection and clock after it (None: none yet)."""

    head: ChainHead
    state: bytes | None
    clock: bytes | None


class EventStore:
    """The writer's side of the database."""

    def __init__(self, connect: Connect) -> None:
        """Take what opens connections; nothing is opened yet."""
        self._connect = connect
        self._database: connection | None = None
        self._days: set[str] = set()

    def open(self, *, lock_wait_sec: float = 0.0) -> StoredCursor:
        """Connect, take the writer's lock and return the cursor.

        Raises:
            psycopg2.OperationalError: the server is not there.
            LeaseHeld: another writer holds the lock after `lock_wait_sec`.
            StoreError: the database cannot hold our texts.
        """
        self.close()
        database = self._connect()
        try:
            _take_lock(database, lock_wait_sec)
            with database, database.cursor() as cur:
                cur.execute("SHOW server_encoding")
                encoding = _one(cur)[0]
                if encoding != "UTF8":
                    raise StoreError(f"the database's encoding is {encoding}; create it with ENCODING 'UTF8'")
                cur.execute(
                    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
                    "WHERE i.inhparent = 'event_store.events'::regclass"
                )
                self._days = {_day_of_partition(name) for (name,) in cur.fetchall()}
            stored = read_cursor(database)
        except BaseException:
            database.close()
            raise
        self._database = database
        return stored

    def close(self) -> None:
        """Close the connection and with it the lock."""
        if self._database is not None:
            with suppress(psycopg2.Error):
                self._database.close()
            self._database = None

    @property
    def database(self) -> connection:
        """The open connection."""
        if self._database is None:
            raise psycopg2.OperationalError("the store is not open")
        return self._database

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that was not seen broken."""
        return self._database is not None and not self._database.closed

    def write(self, batch: Batch, clock: bytes | None = None) -> None:
        """Write one batch and the clock's state after it, whole or not at all.

        Raises:
            StoreError: the store does not have the head that the batch was made for, or refuses a row.
            psycopg2.OperationalError, psycopg2.InterfaceError: the connection broke; whether the batch is in is told by
                the cursor after `open`.
        """
        database = self.database
        try:
            self._make_partitions({row.day for row in batch.events})
            with database, database.cursor() as cur:
                _put(cur, batch, clock)
        except REFUSED as error:
            raise _refusal(batch, error) from error

    def write_whole(self, batches: Iterable[tuple[Batch, bytes]], epochs: Mapping[int, int] | None = None) -> None:
        """Write one batch after the other, each with the clock's state after it, in a single transaction.

        Args:
            batches: the whole content of an empty store.
            epochs: epoch to its first number, beside those that the batches begin.

        Raises:
            StoreError: as :meth:`write`; then nothing was written.
        """
        made, batch = set(self._days), None
        try:
            with self.database as database, database.cursor() as cur:
                for batch, clock in batches:
                    for day in sorted({row.day for row in batch.events} - made):
                        _make_partition(cur, day)
                        made.add(day)
                    _put(cur, batch, clock)
                _write_epochs(cur, epochs or {})
        except REFUSED as error:
            raise _refusal(batch, error) from error
        self._days = made

    def stored(self) -> StoredCursor:
        """Return the cursor over the open connection, which keeps the lock.

        Raises:
            psycopg2.OperationalError, psycopg2.InterfaceError: the connection broke.
        """
        return read_cursor(self.database)

    def check(self) -> None:
        """Ask the server for an answer.

        Raises:
            psycopg2.Error: none came.
        """
        with self.database, self.database.cursor() as cur:
            cur.execute("SELECT 1")

    def _make_partitions(self, days: set[str]) -> None:
        """Attach (not create as partition): that does not wait for people who are reading the other days."""
        for day in sorted(days - self._days):
            with self.database as database, database.cursor() as cur:
                _make_partition(cur, day)
            self._days.add(day)


def _make_partition(cur: cursor, day: str) -> None:
    name = sql.Identifier("event_store", _partition_of_day(day))
    following = (date.fromisoformat(day) + timedelta(days=1)).isoformat() if day < "9999-12-31" else "infinity"
    cur.execute(
        sql.SQL(
            "CREATE TABLE {} (LIKE event_store.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS, "
            "CHECK (day >= {} AND day < {}))"
        ).format(name, sql.Literal(day), sql.Literal(following))
    )
    cur.execute(
        sql.SQL("ALTER TABLE event_store.events ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            name, sql.Literal(day), sql.Literal(following)
        )
    )


def _put(cur: cursor, batch: Batch, clock: bytes | None) -> None:
    _move_cursor(cur, batch, clock)
    _copy_events(cur, batch.events)
    _write_marks(cur, batch)
    write_rows(cur, batch.rows)


def _refusal(batch: Batch | None, error: psycopg2.Error) -> StoreError:
    what = "what follows" if batch is None else f"the batch {batch.before.seq + 1} to {batch.after.seq}"
    return StoreError(f"PostgreSQL refuses {what}: {str(error).strip()}")


def _take_lock(database: connection, wait_sec: float) -> None:
    deadline = time.monotonic() + wait_sec
    while True:
        with database, database.cursor() as cur:
            cur.execute("SELECT pg_try_advisory_lock(%s)", (WRITER_LOCK,))
            if _one(cur)[0]:
                return
        if time.monotonic() >= deadline:
            raise LeaseHeld("another writer holds the lock of this database; stop it first")
        time.sleep(0.1)


def read_cursor(database: connection) -> StoredCursor:
    """Return the cursor of the store.

    Raises:
        StoreError: there is none (somebody removed the row).
    """
    with database, database.cursor() as cur:
        cur.execute("SELECT seq, epoch, chain_head, state, clock FROM event_store.cursor")
        row = cur.fetchone()
    if row is None:
        raise StoreError("event_store.cursor is empty; restore the database from a backup")
    seq, epoch, chain_head, *states = row
    return StoredCursor(
        ChainHead(seq, epoch, bytes(chain_head)), *(None if state is None else bytes(state) for state in states)
    )


def write_rows(cur: cursor, rows: Iterable[Row]) -> None:
    """Insert or replace rows of the five tables, parents before children."""
    by_table: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        by_table.setdefault(row.table, []).append(row.values())
    for table in TABLES:
        if table.table in by_table:
            execute_values(cur, _INSERT[table.table], by_table[table.table], page_size=500)


def _insert(table: type[Row]) -> str:
    columns = table.columns()
    changing = [name for name in columns if name not in table.key]
    replacing = "UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in changing)
    return (
        f"INSERT INTO {table.table} ({', '.join(columns)}) VALUES %s "  # noqa: S608 -- only our own names
        f"ON CONFLICT ({', '.join(table.key)}) DO {replacing if table.replaces else 'NOTHING'}"
    )


_INSERT: Final = {table.table: _insert(table) for table in TABLES}


def _move_cursor(cur: cursor, batch: Batch, clock: bytes | None) -> None:
    before, after = batch.before, batch.after
    cur.execute(
        "UPDATE event_store.cursor SET seq = %s, epoch = %s, chain_head = %s, state = %s, clock = %s, "
        "updated = clock_timestamp() WHERE seq = %s AND chain_head = %s",
        (after.seq, after.epoch, after.hash, batch.state, clock, before.seq, before.hash),
    )
    if cur.rowcount != 1:
        raise StoreError(f"the batch follows event {before.seq}, but the store's cursor stands elsewhere")


def _copy_events(cur: cursor, rows: Sequence[EventRow]) -> None:
    lines = [
        f"{row.day}\t{row.seq}\t{row.epoch}\t{row.channel}\t{row.type}\t{_text(row.event_id)}\t{_text(row.producer)}\t"
        f"{_text(row.cause)}\t{row.timestamp}\t{_text(row.correlation_id)}\t{_text(row.causation_id)}\t"
        f"\\\\x{row.data.hex()}\t\\\\x{row.hash.hex()}\n"
        for row in rows
    ]
    cur.copy_expert(_COPY, io.StringIO("".join(lines)), size=COPY_CHUNK)


_COPY: Final = f"COPY event_store.events ({', '.join(EventRow._fields)}) FROM STDIN"


def _text(value: str | None) -> str:
    if value is None:
        return "\\N"
    if value.isprintable() and "\\" not in value:
        return value
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _write_marks(cur: cursor, batch: Batch) -> None:
    _write_epochs(cur, batch.epochs)
    for run in batch.runs:
        cur.execute(
            "INSERT INTO event_store.runs (run_id, first_seq, started_at) VALUES (%s, %s, %s)",
            (run.run_id, run.first_seq, run.started_at),
        )
    for anchor in batch.anchors:
        cur.execute(
            "INSERT INTO event_store.chain_anchor (seq, run_id, day, epoch, hash) VALUES (%s, %s, %s, %s, %s)",
            (anchor.head.seq, anchor.run_id, anchor.day, anchor.head.epoch, anchor.head.hash),
        )


def _write_epochs(cur: cursor, epochs: Mapping[int, int]) -> None:
    for epoch, first_seq in epochs.items():
        cur.execute(
            "INSERT INTO event_store.epochs (epoch, first_seq) VALUES (%s, %s) ON CONFLICT (epoch) DO NOTHING",
            (epoch, first_seq),
        )


def _partition_of_day(day: str) -> str:
    return f"events_{day.replace('-', '')}"


def _day_of_partition(name: str) -> str:
    digits = name.removeprefix("events_")
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"


def _one(cur: cursor) -> tuple[Any, ...]:
    return cast("tuple[Any, ...]", cur.fetchone())
