"""Paced sending, and the statistics of what came back."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from redis.client import PubSub

__all__ = ["Latency", "Stopwatch", "pace", "running", "time_series"]


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


@contextmanager
def running(forward: Callable[..., None], arguments: Iterable[tuple[Any, ...]]) -> Iterator[None]:
    """Run a process for each of `arguments`, which is told by an event (its last argument) to say that it is ready."""
    context = multiprocessing.get_context("spawn")
    started = []
    for own in arguments:
        ready = context.Event()
        process = context.Process(target=forward, args=(*own, ready), daemon=True)
        process.start()
        started.append((process, ready))
    for _, ready in started:
        ready.wait(30)
    try:
        yield
    finally:
        for process, _ in started:
            process.kill()
            process.join()


def time_series(
    listener: PubSub,
    watch: Stopwatch,
    key_of: Callable[[bytes], str | None],
    send: Callable[[int], None],
    *,
    rate: float,
    count: int,
    expected: int,
    patience_sec: float = 30,
) -> Latency:
    """Send `count` messages at `rate` while a thread reads what comes back, and return the latency.

    Args:
        listener: subscribed to the channel of the answers; closed in the end.
        watch: told by `send` of each message that is timed.
        key_of: by which an answer is paired with its message; None: it belongs to none.
        send: sends the message of a number.
        rate: messages a second; 0: as fast as it goes.
        count: how many messages are sent.
        expected: answers that end the series; the first tenth of them warms up and does not count.
        patience_sec: so long is waited for the last answer.
    """
    watch.expect(expected)

    def read() -> None:
        while not watch.done.is_set():
            message = listener.get_message(timeout=0.2)
            at_ns = time.perf_counter_ns()
            key = None if message is None else key_of(message["data"])
            if key is not None:
                watch.arrived(key, at_ns)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    pace(send, count, rate)
    watch.done.wait(patience_sec)
    watch.done.set()
    reader.join()
    listener.close()
    return watch.result(rate, skip=expected // 10)
