"""Looks to draw: what services say, a day of decisions, a curve; each part may be said otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from claire.page.look import View
from claire.page.past import CurvePoint, Decided, Mark, Past
from claire.page.story import Told
from claire.status import Answer, put_together
from services.common import channels
from services.common.events import RiskDecision
from tests.unit.claire.pipeline_desk import Pipeline

__all__ = ["EVERYONE", "NOON", "a_view", "curve", "decisions", "no_story", "screen", "silence"]

EVERYONE = (*channels.SERVICES, *channels.ONLOOKERS)
NOON = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)
LIMITS = {
    "MAX_DAILY_DRAWDOWN_PCT": "0.05", "CIRCUIT_BREAKER_THRESHOLD_PCT": "0.1", "MAX_TOTAL_EXPOSURE_PCT": "0.3",
    "MAX_POSITION_PCT": "0.1", "MAX_CONCURRENT_POSITIONS": 3,
}  # fmt: skip


def screen(*, mode: str = "paper", execution: Any = None, core: Any = None, **risk: Any) -> dict[str, Any]:
    """Return what `claire status` knows while risk says this of itself."""
    answers = {
        service: Answer({"run_id": "run-1", "journal": {"lag": 0, "last_id": "1-7"}}, {}) for service in EVERYONE
    }
    machine = {"now": "2021-05-19T13:05:00.000000Z", "trading_state": "ACTIVE", **risk}
    answers[channels.RISK] = Answer(
        {"machine": machine, "config": LIMITS, "infrastructure": {"TRADING_MODE": mode}, "run_id": "run-1"}, {}
    )
    answers[channels.EXECUTION] = Answer({"machine": execution or {}, "config": {"TRADING_MODE": mode}}, {})
    answers[channels.CORE] = Answer({"machine": core or {}, "config": {"SYMBOLS": ["BTCUSDT"]}}, {})
    answers[channels.WS] = Answer(
        {"config": {"FEED": "recorded", "VENUE": "mexc_spot"}, "feed": {"age_sec": "0.2"}}, {}
    )
    return put_together(answers)


def silence() -> dict[str, Any]:
    """Return what is known when nobody answers."""
    return put_together({service: Answer() for service in EVERYONE})


@cache
def decisions() -> tuple[Decided, ...]:
    """Return an approved entry that filled, a refused one, and an exit with nothing to close; made by the machines."""
    pipeline = Pipeline()
    for _ in range(3):
        pipeline.quote("50000")
    pipeline.buy("50000")
    pipeline.buy("50000")
    pipeline.sell("50000")
    pipeline.sell("50000")
    made = [event for event in pipeline.journal if isinstance(event, RiskDecision)]
    return tuple(
        Decided(decision, "filled", decision.sizing.approved, Decimal(50_010))
        if decision.approved
        else Decided(decision)
        for decision in reversed(made)
    )


def curve(*equities: float) -> list[CurvePoint]:
    """Return a curve with a point a minute."""
    points, peak = [], Decimal(0)
    for minute, equity in enumerate(equities):
        exact = Decimal(str(equity))
        peak = max(peak, exact)
        points.append(CurvePoint(1_621_425_600 + 60 * minute, exact, (peak - exact) / peak))
    return points


def a_view(status: dict[str, Any] | None = None, *, shown: Sequence[Decided] = (), **other: Any) -> View:
    """Return a look."""
    known: dict[str, Any] = {
        "at": NOON,
        "status": status or screen(),
        "past": Past("run-1", NOON, shown),
        "points": curve(100_000, 100_200, 99_900, 100_050),
        "marks": [Mark(1_621_425_660, "buy", "buy 0.1 BTCUSDT at 50,000.00 (entry)")],
    }
    return View(**(known | other))


def no_story(_: str) -> Told:
    """Tell nothing."""
    return Told("<p>told</p>")
