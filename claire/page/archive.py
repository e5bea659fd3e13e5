"""One lasting, read-only connection to the database: opened again when it was lost, but never one a question."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any, Final, TypeVar

import psycopg2

from claire.history.record import HistoryUnusable
from services.common.errors import ClaireError

__all__ = ["Archive", "ArchiveAway", "ArchiveBusy"]

RETRY_SEC: Final = 2.0
WAIT_SEC: Final = 2.0
TIMEOUT_MS: Final = 5_000
PREPARE: Final = (
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET TIME ZONE 'UTC'",
    "SET work_mem = '16MB'",
)

Connection = psycopg2.extensions.connection
Answer = TypeVar("Answer")


class ArchiveAway(ClaireError):
    """The database does not answer, or has nothing yet; the text says which."""


class ArchiveBusy(ClaireError):
    """Another question is still being answered."""


class _Lost(ClaireError):
    """The connection is gone, or there is none to be had."""


class Archive:
    """The database of a run, for reading; questions come one after the other, each with an end."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        timeout_ms: int = TIMEOUT_MS,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the way to the database; it is taken at the first question.

        Args:
            connect: opens a connection.
            timeout_ms: no statement takes longer.
            wall: seconds that only grow.
        """
        self._connect = connect
        self._timeout_ms = timeout_ms
        self._wall = wall
        self._lock = Lock()
        self._connection: Connection | None = None
        self._closed_for_now: tuple[float, str] | None = None

    def ask(self, question: Callable[[Connection], Answer]) -> Answer:
        """Return the answer of the database.

        Raises:
            ArchiveAway: it does not answer, took too long, or has no tables yet.
            ArchiveBusy: another question is in hand.
        """
        if not self._lock.acquire(timeout=WAIT_SEC):
            raise ArchiveBusy("another question to the database is still being answered; try again")
        try:
            if self._connection is not None:
                with suppress(_Lost):
                    return self._ask(question)
            return self._ask(question)  # anew: what was lost while nobody asked is no news
        except _Lost as lost:
            self._closed_for_now = (self._wall() + RETRY_SEC, str(lost))
            raise ArchiveAway(str(lost)) from lost
        finally:
            self._lock.release()

    def _ask(self, question: Callable[[Connection], Answer]) -> Answer:
        connection = self._open()
        try:
            return question(connection)
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            if isinstance(error, psycopg2.errors.QueryCanceled):
                raise ArchiveAway(_words(error)) from error
            self.close()
            raise _Lost(_words(error)) from error
        except psycopg2.errors.UndefinedTable as error:
            raise ArchiveAway("the database has no tables yet") from error
        except HistoryUnusable as error:
            raise ArchiveAway(str(error)) from error
        finally:
            with suppress(psycopg2.Error):
                connection.rollback()

    def _open(self) -> Connection:
        if self._connection is not None:
            return self._connection
        if self._closed_for_now is not None and self._wall() < self._closed_for_now[0]:
            raise ArchiveAway(self._closed_for_now[1])
        connection: Connection | None = None
        try:
            connection = self._connect()
            with connection, connection.cursor() as cursor:
                for statement in PREPARE:
                    cursor.execute(statement)
                cursor.execute("SELECT set_config('statement_timeout', %s, false)", (str(self._timeout_ms),))
        except (psycopg2.Error, ClaireError) as error:
            _end(connection)
            raise _Lost(_words(error)) from error
        self._connection = connection
        return connection

    def close(self) -> None:
        """Close the connection, if there is one."""
        _end(self._connection)
        self._connection = None


def _end(connection: Connection | None) -> None:
    if connection is not None:
        with suppress(psycopg2.Error):
            connection.close()


def _words(error: Any) -> str:
    """Return the first line of what the database says."""
    if isinstance(error, psycopg2.errors.QueryCanceled):
        return "the database took too long to answer"
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
