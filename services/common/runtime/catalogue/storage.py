"""What cdb_writer shows of itself and of the two servers."""

from __future__ import annotations

from services.common.channels import WRITER
from services.common.runtime.catalogue.definition import Definition

__all__ = [
    "BACKUP_TIME",
    "DATABASE_SIZE",
    "DEFINITIONS",
    "REDIS_MEMORY_LIMIT",
    "REDIS_MEMORY_USED",
    "SERVER_UP",
    "WRITER_BATCHES",
    "WRITER_BATCH_EVENTS",
    "WRITER_BATCH_TIME",
    "WRITER_BUS_OPENINGS",
    "WRITER_COMMIT_AGE",
    "WRITER_COPIED",
    "WRITER_EXPORTED",
    "WRITER_LAG",
    "WRITER_POSTGRES_LOSSES",
    "WRITER_ROWS",
    "WRITER_TRIMMED",
]

_ONLY = (WRITER,)

WRITER_BATCHES = Definition("cdb_writer_batches", "counter", "Transactions committed.", _ONLY)
WRITER_BATCH_EVENTS = Definition(
    "cdb_writer_batch_events",
    "histogram",
    "Events of one transaction.",
    _ONLY,
    buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10000),
)
WRITER_BATCH_TIME = Definition(
    "cdb_writer_batch_seconds",
    "histogram",
    "Stage latency: time to fold and commit a batch.",
    _ONLY,
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
)
WRITER_ROWS = Definition("cdb_writer_rows", "counter", "Rows written.", _ONLY, ("table",))
WRITER_LAG = Definition("cdb_writer_lag_entries", "gauge", "Journal entries not yet in PostgreSQL.", _ONLY)
WRITER_COMMIT_AGE = Definition(
    "cdb_writer_commit_age_seconds",
    "gauge",
    "Wall time for which entries have waited without a commit; 0 while nothing waits.",
    _ONLY,
)
WRITER_TRIMMED = Definition("cdb_writer_trimmed_entries", "counter", "Entries removed from the stream.", _ONLY)
WRITER_POSTGRES_LOSSES = Definition(
    "cdb_writer_postgres_losses", "counter", "Connections to PostgreSQL that were lost.", _ONLY
)
WRITER_BUS_OPENINGS = Definition("cdb_writer_bus_openings", "counter", "Times the bus was opened.", _ONLY)
WRITER_COPIED = Definition("cdb_writer_copied_entries", "counter", "Entries copied back into Redis.", _ONLY)
WRITER_EXPORTED = Definition(
    "cdb_writer_exported_events", "counter", "Market data moved to files past retention.", _ONLY
)
SERVER_UP = Definition("cdb_server_up", "gauge", "1 while the server answers.", _ONLY, ("server",))
REDIS_MEMORY_USED = Definition("cdb_redis_memory_used_bytes", "gauge", "Memory that Redis uses.", _ONLY)
REDIS_MEMORY_LIMIT = Definition("cdb_redis_memory_limit_bytes", "gauge", "maxmemory of Redis; 0: none.", _ONLY)
DATABASE_SIZE = Definition("cdb_database_size_bytes", "gauge", "Size of the database in PostgreSQL.", _ONLY)
BACKUP_TIME = Definition(
    "cdb_backup_timestamp_seconds", "gauge", "When the last backup was made, Unix time; 0: none is known.", _ONLY
)

DEFINITIONS = (
    WRITER_BATCHES,
    WRITER_BATCH_EVENTS,
    WRITER_BATCH_TIME,
    WRITER_ROWS,
    WRITER_LAG,
    WRITER_COMMIT_AGE,
    WRITER_TRIMMED,
    WRITER_POSTGRES_LOSSES,
    WRITER_BUS_OPENINGS,
    WRITER_COPIED,
    WRITER_EXPORTED,
    SERVER_UP,
    REDIS_MEMORY_USED,
    REDIS_MEMORY_LIMIT,
    DATABASE_SIZE,
    BACKUP_TIME,
)
