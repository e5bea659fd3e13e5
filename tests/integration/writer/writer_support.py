"""What the writer's integration tests share: reading tables, feeding the journal, and the writer as a real process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection

from services.cdb_writer.adapters.connection import Connect
from services.cdb_writer.adapters.keeper import Keeper
from services.cdb_writer.adapters.metrics import WriterMetrics
from services.cdb_writer.adapters.reading import read_events
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore, StoredCursor, read_cursor
from services.cdb_writer.chain import ChainReport, verify
from services.cdb_writer.recorder import Recorder
from services.cdb_writer.rows import TABLES
from services.cdb_writer.service import Writer
from services.cdb_writer.settings import WriterSettings, WriterShellSettings
from services.common import channels
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause, Entry
from services.common.journal.lease import Lease
from services.common.runtime.lifecycle import Lifecycle
from services.common.settings import Infrastructure

__all__ = [
    "Feeder",
    "WriterProcess",
    "WriterThread",
    "caught_up",
    "query",
    "read_tables",
    "reference_tables",
    "stored_cursor",
    "stored_entries",
    "verified",
    "wait_for",
    "write_all",
]

DEADLINE_SEC = 60.0


def wait_for(condition: Callable[[], Any], what: str, deadline_sec: float = DEADLINE_SEC) -> Any:
    """Return the first true value of `condition`; fail after the deadline, saying for what."""
    deadline = time.monotonic() + deadline_sec
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {deadline_sec} s: {what}"
        time.sleep(0.02)


def query(connect: Connect, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own; one that changes events first takes away what forbids it."""
    database = connect()
    try:
        with database, database.cursor() as cursor:
            if re.match(r"(UPDATE|DELETE FROM) event_store\.events\b", statement):
                cursor.execute("DROP TRIGGER IF EXISTS events_are_kept ON event_store.events")
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        database.close()


def read_tables(connect: Connect) -> dict[str, list[tuple[Any, ...]]]:
    """Return the whole content of the five tables, in order of their keys."""
    return {
        table.table: query(
            connect,
            f"SELECT {', '.join(table.columns())} FROM {table.table} ORDER BY {', '.join(table.key)}",
        )
        for table in TABLES
    }


def write_all(store: EventStore, entries: Sequence[Entry], size: int = 200) -> Recorder:
    """Write entries in batches on top of what an open store holds."""
    stored = read_cursor(store.database)
    recorder = Recorder(stored.head, stored.state)
    for start in range(0, len(entries), size):
        store.write(recorder.fold(entries[start : start + size]))
    return recorder


def reference_tables(connect: Connect, entries: Sequence[Entry]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the five tables as an undisturbed writer leaves them (in an empty database)."""
    migrate(connect)
    store = EventStore(connect)
    store.open()
    try:
        write_all(store, entries)
        return read_tables(connect)
    finally:
        store.close()


def caught_up(connect: Connect, head: int) -> Callable[[], bool]:
    """Return whether the store has everything up to `head`."""
    return lambda: int(query(connect, "SELECT seq FROM event_store.cursor")[0][0]) >= head


def stored_entries(connect: Connect) -> list[Entry]:
    """Return all stored events as journal entries."""
    database = connect()
    try:
        return [row.entry for row in read_events(database)]
    finally:
        database.close()


def stored_cursor(connect: Connect) -> StoredCursor:
    """Return the store's cursor."""
    database = connect()
    try:
        return read_cursor(database)
    finally:
        database.close()


def verified(connect: Connect) -> ChainReport:
    """Walk the whole stored chain up to the cursor."""
    database: connection = connect()
    try:
        return verify(read_events(database), expected=read_cursor(database).head)
    finally:
        database.close()


class Feeder:
    """Publishes a story through the journal, each event as its producer, in order."""

    def __init__(self, infra: Infrastructure) -> None:
        self._infra = infra
        self.client = JournalClient(infra, name="feeder")
        self._fences: dict[str, int] = {}
        self._causes: dict[str, int] = {}

    def publish(self, entries: Iterable[Entry]) -> int:
        """Publish events and return the journal's head."""
        head = 0
        for entry in entries:
            head = self._publish(entry)
        return head

    def _publish(self, entry: Entry) -> int:
        producer = entry.producer
        fence = self.fence(producer)
        if producer not in self._causes:
            self._causes[producer] = self.client.high_water(f"{producer}/test")
        self._causes[producer] += 1
        result = self.client.publish(producer, fence, Cause("test", self._causes[producer]), [entry.event])
        return result.head

    def fence(self, service: str) -> int:
        """Take a service's lease for the length of a test."""
        if service not in self._fences:
            lease = Lease(self._infra, ttl_sec=600)
            try:
                self._fences[service] = lease.acquire(service, "feeder")
            finally:
                lease.close()
        return self._fences[service]

    def reconnect(self) -> None:
        """Begin anew after Redis has restarted (marks and fences are asked again)."""
        self.client.close()
        self.client = JournalClient(self._infra, name="feeder")
        self._fences.clear()
        self._causes.clear()

    def close(self) -> None:
        """Drop the connection."""
        self.client.close()


class _Answering:
    """What is asked of a writer over HTTP."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def get(self, path: str) -> tuple[int, str]:
        """Ask over HTTP; code 0 while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0, ""

    def failing(self) -> dict[str, str]:
        """Return the failing health checks."""
        _, text = self.get("/health")
        return dict(json.loads(text).get("failing", {})) if text else {"http": "no answer"}


class WriterThread(_Answering):
    """cdb_writer in a thread of this process: quick to start, and what it raised can be looked at."""

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__()
        settings = (WriterSettings, WriterShellSettings)
        self.life = Lifecycle(channels.WRITER, {**environment, "HTTP_PORT": str(self.port)}, settings)
        self.metrics = WriterMetrics(self.life.metrics.registry)
        self.keeper = Keeper(self.life, self.metrics)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer")

    def start(self) -> WriterThread:
        """Start it, not waiting for anything."""
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self.life.open(self.keeper.before_lease)
            if not self.life.stop.is_set():
                Writer(self.life, self.keeper, self.metrics).run()
        except BaseException as error:
            self.error = error
        finally:
            self.keeper.close()
            self.life.close()

    def stop(self) -> None:
        """Ask it to stop, and raise what it raised."""
        self.life.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    def ended(self) -> BaseException | None:
        """Wait until it ends by itself and return what it raised."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.error


class WriterProcess(_Answering):
    """cdb_writer as a process of its own."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        super().__init__()
        self.environment = {**os.environ, **environment, "HTTP_PORT": str(self.port), "LOG_FORMAT": "json"}
        self.log_path = folder / f"writer-{self.port}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> WriterProcess:
        """Start it, not waiting for anything."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.cdb_writer.service"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """Ask it to stop and return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def exit_code(self) -> int:
        """Wait until it ends by itself."""
        assert self.process is not None
        return self.process.wait(30)

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self.log_path.read_text()
