"""The recorded inputs through the closed loop, compared with what is recorded while it goes.

A record of processes in lockstep, or of `claire run-paper`, comes out byte for byte. Processes that run freely take
things up in an order of their own, so such a record goes on differently at some point; then the events are compared by
their ids, and `claire validate` is what judges the record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from claire.audit.difference import Difference, differing_field
from claire.history.span import Span
from claire.kernel import Kernel
from claire.replay.starting_point import StartingPoint, Step, is_input
from services.cdb_writer.chain import ChainHead, link
from services.common.journal.entry import Entry

__all__ = ["ClosedLoop", "Outcome"]


@dataclass
class Outcome:
    """What a replay came to.

    Attributes:
        first, last: journal numbers of what was replayed.
        entries: how many entries the loop made.
        head: end of the chain of the loop's entries, after that of the record before it.
        recorded: end of the recorded chain there.
        difference: the first one; None when both are equal.
        free_running: the record's order is not that of the loop, though the same was said, sooner or later.
        derived: events that the loop derived.
        same: those of them that are recorded with the same bytes, wherever they stand.
        whole: the range was played to its end.
    """

    first: int
    last: int
    entries: int
    head: ChainHead
    recorded: ChainHead
    difference: Difference | None = None
    free_running: bool = False
    derived: int = 0
    same: int = 0
    whole: bool = False

    @property
    def ok(self) -> bool:
        """Whether the record is what the loop makes of its inputs, as far as the two can be compared."""
        return self.difference is None or self.free_running

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "ok": self.ok,
            "first": self.first,
            "last": self.last,
            "entries": self.entries,
            "chain_tip": self.head.hash.hex(),
            "recorded_tip": self.recorded.hash.hex(),
            "equal": self.difference is None,
            "free_running": self.free_running,
            "first_difference": None if self.difference is None else self.difference.as_dict(),
            "derived": self.derived,
            "same": self.same,
            "whole": self.whole,
        }


class ClosedLoop:
    """The kernel, and the record that it is compared with."""

    def __init__(self, start: StartingPoint, span: Span) -> None:
        """Play from the starting point to the end of the span."""
        self._kernel = Kernel(start.machines, head=start.before.seq)
        self._steps = start.steps
        self._span = span
        self._first = start.before.seq + 1
        self._head = self._recorded = start.before
        self._ahead: deque[Step] = deque()
        self._made: dict[str, bytes] = {}
        self._said: dict[str, bytes] = {}
        self._difference: Difference | None = None
        self._late: str | None = None  # what makes the difference harmless if it comes later
        self._comparing = True
        self._entries = 0
        self._whole = False

    def play(self) -> Iterator[Entry]:
        """Yield each entry that the loop makes, after all machines have handled it."""
        while batch := self._next_batch():
            self._kernel.take(batch)
            for made in self._kernel.run():
                self._entries += 1
                if not is_input(made):
                    self._made[made.event.event_id] = made.data
                if self._comparing:
                    self._compare(made)
                yield made
        self._whole = True

    def outcome(self) -> Outcome:
        """Return what was played so far came to."""
        free = self._late is not None and self._said.get(self._late) is not None and self._late in self._made
        same = sum(self._said.get(event_id) == data for event_id, data in self._made.items())
        return Outcome(
            self._first, self._recorded.seq, self._entries, self._head, self._recorded, self._difference,
            free, len(self._made), same, self._whole,
        )  # fmt: skip

    # the record

    def _look(self, place: int) -> Step | None:
        while len(self._ahead) <= place:
            step = next(self._steps, None)
            if step is None:
                return None
            self._ahead.append(step)
        return self._ahead[place]

    def _take(self) -> Step | None:
        """Return the next recorded step and note what it says."""
        step = self._look(0)
        if step is not None:
            self._ahead.popleft()
            self._recorded = step[2]
            if not is_input(step[1]):
                self._said[step[1].event.event_id] = step[1].data
        return step

    def _next_batch(self) -> list[Entry]:
        """Return the next recorded batch from outside; what is compared is taken from the record then."""
        while (step := self._look(0)) is not None and not is_input(step[1]):
            if self._comparing:
                self._differs(_added(step[1]), step[1].event.event_id)
            self._take()
        if step is None or self._span.passed(step[1]):
            return []
        batch = [step[1]]
        while (step := self._look(len(batch))) is not None and _together(batch[0], step[1]):
            batch.append(step[1])
        if not self._comparing:
            for _ in batch:
                self._take()
        return batch

    # comparing

    def _compare(self, made: Entry) -> None:
        step = self._look(0)
        if step is None:
            self._comparing = False  # the record ends before everything was said
            return
        recorded = step[1]
        if made.id.n == recorded.id.n and _content(made) == _content(recorded):
            self._take()
            self._head = ChainHead(recorded.id.n, recorded.id.epoch, link(self._head.hash, _at(made, recorded)))
            return
        self._differs(_otherwise(made, recorded), _harmless(made, recorded))

    def _differs(self, difference: Difference, late: str | None) -> None:
        self._difference, self._late, self._comparing = difference, late, False


def _content(entry: Entry) -> tuple[str, str, str, bytes]:
    return entry.channel, entry.producer, entry.cause, entry.data


def _at(made: Entry, recorded: Entry) -> Entry:
    """The epoch is Redis's affair: the loop has none."""
    return Entry(recorded.id, made.channel, made.producer, made.cause, made.data)


def _together(first: Entry, entry: Entry) -> bool:
    """Whether two entries from outside were published at once; an operator's commands have no cause to tell by."""
    return bool(entry.cause) and (first.producer, first.cause) == (entry.producer, entry.cause)


def _harmless(made: Entry, recorded: Entry) -> str | None:
    """Return the id of what free-running processes may well say later; None when that is no matter of order."""
    if (made.producer, made.cause) == (recorded.producer, recorded.cause):
        return None
    return made.event.event_id


def _otherwise(made: Entry, recorded: Entry) -> Difference:
    event, other = recorded.event, made.event
    if event.event_id == other.event_id:
        name, ours, theirs = differing_field(recorded.data, made.data)
        if recorded.data == made.data:
            name, ours, theirs = "cause", recorded.cause, made.cause
        return Difference.at("replay", recorded, name, ours, theirs, meaning="the closed loop decides otherwise")
    return Difference.at(
        "replay", recorded, "event", f"{event.type} {event.event_id}", f"{other.type} {other.event_id}",
        meaning=f"the closed loop goes on with this {other.type} of {made.producer}",
    )  # fmt: skip


def _added(recorded: Entry) -> Difference:
    event = recorded.event
    meaning = "the closed loop has nothing to say here"
    return Difference.at("replay", recorded, "event", f"{event.type} {event.event_id}", "nothing", meaning=meaning)
