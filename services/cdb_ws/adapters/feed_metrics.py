"""What cdb_ws shows of its feed: metrics, `/status` and whether it counts as alive."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from prometheus_client import Counter, Gauge

from services.cdb_ws.adapters.recorded_files import ReadCounts
from services.cdb_ws.recorded import Batch
from services.common.events import Event, MarketData
from services.common.runtime.lifecycle import Lifecycle
from services.common.timestamps import SECOND_US, format_timestamp

__all__ = ["FeedMetrics"]

SILENCE_SEC: Final = 5.0


class FeedMetrics:
    """Counts what the feed publishes.

    Args:
        life: whose health, status and metrics it adds to.
        speed: feed seconds per wall second, None for as fast as it goes.
        tick_sec: distance of the clock's ticks.

    Attributes:
        waiting_for: services that must come round before the feed goes on.
        ended: the recording has ended; silence is rightful.
    """

    def __init__(self, life: Lifecycle, *, speed: Decimal | None, tick_sec: int) -> None:
        registry = life.metrics.registry
        self.waiting_for: list[str] = []
        self.ended = False
        self._silence_sec = SILENCE_SEC if speed is None else max(SILENCE_SEC, 2.5 * tick_sec / float(speed))
        self._published_at: float | None = None
        self._began_at: float | None = None
        self._batch: Batch | None = None
        self._events: Tally[str] = Tally()
        self._files: list[str] = []
        self._counts = ReadCounts()
        self._market_data = Counter(
            "cdb_feed_market_data", "Market data events published, by symbol.", ["symbol"], registry=registry
        )
        self._gaps = Counter(
            "cdb_feed_gaps", "Market data events marked with a gap, by symbol.", ["symbol"], registry=registry
        )
        self.withheld = Counter(
            "cdb_feed_withheld_batches", "Batches merged into a later one for want of memory.", registry=registry
        )
        self._ticks = Counter("cdb_feed_ticks", "Ticks of the clock published.", registry=registry)
        self._time = Gauge("cdb_feed_time_seconds", "Feed time of the last batch, Unix time.", registry=registry)
        Gauge("cdb_feed_age_seconds", "Wall time since the last batch.", registry=registry).set_function(self._age_sec)
        Gauge("cdb_feed_rows", "Rows read from the recordings.", registry=registry).set_function(
            lambda: self._counts.rows
        )
        Gauge("cdb_feed_rejected_rows", "Rows skipped as unusable.", registry=registry).set_function(
            lambda: self._counts.rejected
        )
        Gauge("cdb_feed_ignored_rows", "Rows of symbols that are not played.", registry=registry).set_function(
            lambda: sum(self._counts.ignored.values())
        )
        Gauge("cdb_feed_finished", "1 when the recording has ended.", registry=registry).set_function(
            lambda: int(self.ended)
        )
        life.check("feed", self._silent)
        life.status.add("feed", self._status)

    def reading(self, counts: ReadCounts, files: Sequence[str]) -> None:
        """Show what is read from these files."""
        self._counts, self._files = counts, list(files)

    def published(self, batch: Batch, events: Sequence[Event]) -> None:
        """Count one batch that the journal has taken."""
        self._published_at = time.monotonic()
        if self._began_at is None:
            self._began_at = self._published_at
        self._batch = batch
        self._time.set(batch.timestamp_us / SECOND_US)
        for event in events:
            self._events[event.type] += 1
            if isinstance(event, MarketData):
                self._market_data.labels(event.symbol).inc()
                if event.gap:
                    self._gaps.labels(event.symbol).inc()
        if batch.kind == "tick":
            self._ticks.inc()

    def _age_sec(self) -> float:
        return 0.0 if self._published_at is None else time.monotonic() - self._published_at

    def _silent(self) -> str | None:
        if self.ended or self.waiting_for or self._age_sec() <= self._silence_sec:
            return None
        return f"nothing published for {self._age_sec():.1f} s (limit {self._silence_sec:.0f} s)"

    def _status(self) -> dict[str, Any]:
        elapsed_sec = 0.0 if self._began_at is None else time.monotonic() - self._began_at
        batch = self._batch
        return {
            "files": self._files,
            "position": None if batch is None else format_timestamp(batch.timestamp_us),
            "batch": None if batch is None else batch.number,
            "rows": self._counts.rows,
            "rows_ignored": dict(self._counts.ignored),
            "rows_rejected": self._counts.rejected,
            "events": dict(self._events),
            "events_per_sec": round(self._events.total() / elapsed_sec, 1) if elapsed_sec > 1 else None,
            "waiting_for": self.waiting_for,
            "finished": self.ended,
            "age_sec": round(self._age_sec(), 1),
        }
