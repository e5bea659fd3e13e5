"""What cdb_ws shows of a live feed: metrics, `/status`, `/top` and whether the exchange is being heard."""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter, Gauge

from services.cdb_ws.adapters.live_session import LiveSession
from services.cdb_ws.live.words import Step
from services.common.runtime.lifecycle import Lifecycle

__all__ = ["LiveMetrics"]


class LiveMetrics:
    """Looks at a session now and then, on the work loop's thread."""

    def __init__(self, life: Lifecycle) -> None:
        registry = life.metrics.registry
        self._session: LiveSession | None = None
        self._trouble: str | None = "the exchange has not been asked yet"
        self._seen: dict[str, int] = {}
        self._counters = {
            name: Counter(f"cdb_exchange_{name}", text, registry=registry)
            for name, text in {
                "frames": "Frames of the exchange.",
                "bad_frames": "Frames that could not be used.",
                "reconnects": "Connections lost or given up.",
                "refusals": "Subscriptions refused.",
                "gaps": "Losses of messages, by any cause.",
                "trades_healed": "Trades brought back over REST.",
                "trades_repeated": "Trades that came again and were not counted twice.",
            }.items()
        }
        self._alerts = Counter("cdb_exchange_alerts", "Alerts of the live feed, by code.", ["code"], registry=registry)
        self._offset = Gauge("cdb_exchange_clock_offset_seconds", "The exchange's clock less ours.", registry=registry)
        self._connections = Gauge("cdb_exchange_connections", "Connections that are open.", registry=registry)
        self._problems = Gauge("cdb_exchange_problems", "What is wrong with the live feed now.", registry=registry)
        self._backlog = Gauge("cdb_exchange_backlog", "Frames and answers not yet handled.", registry=registry)
        self._age = Gauge(
            "cdb_exchange_symbol_age_seconds", "Time since the last message, by symbol.", ["symbol"], registry=registry
        )
        life.check("exchange", lambda: self._trouble)
        life.status.add("exchange", self._status)
        life.status.add("top", self._top)

    def attach(self, session: LiveSession) -> None:
        """Look at this session from now on."""
        self._session, self._seen = session, {}

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

    def alerted(self, step: Step) -> None:
        """Count the alerts of a step."""
        for news in step.news:
            self._alerts.labels(news.code).inc()

    def look(self) -> None:
        """Take over what the session shows now."""
        assert self._session is not None, "a session is attached before it is looked at"
        feed, now_us = self._session.feed, self._session.now_us
        problems = feed.problems(now_us)
        self._trouble = "; ".join(problems.values()) or None
        self._problems.set(len(problems))
        self._backlog.set(self._session.backlog)
        self._connections.set(
            sum(slot.current is not None and slot.current.opened_us is not None for slot in feed.slots)
        )
        if feed.offset_ms is not None:
            self._offset.set(feed.offset_ms / 1_000)
        instruments = feed.instruments.values()
        totals = {
            "frames": feed.frames,
            "bad_frames": feed.bad_frames,
            "reconnects": feed.reconnects,
            "refusals": feed.refusals,
            "gaps": sum(one.gaps for one in instruments),
            "trades_healed": sum(one.healed for one in instruments),
            "trades_repeated": sum(one.ledger.repeated for one in instruments),
        }
        for name, total in totals.items():
            self._counters[name].inc(max(0, total - self._seen.get(name, 0)))
        self._seen = totals
        for one in instruments:
            if one.heard_us is not None:
                self._age.labels(one.symbol).set((now_us - one.heard_us) / 1_000_000)
