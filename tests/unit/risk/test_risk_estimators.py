"""Volatility and average true range as risk folds them from market data and warm-up bars, worked by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_risk.estimators import AverageTrueRange, Estimator, ReturnWindow
from services.cdb_risk.settings import RiskSettings
from services.common.events import MarketData
from services.common.timestamps import MINUTE_US
from services.common.warmup import WarmupBar

pytestmark = [pytest.mark.unit, pytest.mark.risk]

MINUTE = 27_023_760
"""2021-05-19 12:00 UTC, the beginning of an hour."""

SETTINGS = RiskSettings()
SHORT_BARS = RiskSettings(ATR_BAR_MIN=2, ATR_PERIOD=3)


def market_data(price: str, high: str | None = None, low: str | None = None) -> MarketData:
    """Return an event whose extremes are its price unless told."""
    given: dict[str, Any] = {
        "event_id": "md",
        "timestamp": MINUTE * MINUTE_US,
        "producer": "cdb_ws",
        "venue": "mexc_spot",
        "symbol": "BTCUSDT",
        "price": Decimal(price),
        "volume": Decimal(0),
        "high": Decimal(high or price),
        "low": Decimal(low or price),
        "bid": None,
        "ask": None,
        "bid_size": None,
        "ask_size": None,
        "sequence": 1,
    }
    return MarketData.model_validate(given)


def add(estimator: Estimator, minute: int, price: str, mid: str | None = None, **more: Any) -> None:
    """Let an estimator see one good event of minute `minute` of the hour; the mid is the price unless told."""
    event = market_data(price, **more)
    estimator.add(event, Decimal(mid or price), MINUTE + minute, more.get("settings", SETTINGS))


def bars(estimator: AverageTrueRange, rows: list[tuple[str, str, str]], first: int = 0) -> None:
    """Push two-minute bars of (high, low, close): their first minute holds the extremes, their second the close."""
    for number, (high, low, close) in enumerate(rows):
        minute = MINUTE + first + 2 * number
        estimator.push(minute, Decimal(high), Decimal(low), Decimal(low), SHORT_BARS)
        estimator.push(minute + 1, Decimal(close), Decimal(close), Decimal(close), SHORT_BARS)


def test_volatility_is_the_root_mean_square_return_of_a_year() -> None:
    """Up 1 % and down 1/101 in turn, 240 returns: sqrt((0.01^2 + 0.009900990099^2) / 2 * 525600), cut."""
    window = ReturnWindow()
    for number in range(241):
        window.push(Decimal(100 + number % 2), 720)

    estimate = window.annualised()

    assert estimate.value == Decimal("7.214026627228")
    assert (estimate.seen, estimate.needed) == (240, 240)


def test_volatility_is_unknown_before_240_returns() -> None:
    """239 returns are not enough, and say how many there are."""
    window = ReturnWindow()
    for _ in range(240):
        window.push(Decimal(100), 720)

    estimate = window.annualised()

    assert estimate.value is None
    assert (estimate.seen, estimate.needed, estimate.of_what) == (239, 240, "one-minute returns")


def test_old_returns_leave_the_window_without_a_trace() -> None:
    """After a jump and then W quiet minutes the sum is exactly zero again; a shorter window lets go at once."""
    window = ReturnWindow()
    for price in ("100", "150", *["150"] * 240):
        window.push(Decimal(price), 240)
    assert (window.square_sum, len(window.squares)) == (0, 240)

    window.push(Decimal(150), 100)

    assert len(window.squares) == 100


def test_the_true_range_is_wilders() -> None:
    """True ranges 10, 8, 9 (from the close before: 120 - 111) give 9; then 14 gives (9 * 2 + 14) / 3."""
    atr = AverageTrueRange()
    rows = [("110", "100", "105"), ("112", "104", "111"), ("120", "115", "118")]

    bars(atr, rows[:2])
    assert atr.estimate(SHORT_BARS).value is None
    assert (atr.estimate(SHORT_BARS).seen, atr.estimate(SHORT_BARS).of_what) == (2, "bars of 2 min")
    bars(atr, rows[2:], first=4)
    assert atr.estimate(SHORT_BARS).value == 9
    bars(atr, [("119", "105", "106")], first=6)

    assert atr.estimate(SHORT_BARS).value == Decimal("10.666666666667")


def test_a_bar_whose_beginning_was_not_seen_gives_only_its_close() -> None:
    """Half a bar would understate the range; the next true range refers to its close."""
    atr = AverageTrueRange()
    atr.push(MINUTE + 1, Decimal(500), Decimal(1), Decimal(100), SHORT_BARS)
    assert atr.count == 0

    bars(atr, [("110", "104", "105")], first=2)

    assert (atr.count, atr.total) == (1, 10)


def test_a_bar_without_its_last_minute_closes_with_the_next() -> None:
    """Silence over the end of a bar does not lose it, and the jump counts in the next one."""
    atr = AverageTrueRange()
    atr.push(MINUTE, Decimal(110), Decimal(100), Decimal(105), SHORT_BARS)
    assert atr.count == 0

    bars(atr, [("122", "120", "121")], first=4)

    assert (atr.count, atr.total) == (2, 10 + 17)


def test_other_bars_begin_anew() -> None:
    """An ATR of two-minute bars is not one of hours; nothing is known until there are enough of them."""
    atr = AverageTrueRange()
    bars(atr, [("110", "100", "105")] * 3)
    assert atr.estimate(SHORT_BARS).value is not None
    assert (atr.estimate(SETTINGS).value, atr.estimate(SETTINGS).seen) == (None, 0)

    atr.push(MINUTE + 6, Decimal(110), Decimal(100), Decimal(105), SETTINGS)

    assert (atr.bar_min, atr.period, atr.count) == (60, 14, 0)


def test_a_minute_has_the_last_price_and_the_extremes_of_all() -> None:
    """High and low come from the events, the close is the last price; the minute closes with a later event."""
    estimator = Estimator()
    add(estimator, 0, "100", high="101")
    add(estimator, 0, "99", low="98")
    add(estimator, 0, "100")
    assert estimator.returns.close is None

    add(estimator, 1, "102")

    assert estimator.returns.close == 100
    assert (estimator.true_range.high, estimator.true_range.low) == (101, 98)


def test_one_bad_print_moves_neither_volatility_nor_range() -> None:
    """Prices over the collar (5 % from the mid) are no extremes, and as a close they give way to the mid."""
    estimator = Estimator()
    add(estimator, 0, "100", high="106", low="94.9")
    add(estimator, 0, "200", mid="100.5", high="200")

    estimator.close_until(MINUTE + 1, SETTINGS)

    assert estimator.returns.close == Decimal("100.5")
    assert (estimator.true_range.high, estimator.true_range.low) == (Decimal("100.5"), 100)


def test_five_silent_minutes_repeat_the_close_and_longer_silence_is_left_out() -> None:
    """Nine minutes of silence: five returns of zero, then the whole jump as one return, however often a tick came."""
    quiet, ticked = Estimator(), Estimator()
    for estimator in (quiet, ticked):
        add(estimator, 0, "100")
    for minute in range(1, 11):
        ticked.close_until(MINUTE + minute, SETTINGS)

    for estimator in (quiet, ticked):
        add(estimator, 10, "101")
        estimator.close_until(MINUTE + 11, SETTINGS)

    assert quiet == ticked
    assert list(quiet.returns.squares) == [0, 0, 0, 0, 0, 10**20]


def test_silence_longer_than_the_window_begins_anew() -> None:
    """What was known twelve hours ago is not today's volatility; the range of 14 hours is still known then."""
    estimator = Estimator()
    for minute in range(60):
        add(estimator, minute, "100", high="101")
    assert estimator.true_range.count == 0
    add(estimator, 60, "100")
    assert (len(estimator.returns.squares), estimator.true_range.count) == (59, 1)

    add(estimator, 60 + 727, "150")

    assert (len(estimator.returns.squares), estimator.returns.close) == (0, None)
    assert (estimator.true_range.count, estimator.true_range.closed) == (1, 100)
    add(estimator, 60 + 728 + 14 * 60, "150")
    assert (estimator.true_range.count, estimator.true_range.closed) == (2, 100), "14 hours are not longer than 14 bars"
    add(estimator, 60 + 729 + 28 * 60 + 1, "150")
    assert (estimator.true_range.count, estimator.true_range.closed) == (0, None)


