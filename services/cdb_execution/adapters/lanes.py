"""Two threads for what waits for an exchange: orders never wait behind a question."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from services.cdb_execution.adapters.desk import Lane
from services.common.decimals import use_fixed_context
from services.common.runtime.lifecycle import Lifecycle

__all__ = ["Lanes"]

_LOOK_SEC = 0.5
_JOIN_SEC = 2.0


class Lanes:
    """Runs jobs one after the other in the lane they are given to."""

    def __init__(self, life: Lifecycle) -> None:
        """Work until the process stops."""
        self._life = life
        self._queues: dict[Lane, SimpleQueue[Callable[[], None]]] = {"send": SimpleQueue(), "ask": SimpleQueue()}
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()

    @staticmethod
    def wall_us() -> int:
        """Return the wall clock, microseconds since the epoch."""
        return time.time_ns() // 1_000

    def dispatch(self, lane: Lane, job: Callable[[], None]) -> None:
        """Run a job when those before it in its lane are done; never blocks."""
        self._queues[lane].put(job)

    def start(self) -> None:
        """Begin to work."""
        for lane, queue in self._queues.items():
            thread = threading.Thread(target=self._work, args=(queue,), name=f"exchange_{lane}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Begin nothing more, and wait shortly for what is under way."""
        self._over.set()
        for thread in self._threads:
            thread.join(_JOIN_SEC)

    def _work(self, queue: SimpleQueue[Callable[[], None]]) -> None:
        use_fixed_context()
        while not self._over.is_set():
            try:
                job = queue.get(timeout=_LOOK_SEC)
            except Empty:
                continue
            try:
                job()
            except Exception as error:  # the edge of this thread: going on in silence would lose sight of the exchange
                self._life.log.critical("exchange_lane_failed", error=f"{type(error).__name__}: {error}", exc_info=True)
                self._life.fail(error)
