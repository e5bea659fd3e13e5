"""The clock of the whole system: which ticks are due at a feed time."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Clock"]


class Clock:
    """Ticks on a grid of feed time, strictly growing, also over stretches in which nothing else happens.

    Args:
        tick_us: distance of the ticks, microseconds; ticks stand at its multiples since 1970.
        start_us: feed time before which, and at which, nothing ticks.
    """

    def __init__(self, tick_us: int, start_us: int) -> None:
        self._tick_us = tick_us
        self._last_us = start_us

    @property
    def next_us(self) -> int:
        """The first tick that has not been given out."""
        return (self._last_us // self._tick_us + 1) * self._tick_us

    def until(self, timestamp_us: int) -> Iterator[int]:
        """Give out every tick that is due at this feed time, each once."""
        while self.next_us <= timestamp_us:
            self._last_us = self.next_us
            yield self._last_us

    def latest(self, timestamp_us: int) -> int | None:
        """Give out the newest tick that is due and pass over those before it: for a clock that was held up."""
        newest = timestamp_us // self._tick_us * self._tick_us
        if newest <= self._last_us:
            return None
        self._last_us = newest
        return newest
