"""Waiting between attempts: growing, capped, jittered, and cut short by a stop."""

from __future__ import annotations

import random
from threading import Event

__all__ = ["Backoff"]


class Backoff:
    """Delays of 0.05 s, 0.1 s, 0.2 s … up to `cap_sec`, each shortened by up to half: peers do not march in step."""

    def __init__(self, stop: Event, *, first_sec: float = 0.05, cap_sec: float = 2.0) -> None:
        """Start with the shortest delay; `stop` ends a wait at once."""
        self._stop = stop
        self._first_sec = first_sec
        self._cap_sec = cap_sec
        self.attempts = 0

    def reset(self) -> None:
        """Begin again with the shortest delay: an attempt has succeeded."""
        self.attempts = 0

    def wait(self) -> bool:
        """Wait before the next attempt; True when the process shall stop instead."""
        delay = min(self._cap_sec, self._first_sec * 2 ** min(self.attempts, 16))
        self.attempts += 1
        return self._stop.wait(delay * random.uniform(0.5, 1.0))
