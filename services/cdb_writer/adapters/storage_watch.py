"""Looks at the two servers now and then, beside the writing: on a thread and connections of its own."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import psycopg2
import structlog
from prometheus_client import CollectorRegistry
from psycopg2.extensions import connection
from redis.exceptions import RedisError

from services.cdb_writer.adapters.backup_folder import backups
from services.cdb_writer.adapters.connection import connector
from services.common.journal.link import Link
from services.common.runtime.catalogue import storage
from services.common.settings import Infrastructure

__all__ = ["StorageWatch"]

EVERY_SEC = 10.0


class StorageWatch:
    """Shows memory of Redis, size of the database and the newest backup; a silent server is shown as down."""

    def __init__(
        self, infra: Infrastructure, registry: CollectorRegistry, stop: threading.Event, backup_dir: str = ""
    ) -> None:
        """Open nothing yet; `stop` ends the thread, `backup_dir` is where backups are kept (empty: not known)."""
        self._backup_dir = backup_dir
        self._link = Link(infra, name="cdb_writer_storage")
        self._connect = connector(infra, name="cdb_writer_storage")
        self._database: connection | None = None
        self._stop = stop
        self._log = structlog.get_logger("cdb_writer")
        self._up = storage.SERVER_UP.gauge(registry)
        self._used = storage.REDIS_MEMORY_USED.gauge(registry)
        self._limit = storage.REDIS_MEMORY_LIMIT.gauge(registry)
        self._size = storage.DATABASE_SIZE.gauge(registry)
        self._backup_time = storage.BACKUP_TIME.gauge(registry)

    def start(self) -> threading.Thread:
        """Begin to look, every ten seconds, and return the thread that does."""
        thread = threading.Thread(target=self._work, name="storage", daemon=True)
        thread.start()
        return thread

    def look(self) -> None:
        """Look once at both servers."""
        self._up.labels("redis").set(self._look_at_redis())
        self._up.labels("postgresql").set(self._look_at_postgres())
        self._look_at_backups()

    def close(self) -> None:
        """Close the connections."""
        self._link.close()
        if self._database is not None:
            with suppress(psycopg2.Error):
                self._database.close()
        self._database = None

    def _work(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(EVERY_SEC)
        self.close()

    def _look_at_backups(self) -> None:
        if not self._backup_dir:
            return
        try:
            found = backups(Path(self._backup_dir))
        except OSError as error:
            self._log.info("backups_not_seen", error=str(error))
            return
        self._backup_time.set(found[-1][0].timestamp() if found else 0)

    def _look_at_redis(self) -> bool:
        try:
            info = self._link.call("INFO", "memory").decode()
        except (RedisError, OSError) as error:
            self._log.info("redis_not_seen", error=str(error))
            return False
        numbers = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        self._used.set(float(numbers["used_memory"]))
        self._limit.set(float(numbers["maxmemory"]))
        return True

    def _look_at_postgres(self) -> bool:
        try:
            if self._database is None:
                self._database = self._connect()
                self._database.autocommit = True
            with self._database.cursor() as cursor:
                cursor.execute("SELECT pg_database_size(current_database())")
                found = cursor.fetchone()
        except psycopg2.Error as error:
            self._log.info("postgresql_not_seen", error=str(error).strip())
            self._database = None
            return False
        self._size.set(0 if found is None else found[0])
        return True
