"""Decides again under another setting: the very machines fold the recorded history, with and without the change.

`At this decision`: everything before is as it was recorded; the setting changes just before the entry that led to the
decision. `From the start`: the whole run is derived again from what came from outside, with the setting from its
first configuration on. In both the machines hear each other from there on, so a changed order has changed results.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from claire.explain.lookup import Lookup
from claire.explain.story import Path, Story, plain, tell_path
from claire.kernel import Kernel, Machine, deciding_machines
from services.cdb_core.evaluation import Evaluation
from services.cdb_core.machine import CoreMachine
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_risk.machine import RiskMachine
from services.common import channels
from services.common.errors import ClaireError, SettingsInvalid
from services.common.events import Control, Event, Order, OrderResult, RiskDecision, Signal
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.runtime.announcement import settings_hash
from services.common.settings import canonical_settings, load_settings
from services.common.timestamps import MINUTE_US, parse_timestamp

__all__ = ["NotDecidedAgain", "Redecision", "changed_services", "outside", "reconfigure", "redecide"]

LONGEST_US: Final = 10 * MINUTE_US
"""An order that has not ended after so much feed time is told as working."""
_DECIDING: Final = (CoreMachine, RiskMachine, ExecutionMachine)
_ENDED: Final = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED"})


class NotDecidedAgain(ClaireError):
    """There is nothing in what was asked for that could be decided again."""


@dataclass(frozen=True)
class World:
    """One of the two derivations.

    Attributes:
        path: the decision in question and what came of it; None when it is not asked for, or not reached.
        signal_given: whether the signal was given; None when it is not the strategy's.
        bar: the strategy's evaluation of the bar of the signal.
    """

    path: Path | None
    signal_given: bool | None
    bar: Evaluation | None


@dataclass(frozen=True)
class Redecision:
    """What another setting changes.

    Attributes:
        changes: by name, the settings as they were given.
        before: by service and name, what was in force.
        from_start: whether the setting was in force from the beginning of the run.
        recorded: what the journal says.
        same, other: derived again under the recorded settings, and under the changed ones.
    """

    changes: Mapping[str, str]
    before: Mapping[str, Mapping[str, Any]]
    from_start: bool
    recorded: Path
    same: World
    other: World

    @property
    def faithful(self) -> bool:
        """Whether the recorded settings give the recorded decision again.

        They do in every repeatable run. In a run of free processes another interleaving may be recorded.
        """
        return self.same.path is not None and self.same.path.decision.data == self.recorded.decision.data

    @property
    def flips(self) -> bool:
        """Whether something else would have come of it."""
        return self.other.path is None or self.other.path.verdict != self.recorded.verdict

    def layer_changes(self) -> list[dict[str, Any]]:
        """Return the layers whose verdict, value or limit is another one."""
        if self.other.path is None:
            return []
        pairs = zip(self.recorded.decision.layers, self.other.path.decision.layers, strict=True)
        return [
            {"layer": was.layer, "was": was.model_dump(), "would_be": now.model_dump()}
            for was, now in pairs
            if was != now
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return everything for `--json`."""
        other = self.other.path
        return {
            "kind": "redecision",
            "changes": dict(self.changes),
            "before": {service: dict(values) for service, values in self.before.items()},
            "in_force": "from_start" if self.from_start else "at_decision",
            "faithful": self.faithful,
            "flips": self.flips,
            "signal_given": self.other.signal_given,
            "recorded": _side(self.recorded),
            "changed": None if other is None else _side(other),
            "layers": self.layer_changes(),
        }


def _side(path: Path) -> dict[str, Any]:
    return {
        "verdict": path.verdict,
        "summary": tell_path(path),
        "decision": plain(path.decision),
        "order": plain(path.order),
        "results": [plain(result) for result in path.results],
    }


def changed_services(changes: Mapping[str, str]) -> list[str]:
    """Return which deciding machines read these settings.

    Raises:
        SettingsInvalid: none reads one of them; with the nearest name.
    """
    fields = {machine.service: machine.settings_type.model_fields for machine in _DECIDING}
    for name in changes:
        if not any(name in known for known in fields.values()):
            every = sorted({known for model in fields.values() for known in model})
            near = difflib.get_close_matches(name.upper(), every, n=1)
            raise SettingsInvalid(
                f"--if {name}: no decision depends on such a setting" + (f"; perhaps {near[0]}" if near else "")
            )
    return [service for service, known in fields.items() if any(name in known for name in changes)]


