"""The exchange's clock: its offset from ours, measured, and measured again when the exchange complains.

A signed request is refused when its stamp is more than a second ahead of the exchange or more than recvWindow behind.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from time import time_ns
from typing import Final

from services.common.errors import ExchangeRefused, ExchangeUnreachable

__all__ = ["ServerClock", "wall_ms"]

_OLD_MS: Final = 600_000


def wall_ms() -> int:
    """Return this machine's time in milliseconds since the epoch."""
    return time_ns() // 1_000_000


class ServerClock:
    """This machine's clock plus the offset of the quickest of a few answers.

    Attributes:
        offset_ms: what the exchange's clock is ahead of ours; 0 before it was measured.
        uncertainty_ms: half of that answer's time on the way; None before it was measured.
    """

    def __init__(self, ask: Callable[[], int], *, wall: Callable[[], int] = wall_ms, samples: int = 3) -> None:
        """Measure nothing yet.

        Args:
            ask: returns the exchange's time in milliseconds; raises ExchangeUnreachable.
            wall: this machine's time in milliseconds.
            samples: how many answers are compared.
        """
        self._ask = ask
        self._wall = wall
        self._samples = samples
        self._lock = threading.Lock()
        self.offset_ms = 0
        self.uncertainty_ms: int | None = None
        self._measured_at = 0

    def now_ms(self) -> int:
        """Return the exchange's time as far as it is known; measured first when it never was.

        Raises:
            ExchangeUnreachable: it was never measured, and there is no answer now.
        """
        if self.uncertainty_ms is None:
            self.measure()
        return self._wall() + self.offset_ms

    @property
    def is_known(self) -> bool:
        """Whether it was measured."""
        return self.uncertainty_ms is not None

    def measure(self) -> int:
        """Measure and return the offset in milliseconds.

        Raises:
            ExchangeUnreachable: there is no answer; what was known stays.
        """
        best: tuple[int, int] | None = None
        for _ in range(self._samples):
            before = self._wall()
            theirs = self._ask()
            after = self._wall()
            half = max(after - before, 0) // 2
            if best is None or half < best[0]:
                best = (half, theirs - before - half)
        assert best is not None, "at least one sample is taken"
        with self._lock:
            self.uncertainty_ms, self.offset_ms = best
            self._measured_at = self._wall()
        return best[1]

    def refresh(self) -> None:
        """Measure again after ten minutes, or when our clock was set since; without an answer, leave it."""
        if self.is_known and abs(self._wall() - self._measured_at) > _OLD_MS:
            with contextlib.suppress(ExchangeUnreachable, ExchangeRefused):
                self.measure()
