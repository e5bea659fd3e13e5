"""What execution sees of a market: touch, volume of the last minute, volatility, and its own footprint."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_execution.market import SIGMA_UNKNOWN, Market
from services.common.events import MarketData
from services.common.timestamps import MINUTE_US, SECOND_US

pytestmark = pytest.mark.unit

START_US = 27_000_000 * MINUTE_US
"""A minute in May 2021; the times of these tests are microseconds after it."""


def observe(
    market: Market,
    after_us: int,
    *,
    price: str = "100",
    volume: str = "0",
    bid: str | None = "99",
    ask: str | None = "101",
    bid_size: str | None = "5",
    ask_size: str | None = "5",
    now: int | None = None,
) -> None:
    """Let a market see one event, `after_us` microseconds after the start."""
    at_us = START_US + after_us
    market.observe(
        MarketData(
            event_id="md",
            timestamp=at_us,
            producer="cdb_ws",
            venue="mexc_spot",
            symbol="BTCUSDT",
            price=Decimal(price),
            volume=Decimal(volume),
            high=Decimal(price),
            low=Decimal(price),
            bid=None if bid is None else Decimal(bid),
            ask=None if ask is None else Decimal(ask),
            bid_size=None if bid_size is None else Decimal(bid_size),
            ask_size=None if ask_size is None else Decimal(ask_size),
            sequence=1,
        ),
        at_us if now is None else START_US + now,
    )


def test_volume_is_that_of_the_last_sixty_seconds() -> None:
    """A trade counts for 60 s: one at second 0 no longer counts at second 60."""
    market = Market()
    observe(market, 0, volume="1")
    observe(market, SECOND_US, volume="2")
    observe(market, 59 * SECOND_US, volume="4")

    assert market.volume_60s(START_US + 59 * SECOND_US) == 7
    assert market.volume_60s(START_US + 60 * SECOND_US) == 6
    assert market.volume_60s(START_US + 61 * SECOND_US) == 4
    assert market.volume_60s(START_US + 200 * SECOND_US) == 0


def test_windows_do_not_grow_without_bound() -> None:
    """What is older than a minute is forgotten, for trades and for our own fills."""
    market = Market()
    for second in range(300):
        observe(market, second * SECOND_US, volume="1")
        market.take("BUY", Decimal(1), Decimal(1), START_US + second * SECOND_US)

    assert len(market.volumes) == len(market.own) == 60


def test_a_late_event_counts_only_where_it_belongs() -> None:
    """Volume stamped over a minute before now does not count as recent, and an old minute reopens no bar."""
    market = Market()
    observe(market, 2 * MINUTE_US, price="100", volume="1")
    observe(market, MINUTE_US - 1, price="77", volume="9", now=2 * MINUTE_US)

    assert market.volume_60s(START_US + 2 * MINUTE_US) == 1
    assert (market.minute, market.close) == (27_000_002, Decimal(100))


def test_own_fills_count_for_a_minute_on_both_sides() -> None:
    """Our footprint is what we bought and sold in the last 60 s."""
    market = Market()
    market.take("BUY", Decimal("0.2"), Decimal("0.3"), START_US)
    market.take("SELL", Decimal("0.1"), Decimal("0.1"), START_US + 30 * SECOND_US)

    assert market.own_60s(START_US + 59 * SECOND_US) == Decimal("0.4")
    assert market.own_60s(START_US + 60 * SECOND_US) == Decimal("0.1")
    assert (market.ask_taken, market.bid_taken) == (Decimal("0.2"), Decimal("0.1"))


@pytest.mark.parametrize(
    ("bid", "ask", "bid_size", "ask_size", "bid_taken", "ask_taken"),
    [
        ("99", "101", "5", "5", "2", "1"),  # the same quote again
        ("99", "101", "4", "4", "2", "1"),  # others took, nobody added
        ("99", "101", "5.1", "5", "0", "1"),  # the bid was added to
        ("99", "101", "5", "6", "2", "0"),  # the ask was added to
        ("99.5", "101", "5", "5", "0", "1"),  # another bid
        ("99", "100.5", "5", "5", "2", "0"),  # another ask
        (None, "101", "5", "5", "2", "1"),  # no quote: nothing is known to be new
        ("99", None, "5", "5", "2", "1"),
        ("99", "101", None, None, "2", "1"),  # a size that is not shown is no addition
    ],
)
def test_what_we_took_is_gone_until_the_touch_is_refreshed(  # noqa: PLR0917 -- one row of the table each
    bid: str | None, ask: str | None, bid_size: str | None, ask_size: str | None, bid_taken: str, ask_taken: str
) -> None:
    """Another price or a larger size refreshes a side of the book; a repetition or a smaller size does not."""
    market = Market()
    observe(market, 0)
    market.take("SELL", Decimal(2), Decimal(2), START_US)
    market.take("BUY", Decimal(1), Decimal(1), START_US)

    observe(market, 1, bid=bid, ask=ask, bid_size=bid_size, ask_size=ask_size)

    assert (market.bid_taken, market.ask_taken) == (Decimal(bid_taken), Decimal(ask_taken))


def test_a_size_that_is_not_shown_is_zero() -> None:
    """Unknown depth is no depth."""
    market = Market()
    observe(market, 0, bid_size=None, ask_size=None)

    assert market.bid_size == market.ask_size == 0


def closes(market: Market, prices: list[str], start_minute: int = 0) -> None:
    """Let a market see one price a minute."""
    for minute, price in enumerate(prices, start_minute):
        observe(market, minute * MINUTE_US, price=price)


def test_volatility_is_assumed_until_thirty_returns_were_seen() -> None:
    """31 closed minutes give 30 returns; before that 0.001 is assumed and flagged as such."""
    market = Market()
    closes(market, ["100", "101"] * 15 + ["100"])
    assert len(market.squared_returns) == 29
    assert market.sigma_1m == (SIGMA_UNKNOWN, False)

    closes(market, ["101"], start_minute=31)

    assert market.sigma_1m.known


def test_volatility_is_the_root_of_the_mean_square() -> None:
    """Closes 100, 101, 100, … : r is 0.01 and 1/1.01 - 1 = -0.00990099, mean square 0.0000990148, root 0.009950619."""
    market = Market()
    closes(market, ["100", "101"] * 31)

    up, down = Decimal("0.01"), Decimal("-0.009900990099")
    count_up, count_down = 30, 30
    mean = (count_up * up * up + count_down * down * down) / 60
    assert len(market.squared_returns) == 60
    assert abs(market.sigma_1m.value - mean.sqrt()) < Decimal("1e-12")
    assert market.sigma_1m.value.quantize(Decimal("1e-6")) == Decimal("0.009951")


def test_only_the_last_hour_counts() -> None:
    """After 60 quiet minutes a wild hour before them is forgotten."""
    market = Market()
    closes(market, ["100", "110"] * 30)
    closes(market, ["100"] * 62, start_minute=60)

    assert len(market.squared_returns) == 60
    assert market.sigma_1m == (Decimal(0), True)


def test_the_price_within_a_minute_is_its_last() -> None:
    """The close of a minute is the last price in it."""
    market = Market()
    observe(market, 0, price="100")
    observe(market, MINUTE_US, price="500")
    observe(market, MINUTE_US + 30 * SECOND_US, price="110")
    observe(market, 2 * MINUTE_US, price="1")

    assert list(market.squared_returns) == [Decimal("0.01")]


def test_a_short_silence_is_a_flat_price() -> None:
    """Minutes without an event close where the last one did: their return is 0."""
    market = Market()
    observe(market, 0, price="100")
    observe(market, MINUTE_US, price="110")
    observe(market, 4 * MINUTE_US, price="110")

    assert list(market.squared_returns) == [Decimal("0.01"), 0, 0]


def test_a_short_silence_after_the_first_minute_is_a_flat_price_too() -> None:
    """The first close has no return of its own, the silent minutes after it have."""
    market = Market()
    observe(market, 0, price="100")
    observe(market, 2 * MINUTE_US, price="110")

    assert list(market.squared_returns) == [0]


def test_a_long_silence_makes_the_volatility_unknown() -> None:
    """Five silent minutes are flat; six say nothing about volatility, least of all that it is zero."""
    market = Market()
    closes(market, ["100", "101"] * 20)
    assert market.sigma_1m.known

    observe(market, (39 + 6) * MINUTE_US, price="100")
    assert market.sigma_1m.known
    observe(market, (45 + 7) * MINUTE_US, price="100")

    assert market.sigma_1m == (SIGMA_UNKNOWN, False)
    observe(market, (52 + 1) * MINUTE_US, price="150")
    assert not market.squared_returns


@pytest.mark.parametrize("price", ["1001", "9.99", "9999999999", "0.000000000000000001"])
def test_an_absurd_jump_makes_the_volatility_unknown(price: str) -> None:
    """A price ten times off is no return to measure with, and its size cannot break the arithmetic."""
    market = Market()
    closes(market, ["100"] * 40)

    closes(market, [price, "100", "100"], start_minute=40)

    assert not market.sigma_1m.known
