"""Moves market data past retention to files once a day, beside the writing: on a thread and connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import psycopg2
import structlog

from services.cdb_writer.adapters.connection import connector
from services.cdb_writer.adapters.retention import retain
from services.common.errors import StoreError
from services.common.settings import Infrastructure

__all__ = ["Housekeeping"]

RETRY_SEC = 60.0


class Housekeeping:
    """Runs when a new UTC day of the run begins; nothing at all without a folder."""

    def __init__(
        self, infra: Infrastructure, folder: Path | None, retention_days: int, count: Callable[[float], None]
    ) -> None:
        """Take where files go and how long market data stay in the database; `count` is told of exported events."""
        self._connect = connector(infra, name="cdb_writer_retention")
        self._folder = folder
        self._retention_days = retention_days
        self._count = count
        self._day: str | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = structlog.get_logger("cdb_writer")
        self.failure: str | None = None
        """Why the last attempt failed, None when it did not."""

    def day(self, today: str) -> None:
        """Say which day it is in the run; a new one begins the work, unless the last is still going on."""
        if self._folder is None or today == self._day or (self._thread is not None and self._thread.is_alive()):
            return
        self._day = today
        self._thread = threading.Thread(target=self._work, args=(today, self._folder), name="retention", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the day in hand."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def _work(self, today: str, folder: Path) -> None:
        try:
            database = self._connect()
            try:
                for export in retain(database, today, self._retention_days, folder):
                    self._count(export.events)
                    self._log.info("market_data_exported", day=export.day, events=export.events, file=export.file)
                    if self._stop.is_set():
                        return
            finally:
                database.close()
        except (psycopg2.Error, StoreError, OSError) as error:
            self.failure = f"{type(error).__name__}: {str(error).strip()}"
            self._log.error("retention_failed", error=self.failure)
            self._stop.wait(RETRY_SEC)
            self._day = None  # tried again
        else:
            self.failure = None
