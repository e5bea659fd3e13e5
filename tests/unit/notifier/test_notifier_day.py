"""The daily summary: its figures are those of the books, its curve follows risk's own numbers."""

from __future__ import annotations

from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from services.cdb_notifier.adapters.picture import HEIGHT, WIDTH, draw
from services.cdb_notifier.curve import MOST_POINTS, Curve
from services.common import channels
from services.common.events import LAYERS, LayerVerdict, PortfolioView, RiskDecision, Sizing
from services.common.timestamps import MINUTE_US
from tests.unit.notifier.notifier_desk import Desk

pytestmark = pytest.mark.unit


def decide(desk: Desk, *, approved: bool, reason: str, equity: str | None = None) -> None:
    """Put a decision of risk."""
    value = None if equity is None else Decimal(equity)
    view: dict[str, Any] = {name: value for name in PortfolioView.model_fields if name != "trading_state"}
    desk.put(
        RiskDecision, channels.RISK, signal_id="s", venue="mexc_spot", symbol="BTCUSDT", side="BUY", purpose="entry",
        approved=approved, reason=reason, sizing=Sizing(method="x", requested=Decimal(1), approved=Decimal(1)),
        layers=tuple(LayerVerdict(layer=name, code="OK", status="pass") for name in LAYERS),
        portfolio=PortfolioView(trading_state="ACTIVE", **view),
    )  # fmt: skip


def day_with_a_round_trip() -> Desk:
    """A day: 1000 USDT, two coins bought at 100, marked at 90 and 120, sold at 110; half a USDT of fee each."""
    desk = Desk()
    desk.start_day("1000", peak="1010")
    desk.wait(1)
    desk.fill("BUY", "2", "100", "o-1")
    desk.wait(1)
    desk.price("89", "91")
    desk.wait(1)
    desk.price("119", "121")
    desk.wait(1)
    desk.fill("SELL", "2", "110", "o-2")
    return desk


def test_the_summary_of_a_day() -> None:
    """PnL, equity, drawdown, trades, fees and refusals by layer; the next day begins with empty figures."""
    desk = day_with_a_round_trip()
    decide(desk, approved=True, reason="approved")
    decide(desk, approved=False, reason="spread_check, timeout_check")
    decide(desk, approved=False, reason="spread_check")

    message = desk.start_day("1019", day="2026-03-03")[0]
    empty = desk.start_day("1019", day="2026-03-04")[0]

    assert (message.level, message.title) == ("INFO", "2026-03-02: +19.00 USDT (+1.90 %)")
    assert message.body.splitlines()[:4] == [
        "Day PnL +19.00 USDT (+1.90 %)",
        "Equity 1,019.00 USDT, 1.97 % under the peak; worst of the day 3.02 %",
        "Trades: 2 fills of 2 orders (1 buys, 1 sells), turnover 420.00, fees 1.00 USDT",
        "Decisions: 1 approved; refused by layer: 2 spread_check, 1 timeout_check",
    ]
    assert "Trades: 0 fills" in empty.body


def test_the_curve_follows_fills_and_marks_minute_by_minute() -> None:
    """Equity after each step is what the books say: cash, less fees, plus the position at its mark."""
    desk = day_with_a_round_trip()

    curve = desk.machine.folded.curve

    assert curve.equity == Decimal(1019)
    steps = ("1000", "1000", "999.5", "979.5", "1039.5")
    assert [point.equity for point in curve.points] == [Decimal(text) for text in steps]
    assert curve.peak == Decimal("1039.5")


def test_a_mark_costs_nothing_while_nothing_is_held() -> None:
    """Market data are decoded only when a position waits for its mark of this minute, and then once."""
    desk = Desk()
    desk.start_day("1000")
    desk.price("100", "101")
    assert desk.machine.folded.curve.marks == {}
    desk.fill("BUY", "1", "100", "o-1")
    desk.wait(1)
    desk.price("99", "101", symbol="ETHUSDT")
    desk.price("109", "111")
    desk.price("119", "121")

    assert desk.machine.folded.curve.marks == {"mexc_spot:BTCUSDT": Decimal(110)}


def test_risks_own_number_wins_while_nothing_is_held() -> None:
    """A deposit, or a start in the middle of a run: the next decision sets the level; with a position it does not."""
    desk = Desk()
    decide(desk, approved=True, reason="approved", equity="500")
    assert desk.machine.folded.curve.equity is None, "before the day has begun nothing is known"
    desk.start_day("1000")
    decide(desk, approved=False, reason="spread_check", equity="1500")
    assert desk.machine.folded.curve.equity == Decimal(1500)
    desk.fill("BUY", "1", "100", "o-1", fee=None)
    decide(desk, approved=False, reason="spread_check", equity="1600")

    assert desk.machine.folded.curve.equity == Decimal(1500)


