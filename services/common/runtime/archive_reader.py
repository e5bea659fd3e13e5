"""The event store as a reader sees it: for the rare moment in which the stream no longer has what a fold needs."""

from __future__ import annotations

from typing import Any

import psycopg2

from services.common.errors import JournalClosed, StoreError
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.settings import Infrastructure

__all__ = ["ArchiveReader"]

CONNECT_TIMEOUT_SEC = 5


class ArchiveReader:
    """Reads `event_store` over a connection that is made when first needed and dropped when it fails.

    An archive that cannot be reached raises JournalClosed: the caller waits and tries again, as it does while Redis is
    away. Only an archive that answers, and does not have the events, is a hole.
    """

    def __init__(self, infra: Infrastructure) -> None:
        """Name the server; nothing is connected yet."""
        self._infra = infra
        self._connection: psycopg2.extensions.connection | None = None

    def _rows(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        infra = self._infra
        try:
            if self._connection is None:
                self._connection = psycopg2.connect(
                    host=infra.POSTGRES_HOST,
                    port=infra.POSTGRES_PORT,
                    user=infra.POSTGRES_USER,
                    password=infra.POSTGRES_PASSWORD.get_secret_value() or None,
                    dbname=infra.POSTGRES_DB,
                    connect_timeout=CONNECT_TIMEOUT_SEC,
                    application_name="archive",
                )
                self._connection.set_session(readonly=True, autocommit=True)
            with self._connection.cursor() as cursor:
                cursor.execute(statement, arguments)
                return cursor.fetchall()
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            self.close()
            raise JournalClosed(f"the event store cannot be reached: {error}") from error
        except psycopg2.errors.UndefinedTable as error:
            self.close()
            raise JournalClosed("the event store has no tables yet: cdb_writer has not run") from error

    def close(self) -> None:
        """Drop the connection; the next question makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def head(self) -> JournalId | None:
        """Return the id of the last archived event, None when there is none."""
        rows = self._rows("SELECT epoch, seq FROM event_store.cursor WHERE seq > 0")
        return JournalId(*rows[0]) if rows else None

    def epochs(self) -> dict[int, int]:
        """Return epoch to the number of its first event."""
        return dict(self._rows("SELECT epoch, first_seq FROM event_store.epochs ORDER BY epoch"))

    def read(self, after: int, count: int) -> list[Entry]:
        """Return up to `count` events with numbers above `after`, in order."""
        rows = self._rows(
            "SELECT epoch, seq, channel, producer, cause, data FROM event_store.events "
            "WHERE seq > %s ORDER BY seq LIMIT %s",
            after,
            count,
        )
        return [Entry(JournalId(row[0], row[1]), row[2], row[3], row[4], bytes(row[5])) for row in rows]

    def high_water(self) -> dict[str, int]:
        """Return the highest cause number of each producer's own sources and of its journal causes."""
        marks: dict[str, int] = {}
        for producer, text in self._rows("SELECT DISTINCT producer, cause FROM event_store.events WHERE cause <> ''"):
            cause = Cause.parse(text)
            field = f"{producer}/{cause.source}" if cause.source else producer
            marks[field] = max(cause.number, marks.get(field, 0))
        return marks

    def last_ids(self) -> dict[str, JournalId]:
        """Return the last id of each channel."""
        rows = self._rows(
            "SELECT DISTINCT ON (channel) channel, epoch, seq FROM event_store.events ORDER BY channel, seq DESC"
        )
        return {channel: JournalId(epoch, seq) for channel, epoch, seq in rows}

    def run_id(self) -> str | None:
        """Return the run_id of the last `started` of cdb_ws, None when there is none."""
        rows = self._rows("SELECT run_id FROM event_store.runs ORDER BY first_seq DESC LIMIT 1")
        return rows[0][0] if rows else None

    def record_epoch(self, epoch: int, first_n: int) -> None:
        """Refuse: only the writer opens epochs.

        Raises:
            StoreError: always.
        """
        raise StoreError(f"epoch {epoch} from {first_n}: only cdb_writer begins epochs")
