"""What the writer counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["WriterMetrics"]

_BATCH_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class WriterMetrics:
    """The writer's own metrics, on the registry of its process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register everything."""
        self.batches = Counter("cdb_writer_batches", "Transactions committed.", registry=registry)
        self.rows = Counter("cdb_writer_rows", "Rows written.", ["table"], registry=registry)
        self.batch_time = Histogram(
            "cdb_writer_batch_seconds", "Time to fold and commit a batch.", buckets=_BATCH_BUCKETS, registry=registry
        )
        self.lag = Gauge("cdb_writer_lag_entries", "Journal entries not yet in PostgreSQL.", registry=registry)
        self.trimmed = Counter("cdb_writer_trimmed_entries", "Entries removed from the stream.", registry=registry)
        self.postgres_losses = Counter(
            "cdb_writer_postgres_losses", "Connections to PostgreSQL that were lost.", registry=registry
        )
        self.openings = Counter("cdb_writer_bus_openings", "Times the bus was opened.", registry=registry)
        self.copied = Counter("cdb_writer_copied_entries", "Entries copied back into Redis.", registry=registry)
        self.exported = Counter(
            "cdb_writer_exported_events", "Market data moved to files past retention.", registry=registry
        )
