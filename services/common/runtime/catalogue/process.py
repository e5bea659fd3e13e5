"""What every service process shows, whatever its work."""

from __future__ import annotations

from services.common.channels import EXECUTION, WS
from services.common.runtime.catalogue.definition import Definition

__all__ = [
    "ALERTS_RAISED",
    "BUILD",
    "CLOCK_STALLED",
    "DEAD_LETTERS",
    "DEFINITIONS",
    "DISK_FREE",
    "DISK_SIZE",
    "ENTRIES_HANDLED",
    "EVENT_TIME",
    "EXCHANGE_CLOCK_OFFSET",
    "FOREIGN_ADMITTED",
    "HANDLE_TIME",
    "HEALTH_CHECK_FAILING",
    "JOURNAL_LAG",
    "JOURNAL_POSITION",
    "LAST_TICK_AGE",
    "OUTPUTS_PUBLISHED",
    "OUTPUTS_REPEATED",
    "PUBLISH_REFUSED",
    "PUBLISH_TIME",
    "RECONNECTS",
    "RUN_FINISHED",
    "SNAPSHOTS",
]

_STAGE_BUCKETS = (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

BUILD = Definition("cdb_build", "info", "Which code is running.", labels=("service", "version", "code_version"))
ENTRIES_HANDLED = Definition("cdb_entries_handled", "counter", "Journal entries handled.", labels=("channel",))
OUTPUTS_PUBLISHED = Definition(
    "cdb_outputs_published", "counter", "Events published through the journal.", labels=("channel",)
)
OUTPUTS_REPEATED = Definition(
    "cdb_outputs_repeated", "counter", "Batches that the journal already had (after a restart)."
)
JOURNAL_LAG = Definition("cdb_journal_lag_entries", "gauge", "Journal entries not yet handled.")
JOURNAL_POSITION = Definition("cdb_journal_position", "gauge", "Number of the last journal entry handled.")
LAST_TICK_AGE = Definition("cdb_last_tick_age_seconds", "gauge", "Wall time since the clock of cdb_ws last moved.")
CLOCK_STALLED = Definition(
    "cdb_clock_stalled", "gauge", "1 while the clock stands still that should run: then no order is sent."
)
EVENT_TIME = Definition("cdb_event_time_seconds", "gauge", "The clock of the run, Unix time; 0 before its first tick.")
RUN_FINISHED = Definition("cdb_run_finished", "gauge", "1 when the recording of this run has ended.")
HEALTH_CHECK_FAILING = Definition(
    "cdb_health_check_failing", "gauge", "1 while a check of /health fails.", labels=("check",)
)
DEAD_LETTERS = Definition("cdb_dead_letters", "counter", "Messages that were not admitted.", labels=("channel",))
FOREIGN_ADMITTED = Definition(
    "cdb_foreign_admitted", "counter", "Foreign messages admitted to the journal.", labels=("channel",)
)
RECONNECTS = Definition("cdb_reconnects", "counter", "Connections to Redis that were lost.")
PUBLISH_REFUSED = Definition("cdb_publish_refused", "counter", "Publications that waited for memory in the journal.")
HANDLE_TIME = Definition(
    "cdb_handle_seconds",
    "histogram",
    "Stage latency: time to fold one journal entry and publish what follows (core, risk, execution).",
    buckets=_STAGE_BUCKETS,
)
PUBLISH_TIME = Definition(
    "cdb_publish_seconds",
    "histogram",
    "Stage latency: time until the journal has taken the outputs of one entry.",
    buckets=_STAGE_BUCKETS,
)
SNAPSHOTS = Definition("cdb_snapshots", "counter", "Snapshots of the state written.")
ALERTS_RAISED = Definition(
    "cdb_alerts_raised", "counter", "Alerts raised by process or machine.", labels=("level", "code")
)
DISK_FREE = Definition("cdb_state_disk_free_bytes", "gauge", "Free space of the disk that holds the state folder.")
DISK_SIZE = Definition("cdb_state_disk_size_bytes", "gauge", "Size of the disk that holds the state folder.")
EXCHANGE_CLOCK_OFFSET = Definition(
    "cdb_exchange_clock_offset_seconds",
    "gauge",
    "Clock of the exchange less our own, as last measured; 0 while nothing is measured (recorded data, paper).",
    producers=(WS, EXECUTION),
)

DEFINITIONS = (
    BUILD,
    ENTRIES_HANDLED,
    OUTPUTS_PUBLISHED,
    OUTPUTS_REPEATED,
    JOURNAL_LAG,
    JOURNAL_POSITION,
    LAST_TICK_AGE,
    CLOCK_STALLED,
    EVENT_TIME,
    RUN_FINISHED,
    HEALTH_CHECK_FAILING,
    DEAD_LETTERS,
    FOREIGN_ADMITTED,
    RECONNECTS,
    PUBLISH_REFUSED,
    HANDLE_TIME,
    PUBLISH_TIME,
    SNAPSHOTS,
    ALERTS_RAISED,
    DISK_FREE,
    DISK_SIZE,
    EXCHANGE_CLOCK_OFFSET,
)