@pytest.mark.parametrize(("silent", "kept"), [(240, 6), (241, 0)])
def test_silence_as_long_as_the_window_is_still_within_it(silent: int, kept: int) -> None:
    """W silent minutes keep what was known and count the jump; one more begins anew."""
    settings, estimator = RiskSettings(VOL_WINDOW_MIN=240), Estimator()
    estimator.add(market_data("100"), Decimal(100), MINUTE, settings)
    later = MINUTE + 1 + silent
    estimator.add(market_data("101"), Decimal(101), later, settings)

    estimator.close_until(later + 1, settings)

    assert len(estimator.returns.squares) == kept


def test_warmup_bars_fill_what_is_not_known_yet() -> None:
    """Older bars are passed over, the open minute is replaced by the exchange's own, later ones close at once."""
    estimator = Estimator()
    settings = RiskSettings(ATR_BAR_MIN=1, ATR_PERIOD=2)
    for minute, close in ((0, "100"), (1, "104"), (1, "1"), (0, "1")):
        estimator.add_bar(WarmupBar(MINUTE + minute, Decimal(110), Decimal(90), Decimal(close), Decimal(1)), settings)
    assert [estimator.returns.close, estimator.minute] == [104, MINUTE + 2]
    assert estimator.true_range.estimate(settings).value == 20

    estimator.add(market_data("500"), Decimal(500), MINUTE + 2, settings)
    estimator.add_bar(WarmupBar(MINUTE + 2, Decimal(108), Decimal(100), Decimal(104), Decimal(1)), settings)

    assert estimator.returns.close == 104
    assert estimator.true_range.estimate(settings).value == 14


@pytest.mark.parametrize(("high", "low"), [("1E12", "100"), ("100", "1E-9")])
def test_an_implausible_warmup_bar_is_passed_over(high: str, low: str) -> None:
    """A price over a billion or under a millionth is a fault of the data, not a range."""
    estimator = Estimator()

    estimator.add_bar(WarmupBar(MINUTE, Decimal(high), Decimal(low), Decimal(100), Decimal(1)), SETTINGS)

    assert estimator == Estimator()


def test_the_clock_closes_nothing_before_anything_was_seen() -> None:
    """A tick before the first market data leaves an estimator as it is."""
    estimator = Estimator()

    estimator.close_until(MINUTE, SETTINGS)

    assert estimator == Estimator()
