"""The loop that drives a state machine: entry in, outputs published with that entry as cause, snapshot now and then.

A restart is the newest usable snapshot and the entries after it, handled again: outputs that the journal already has
are refused there as repetitions, so nothing is done twice, and what was not published before the end is published now.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel

from services.common import channels
from services.common.errors import ClaireError, FenceLost, StateMismatch
from services.common.events import Event
from services.common.journal.bus import Bus
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.machine import StateMachine
from services.common.runtime.admission import Admission
from services.common.runtime.build import code_version
from services.common.runtime.lifecycle import CONNECTION_LOST, Lifecycle
from services.common.runtime.machine_metrics import MachineMetrics
from services.common.runtime.process import run_service
from services.common.runtime.publisher import Publisher, Stopped
from services.common.runtime.run_clock import RunClock
from services.common.runtime.snapshot_writer import SnapshotWriter
from services.common.runtime.snapshots import Snapshot, SnapshotStore
from services.common.runtime.turnstile import Turnstile, WakeUps
from services.common.timestamps import format_timestamp

__all__ = ["MachineShell", "run_machine"]

ADVANCE_EVERY = 256
ADVANCE_SEC = 0.1
POLL_SEC = 0.1
FRUITLESS_STARTS = 3
LOOK_FOR_LOSS_SEC = 1.0
LONGEST_TURN_SEC = 30.0

Machine = StateMachine[Any, Any]


class MachineShell:
    """Drives one machine until the process shall stop."""

    _busy_sec: ClassVar[float] = 0.02
    """So long what does not come from an entry may wait while one entry follows the other."""

    def __init__(
        self, life: Lifecycle, machine_type: type[Machine], metrics: type[MachineMetrics] = MachineMetrics
    ) -> None:
        """Take the machine's type: a restart of the fold begins with a new machine.

        Args:
            life: of the process.
            machine_type: what is driven.
            metrics: what is counted of its outputs and shown of its summary.
        """
        self._life = life
        self._machine_type = machine_type
        self._settings: BaseModel = life.settings_of(machine_type.settings_type)
        self._machine = machine_type()
        self._publisher = Publisher(life)
        venue = str(getattr(self._settings, "VENUE", "mexc_spot"))  # a machine without one trades on none
        self._admission = Admission(life, self._publisher, default_venue=venue)
        self._snapshots = SnapshotStore(life.folder.path)
        self._snapshot_writer = SnapshotWriter(self._snapshots)
        consumed = channels.CHANNELS if life.infra.TURNSTILE else (*machine_type.consumes, channels.CONTROL)
        self._bus = Bus(life.infra, life.service, frozenset(consumed), mode=life.infra.BUS_MODE, archive=life.archive)
        self._turnstile: Turnstile | None = None
        if life.infra.TURNSTILE:
            self._turnstile = Turnstile(self._cursors, WakeUps(life.infra))
        self._folded: JournalId | None = None
        self._in_flight = False  # the state is ahead of what was published: it must not become a snapshot
        self._handled = 0
        self._losses = self._breaks = (0, 0)
        self._since_snapshot = 0
        self._unadvanced = 0
        self._advanced_at = self._idle_at = time.monotonic()
        self._waiting_since: float | None = None
        life.check("clock", self._clock_check)
        life.status.add("config", lambda: self._machine.fold.settings)
        life.status.add("run_id", lambda: life.clock.run_id)
        life.status.add("now", lambda: None if life.clock.now is None else format_timestamp(life.clock.now))
        life.status.add("finished", lambda: life.clock.finished)
        life.status.add("journal", self._journal_status)
        life.status.add("machine", self._machine_summary)
        life.metrics.lag.set_function(lambda: self._bus.lag)
        life.metrics.position.set_function(lambda: 0 if self._folded is None else self._folded.n)
        self._metrics = metrics(life.metrics.registry, lambda: life.status.read().get("machine"))

    def _cursors(self) -> dict[str, int]:
        return self._life.client.cursors()  # the client of the moment: it is replaced when Redis has lost its tail

    # what is shown

    def _clock_check(self) -> str | None:
        since = self._waiting_since
        if since is None:
            return self._life.clock.stalled()
        waited = time.monotonic() - since
        return f"waiting for its turn for {waited:.0f} s: is a peer down?" if waited > LONGEST_TURN_SEC else None

    def _journal_status(self) -> dict[str, Any]:
        return {
            "last_id": None if self._folded is None else str(self._folded),
            "lag": self._bus.lag,
            "at_head": self._bus.at_head,
            "bus_mode": self._life.infra.BUS_MODE,
            "turnstile": self._life.infra.TURNSTILE,
        }

    def _machine_summary(self) -> Any:
        summary = getattr(self._machine, "summary", None)
        configured = self._machine.fold.settings is not None and self._machine.fold.now is not None
        return summary() if summary is not None and configured else None

    # the loop

    def run(self) -> None:
        """Work until the process shall stop; what cannot be handled is raised after an alert."""
        fruitless = 0
        try:
            while not self._life.stop.is_set():
                handled = self._handled
                try:
                    self._start_over()
                    self._work()
                except StateMismatch as lost:  # Redis lost its tail, and with it something that this machine has folded
                    fruitless = 0 if self._handled > handled else fruitless + 1
                    if fruitless >= FRUITLESS_STARTS:
                        raise
                    self._life.log.warning("starting_over", reason=str(lost))
                    self._life.new_client()
                    self._publisher.forget()
            self._finish()
        except Stopped:
            self._finish()
        except FenceLost:
            raise
        except Exception as fault:
            self._report(fault)
            raise
        finally:
            self._bus.close()
            if self._turnstile is not None:
                self._turnstile.close()

    def _work(self) -> None:
        """Handle entries as they come.

        Raises:
            StateMismatch: the journal no longer contains what was folded.
        """
        while not self._life.stop.is_set():
            entries = self._poll()
            for entry in entries:
                if not self._handle(entry):
                    return
            if not entries or time.monotonic() >= self._idle_at:
                self._idle()
                self._idle_at = time.monotonic() + self._busy_sec

    def _poll(self) -> list[Entry]:
        self._life.beat()
        entries = self._bus.poll(POLL_SEC)
        if self._bus.problem is None:
            self._life.redis_back()
        else:
            self._life.redis_lost(self._bus.problem)
        return entries

    def _handle(self, entry: Entry) -> bool:
        """Fold one entry and publish what follows; False when the process shall stop instead."""
        if self._life.stop.is_set() or not (self._turnstile is None or self._await_turn(entry.id)):
            return False
        started = time.perf_counter()
        self._in_flight = True
        outputs = self._machine.handle(entry)
        self._life.clock.fold(entry)
        self._folded = entry.id
        if outputs:
            if self._publisher.publish(Cause.of(entry.id), outputs).status == "new":
                self._published(entry, outputs)
            self._unadvanced, self._advanced_at = 0, time.monotonic()
        else:
            self._unadvanced += 1
            if self._turnstile is not None or self._unadvanced >= ADVANCE_EVERY:
                self._advance()
        self._in_flight = False
        self._handled += 1
        self._life.metrics.handled(entry.channel, time.perf_counter() - started)
        self._since_snapshot += 1
        if self._since_snapshot >= self._life.infra.SNAPSHOT_EVERY and not self._snapshot_writer.busy:
            self._begin_snapshot()
        return True

    def _published(self, entry: Entry, outputs: list[Event]) -> None:  # noqa: ARG002 - for shells that act on it
        """Take note that this process, and no other and not before, has published what follows from an entry."""
        self._metrics.published(outputs)

    def _await_turn(self, place: JournalId) -> bool:
        """In turnstile mode: wait for our turn; False when the process shall stop instead.

        Raises:
            StateMismatch: Redis lost the entry meanwhile, so its turn can never come.
        """
        assert self._turnstile is not None
        looked = time.monotonic()
        self._learn_of_losses(place)
        while not self._turnstile.may_handle(self._life.service, place.n):
            self._waiting_since = self._waiting_since or time.monotonic()
            self._life.beat()
            if self._life.stop.is_set():
                return False
            self._publisher.patiently(self._turnstile.learn)
            self._learn_of_losses(place)
            if time.monotonic() - looked >= LOOK_FOR_LOSS_SEC:
                looked = time.monotonic()
                self._require_lineage(place)
        self._waiting_since = None
        return True

    def _learn_of_losses(self, place: JournalId) -> None:
        assert self._turnstile is not None
        if self._losses != self._losses_seen:
            self._losses = self._losses_seen
            self._turnstile.forget()  # with the tail of the journal the cursors may have fallen back
            self._require_lineage(place)

    @property
    def _losses_seen(self) -> tuple[int, int]:
        """How often Redis went away, as the process noticed it and as its bus alone did."""
        return self._life.redis_losses, self._bus.restarts

    def _require_lineage(self, place: JournalId) -> None:
        if not self._publisher.patiently(lambda: self._life.client.lineage_ok(place)):
            raise StateMismatch(f"Redis lost entry {place} while its turn was awaited")

    def _idle(self) -> None:
        """Between polls: what does not come from an entry."""
        if self._bus.cursor.n > (0 if self._folded is None else self._folded.n):
            self._folded = self._bus.cursor  # entries of channels that are not ours have been passed over
            self._unadvanced += 1
        if self._breaks != self._losses_seen and self._folded is not None:
            self._breaks = self._losses_seen
            self._unadvanced += 1  # Redis may have lost how far we are, and nothing but a peer's wait would show it
        if self._unadvanced and time.monotonic() - self._advanced_at >= ADVANCE_SEC:
            self._advance()
        if self._bus.at_head:
            self._publisher.announce(self._settings)
        self._admission.admit(self._bus)
        self._tell_durable()

    def _advance(self) -> None:
        """Say how far this service is, without outputs."""
        assert self._folded is not None
        life, folded = self._life, self._folded
        self._publisher.patiently(lambda: life.client.advance(life.service, life.fence, folded))
        self._unadvanced, self._advanced_at = 0, time.monotonic()

    # beginning, losing, ending

    def _start_over(self) -> None:
        """Take the newest usable snapshot, or begin before the first entry, and open the bus there."""
        if self._turnstile is not None:
            self._turnstile.forget()
        self._snapshot_writer.take_written(wait=True)  # whether it counts is decided with all the others
        if self._publisher.patiently(self._restore):
            self._life.log.info("restored", snapshot=str(self._folded))
        else:
            self._life.log.info("folding_from_the_beginning")
        self._since_snapshot = 0
        self._unadvanced = 0 if self._folded is None else 1  # what a snapshot knows, Redis may have lost
        self._in_flight = False
        self._publisher.patiently(lambda: self._bus.open(self._folded))

    def _restore(self) -> bool:
        clock = RunClock()
        for snapshot in self._snapshots.valid(self._life.client.lineage_ok):
            machine = self._machine_type()
            try:
                machine.restore(snapshot.state)
                clock.restore(snapshot.shell)
            except (StateMismatch, KeyError, TypeError, ValueError) as mismatch:
                self._snapshots.discard(snapshot.id, f"{type(mismatch).__name__}: {mismatch}")
                continue
            if snapshot.code_version != code_version():
                self._life.log.warning("snapshot_of_other_code", then=snapshot.code_version, now=code_version())
            self._machine, self._life.clock, self._folded = machine, clock, snapshot.id
            return True
        self._machine, self._life.clock, self._folded = self._machine_type(), RunClock(), None
        return False

    def _begin_snapshot(self) -> None:
        assert self._folded is not None
        self._tell_durable(wait=True)
        clock, machine = self._life.clock.dump(), self._machine
        self._snapshot_writer.begin(
            Snapshot(self._folded, machine.dump(), machine.fold.settings_hash, code_version(), clock)
        )
        self._since_snapshot = 0

    def _save_snapshot(self) -> None:
        self._begin_snapshot()
        self._tell_durable(wait=True)

    def _tell_durable(self, *, wait: bool = False) -> None:
        """Tell the journal of a snapshot that has reached the disk."""
        written = self._snapshot_writer.take_written(wait=wait)
        if written is not None:
            life = self._life
            life.metrics.snapshots.inc()
            self._publisher.patiently(lambda: life.client.set_durable(life.service, life.fence, written))

    def _finish(self) -> None:
        """At a graceful stop: leave a snapshot, so that the next start has nothing to catch up."""
        if self._folded is None or self._in_flight or not self._since_snapshot:
            return
        try:
            if self._unadvanced:
                self._advance()
            self._save_snapshot()
        except (Stopped, StateMismatch) as reason:
            self._life.log.warning("no_snapshot_at_stop", reason=type(reason).__name__)

    def _report(self, fault: Exception) -> None:
        """Raise a CRITICAL alert about a fault, if the journal can still be reached."""
        where = {"service": self._life.service, "entry": str(self._folded), "error": type(fault).__name__}
        try:
            self._publisher.alert("CRITICAL", "SERVICE_FAULT", f"{self._life.service} halts: {fault}", where)
        except (ClaireError, Stopped, *CONNECTION_LOST) as error:
            self._life.log.warning("fault_not_announced", reason=str(error))


def run_machine(
    machine_type: type[Machine],
    environ: Mapping[str, str] | None = None,
    *,
    metrics: type[MachineMetrics] = MachineMetrics,
) -> int:
    """Be the whole `main` of a service around one machine; returns the exit code."""

    def body(life: Lifecycle) -> None:
        MachineShell(life, machine_type, metrics).run()

    return run_service(machine_type.service, body, settings=(machine_type.settings_type,), environ=environ)
