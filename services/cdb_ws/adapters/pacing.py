"""Wall time: how fast a recording is played, and the clock of a feed that has no time of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from threading import Event
from typing import Final

from services.common.timestamps import SECOND_US

__all__ = ["Pace", "WallFeedClock", "wait_until"]

BEAT_SEC: Final = 0.5
LATE_SEC: Final = 1.0


def wait_until(deadline: float, stop: Event, beat: Callable[[], None]) -> bool:
    """Wait until `time.monotonic()` reaches the deadline; False when the process shall stop instead."""
    while (left := deadline - time.monotonic()) > 0:
        beat()
        if stop.wait(min(left, BEAT_SEC)):
            return False
    return not stop.is_set()


class Pace:
    """Plays feed time at a constant speed.

    Args:
        speed: feed seconds per wall second; None: as fast as it goes.
        stop: set when the process shall end.
        beat: called at least every half second of waiting.
    """

    def __init__(self, speed: Decimal | None, stop: Event, beat: Callable[[], None]) -> None:
        self._speed = None if speed is None else float(speed)
        self._stop = stop
        self._beat = beat
        self._anchor: tuple[float, int] | None = None

    def wait(self, timestamp_us: int) -> bool:
        """Wait until this feed time is due; False when the process shall stop instead.

        After a hold-up of over a second (Redis was away) play goes on at its speed from there, without a rush.
        """
        if self._speed is None:
            return not self._stop.is_set()
        now = time.monotonic()
        if self._anchor is None:
            self._anchor = now, timestamp_us
        since, from_us = self._anchor
        due = since + (timestamp_us - from_us) / SECOND_US / self._speed
        if now - due > LATE_SEC:
            self._anchor = now, timestamp_us
        return wait_until(due, self._stop, self._beat)


class WallFeedClock:
    """Feed time made of wall time; it never goes back, neither when the wall clock does nor over a restart.

    Args:
        speed: feed seconds per wall second.
        not_before_us: the newest feed time that the journal has, None when it has none.
    """

    def __init__(self, speed: Decimal, not_before_us: int | None) -> None:
        self._speed = float(speed)
        self._since = time.monotonic()
        self._from_us = max(self._wall_us(), not_before_us or 0)
        self.start_us = self._from_us

    @staticmethod
    def _wall_us() -> int:
        return time.time_ns() // 1000

    def now_us(self) -> int:
        """Return the feed time. At speed 1 it follows the wall clock when that is ahead (the machine slept).

        From there it goes on: a wall clock that is set back again must not stop it until the wall has caught up.
        """
        monotonic = time.monotonic()
        now_us = self._from_us + int((monotonic - self._since) * SECOND_US * self._speed)
        wall_us = self._wall_us()
        if self._speed == 1 and wall_us > now_us:
            self._since, self._from_us = monotonic, wall_us
            return wall_us
        return now_us

    def due(self, timestamp_us: int) -> float:
        """Return the `time.monotonic()` at which a feed time is reached."""
        return time.monotonic() + max(0.0, (timestamp_us - self.now_us()) / SECOND_US / self._speed)
