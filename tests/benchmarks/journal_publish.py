"""The journal's publish against a plain PUBLISH of the same bytes, on the same server in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from services.common.journal.opening import open_bus
from services.common.settings import Infrastructure, load_settings
from tests.benchmarks.bare_chain import connect
from tests.benchmarks.pipeline_chain import Feed

__all__ = ["measure_publish"]


def _per_second(action: Callable[[int], object], count: int) -> float:
    start = time.perf_counter()
    for number in range(count):
        action(number)
    return count / (time.perf_counter() - start)


def measure_publish(environment: Mapping[str, str], *, count: int) -> dict[str, float]:
    """Return calls per second of both, measured in alternating blocks, and their ratio."""
    infra = load_settings(Infrastructure, environment)
    open_bus(infra)
    feed = Feed(infra)
    plain = connect(environment)
    events = [feed.event(number) for number in range(count)]
    for event in events:
        assert event.data  # encoded before the clock runs: both sides send ready bytes
    journal_rates, plain_rates = [], []
    block = max(1, count // 5)
    for start in range(0, count - block + 1, block):
        journal_rates.append(_per_second(lambda number, start=start: feed.send(events[start + number]), block))
        plain_rates.append(
            _per_second(lambda number, start=start: plain.publish("plain", events[start + number].data), block)
        )
    journal, bare = sorted(journal_rates)[len(journal_rates) // 2], sorted(plain_rates)[len(plain_rates) // 2]
    return {"journal_per_second": journal, "plain_per_second": bare, "ratio": journal / bare}
