"""What every service counts, on a registry of its own (no process-wide one, so that tests do not meet)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

__all__ = ["Metrics"]

_HANDLE_BUCKETS = (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class Metrics:
    """The metrics that all services share; a service adds its own to `registry`."""

    def __init__(self, service: str, version: str, code_version: str) -> None:
        """Register everything under the names that dashboards and alert rules use."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        Info("cdb_build", "Which code is running.", registry=self.registry).info(
            {"service": service, "version": version, "code_version": code_version}
        )
        self.entries_handled = Counter(
            "cdb_entries_handled", "Journal entries handled.", ["channel"], registry=self.registry
        )
        self.outputs_published = Counter(
            "cdb_outputs_published", "Events published through the journal.", ["channel"], registry=self.registry
        )
        self.outputs_repeated = Counter(
            "cdb_outputs_repeated", "Batches that the journal already had (after a restart).", registry=self.registry
        )
        self.lag = Gauge("cdb_journal_lag_entries", "Journal entries not yet handled.", registry=self.registry)
        self.position = Gauge(
            "cdb_journal_position", "Number of the last journal entry handled.", registry=self.registry
        )
        self.last_tick_age = Gauge(
            "cdb_last_tick_age_seconds", "Wall time since the clock last moved.", registry=self.registry
        )
        self.dead_letters = Counter(
            "cdb_dead_letters", "Foreign messages that were not admitted.", ["channel"], registry=self.registry
        )
        self.foreign_admitted = Counter(
            "cdb_foreign_admitted", "Foreign messages admitted to the journal.", ["channel"], registry=self.registry
        )
        self.reconnects = Counter("cdb_reconnects", "Connections to Redis that were lost.", registry=self.registry)
        self.publish_refused = Counter(
            "cdb_publish_refused", "Publications that waited for memory in the journal.", registry=self.registry
        )
        self.handle_time = Histogram(
            "cdb_handle_seconds",
            "Time to fold one entry and publish what follows.",
            buckets=_HANDLE_BUCKETS,
            registry=self.registry,
        )
        self.snapshots = Counter("cdb_snapshots", "Snapshots written.", registry=self.registry)
        self.alerts_raised = Counter(
            "cdb_alerts_raised", "Alerts raised by the process itself.", ["level", "code"], registry=self.registry
        )

    def render(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self.registry)
