"""What cdb_core shows: signals, and how far each instrument is from the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry

from services.common.events import Event, Signal
from services.common.runtime.catalogue import trading
from services.common.runtime.catalogue.definition import Definition
from services.common.runtime.machine_metrics import MachineMetrics, Reading

__all__ = ["CoreMetrics"]


class CoreMetrics(MachineMetrics):
    """Counts signals; reads momentum and warm-up of each instrument."""

    gauges: ClassVar[tuple[Definition, ...]] = (trading.MOMENTUM, trading.MOMENTUM_THRESHOLD, trading.BARS_MISSING)

    def __init__(self, registry: CollectorRegistry, summary: Callable[[], Mapping[str, Any] | None]) -> None:
        """Register everything."""
        super().__init__(registry, summary)
        self._signals = trading.SIGNALS.counter(registry)
        for intent in ("entry", "exit"):
            for signal_type in ("buy", "sell"):
                self._signals.labels(intent, signal_type)

    def published(self, events: Sequence[Event]) -> None:
        """Count the signals."""
        for event in events:
            if isinstance(event, Signal):
                self._signals.labels(event.intent, event.signal_type).inc()

    def readings(self, summary: Mapping[str, Any]) -> Iterable[Reading]:
        """Return the last bar's momentum and threshold of each instrument."""
        for key, track in summary["instruments"].items():
            last = track["last_bar"] or {"momentum_pct": None, "threshold_pct": None}
            yield trading.MOMENTUM, (key,), last["momentum_pct"]
            yield trading.MOMENTUM_THRESHOLD, (key,), last["threshold_pct"]
            yield trading.BARS_MISSING, (key,), track["warmup_left_bars"]
