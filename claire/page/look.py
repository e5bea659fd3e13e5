"""One look at everything for many lookers: services are asked, the database is read, what is old is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from threading import Lock
from typing import Any, Final

from claire.page.archive import Archive, ArchiveAway, ArchiveBusy
from claire.page.flow import Rates
from claire.page.past import RUN, CurvePoint, Mark, Past, read_past
from claire.page.shelf import Shelf
from claire.status import Answer, put_together
from services.common import channels

__all__ = ["Looker", "View"]

FRESH_SEC: Final = 1.0
"""Services are asked at most once in this time, however many look."""
OF_THE_EXCHANGE: Final = ("reconciliation", "canary", "unknown_orders")
STANDSTILL_SEC: Final = 90.0
"""Longer than a candle at its own speed; a live clock that stops is told by the services themselves, and sooner."""


@dataclass(frozen=True)
class View:
    """All that the page shows.

    Attributes:
        at: wall time of the look.
        status: what `claire status` knows.
        quote_ages_ms: age of the last quote at risk by the run's clock, by instrument; None: there was none.
        outcomes: how often execution gave which result.
        exchange: what execution says of the exchange itself; empty on paper.
        past: what the database knows; the last that was known when it does not answer.
        span: of the curve: run, week or day.
        points, marks: the curve and the fills on it.
        curve_fault: why it is old; empty when it is not.
        counts, rates: events of the run so far, and a second.
        stale: what is old, since when and why; each a sentence.
    """

    at: datetime
    status: Mapping[str, Any]
    quote_ages_ms: Mapping[str, int | None] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    exchange: Mapping[str, Any] = field(default_factory=dict)
    past: Past = field(default_factory=Past)
    span: str = RUN
    points: Sequence[CurvePoint] = ()
    marks: Sequence[Mark] = ()
    curve_fault: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[str, Decimal] = field(default_factory=dict)
    stale: Sequence[str] = ()


class Looker:
    """Looks when somebody does, and remembers the last look for a second."""

    def __init__(
        self,
        ask: Callable[[], Mapping[str, Answer]],
        archive: Archive | None,
        *,
        wall: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Name the sources.

        Args:
            ask: asks all services.
            archive: the database; None when there is none to be read.
            wall: seconds that only grow.
            clock: the time of day.
        """
        self._ask = ask
        self._archive = archive
        self._wall = wall
        self._clock = clock
        self._lock = Lock()
        self._last: tuple[float, View] | None = None
        self._rates = Rates()
        self._past = Past()
        self._shelf = None if archive is None else Shelf(archive, wall)
        self._since: dict[str, datetime] = {}
        self._clock_seen: tuple[Any, float, datetime] | None = None

    def look(self, span: str = RUN) -> View:
        """Return what is known at this moment, with the curve of a span (`run`, `week` or `day`)."""
        with self._lock:
            if self._last is None or self._wall() - self._last[0] >= FRESH_SEC:
                view = self._look()
                self._last = self._wall(), view
            return self._with_curve(self._last[1], span)

    def _look(self) -> View:
        answers = self._ask()
        status = put_together(answers)
        risk, execution = answers[channels.RISK].machine, answers[channels.EXECUTION].machine
        now = self._clock()
        stale = [*self._silence(status, now), *self._read(now), *self._standstill(status, now)]
        counts = dict(self._past.counts)
        ticks = (answers[channels.WS].status.get("feed") or {}).get("events") or {}
        if isinstance(ticks.get(channels.MARKET_DATA), int):
            counts[channels.MARKET_DATA] = ticks[channels.MARKET_DATA]
        return View(
            at=now,
            status=status,
            quote_ages_ms=dict(risk.get("quote_age_ms") or {}),
            outcomes=dict(execution.get("order_results") or {}),
            exchange={name: execution[name] for name in OF_THE_EXCHANGE if name in execution},
            past=self._past,
            counts=counts,
            rates=self._rates.note(self._wall(), counts),
            stale=stale,
        )

    def _lasts(self, what: str, *, bad: bool, now: datetime) -> datetime:
        """Remember since when something is bad."""
        if bad:
            return self._since.setdefault(what, now)
        self._since.pop(what, None)
        return now

    def _silence(self, status: Mapping[str, Any], now: datetime) -> list[str]:
        silent = not any(service["answers"] for service in status["services"].values())
        since = self._lasts("services", bad=silent, now=now)
        return [f"Stale since {since:%H:%M:%S} UTC: no service answers."] if silent else []

    def _read(self, now: datetime) -> list[str]:
        """Read the database; what was read before stays when it does not answer."""
        if self._archive is None or self._shelf is None:
            return []
        fault = ""
        try:
            past = self._archive.ask(read_past)
            if past.run_id != self._past.run_id:
                self._shelf.clear()
            self._past = past
        except (ArchiveAway, ArchiveBusy) as away:
            fault = str(away)
        since = self._lasts("database", bad=bool(fault), now=now)
        return [f"Curve, decisions and alerts are stale since {since:%H:%M:%S} UTC: {fault}"] if fault else []

    def _standstill(self, status: Mapping[str, Any], now: datetime) -> list[str]:
        """Say when the run's clock stands although its feed has not ended."""
        moment, at = status["now"], self._wall()
        if self._clock_seen is None or self._clock_seen[0] != moment:
            self._clock_seen = moment, at, now
        stood = at - self._clock_seen[1]
        if moment is None or stood < STANDSTILL_SEC or status["feed"]["finished"] or status["feed"]["kind"] is None:
            return []
        return [f"The run's clock stands still since {self._clock_seen[2]:%H:%M:%S} UTC: nothing is decided meanwhile."]

    def _with_curve(self, view: View, span: str) -> View:
        if self._shelf is None:
            return view
        drawn = self._shelf.curve(span)
        points = (
            _to_this_moment(drawn.points, view.status) if view.status["run_id"] == view.past.run_id else drawn.points
        )
        return replace(view, span=span, points=points, marks=drawn.marks, curve_fault=drawn.fault)


def _to_this_moment(points: Sequence[CurvePoint], status: Mapping[str, Any]) -> Sequence[CurvePoint]:
    """Return the curve with what risk says now at its end."""
    equity, moment = status["money"]["equity"], status["now"]
    if not isinstance(moment, str) or equity is None:
        return points
    at = int(datetime.fromisoformat(moment).timestamp())
    if points and at <= points[-1].at:
        return points
    # under the peak that the curve knows: risk has seen more moments and may know a higher one
    peak = points[-1].equity / (1 - points[-1].fall) if points and points[-1].fall < 1 else equity
    return [*points, CurvePoint(at, equity, 1 - equity / peak if 0 < equity < peak else Decimal(0))]
