"""Derives everything again that core, risk and execution have decided, and compares it byte for byte.

Each machine folds the recorded order of all entries, whatever the order was in which its process happened to get there:
what it decides on entry n must be recorded after n, as one batch, in order, and nothing else may be.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from claire.audit.difference import Difference, differing_field
from services.common.events import Event
from services.common.journal.entry import Cause, Entry
from services.common.machine import StateMachine

__all__ = ["Derivation", "Due"]


@dataclass(frozen=True)
class Due:
    """An event that a machine has derived from entry `n` and that is not recorded yet."""

    n: int
    event: Event


class Derivation:
    """The machines, and what of theirs is due.

    Attributes:
        machines: by service.
        due: by service, oldest first.
        compared: how many recorded events were equal to the derived, by service and type.
    """

    def __init__(self, machines: Sequence[StateMachine[Any, Any]]) -> None:
        """Take machines that have folded nothing."""
        self.machines = {machine.service: machine for machine in machines}
        self.due: dict[str, deque[Due]] = {service: deque() for service in self.machines}
        self.compared: Counter[tuple[str, str]] = Counter()
        self._last: dict[str, tuple[int, int, str]] = {}  # by service: cause, number and event id of its last output
        self._unfinished: str | None = None

    def derives(self, entry: Entry, cause: Cause | None) -> bool:
        """Whether an entry claims to follow from another one by a machine's decision."""
        return cause is not None and not cause.source and entry.producer in self.machines

    def check_batch(self, entry: Entry, cause: Cause | None) -> Difference | None:
        """All that follows from one entry is published at once: what ends such a batch early shows what is missing."""
        service, self._unfinished = self._unfinished, None
        if service is None:
            return None
        expected = self.due[service][0]
        if entry.producer == service and cause == Cause("", expected.n):
            return None
        return missing_event(entry.id.n, expected, service)

    def check(self, entry: Entry, cause: Cause) -> Difference | None:
        """Compare a recorded output with what is due; call before `fold`."""
        service, event_id = entry.producer, entry.event.event_id
        due = self.due[service]
        before = self._last.get(service)
        self._last[service] = (cause.number, entry.id.n, event_id)
        if not due or due[0].n > cause.number:
            return self._added(entry, cause, before)
        expected = due[0]
        if expected.n < cause.number:
            return _missing(entry, expected, service)
        if expected.event.data != entry.data:
            return _other(entry, due)
        due.popleft()
        self._unfinished = service if due and due[0].n == cause.number else None
        self.compared[service, expected.event.type] += 1
        return None

    def _added(self, entry: Entry, cause: Cause, before: tuple[int, int, str] | None) -> Difference:
        service, event = entry.producer, entry.event
        if cause.number >= entry.id.n:
            meaning = f"its cause is entry {cause.number}, which comes later"
        elif before is not None and before[2] == event.event_id:
            meaning = f"doubled: {service} has said this once, at entry {before[1]}"
        else:
            meaning = f"added: {service} derives nothing (more) from entry {cause.number}"
        return Difference.at("derivation", entry, "event", f"{event.type} {event.event_id}", "nothing", meaning=meaning)

    def fold(self, entry: Entry) -> Difference | None:
        """Let every machine handle the entry."""
        for service, machine in self.machines.items():
            try:
                outputs = machine.handle(entry)
            except Exception as error:  # whatever it is that no live machine has survived either
                return Difference.at(
                    "derivation", entry, "event", f"{type(error).__name__}: {error}", "an event that can be folded",
                    meaning=f"{service} cannot handle this entry",
                )  # fmt: skip
            if outputs:
                self.due[service].extend(Due(entry.id.n, event) for event in outputs)
        return None

    def outstanding(self) -> list[tuple[str, Due]]:
        """Return what is due at the end of the record: by service, oldest first."""
        return [(service, due) for service, queue in self.due.items() for due in queue]


def missing_event(n: int, due: Due, service: str) -> Difference:
    """Return the difference of an event that is due and not there."""
    event = due.event
    return Difference(
        "derivation", n, event.event_id, "event", "missing", f"{event.type} {event.event_id}",
        f"missing: {service} derives this {event.type} from entry {due.n}",
    )  # fmt: skip


def _missing(entry: Entry, due: Due, service: str) -> Difference:
    return missing_event(entry.id.n, due, service)


def _other(entry: Entry, queue: deque[Due]) -> Difference:
    """Tell a changed event from one that stands in another's place."""
    expected = queue[0]
    for due in queue:
        if due.event.data == entry.data:
            event = entry.event
            return Difference(
                "derivation", entry.id.n, expected.event.event_id, "event", f"{event.type} {event.event_id}",
                f"{expected.event.type} {expected.event.event_id}",
                "missing or swapped: what is recorded here belongs behind what is derived",
            )  # fmt: skip
    field, recorded, derived = differing_field(entry.data, expected.event.data)
    return Difference.at(
        "derivation", entry, field, recorded, derived,
        meaning=f"{entry.producer} decides otherwise on entry {expected.n} when it sees what is recorded up to there",
    )  # fmt: skip
