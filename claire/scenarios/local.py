"""Scenarios on this machine: one process each, so that a killed one takes no other with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, Final

from claire.scenarios.job import Outcome, run_scenario
from claire.scenarios.plan import Scenario

__all__ = ["default_workers", "run_here", "run_in_processes"]

LOOK_EVERY_SEC: Final = 0.2
ENDED_WITHIN_SEC: Final = 10.0
"""So long is waited for the exit codes of workers that are dead or have been told to end."""

Watch = Callable[[float], None]
"""Takes the sum of what is done of the runs that are under way, now and then."""

_done: Any = None
"""Of a worker process: the memory that it shares with the others, a place for each scenario."""


def default_workers() -> int:
    """Return one worker for each processor that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_here(scenarios: Sequence[Scenario], *, keep_journals: bool, watch: Watch | None = None) -> Iterator[Outcome]:
    """Yield the outcome of each scenario, run one after the other in this process."""
    for scenario in scenarios:
        yield run_scenario(scenario, keep_journal=keep_journals, tell=watch)


def run_in_processes(
    scenarios: Sequence[Scenario], *, workers: int, keep_journals: bool, watch: Watch | None = None
) -> Generator[Outcome]:
    """Yield the outcome of each scenario as it is done.

    A worker that dies breaks its pool. Whatever was under way is then run again, each by itself: whose process dies
    once more has failed, and the others lose nothing but time.

    Args:
        scenarios: what to run.
        workers: processes at the same time.
        keep_journals: return journals, pages and tables, too.
        watch: called now and then.
    """
    waiting, suspects = list(scenarios), list[Scenario]()
    while waiting or suspects:
        batch, alone = ([suspects.pop(0)], True) if suspects else (waiting, False)
        pool = _Pool(batch, 1 if alone else workers, keep_journals=keep_journals, watch=watch)
        yield from pool.outcomes()
        waiting = waiting if alone else pool.not_begun
        if pool.broken_by and alone:
            yield Outcome(batch[0].number, reason=_killed(pool.exit_codes()))
        else:
            suspects += pool.broken_by


def _killed(exit_codes: Sequence[int]) -> str:
    ended = next((code for code in exit_codes if code), None)
    if ended is not None and ended < 0:
        how = f"by signal {-ended}" + (", as the system does when memory is short" if ended == -9 else "")
    else:
        how = "" if ended is None else f"with exit code {ended}"
    return f"its process was killed {how}".rstrip() + "; take fewer --workers or a shorter period if it was memory"


class _Pool:
    """One pool of processes and what it is given, a little at a time, so that it is known what was under way.

    Attributes:
        not_begun: what is left when it has ended.
        broken_by: what was under way when a worker died.
    """

    def __init__(
        self, scenarios: Sequence[Scenario], workers: int, *, keep_journals: bool, watch: Watch | None
    ) -> None:
        self.not_begun = list(scenarios)
        self.broken_by: list[Scenario] = []
        self._children: set[BaseProcess] = set()
        self._workers = max(min(workers, len(scenarios)), 1)
        self._keep, self._watch = keep_journals, watch
        context = multiprocessing.get_context("spawn")
        self._done: Any = context.Array("d", max((s.number for s in scenarios), default=0) + 1, lock=False)
        self._before = set(multiprocessing.active_children())
        self._executor = ProcessPoolExecutor(self._workers, context, initializer=_begin, initargs=(self._done,))
        self._running: dict[Future[Outcome], Scenario] = {}

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what is done; end when all is, or when the pool is broken."""
        whole = False
        try:
            while (self._running or self.not_begun) and not self.broken_by:
                self._fill()
                done, _ = wait(self._running, timeout=LOOK_EVERY_SEC, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda future: self._running[future].number):
                    outcome = self._result(future)
                    if outcome is not None:
                        yield outcome
                if self._watch is not None:
                    self._watch(sum(self._done[scenario.number] for scenario in self._running.values()))
            whole = not self.broken_by
        finally:
            if not whole:
                for child in self._children:
                    child.terminate()
            self._executor.shutdown(wait=whole, cancel_futures=True)

    def exit_codes(self) -> list[int]:
        """Return how the workers of a broken pool ended; a busy machine takes its time to say so.

        The executor's own thread waits for them, too: whichever was first knows, and tells the other a moment later.
        """
        deadline = time.monotonic() + ENDED_WITHIN_SEC
        while any(child.exitcode is None for child in self._children) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_SEC / 20)
        return [child.exitcode for child in self._children if child.exitcode]

    def _fill(self) -> None:
        while self.not_begun and len(self._running) < self._workers and not self.broken_by:
            scenario = self.not_begun[0]
            try:
                future = self._executor.submit(_work, scenario, self._keep)
            except BrokenProcessPool:
                self.broken_by += self._running.values()
                self._running.clear()
                return
            self._running[future] = self.not_begun.pop(0)
            self._children |= set(multiprocessing.active_children()) - self._before

    def _result(self, future: Future[Outcome]) -> Outcome | None:
        scenario = self._running.pop(future)
        try:
            return future.result()
        except BrokenProcessPool:
            self.broken_by.append(scenario)
            return None


def _begin(done: Any) -> None:
    """Begin a worker: Ctrl-C is for the process that the operator sees."""
    global _done  # noqa: PLW0603 - the one way in which a pool hands its workers something shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _done = done


def _work(scenario: Scenario, keep_journal: bool) -> Outcome:  # noqa: FBT001 - executors pass arguments by position
    def tell(share: float) -> None:
        _done[scenario.number] = share

    return run_scenario(scenario, keep_journal=keep_journal, tell=tell)
