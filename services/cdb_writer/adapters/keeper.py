"""Holds the store open and the bus open: waits for PostgreSQL, keeps the writer's lock, brings Redis back to the store.

For the work loop's thread only. The bus is opened by this process and no other, and never while entries that were read
from Redis are not in the store yet: so recovery and batches cannot cross.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg2

from services.cdb_writer.adapters.connection import connector
from services.cdb_writer.adapters.metrics import WriterMetrics
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore, StoredCursor
from services.cdb_writer.recorder import Batch
from services.common.errors import JournalClosed, LeaseHeld, StoreError
from services.common.journal.archive import PostgresArchive
from services.common.journal.opening import recover
from services.common.runtime.backoff import Backoff
from services.common.runtime.lifecycle import CONNECTION_LOST, Lifecycle
from services.common.runtime.publisher import Stopped

__all__ = ["Keeper"]

POSTGRES_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError)
FIRST_LOCK_SEC = 10.0
RELOCK_SEC = 1.0


class Keeper:
    """PostgreSQL and the opening of the bus, for one process."""

    def __init__(self, life: Lifecycle, metrics: WriterMetrics) -> None:
        """Open nothing yet."""
        self._life = life
        self._metrics = metrics
        self._connect = connector(life.infra)
        self._store = EventStore(self._connect)
        self._archive = PostgresArchive(life.infra)
        self._migrated = False
        self._locked_once = False
        self._failure: str | None = "not connected yet"
        self.while_away: Callable[[], None] = lambda: None
        """Called again and again while PostgreSQL is awaited: what may not wait for it."""
        life.check("postgresql", lambda: self._failure)

    @property
    def failure(self) -> str | None:
        """Why PostgreSQL cannot be used now, None when it can."""
        return self._failure

    def before_lease(self, _life: Lifecycle) -> None:
        """Do what must be done before anybody can hold a lease: the store opened, Redis compared with it.

        Raises:
            LeaseHeld: another writer works on this database.
            StoreError: Redis and PostgreSQL contradict each other.
            ConnectionError: the process shall stop, or a server went away meanwhile.
        """
        try:
            self.stored()
        except Stopped:
            raise ConnectionAbortedError("stopped while waiting for PostgreSQL") from None
        self._open_bus()

    def stored(self) -> StoredCursor:
        """Return what the store holds; waits while PostgreSQL is away.

        A connection that is alive is kept, and the writer's lock with it: another writer could take what is let go.

        Raises:
            LeaseHeld: another writer holds the lock, and this process has never had it.
            Stopped: the process shall end.
        """
        backoff = Backoff(self._life.stop)
        while True:
            try:
                if not self._migrated:
                    before = migrate(self._connect)
                    self._migrated = True
                    self._life.log.info("schema_ready", found=before)
                if self._store.is_open:
                    cursor = self._store.stored()
                else:
                    cursor = self._store.open(lock_wait_sec=RELOCK_SEC if self._locked_once else FIRST_LOCK_SEC)
            except POSTGRES_LOST as error:
                self._lost(error)
                self._store.close()
            except LeaseHeld as held:
                if not self._locked_once:
                    raise
                self._lost(held)  # our own session that the server has not noticed to be dead, as our lease still holds
            else:
                self._locked_once = True
                self._back()
                return cursor
            self._life.beat()
            self.while_away()
            if backoff.wait():
                raise Stopped

    def commit(self, batch: Batch, clock: bytes) -> None:
        """Write a batch, exactly once, however often the connection breaks.

        Raises:
            StoreError: the store does not hold what the batch was made for.
            Stopped: the process shall end; the batch may be in or not.
        """
        backoff = Backoff(self._life.stop)
        while True:
            started = time.perf_counter()
            try:
                self._store.write(batch, clock)
            except POSTGRES_LOST as error:
                refusal = error
                self._lost(error)
            else:
                self._metrics.batch_time.observe(time.perf_counter() - started)
                self._back()
                return
            head = self.stored().head
            if head == batch.after:
                return  # the answer was lost, the commit was not
            if head != batch.before:
                raise StoreError(
                    f"the store stands at {head.epoch}-{head.seq}, neither before nor after the batch "
                    f"{batch.before.seq + 1} to {batch.after.seq}: another writer was here"
                )
            self._lost(refusal)
            self._life.beat()
            self.while_away()
            if backoff.wait():  # a server that answers and cannot write (a full disk) is away too
                raise Stopped

    def heal(self) -> bool:
        """Try once to open the bus when Redis has restarted; True when it is open.

        Raises:
            StoreError: Redis and PostgreSQL contradict each other.
            Stopped: the process shall end.
        """
        try:
            self._require_lock()
            self._open_bus()
        except (*CONNECTION_LOST, JournalClosed) as error:
            self._life.redis_lost(error)
            return False
        self._life.redis_back()
        return True

    def close(self) -> None:
        """Give the lock back."""
        self._store.close()
        self._archive.close()

    def _require_lock(self) -> None:
        """The lock's connection must be alive: without it another writer could be opening the bus."""
        try:
            self._store.check()
        except POSTGRES_LOST as error:
            self._lost(error)
            self.stored()

    def _open_bus(self) -> None:
        def progress(_copied: int) -> None:
            self._life.beat()

        opening = recover(self._life.infra, self._archive, progress=progress)
        if opening.opened:
            self._metrics.openings.inc()
            self._metrics.copied.inc(opening.copied)
            self._life.log.info(
                "bus_opened", epoch=opening.epoch, first_entry=opening.first_n, copied_back=opening.copied
            )

    def _lost(self, error: Exception) -> None:
        if self._failure is None:
            self._metrics.postgres_losses.inc()
            self._life.log.warning("postgresql_lost", error=str(error).strip())
        self._failure = str(error).strip()

    def _back(self) -> None:
        if self._failure is not None:
            self._life.log.info("postgresql_connected")
            self._failure = None
