"""What cdb_ws shows of a live feed: metrics, `/status`, `/top` and whether the exchange is being heard."""

from __future__ import annotations

from collections import Counter as Tally
from typing import Any

from prometheus_client import Counter

from services.cdb_ws.adapters.feed_metrics import FeedMetrics
from services.cdb_ws.adapters.live_session import LiveSession
from services.common.runtime.lifecycle import Lifecycle

__all__ = ["LiveMetrics"]


class LiveMetrics:
    """Looks at a session now and then, on the work loop's thread."""

    def __init__(self, life: Lifecycle, shown: FeedMetrics) -> None:
        self._session: LiveSession | None = None
        self._trouble: str | None = "the exchange has not been asked yet"
        self._reconnects = 0
        self._seen: Tally[tuple[str, ...]] = Tally()
        self._shown = shown
        life.check("exchange", lambda: self._trouble)
        life.status.add("exchange", self._status)
        life.status.add("top", self._top)

    def attach(self, session: LiveSession) -> None:
        """Look at this session from now on."""
        self._session, self._reconnects = session, 0
        self._seen.clear()

    def _status(self) -> dict[str, Any] | None:
        session = self._session
        return None if session is None else session.feed.status(session.now_us)

    def _top(self) -> dict[str, Any]:
        if self._session is None:
            return {"chosen": [], "ranking": []}
        screening = self._session.feed.screening
        if screening is None:
            return {"chosen": sorted(self._session.feed.instruments), "ranking": [], "note": "SYMBOLS is not auto"}
        return screening.top()

    def look(self) -> None:
        """Take over what the session shows now."""
        assert self._session is not None, "a session is attached before it is looked at"
        live, now_us = self._session.feed, self._session.now_us
        self._trouble = "; ".join(live.problems(now_us).values()) or None
        if live.offset_ms is not None:
            self._shown.clock_offset.set(live.offset_ms / 1_000)
        self._shown.reconnects.inc(live.reconnects - self._reconnects)
        self._reconnects = live.reconnects
        for symbol, one in live.instruments.items():
            labels = (live.venue, symbol)
            self._count(self._shown.trades_missed, labels, one.missed)
            for verdict, number in one.compared.items():
                self._count(self._shown.minutes_compared, (*labels, verdict), number)

    def _count(self, counter: Counter, labels: tuple[str, ...], number: int) -> None:
        new = number - self._seen[labels]
        if new > 0:
            counter.labels(*labels).inc(new)
        self._seen[labels] = number