def redecide(lookup: Lookup, story: Story, changes: Mapping[str, str], *, from_start: bool) -> Redecision:
    """Return what a story would be under other settings.

    Args:
        lookup: the history.
        story: with at least one decision; the first one is decided again.
        changes: settings by name, as in the environment.
        from_start: in force from the beginning of the run instead of at this decision alone.

    Raises:
        NotDecidedAgain: the story has no decision.
        SettingsInvalid: a setting is unknown or wrong.
        HistoryUnusable: the history begins in the middle, so nobody knows the state that was decided in.
    """
    if not story.paths:
        raise NotDecidedAgain(f"{story.id}: risk has decided nothing here that could be decided again")
    services = changed_services(changes)
    lookup.history.require_beginning()
    recorded = story.paths[0]
    again = _Again(story, recorded, changes, services, from_start=from_start)
    for entry in lookup.history.entries():
        lookup.tell(entry.id.n)
        again.take(entry)
        if again.done:
            break
    again.finish()
    return Redecision(
        changes=changes,
        before=again.before,
        from_start=from_start,
        recorded=recorded,
        same=again.same.world(),
        other=again.other.world(),
    )


def outside(entry: Entry, derived_from: int = 0) -> bool:
    """Whether an entry came from outside the deciding machines, or follows from an entry before a number.

    What they derive from later entries is left out: they derive it again.
    """
    if entry.producer not in channels.TURNSTILE_ORDER:
        return True
    try:
        cause = Cause.parse(entry.cause)
    except ClaireError:
        return True
    return bool(cause.source) or cause.number < derived_from


def reconfigure(machine: Machine, details: Mapping[str, Any]) -> None:
    """Let a machine take other settings into force, as its own `config` event would."""
    fold = machine.fold
    event = Control(
        event_id="what-if",
        timestamp=fold.now or 0,
        producer=machine.service,
        action="config",
        service=machine.service,
        run_id=fold.run_id,
        details=dict(details),
    )
    machine.handle(Entry.of(JournalId(max(fold.epoch, 1), fold.n), machine.service, "announce:0", event))


