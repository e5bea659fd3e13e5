"""What the writer counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from services.cdb_writer.rows import TABLES
from services.common.runtime.catalogue import storage

__all__ = ["WriterMetrics"]


class WriterMetrics:
    """The writer's own metrics, on the registry of its process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register everything."""
        self.batches = storage.WRITER_BATCHES.counter(registry)
        self.batch_events = storage.WRITER_BATCH_EVENTS.histogram(registry)
        self.batch_time = storage.WRITER_BATCH_TIME.histogram(registry)
        self.rows = storage.WRITER_ROWS.counter(registry)
        self.lag = storage.WRITER_LAG.gauge(registry)
        self.commit_age = storage.WRITER_COMMIT_AGE.gauge(registry)
        self.trimmed = storage.WRITER_TRIMMED.counter(registry)
        self.postgres_losses = storage.WRITER_POSTGRES_LOSSES.counter(registry)
        self.openings = storage.WRITER_BUS_OPENINGS.counter(registry)
        self.copied = storage.WRITER_COPIED.counter(registry)
        self.exported = storage.WRITER_EXPORTED.counter(registry)
        for table in ("events", *(row.table for row in TABLES)):
            self.rows.labels(table)
