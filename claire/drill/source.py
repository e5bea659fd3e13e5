"""What a drill begins with: the machines as they stand after a recorded journal, or after the bundled sample.

A history is only read (PostgreSQL in a read-only transaction), and Redis is not asked at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from claire.drill.desk import Machines, new_machines
from claire.history.source import History
from claire.kernel import Kernel
from claire.paper.run import run_paper
from claire.paper.scenarios import SCENARIOS
from claire.paper.spec import PaperSpec, Period
from services.common import channels
from services.common.decimals import use_fixed_context
from services.common.errors import InputUnusable
from services.common.events import Event
from services.common.journal.entry import Entry, JournalId
from services.common.timestamps import HOUR_US

__all__ = ["NothingToCopy", "Start", "fold", "from_history", "from_sample"]

SAMPLE: Final = "crash-2021-05-19"
SAMPLE_START_US: Final = 1_621_422_000_000_000
"""2021-05-19 11:00 UTC, two hours before the bottom of the crash."""

Progress = Callable[[int, int | None], None]
"""Called with the number of entries folded and how many there are, when that is known."""


class NothingToCopy(InputUnusable):
    """There is no run in the journal to take a copy of."""


@dataclass(frozen=True)
class Start:
    """Machines to drill with, and the place of the journal that they stand at."""

    machines: Machines
    place: JournalId
    where: str


def from_history(history: History, progress: Progress) -> Start:
    """Fold a recorded journal.

    Raises:
        NothingToCopy: no run has begun in it.
        HistoryUnusable, ChainBroken: it cannot be read, or is not what was recorded.
    """
    history.require_beginning()
    start = fold(history.entries(), history.where, progress, history.total)
    risk = start.machines[1]
    if risk.fold.settings is None or risk.fold.now is None:
        raise NothingToCopy(f"{history.where}: no run has begun, so there is nothing to copy; start claire up first")
    return start


def from_sample(progress: Progress) -> Start:
    """Play two hours of the bundled crash day before its bottom."""
    scenario = SCENARIOS[SAMPLE]
    period = Period(SAMPLE_START_US, SAMPLE_START_US + 2 * HOUR_US)
    entries: list[Entry] = []
    run_paper(PaperSpec(scenario.inputs, scenario.settings, period), sinks=[entries.append])
    return fold(entries, f"the bundled sample {SAMPLE}", progress, len(entries))


def fold(entries: Iterable[Entry], where: str, progress: Progress, total: int | None = None) -> Start:
    """Fold entries with new machines, and let follow what had not been recorded yet when the record ended."""
    use_fixed_context()
    machines = new_machines()
    owed: dict[tuple[str, str], list[Event]] = {}
    place, count = JournalId(1, 0), 0
    for count, entry in enumerate(entries, 1):
        owed.pop((entry.producer, entry.cause), None)
        place = entry.id
        for machine in machines:
            outputs = machine.handle(entry)
            if outputs:
                owed[machine.service, str(entry.id.n)] = outputs
        if count % 1_000 == 0:
            progress(count, total)
    progress(count, total)
    kernel = Kernel(machines, epoch=place.epoch, head=place.n)
    for (service, cause), outputs in sorted(owed.items(), key=lambda item: _order(*item[0])):
        kernel.publish(service, cause, outputs)
    for entry in kernel.run():
        place = entry.id
    return Start(machines, place, where)


def _order(service: str, cause: str) -> tuple[int, int]:
    return int(cause), channels.TURNSTILE_ORDER.index(service)
