"""What cdb_ws shows of its feed: metrics, `/status` and whether it counts as alive."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from prometheus_client import Counter

from services.cdb_ws.adapters.recorded_files import ReadCounts
from services.cdb_ws.recorded import Batch
from services.common.events import Event, MarketData
from services.common.runtime.catalogue import feed, process
from services.common.runtime.lifecycle import Lifecycle
from services.common.timestamps import SECOND_US, format_timestamp

__all__ = ["FeedMetrics"]

SILENCE_SEC: Final = 5.0


@dataclass
class _Symbol:
    """Counters of one instrument, and the feed time of its last event (microseconds)."""

    market_data: Counter
    gaps: Counter
    last_us: int | None = None


class FeedMetrics:
    """Counts what the feed publishes.

    Args:
        life: whose health, status and metrics it adds to.
        speed: feed seconds per wall second, None for as fast as it goes.
        tick_sec: distance of the clock's ticks.
        expected: venue and symbol of the instruments that shall be shown from the start.

    Attributes:
        waiting_for: services that must come round before the feed goes on.
        ended: the recording has ended; silence is rightful.
        reconnects, clock_offset, minutes_compared, trades_missed: of a feed that has a connection to an exchange.
    """

    def __init__(
        self, life: Lifecycle, *, speed: Decimal | None, tick_sec: int, expected: Iterable[tuple[str, str]] = ()
    ) -> None:
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
        self._by_symbol: dict[tuple[str, str], _Symbol] = {}
        self._market_data = feed.FEED_MARKET_DATA.counter(registry)
        self._gaps = feed.FEED_GAPS.counter(registry)
        self._symbol_age = feed.FEED_SYMBOL_AGE.gauge(registry)
        self.withheld = feed.FEED_WITHHELD.counter(registry)
        self.reconnects = feed.FEED_RECONNECTS.counter(registry)
        self.clock_offset = process.EXCHANGE_CLOCK_OFFSET.gauge(registry)
        self.minutes_compared = feed.FEED_MINUTES_COMPARED.counter(registry)
        self.trades_missed = feed.FEED_TRADES_MISSED.counter(registry)
        self._ticks = feed.FEED_TICKS.counter(registry)
        self._time = feed.FEED_TIME.gauge(registry)
        feed.FEED_AGE.gauge(registry).set_function(self._age_sec)
        feed.FEED_ROWS.gauge(registry).set_function(lambda: self._counts.rows)
        feed.FEED_REJECTED_ROWS.gauge(registry).set_function(lambda: self._counts.rejected)
        feed.FEED_IGNORED_ROWS.gauge(registry).set_function(lambda: sum(self._counts.ignored.values()))
        feed.FEED_FINISHED.gauge(registry).set_function(lambda: int(self.ended))
        for venue, symbol in expected:
            self._symbol(venue, symbol)
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
                of_symbol = self._by_symbol.get((event.venue, event.symbol)) or self._symbol(event.venue, event.symbol)
                of_symbol.last_us = event.timestamp
                of_symbol.market_data.inc()
                if event.gap:
                    of_symbol.gaps.inc()
        if batch.kind == "tick":
            self._ticks.inc()

    def _symbol(self, venue: str, symbol: str) -> _Symbol:
        of_symbol = _Symbol(self._market_data.labels(venue, symbol), self._gaps.labels(venue, symbol))
        self._by_symbol[venue, symbol] = of_symbol
        self._symbol_age.labels(venue, symbol).set_function(lambda: self._symbol_age_sec(of_symbol))
        return of_symbol

    def _symbol_age_sec(self, of_symbol: _Symbol) -> float:
        if self._batch is None or of_symbol.last_us is None:
            return float("nan")
        return (self._batch.timestamp_us - of_symbol.last_us) / SECOND_US

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
