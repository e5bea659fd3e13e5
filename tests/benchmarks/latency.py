"""Paced sending, and the statistics of what came back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

__all__ = ["Latency", "Stopwatch", "pace"]


@dataclass(frozen=True)
class Latency:
    """Latency of one paced series; times in microseconds.

    Attributes:
        rate: messages per second that were sent.
        sent, received: how many went in and came out.
        achieved: messages per second from the first sent to the last received.
    """

    rate: float
    sent: int
    received: int
    achieved: float
    p50: float
    p90: float
    p99: float
    worst: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures for the JSON report."""
        return asdict(self)


class Stopwatch:
    """Pairs each message that was sent with its arrival, by key, across two threads."""

    def __init__(self) -> None:
        self._sent: dict[str, int] = {}
        self._arrived: dict[str, int] = {}
        self._expected = -1
        self.done = threading.Event()

    def sending(self, key: str) -> None:
        """Note the instant before a message is sent."""
        self._sent[key] = time.perf_counter_ns()

    def arrived(self, key: str, at_ns: int) -> None:
        """Note the instant (of `time.perf_counter_ns`) at which its result was read."""
        if key in self._sent and key not in self._arrived:
            self._arrived[key] = at_ns
            if len(self._arrived) == self._expected:
                self.done.set()

    def expect(self, count: int) -> None:
        """Say how many arrivals end the series."""
        self._expected = count

    def result(self, rate: float, *, skip: int) -> Latency:
        """Return the statistics, leaving out the first `skip` messages (warm-up)."""
        keys = [key for key in list(self._sent)[skip:] if key in self._arrived]
        if not keys:
            return Latency(rate, len(self._sent), 0, 0.0, *([float("nan")] * 4))
        taken = sorted((self._arrived[key] - self._sent[key]) / 1_000 for key in keys)
        span = (max(self._arrived[key] for key in keys) - self._sent[keys[0]]) / 1e9
        return Latency(
            rate=rate,
            sent=len(self._sent),
            received=len(self._arrived),
            achieved=len(keys) / span,
            p50=_quantile(taken, 0.5),
            p90=_quantile(taken, 0.9),
            p99=_quantile(taken, 0.99),
            worst=taken[-1],
        )


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def pace(send: Callable[[int], None], count: int, rate: float) -> None:
    """Call `send` for 0 … count-1 at `rate` calls per second (0: as fast as it goes), without drifting."""
    start = time.perf_counter()
    for number in range(count):
        if rate:
            wait = start + number / rate - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
        send(number)
