"""What every service counts, on a registry of its own (no process-wide one, so that tests do not meet)."""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Info, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from services.common.channels import CHANNELS
from services.common.runtime.catalogue import process
from services.common.runtime.health import Health
from services.common.runtime.run_clock import RunClock
from services.common.timestamps import SECOND_US

__all__ = ["Metrics"]


_TIMED_AT_ONCE = 256


class _Before(Collector):
    """Shows nothing: being registered first, it is asked before all others, and lets the counters catch up."""

    def __init__(self, catch_up: Callable[[], None]) -> None:
        self._catch_up = catch_up

    def collect(self) -> Iterable[Metric]:
        self._catch_up()
        return ()


class Metrics:
    """The metrics that all services share; a service adds its own to `registry`."""

    def __init__(self, service: str, version: str, code_version: str) -> None:
        """Register everything under the names that dashboards and alert rules use."""
        registry = self.registry = CollectorRegistry()
        self._timed: deque[tuple[str, float]] = deque()
        registry.register(_Before(self._count_handled))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        Info(process.BUILD.name, process.BUILD.help, registry=registry).info(
            {"service": service, "version": version, "code_version": code_version}
        )
        self.entries_handled = process.ENTRIES_HANDLED.counter(registry)
        self.outputs_published = process.OUTPUTS_PUBLISHED.counter(registry)
        self.outputs_repeated = process.OUTPUTS_REPEATED.counter(registry)
        self.lag = process.JOURNAL_LAG.gauge(registry)
        self.position = process.JOURNAL_POSITION.gauge(registry)
        self.last_tick_age = process.LAST_TICK_AGE.gauge(registry)
        self.dead_letters = process.DEAD_LETTERS.counter(registry)
        self.foreign_admitted = process.FOREIGN_ADMITTED.counter(registry)
        self.reconnects = process.RECONNECTS.counter(registry)
        self.publish_refused = process.PUBLISH_REFUSED.counter(registry)
        self.handle_time = process.HANDLE_TIME.histogram(registry)
        self.publish_time = process.PUBLISH_TIME.histogram(registry)
        self.snapshots = process.SNAPSHOTS.counter(registry)
        self.alerts_raised = process.ALERTS_RAISED.counter(registry)
        self._clock_stalled = process.CLOCK_STALLED.gauge(registry)
        self._event_time = process.EVENT_TIME.gauge(registry)
        self._run_finished = process.RUN_FINISHED.gauge(registry)
        self._check_failing = process.HEALTH_CHECK_FAILING.gauge(registry)
        self._disk_free = process.DISK_FREE.gauge(registry)
        self._disk_size = process.DISK_SIZE.gauge(registry)
        for by_channel in (self.entries_handled, self.outputs_published, self.dead_letters, self.foreign_admitted):
            for channel in CHANNELS:  # a counter that appears with its first event has no increase that could alert
                by_channel.labels(channel)

    def handled(self, channel: str, seconds: float) -> None:
        """Count an entry and the time that it took, for whoever asks next; the work loop has no time for it now."""
        self._timed.append((channel, seconds))
        if len(self._timed) >= _TIMED_AT_ONCE:
            self._count_handled()

    def _count_handled(self) -> None:
        counts = Counter[str]()
        with suppress(IndexError):  # both the work loop and who asks may empty it
            while True:
                channel, seconds = self._timed.popleft()
                self.handle_time.observe(seconds)
                counts[channel] += 1
        for channel, count in counts.items():
            self.entries_handled.labels(channel).inc(count)

    def look(self, clock: RunClock, health: Health, folder: Path) -> None:
        """Set the gauges that are functions of the moment (called when Prometheus asks, not by the work loop).

        Args:
            clock: of the run, as the process knows it.
            health: whose checks are shown one by one.
            folder: the state folder, for the space left on its disk.
        """
        self.last_tick_age.set(clock.age_sec())
        self._event_time.set(0 if clock.now is None else clock.now / SECOND_US)
        self._run_finished.set(clock.finished)
        failing = health.failing()
        judged = "clock" in health.names  # a service that judges it knows when it could not listen
        self._clock_stalled.set("clock" in failing if judged else clock.stalled() is not None)
        for name in health.names:
            self._check_failing.labels(name).set(name in failing)
        with suppress(OSError):  # the folder is made while the process starts
            usage = shutil.disk_usage(folder)
            self._disk_free.set(usage.free)
            self._disk_size.set(usage.total)

    def render(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self.registry)
