"""One metric, before it is registered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily

from services.common.channels import SERVICES

__all__ = ["ALL", "Definition", "Kind"]

Kind = Literal["counter", "gauge", "histogram", "info"]

ALL = SERVICES
"""Producers of what every service shows."""


@dataclass(frozen=True)
class Definition:
    """What a metric is called and what it means.

    Attributes:
        name: without the suffix that Prometheus adds to counters, histograms and infos.
        help: one sentence, with the unit where the name does not say it.
        producers: services that show it.
        labels: names of its labels; Prometheus adds `service` to each.
        buckets: upper bounds of a histogram.
    """

    name: str
    kind: Kind
    help: str
    producers: tuple[str, ...] = ALL
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """Names under which Prometheus stores it."""
        suffixes = {"counter": ("_total",), "gauge": ("",), "info": ("_info",)}
        return tuple(self.name + suffix for suffix in suffixes.get(self.kind, ("_bucket", "_sum", "_count")))

    def counter(self, registry: CollectorRegistry) -> Counter:
        """Register it as a counter."""
        assert self.kind == "counter", self.name
        return Counter(self.name, self.help, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        """Register it as a gauge that is set."""
        assert self.kind == "gauge", self.name
        return Gauge(self.name, self.help, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        """Register it as a histogram."""
        assert self.kind == "histogram", self.name
        return Histogram(self.name, self.help, self.labels, registry=registry, buckets=self.buckets)

    def family(self) -> GaugeMetricFamily:
        """Return an empty family for a gauge that is read when Prometheus asks."""
        assert self.kind == "gauge", self.name
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)