class _Again:
    """Feeds the two kernels with the recorded history."""

    def __init__(
        self, story: Story, recorded: Path, changes: Mapping[str, str], services: Sequence[str], *, from_start: bool
    ) -> None:
        self._changes, self._services, self._from_start = changes, services, from_start
        self._recorded = recorded
        numbers = {entry.event.event_id: entry for entry in story.entries}
        decided = numbers[recorded.decision.event_id]
        begin = Cause.parse(decided.cause).number
        signal = story.signal
        if signal is not None and signal.producer == channels.CORE and channels.CORE in services:
            begin = Cause.parse(numbers[signal.event_id].cause).number
        self._begin = 1 if from_start else begin
        self._decided = decided.id.n
        self.before: dict[str, dict[str, Any]] = {}
        machines = deciding_machines()
        self._machines: tuple[Machine, ...] = machines
        self.same = _Derived(machines, recorded.decision, signal)
        self.other = self.same
        self._split = False

    def take(self, entry: Entry) -> None:
        """Fold one recorded entry."""
        if not self._split and entry.id.n >= self._begin:
            self._part()
        if not self._split:
            for machine in self._machines:
                machine.handle(entry)
            return
        if not outside(entry, self._begin):
            return
        self.same.feed(entry)
        self.other.feed(self._reconfigured(entry) if self._from_start else entry)

    def _part(self) -> None:
        """Go on in two worlds."""
        self._split = True
        others = deciding_machines()
        for machine, copy in zip(self._machines, others, strict=True):
            copy.restore(machine.dump())
        signal = self.same.signal
        self.other = _Derived(others, self._recorded.decision, signal)
        if self._from_start:
            return
        for machine in others:
            if machine.service in self._services:
                if machine.fold.settings is None:
                    raise NotDecidedAgain(f"{machine.service} has no configuration before this decision")
                details = self._changed(machine.service, machine.settings_type, machine.fold.settings)
                reconfigure(machine, details)

    def _changed(self, service: str, model: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
        mine = {name: value for name, value in self._changes.items() if name in model.model_fields}
        self.before.setdefault(service, {name: settings.get(name) for name in mine})
        changed = load_settings(model, {**settings, **mine})
        return {"settings": canonical_settings(changed), "settings_hash": settings_hash(changed)}

    def _reconfigured(self, entry: Entry) -> Entry:
        event = entry.event
        if not isinstance(event, Control) or event.action != "config" or event.service not in self._services:
            return entry
        model_service = str(event.service)
        model = next(machine.settings_type for machine in self._machines if machine.service == model_service)
        details = {**event.details, **self._changed(model_service, model, event.details["settings"])}
        return Entry.of(entry.id, entry.producer, entry.cause, event.model_copy(update={"details": details}))

    @property
    def done(self) -> bool:
        """Whether both worlds know what came of the decision."""
        return self._split and self.same.done(self._decided) and self.other.done(self._decided)

    def finish(self) -> None:
        """Say what is wrong when the history ended before the decision."""
        if not self._split:
            raise NotDecidedAgain(f"the history ends before entry {self._begin}")


@dataclass
class _Derived:
    """One world: its machines, and what of theirs belongs to the decision in question."""

    machines: Sequence[Machine]
    wanted: RiskDecision
    signal: Signal | None
    events: list[tuple[int, Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._kernel: Kernel | None = None
        self._last = 0

    def feed(self, entry: Entry) -> None:
        """Fold one entry from outside and all that follows from it."""
        self._last = entry.id.n
        if self._kernel is None:
            self._kernel = Kernel(self.machines, epoch=entry.id.epoch, head=entry.id.n - 1)
        for derived in self._kernel.step(entry.producer, Cause("outside", entry.id.n), [entry.event]):
            if self._belongs(derived.event):
                self.events.append((derived.id.n, derived.event))

    def _belongs(self, event: Event) -> bool:
        wanted = self.wanted
        if isinstance(event, Signal):
            return self.signal is not None and event.event_id == self.signal.event_id
        if isinstance(event, RiskDecision):
            same = (event.causation_id, event.purpose, event.symbol, event.venue)
            return same == (wanted.causation_id, wanted.purpose, wanted.symbol, wanted.venue)
        path = self._path()
        if path is None:
            return False
        if isinstance(event, Order):
            return event.decision_id == path.decision.event_id
        return isinstance(event, OrderResult) and path.order is not None and event.order_id == path.order.order_id

    def _path(self) -> Path | None:
        decided = [(n, event) for n, event in self.events if isinstance(event, RiskDecision)]
        if not decided:
            return None
        n, decision = decided[0]
        assert isinstance(decision, RiskDecision)
        order = next((event for _, event in self.events if isinstance(event, Order)), None)
        return Path(n, decision, order, tuple(event for _, event in self.events if isinstance(event, OrderResult)))

    def done(self, decided_at: int) -> bool:
        """Whether nothing more will come of it."""
        path = self._path()
        if path is None:
            return self._last > decided_at
        if path.order is None:
            return True
        if path.results and path.results[-1].status in _ENDED:
            return True
        now = self.machines[0].fold.now
        return now is not None and now - path.decision.timestamp > LONGEST_US

    def world(self) -> World:
        """Return what came of it."""
        own = self.signal is not None and self.signal.producer == channels.CORE
        given = any(isinstance(event, Signal) for _, event in self.events)
        return World(self._path(), given if own else None, self._bar() if own else None)

    def _bar(self) -> Evaluation | None:
        core = self.machines[0]
        closed = None if self.signal is None else self.signal.inputs.get("bar_close_time")
        if not isinstance(core, CoreMachine) or self.signal is None or not isinstance(closed, str):
            return None
        at = parse_timestamp(closed)
        bars = core.evaluations(self.signal.venue, self.signal.symbol)
        return next((bar for bar in bars if bar.close_time_us == at), None)
