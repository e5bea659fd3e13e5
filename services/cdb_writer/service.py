"""cdb_writer as a process: the journal into PostgreSQL, exactly once; Redis brought back to it after a loss.

Start: PostgreSQL, migrations, the writer's lock, Redis compared with the store, the bus opened, the lease; then
batches.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from services.cdb_writer.adapters.disk_watch import DISK_LOW, DiskWatch
from services.cdb_writer.adapters.housekeeping import Housekeeping
from services.cdb_writer.adapters.keeper import Keeper
from services.cdb_writer.adapters.metrics import WriterMetrics
from services.cdb_writer.adapters.storage_watch import StorageWatch
from services.cdb_writer.batching import last_boundary, whole_batches
from services.cdb_writer.recorder import Batch, Recorder
from services.cdb_writer.settings import WriterSettings, WriterShellSettings
from services.common import channels
from services.common.codec import decode, encode_state
from services.common.errors import ClaireError, FenceLost, JournalClosed, PublishRefused, StateMismatch
from services.common.journal.bus import Bus
from services.common.journal.entry import Entry, JournalId
from services.common.journal.trimming import trim
from services.common.runtime.admission import Admission
from services.common.runtime.lifecycle import CONNECTION_LOST, Lifecycle
from services.common.runtime.process import run_service
from services.common.runtime.publisher import Publisher, Stopped
from services.common.runtime.run_clock import RunClock
from services.common.timestamps import DAY_US, format_timestamp

__all__ = ["HealingPublisher", "Writer", "fold_clock", "main"]

ResultT = TypeVar("ResultT")

CLOCK_STALLED = "CLOCK_STALLED"
FRUITLESS_STARTS = 3
HELD_UP_SEC = 1.0
"""A commit that took longer has kept the writer from listening to the clock."""
LAG_LIMIT_SEC = 10.0
POLL_SEC = 0.1
DISKS_EVERY_SEC = 30.0


class HealingPublisher(Publisher):
    """Publishes, and opens the bus itself when that is what it waits for: nobody else would."""

    def __init__(self, life: Lifecycle, keeper: Keeper) -> None:
        """Heal through `keeper`."""
        super().__init__(life)
        self._keeper = keeper
        self.impatient = False
        """Whether a loss is raised instead of waited for: while PostgreSQL is awaited nobody can heal."""
        self.waiting = 0
        """How many things are being done patiently now, one within the other."""

    def patiently(self, action: Callable[[], ResultT], still_valid: Callable[[], None] | None = None) -> ResultT:
        """Do something idempotent with the journal, again after every loss; see :meth:`Publisher.patiently`."""
        if self.impatient:
            return action()

        def healing() -> ResultT:
            try:
                return action()
            except (*CONNECTION_LOST, JournalClosed):
                self._keeper.heal()
                raise

        self.waiting += 1
        try:
            return super().patiently(healing, still_valid)
        finally:
            self.waiting -= 1


class Writer:
    """The work loop of the writer."""

    def __init__(self, life: Lifecycle, keeper: Keeper, metrics: WriterMetrics) -> None:
        """Take what the process has opened."""
        self._life = life
        self._keeper = keeper
        self._metrics = metrics
        self._settings = life.settings_of(WriterSettings)
        self._publisher = HealingPublisher(life, keeper)
        self._admission = Admission(life, self._publisher)
        self._bus = Bus(life.infra, channels.WRITER, frozenset(channels.CHANNELS), mode="xread")
        places = life.settings_of(WriterShellSettings)
        folder = places.EVENT_EXPORT_DIR
        self._housekeeping = Housekeeping(
            life.infra, Path(folder) if folder else None, self._settings.EVENT_RETENTION_DAYS, metrics.exported.inc
        )
        self._disks = DiskWatch(
            (life.infra.STATE_DIR, *(Path(name) for name in (folder, places.BACKUP_DIR) if name)),
            places.DISK_WARN_FREE_PCT,
            places.DISK_CRITICAL_FREE_PCT,
        )
        self._disks_seen_at = -DISKS_EVERY_SEC
        self._recorder: Recorder | None = None
        self._held: list[Entry] = []
        self._written = 0
        self._wrote_at = self._trimmed_at = time.monotonic()
        self._stall_told = False
        keeper.while_away = self._while_store_is_away
        metrics.commit_age.set_function(self._waited_sec)
        life.check("clock", self._clock_check)
        life.check("lag", self._lag_check)
        life.check("retention", lambda: self._housekeeping.failure)
        life.status.add("config", lambda: self._settings.model_dump(mode="json"))
        life.status.add("run_id", lambda: life.clock.run_id)
        life.status.add("now", lambda: None if life.clock.now is None else format_timestamp(life.clock.now))
        life.status.add("journal", self._journal_status)

    def _waited_sec(self) -> float:
        """Return for how long entries have waited without anything being written; 0 while none waits."""
        return time.monotonic() - self._wrote_at if self._bus.lag else 0.0

    def _clock_check(self) -> str | None:
        """Return why the clock counts as dead; while PostgreSQL is awaited nobody listens to it here."""
        return None if self._keeper.failure is not None else self._life.clock.stalled()

    def _lag_check(self) -> str | None:
        waited = self._waited_sec()
        if waited <= LAG_LIMIT_SEC:
            return None
        return f"{self._bus.lag} entries wait, nothing was written for {waited:.0f} s"

    def _journal_status(self) -> dict[str, Any]:
        head = None if self._recorder is None else self._recorder.head
        return {
            "last_id": None if head is None else f"{head.epoch}-{head.seq}",
            "chain_head": None if head is None else head.hash.hex(),
            "lag": self._bus.lag,
            "at_head": self._bus.at_head,
            "written_since_start": self._written,
        }

    # the loop

    def run(self) -> None:
        """Write until the process shall stop; what cannot be written is raised after an alert."""
        fruitless = 0
        try:
            while not self._life.stop.is_set():
                written = self._written
                try:
                    self._start_over()
                    self._work()
                except StateMismatch as lost:  # Redis lost its tail, and with it entries that this process had read
                    fruitless = 0 if self._written > written else fruitless + 1
                    if fruitless >= FRUITLESS_STARTS:
                        raise
                    self._life.log.warning("starting_over", reason=str(lost))
                    self._life.new_client()
                    self._publisher.forget()
        except Stopped:
            pass
        except FenceLost:
            raise
        except Exception as fault:
            self._report(fault)
            raise
        finally:
            self._bus.close()
            self._housekeeping.stop()
            self._keeper.close()

    def _start_over(self) -> None:
        """Go on from what the store holds."""
        stored = self._keeper.stored()
        self._recorder, self._held = Recorder(stored.head, stored.state), []
        clock = RunClock()
        if stored.clock is not None:
            clock.restore(decode(stored.clock))
        self._life.clock = clock
        place = JournalId(stored.head.epoch, stored.head.seq) if stored.head.seq else None
        self._publisher.patiently(lambda: self._bus.open(place, timeout_sec=1.0))
        self._life.log.info("writing", after=str(place))

    def _work(self) -> None:
        while not self._life.stop.is_set():
            self._life.beat()
            entries = self._whole(self._read())
            if entries:
                self._write(entries)
            elif self._bus.problem is not None:
                self._life.redis_lost(self._bus.problem)
                if not self._keeper.heal():
                    self._life.stop.wait(0.1)
            else:
                self._life.redis_back()
            self._idle()

    def _read(self) -> list[Entry]:
        """Return the entries of the next batch.

        At the head it waits a moment for more, since a transaction costs the same for one event as for many; while
        catching up it does not.
        """
        wait_sec = self._settings.WRITER_BATCH_WAIT_MS / 1000
        entries = self._bus.poll(max(wait_sec, POLL_SEC))
        if entries and self._bus.at_head:
            self._life.stop.wait(wait_sec)
        while entries and len(entries) < self._settings.WRITER_BATCH_EVENTS:
            more = self._bus.poll(0)
            if not more:
                break
            entries += more
        return entries

    def _whole(self, entries: list[Entry]) -> list[Entry]:
        """Return what can be stored: what a page has cut off from its publish waits for the rest of it."""
        entries = self._held + entries
        end = len(entries) if self._bus.at_head else last_boundary(entries)
        self._held = entries[end:]
        return entries[:end]

    def _write(self, entries: Sequence[Entry]) -> None:
        assert self._recorder is not None
        life = self._life
        for part in whole_batches(entries, self._settings.WRITER_BATCH_EVENTS):
            batch = self._recorder.fold(part)
            fold_clock(life.clock, part, batch)
            began = time.monotonic()
            self._keeper.commit(batch, encode_state(life.clock.dump()))
            if time.monotonic() - began > HELD_UP_SEC:
                life.clock.listen_anew()
            self._count(batch)
        place = entries[-1].id
        self._publisher.patiently(lambda: life.client.advance(life.service, life.fence, place))
        life.metrics.position.set(place.n)

    def _count(self, batch: Batch) -> None:
        self._written += len(batch.events)
        self._wrote_at = time.monotonic()
        self._metrics.batches.inc()
        self._metrics.batch_events.observe(len(batch.events))
        self._metrics.rows.labels("events").inc(len(batch.events))
        for row in batch.rows:
            self._metrics.rows.labels(row.table).inc()
        for event in batch.events:
            self._life.metrics.entries_handled.labels(event.channel).inc()

    # between batches

    def _idle(self) -> None:
        self._metrics.lag.set(self._bus.lag)
        self._life.metrics.lag.set(self._bus.lag)
        if not self._bus.lag:
            self._wrote_at = time.monotonic()
        if self._bus.problem is not None:
            return
        if self._bus.at_head:
            self._publisher.announce(self._settings)
            self._watch_clock()
            self._watch_disks()
        self._admission.admit(self._bus)
        self._trim()
        if self._life.clock.now is not None:
            self._housekeeping.day(format_timestamp(self._life.clock.now - self._life.clock.now % DAY_US)[:10])

    def _while_store_is_away(self) -> None:
        """Admit what was published by hand: a halt may not wait for PostgreSQL.

        The bus is not opened here: entries that were read may not be in the store yet. What cannot be published now
        stays with the admission.
        """
        if self._publisher.waiting:
            return  # PostgreSQL is missed while Redis is: what is being admitted may be among it
        self._publisher.impatient = True
        try:
            self._bus.hear()
            self._admission.admit(self._bus)
        except (*CONNECTION_LOST, JournalClosed, PublishRefused, StateMismatch) as error:
            self._life.log.info("foreign_messages_wait", reason=str(error))
        finally:
            self._publisher.impatient = False

    def _watch_clock(self) -> None:
        """Say once a stall that the clock stands still (before its first tick, while services are awaited, it may).

        Also when the last stall was a moment ago: `now` stands still with the clock, so there is no later.
        """
        clock = self._life.clock
        reason = clock.stalled()
        if reason is None:
            self._stall_told = False
        elif not self._stall_told and (clock.ticked or clock.announced.issuperset(channels.SERVICES)):
            self._stall_told = True
            message = f"the clock stands still: {reason}; no order is sent"
            self._publisher.alert("CRITICAL", CLOCK_STALLED, message, again=True)

    def _watch_disks(self) -> None:
        """Say once that a disk has become low, and again when it has become critical."""
        if self._life.clock.now is None or time.monotonic() - self._disks_seen_at < DISKS_EVERY_SEC:
            return  # before the first tick there is no run that an alert could belong to
        self._disks_seen_at = time.monotonic()
        for alarm in self._disks.look():
            self._publisher.alert(alarm.level, DISK_LOW, alarm.message, alarm.context, again=True)

    def _trim(self) -> None:
        if time.monotonic() - self._trimmed_at < self._settings.JOURNAL_TRIM_EVERY_SEC:
            return
        assert self._recorder is not None
        life, written = self._life, self._recorder.head.seq
        removed = self._publisher.patiently(
            lambda: trim(life.client, life.fence, written, self._settings.JOURNAL_TRIM_MARGIN)
        )
        self._metrics.trimmed.inc(removed)
        if not removed:
            self._trimmed_at = time.monotonic()

    def _report(self, fault: Exception) -> None:
        """Raise a CRITICAL alert about a fault, if the journal can still be reached."""
        head = None if self._recorder is None else self._recorder.head.seq
        where = {"service": self._life.service, "after": head, "error": type(fault).__name__}
        try:
            if self._bus.problem is None:
                self._publisher.alert("CRITICAL", "SERVICE_FAULT", f"{self._life.service} halts: {fault}", where)
        except (ClaireError, Stopped, *CONNECTION_LOST) as error:
            self._life.log.warning("fault_not_announced", reason=str(error))


def fold_clock(clock: RunClock, entries: Sequence[Entry], batch: Batch) -> None:
    """Fold what moves the clock; of market data in a row only the newest counts, so only that one is decoded."""
    newest: tuple[str, Entry] | None = None
    for entry, row in zip(entries, batch.events, strict=True):
        if entry.channel == channels.MARKET_DATA:
            if entry.producer == channels.WS and (newest is None or row.timestamp > newest[0]):
                newest = (row.timestamp, entry)
        elif entry.channel == channels.CONTROL:
            if newest is not None:
                clock.fold(newest[1])
                newest = None
            clock.fold(entry)
    if newest is not None:
        clock.fold(newest[1])


def main(environ: Mapping[str, str] | None = None) -> int:
    """Run cdb_writer until it is told to stop; returns the exit code."""
    keepers: dict[Lifecycle, tuple[Keeper, WriterMetrics]] = {}

    def keeper_of(life: Lifecycle) -> tuple[Keeper, WriterMetrics]:
        if life not in keepers:
            metrics = WriterMetrics(life.metrics.registry)
            keepers[life] = (Keeper(life, metrics), metrics)
        return keepers[life]

    def body(life: Lifecycle) -> None:
        backup_dir = life.settings_of(WriterShellSettings).BACKUP_DIR
        StorageWatch(life.infra, life.metrics.registry, life.stop, backup_dir).start()
        Writer(life, *keeper_of(life)).run()

    return run_service(
        channels.WRITER,
        body,
        settings=(WriterSettings, WriterShellSettings),
        environ=environ,
        before_lease=lambda life: keeper_of(life)[0].before_lease(life),
    )


if __name__ == "__main__":
    sys.exit(main())
