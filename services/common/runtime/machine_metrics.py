"""What a shell shows of its machine: outputs are counted once they are published, state is read when Prometheus asks.

The machine itself knows nothing of it, and an entry without outputs (nearly every one) costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.common.events import Event
from services.common.runtime.catalogue.definition import Definition

__all__ = ["MachineMetrics", "Reading"]

Reading = tuple[Definition, tuple[str, ...], Decimal | float | None]
"""A gauge, the values of its labels, and its value; None (unknown) is shown as NaN."""

_UNKNOWN = float("nan")


class MachineMetrics(Collector):
    """Subclasses name their `gauges`, register counters, and say how outputs and summary become numbers."""

    gauges: ClassVar[tuple[Definition, ...]] = ()

    def __init__(self, registry: CollectorRegistry, summary: Callable[[], Mapping[str, Any] | None]) -> None:
        """Show on `registry` what `summary` returns: the machine's summary of the moment, None before it has one."""
        self._summary = summary
        registry.register(self)

    def published(self, events: Sequence[Event]) -> None:
        """Count outputs of the machine that the journal has taken just now (on the work loop's thread)."""

    def readings(self, summary: Mapping[str, Any]) -> Iterable[Reading]:
        """Return what the summary says of the gauges."""
        del summary
        return ()

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Name the gauges without asking the machine."""
        return [definition.family() for definition in self.gauges]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the gauges as they are now; empty ones before the machine is configured."""
        families = {definition: definition.family() for definition in self.gauges}
        summary = self._summary()
        for definition, labels, value in () if summary is None else self.readings(summary):
            families[definition].add_metric(labels, _UNKNOWN if value is None else float(value))
        return families.values()
