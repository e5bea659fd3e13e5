"""Where events are read that the stream no longer has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import psycopg2
from psycopg2.extensions import connection

from services.common.codec import decode
from services.common.errors import StoreError
from services.common.journal.entry import Entry, JournalId
from services.common.settings import Infrastructure

__all__ = ["NO_STORE_YET", "EventArchive", "PostgresArchive"]

CONNECT_TIMEOUT_SEC: Final = 5
NO_STORE_YET: Final = (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName)


class EventArchive(Protocol):
    """The event store as the journal sees it."""

    def head(self) -> JournalId | None:
        """Return the id of the last archived event, None when there is none."""

    def epochs(self) -> dict[int, int]:
        """Return epoch to the number of its first event, for all epochs that were ever opened."""

    def read(self, after: int, count: int) -> list[Entry]:
        """Return up to `count` events with numbers above `after`, in order; a dropped range may be missing."""

    def high_water(self) -> dict[str, int]:
        """Return the high-water marks (fields as in the `hw` hash) of all events."""

    def last_ids(self) -> dict[str, JournalId]:
        """Return the last id of each channel."""

    def run_id(self) -> str | None:
        """Return the run_id of the last `started` of cdb_ws, None when there is none."""

    def record_epoch(self, epoch: int, first_n: int) -> None:
        """Make a new epoch durable; called before the journal writes in it."""


class PostgresArchive:
    """The event store in PostgreSQL (schema `event_store`), read over one connection made when first needed.

    Every method raises the builtin `ConnectionError` while PostgreSQL is away: try again. A database without the
    schema counts as an empty archive.

    Args:
        infra: where PostgreSQL is.
    """

    def __init__(self, infra: Infrastructure) -> None:
        self._infra = infra
        self._connection: connection | None = None

    def head(self) -> JournalId | None:
        """Return the id of the last archived event, None when there is none."""
        rows = self._query("SELECT epoch, seq FROM event_store.cursor WHERE seq > 0")
        return JournalId(*rows[0]) if rows else None

    def epochs(self) -> dict[int, int]:
        """Return epoch to the number of its first event."""
        return dict(self._query("SELECT epoch, first_seq FROM event_store.epochs"))

    def read(self, after: int, count: int) -> list[Entry]:
        """Return up to `count` events with numbers above `after`, in order."""
        rows = self._query(
            "SELECT epoch, seq, channel, producer, cause, data FROM event_store.events "
            "WHERE seq > %s ORDER BY seq LIMIT %s",
            (after, count),
        )
        return [
            Entry(JournalId(epoch, seq), channel, producer, cause, bytes(data))
            for epoch, seq, channel, producer, cause, data in rows
        ]

    def high_water(self) -> dict[str, int]:
        """Return the high-water marks of all events."""
        rows = self._query(
            "SELECT producer, split_part(cause, ':', 1), max(split_part(cause, ':', 2)::bigint) "
            "FROM event_store.events WHERE cause LIKE '%:%' GROUP BY 1, 2 "
            "UNION ALL SELECT producer, '', max(cause::bigint) "
            "FROM event_store.events WHERE cause <> '' AND cause NOT LIKE '%:%' GROUP BY 1"
        )
        return {f"{producer}/{source}" if source else producer: number for producer, source, number in rows}

    def last_ids(self) -> dict[str, JournalId]:
        """Return the last id of each channel."""
        rows = self._query(
            "SELECT DISTINCT ON (channel) channel, epoch, seq FROM event_store.events ORDER BY channel, seq DESC"
        )
        return {channel: JournalId(epoch, seq) for channel, epoch, seq in rows}

    def run_id(self) -> str | None:
        """Return the run_id of the last `started` of cdb_ws, None when there is none."""
        rows = self._query(
            "SELECT data FROM event_store.events WHERE channel = 'control' AND producer = 'cdb_ws' "
            "AND position('\"action\":\"started\"' IN convert_from(data, 'UTF8')) > 0 ORDER BY seq DESC LIMIT 1"
        )
        if not rows:
            return None
        run_id = decode(bytes(rows[0][0])).get("run_id")
        return run_id if isinstance(run_id, str) else None

    def record_epoch(self, epoch: int, first_n: int) -> None:
        """Make a new epoch durable.

        Raises:
            StoreError: the epoch is known with another beginning.
        """
        self._query(
            "INSERT INTO event_store.epochs (epoch, first_seq) VALUES (%s, %s) ON CONFLICT (epoch) DO NOTHING "
            "RETURNING epoch",
            (epoch, first_n),
        )
        known = self.epochs().get(epoch)
        if known != first_n:
            raise StoreError(f"epoch {epoch} cannot begin at {first_n}: PostgreSQL says {known}")

    def close(self) -> None:
        """Drop the connection."""
        opened, self._connection = self._connection, None
        if opened is not None:
            opened.close()

    def _query(self, statement: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        try:
            return self._rows(statement, values)
        except NO_STORE_YET:
            return []

    def _rows(self, statement: str, values: Sequence[Any] | None) -> list[tuple[Any, ...]]:
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall()
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            self.close()
            raise ConnectionError(f"PostgreSQL is away: {error}") from error

    def _connect(self) -> connection:
        opened: connection = psycopg2.connect(
            **self._infra.postgres_address(),
            application_name="journal-archive",
            connect_timeout=CONNECT_TIMEOUT_SEC,
            options="-c synchronous_commit=on -c timezone=UTC -c client_encoding=UTF8",
        )
        opened.autocommit = True
        return opened
