"""Where a replay begins: the machines as they were there, from snapshots or by folding everything before."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from claire.history.record import HistoryUnusable
from claire.history.source import History
from claire.history.span import Span
from claire.kernel import deciding_machines
from claire.progress import Tell
from services.cdb_writer.chain import ChainHead
from services.common.errors import StateMismatch
from services.common.journal.entry import Entry, JournalId
from services.common.machine import StateMachine
from services.common.runtime.snapshots import Snapshot

__all__ = ["StartingPoint", "find_start", "is_input"]

Step = tuple[ChainHead, Entry, ChainHead]
Machine = StateMachine[Any, Any]

_SNAPSHOT: Final = re.compile(r"snapshot-(\d+)-(\d+)\.json")


@dataclass(frozen=True)
class StartingPoint:
    """Machines that have folded all up to `before`, and what is recorded from there on."""

    before: ChainHead
    machines: tuple[Machine, ...]
    steps: Iterator[Step]


def is_input(entry: Entry) -> bool:
    """Whether an entry follows from no other one: the feed, an operator, a foreign message, a process of itself."""
    return not entry.cause.isdecimal()


def find_start(
    history: History, span: Span, snapshots: Path | None = None, tell: Tell = lambda _: None
) -> StartingPoint:
    """Bring the machines to the beginning of a span.

    That is the first input there at which everything is said that follows from before: only there a replay can begin.

    Args:
        history: whose entries are folded.
        span: its beginning counts.
        snapshots: folder with a folder of snapshots for each service (`STATE_DIR`); each machine takes the newest that
            is not behind the beginning, and folds on from there.
        tell: told of the entries folded.

    Raises:
        HistoryUnusable: nothing is recorded there, what is before it is missing, or a snapshot is of another journal.
        ChainBroken: an event is not what was hashed.
    """
    machines = deciding_machines()
    at = {machine.service: JournalId(0, 0) for machine in machines}
    if snapshots is not None:
        if span.since is not None:
            first = next((entry.id.n for entry in history.entries(span)), None)
            span = Span(first=first, last=span.last, until=span.until)
        at = {machine.service: _restore(machine, snapshots, span.first) for machine in machines}
        if span == Span(last=span.last, until=span.until):
            span = Span(first=max(place.n for place in at.values()) + 1, last=span.last, until=span.until)
    folded = min(place.n for place in at.values())
    history.require_beginning(folded)
    steps = history.steps(Span(first=folded))
    due: dict[str, deque[int]] = {service: deque() for service in at}
    begun, batch = _Begun(span), ("", "")
    for before, entry, head in steps:
        here, this = begun.at(entry), (entry.producer, entry.cause)
        if here and is_input(entry) and this != batch and not any(due.values()):
            return StartingPoint(before, machines, chain([(before, entry, head)], steps))
        batch = this
        _settle(due, entry)
        for machine in machines:
            place = at[machine.service]
            if entry.id.n > place.n:
                due[machine.service].extend([entry.id.n] * len(machine.handle(entry)))
            elif entry.id.n == place.n and entry.id != place:
                raise HistoryUnusable(
                    f"the snapshot of {machine.service} is at {place}, but {history.where} has {entry.id}"
                )
        tell(entry.id.n)
    raise HistoryUnusable(f"{history.where}: nothing is recorded in that range that could be replayed")


class _Begun:
    """Whether the beginning of a span has been reached."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._reached = span.since is None

    def at(self, entry: Entry) -> bool:
        self._reached = self._reached or self._span.reaches(entry)
        return self._reached and entry.id.n >= (self._span.first or 0)


def _settle(due: dict[str, deque[int]], entry: Entry) -> None:
    """Cross out what an entry says of what was due (whether it says the right thing is for `claire validate`)."""
    queue = due.get(entry.producer)
    if queue is None or is_input(entry):
        return
    cause = int(entry.cause)
    while queue and queue[0] < cause:
        queue.popleft()
    if queue and queue[0] == cause:
        queue.popleft()


def _restore(machine: Machine, folder: Path, first: int | None) -> JournalId:
    """Take the newest snapshot of a machine that lies before the beginning; `0-0` when there is none."""
    found = []
    for path in (folder / machine.service).glob("snapshot-*"):
        name = _SNAPSHOT.fullmatch(path.name)
        if name is not None and (first is None or int(name[2]) < first):
            found.append((int(name[2]), path))
    for _, path in sorted(found, reverse=True):
        try:
            snapshot = Snapshot.from_bytes(path.read_bytes())
            machine.restore(snapshot.state)
        except StateMismatch as mismatch:
            raise HistoryUnusable(f"{path}: {mismatch}; remove it, or replay without --snapshot") from mismatch
        return snapshot.id
    return JournalId(0, 0)
