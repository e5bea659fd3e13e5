"""One thread for each target: a slow or dead one keeps nobody else waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

import structlog

from services.cdb_notifier.adapters.targets import Target
from services.cdb_notifier.outbox import Waiting
from services.common.runtime.backoff import Backoff

__all__ = ["Courier"]

FIRST_DELAY_SEC: Final = 1.0
LONGEST_DELAY_SEC: Final = 60.0
TRIES_WITH_PICTURE: Final = 3
_log = structlog.get_logger("cdb_notifier")


class Courier(threading.Thread):
    """Sends what it is offered until the target has taken it, the first of the list first.

    Attributes:
        failures: attempts that failed since the last success.
        failing_since: seconds of the monotonic clock; None while all is well.
        attempts_failed: ever.
    """

    def __init__(self, target: Target) -> None:
        """Take the target."""
        super().__init__(name=f"courier {target.name}", daemon=True)
        self.target = target
        self.failures = 0
        self.attempts_failed = 0
        self.failing_since: float | None = None
        self._stop_asked = threading.Event()
        self._backoff = Backoff(self._stop_asked, first_sec=FIRST_DELAY_SEC, cap_sec=LONGEST_DELAY_SEC)
        self._something = threading.Condition()
        self._offered: list[Waiting] = []
        self._taken: list[int] = []

    def offer(self, waiting: Sequence[Waiting]) -> None:
        """Take the list of what the target has not taken yet (each is durable: it survives this process)."""
        with self._something:
            self._offered = [one for one in waiting if one.number not in self._taken]
            self._something.notify()

    def collect(self) -> list[int]:
        """Return the numbers of the messages that the target has taken since the last call."""
        with self._something:
            taken, self._taken = self._taken, []
            return taken

    def stop(self) -> None:
        """Stop; what is being sent now is finished or given up by its time limit."""
        self._stop_asked.set()
        with self._something:
            self._something.notify()

    def run(self) -> None:
        """Send until `stop`."""
        while not self._stop_asked.is_set():
            with self._something:
                if not self._offered:
                    self._something.wait(1.0)
                    continue
                waiting = self._offered[0]
            if self._send(waiting):
                self.failures, self.failing_since = 0, None
                self._backoff.reset()
                with self._something:
                    self._taken.append(waiting.number)
                    self._offered = [one for one in self._offered if one.number != waiting.number]
            else:
                self._backoff.wait()

    def _send(self, waiting: Waiting) -> bool:
        try:
            taken = self.target.send(waiting.message, picture=self.failures < TRIES_WITH_PICTURE)
            reason = "it was not taken"
        except Exception as error:  # the edge: a library for a hundred services; its texts may hold the address
            taken, reason = False, type(error).__name__
        if not taken:
            self.failures += 1
            self.attempts_failed += 1
            self.failing_since = self.failing_since or time.monotonic()
            _log.warning("not_delivered", target=self.target.name, message_number=waiting.number, reason=reason)
        return taken