def test_fees_in_coin_funding_and_liquidation_are_booked() -> None:
    """A fee in base coin is less coin; funding is cash; after a liquidation only risk knows the level."""
    desk = Desk()
    desk.start_day("1000")
    desk.fill("BUY", "2", "100", "o-1", fee=Decimal("0.01"), fee_currency="BTC")
    curve = desk.machine.folded.curve
    assert curve.held == {"mexc_spot:BTCUSDT": Decimal("1.99")}
    assert curve.equity == Decimal(999)
    details: dict[str, Any] = {"venue": "mexc_spot", "symbol": "BTCUSDT", "amount": Decimal(-3)}
    desk.control("funding", producer=channels.EXECUTION, details=details)
    assert curve.equity == Decimal(996)
    desk.control("liquidation", producer=channels.EXECUTION, details=details)
    assert curve.equity is None
    assert curve.drawdown is None
    assert "Funding -3.00 USDT" in desk.start_day("900", day="2026-03-03")[0].body


def test_a_repeated_result_is_booked_once() -> None:
    """The cumulative quantity decides what is new."""
    desk = Desk()
    desk.start_day("1000")
    desk.fill("BUY", "1", "100", "o-1")
    desk.fill("BUY", "1", "100", "o-1")

    assert desk.machine.folded.day is not None
    assert desk.machine.folded.day.fills == 1


def test_the_end_of_a_recording_closes_the_day() -> None:
    """A run over a file tells its figures, too; a day whose equity nobody knows says so and has no picture."""
    desk = day_with_a_round_trip()
    told = desk.control("finished", producer=channels.WS)
    assert told[0].title == "2026-03-02: +19.00 USDT (+1.90 %)"
    assert "The recording has ended." in told[0].body

    other = Desk()
    other.control("start_of_day", producer=channels.RISK, details={"day": "2026-03-02", "equity": None})
    unknown = other.control("finished", producer=channels.WS)[0]
    assert unknown.title == "2026-03-02: unknown USDT (unknown)"
    assert unknown.curve == []


def test_no_summary_when_nobody_wants_one() -> None:
    """NOTIFY_DAILY_SUMMARY=false."""
    desk = Desk(daily=False)
    desk.start_day("1000")

    assert desk.start_day("1001", day="2026-03-03") == []


def test_events_that_are_gone_are_told_and_the_figures_begin_anew() -> None:
    """A hole in the journal is a CRITICAL message; what was folded before it is not mixed with what comes after."""
    desk = day_with_a_round_trip()

    told = desk.machine.missing(10, 20)

    assert told[0].title == "CRITICAL NOTIFIER_MISSED_EVENTS"
    assert desk.machine.folded.day is None
    assert desk.machine.folded.curve.equity is None


def test_a_long_day_keeps_a_bounded_curve() -> None:
    """1440 minutes become some 300 points, evenly, the last one included."""
    curve = Curve()
    curve.begin_day(Decimal(1000), None, 0)
    for minute in range(1, 1441):
        curve.fund(Decimal(1))
        curve.minute(minute * MINUTE_US, minute)

    assert len(curve.points) <= MOST_POINTS
    gaps = {later.at - earlier.at for earlier, later in zip(curve.points, curve.points[1:], strict=False)}
    assert max(gaps) <= 8 * MINUTE_US
    assert curve.points[-1].at >= 1432 * MINUTE_US


def test_the_picture_is_a_small_png_with_the_curve_in_it() -> None:
    """It has the promised size, few bytes, and blue where the curve is; a flat day is drawn as well."""
    desk = day_with_a_round_trip()
    message = desk.start_day("1019", day="2026-03-03")[0]

    data = draw(message)
    message.curve = [message.curve[0], message.curve[0]]
    flat = draw(message)

    image = Image.open(BytesIO(data)).convert("RGB")
    assert image.size == (WIDTH, HEIGHT)
    assert len(data) < 40_000
    colours = image.getcolors(WIDTH * HEIGHT)
    assert colours is not None
    assert sum(count for count, (red, _, blue) in colours if blue > 150 and red < 90) > 300
    assert flat.startswith(b"\x89PNG")
