"""One-minute bars: what closes them, what fills a silent minute, what makes one unclean, and warm-up bars."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_core.bars import Bar, BarBuilder
from services.common.events import MarketData
from services.common.warmup import WarmupBar

pytestmark = [pytest.mark.unit, pytest.mark.signal]

FAR = 10_000


def market_data(
    price: str, volume: str = "0", high: str | None = None, low: str | None = None, **more: Any
) -> MarketData:
    """Return market data; high and low are the price unless told."""
    return MarketData(
        event_id="md",
        timestamp=1_621_000_000_000_000,
        producer="cdb_ws",
        venue="mexc_spot",
        symbol="BTCUSDT",
        price=Decimal(price),
        volume=Decimal(volume),
        high=Decimal(high or price),
        low=Decimal(low or price),
        sequence=1,
        **more,
    )


def test_a_bar_has_the_last_price_the_extremes_and_the_value_traded() -> None:
    """Close is the last price, high and low span all events, volume is in USDT: 2 * 101 + 0.5 * 99 = 251.5."""
    builder = BarBuilder.opening(10, Decimal(100))
    builder.add(market_data("101", "2", high="103", low="100"))
    builder.add(market_data("99", "0.5", high="101", low="98"))

    bars = builder.close_until(11, 5, FAR)

    assert bars == [Bar(10, Decimal(99), Decimal(103), Decimal(98), volume_e8=25_150_000_000)]


def test_the_first_events_extremes_are_the_bars_own() -> None:
    """The previous close is no extreme of a new bar that never traded there."""
    builder = BarBuilder.opening(10, Decimal(100))
    builder.add(market_data("100"))
    builder.close_until(11, 5, FAR)
    builder.add(market_data("90", high="91", low="89"))

    (bar,) = builder.close_until(12, 5, FAR)

    assert (bar.high, bar.low) == (Decimal(91), Decimal(89))


def test_a_silent_minute_repeats_the_close_with_volume_zero() -> None:
    """Minutes without market data take the previous close, no volume, and are marked as not observed."""
    builder = BarBuilder.opening(10, Decimal(100))
    builder.add(market_data("101", "1"))

    bars = builder.close_until(13, 5, FAR)

    flat = Decimal(101)
    assert bars[1:] == [Bar(minute, flat, flat, flat, volume_e8=0, observed=False) for minute in (11, 12)]


def test_nothing_closes_within_the_minute() -> None:
    """Asked to close up to the open minute, a builder closes nothing."""
    builder = BarBuilder.opening(10, Decimal(100))

    assert builder.close_until(10, 5, FAR) == []
    assert builder.close_until(9, 5, FAR) == []


def test_a_silence_is_unclean_only_beyond_the_limit() -> None:
    """With two silent minutes allowed, the third and fourth are unclean; data make the next bar clean again."""
    builder = BarBuilder.opening(10, Decimal(100))
    builder.add(market_data("100"))
    bars = builder.close_until(15, 2, FAR)
    builder.add(market_data("100"))
    bars += builder.close_until(17, 2, FAR)

    assert [bar.clean for bar in bars] == [True, True, True, False, False, True, True]


def test_a_gap_of_the_feed_makes_its_own_bar_unclean() -> None:
    """`gap` on any event of the minute makes that bar unclean, and not the next."""
    builder = BarBuilder.opening(10, Decimal(100))
    builder.add(market_data("100", gap=True))
    builder.add(market_data("100"))
    bars = builder.close_until(11, 5, FAR)
    builder.add(market_data("100"))
    bars += builder.close_until(12, 5, FAR)

    assert [bar.clean for bar in bars] == [False, True]


def test_a_silence_longer_than_every_window_is_shortened() -> None:
    """A year without data closes the open bar and no more bars than the windows hold, the last one up to now."""
    builder = BarBuilder.opening(10, Decimal(100))
    builder.add(market_data("100", "1"))

    bars = builder.close_until(500_000, 5, 20)

    assert bars[0].minute == 10
    assert bars[0].volume_e8 == 10_000_000_000
    assert [bar.minute for bar in bars[1:]] == list(range(499_980, 500_000))
    assert not any(bar.clean for bar in bars[1:])
    assert builder.minute == 500_000


def test_absurd_numbers_count_as_the_limit() -> None:
    """A traded value beyond a trillion USDT counts as a trillion, so that no number leaves its range."""
    builder = BarBuilder.opening(10, Decimal(100))
    builder.add(market_data("9" * 10, "9" * 10))

    (bar,) = builder.close_until(11, 5, FAR)

    assert bar.volume_e8 == 10**20


def test_a_warmup_bar_becomes_a_clean_bar_with_its_traded_value() -> None:
    """Volume in base units times the close is the traded value; nothing about the minute is in doubt."""
    bar = Bar.of_warmup(WarmupBar(10, Decimal(110), Decimal(90), Decimal(100), Decimal(2)))

    assert bar == Bar(10, Decimal(100), Decimal(110), Decimal(90), volume_e8=20_000_000_000)
