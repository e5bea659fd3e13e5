"""What risk believes of the market: good quotes, the collar, gaps, volume and volatility; and prices of orders."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_risk.codes import Code
from services.cdb_risk.market import InstrumentMarket, Quote, plausible_price
from services.cdb_risk.prices import escalated_protection, expected_slippage, protection_price, worst_price
from services.common.events import MarketData

pytestmark = [pytest.mark.unit, pytest.mark.risk]

START = 1_621_425_600_000_000
COLLAR = Decimal("0.05")


def event(mid: Any = 50_000, at_ms: int = 0, *, half: Any = 1, **fields: Any) -> MarketData:
    """Return market data with quotes around `mid`."""
    mid = Decimal(mid)
    given: dict[str, Any] = {
        "event_id": "m",
        "timestamp": START + at_ms * 1_000,
        "producer": "cdb_ws",
        "venue": "mexc_spot",
        "symbol": "BTCUSDT",
        "price": mid,
        "high": mid,
        "low": mid,
        "bid": mid - Decimal(half),
        "ask": mid + Decimal(half),
        "bid_size": Decimal(1),
        "ask_size": Decimal(1),
        "sequence": 1,
    }
    return MarketData.model_validate({**given, **fields})


def fold(*events: MarketData) -> tuple[InstrumentMarket, list[str]]:
    """Fold events into a new market and return it with what each was worth."""
    market = InstrumentMarket()
    return market, [market.update(e, COLLAR) for e in events]


def test_first_quote_is_good() -> None:
    """With nothing to compare it with, a valid quote is the level."""
    market, worth = fold(event())
    assert worth == ["good"]
    assert market.good == 50_000
    assert market.problem(COLLAR) is Code.OK


def test_nothing_seen_is_missing() -> None:
    """Before the first quote the problem is that there is none, also after a trade without quotes."""
    market = InstrumentMarket()
    assert market.problem(COLLAR) is Code.MARKET_DATA_MISSING
    assert market.update(event(bid=None, ask=None), COLLAR) == "none"
    assert market.problem(COLLAR) is Code.MARKET_DATA_MISSING


def test_quote_at_the_collar_is_good_and_beyond_it_is_not() -> None:
    """A jump of exactly 5 % is accepted; one cent more is only a valid quote."""
    assert fold(event(), event(52_500, 250))[1] == ["good", "good"]
    market, worth = fold(event(), event("52500.01", 250))
    assert worth == ["good", "valid"]
    assert market.good == 50_000
    assert market.quote is not None
    assert market.quote.mid == Decimal("52500.01")
    assert market.problem(COLLAR) is Code.PRICE_COLLAR


def test_new_level_needs_three_consistent_quotes_over_two_seconds() -> None:
    """Two quotes in two seconds do not do, nor three within less; the third at two seconds does."""
    assert fold(event(), event(40_000, 0), event(40_001, 2_000))[1][-1] == "valid"
    assert fold(event(), event(40_000, 0), event(40_001, 1_000), event(40_000, 1_999))[1][-1] == "valid"
    market, worth = fold(event(), event(40_000, 0), event(40_001, 1_000), event(40_002, 2_000))
    assert worth[-1] == "good"
    assert market.good == 40_002
    assert market.problem(COLLAR) is Code.OK


def test_inconsistent_quotes_begin_anew() -> None:
    """A wild feed is not believed: each quote off the last candidate starts the count again."""
    worth = fold(event(), event(40_000, 0), event(30_000, 1_000), event(40_000, 2_000), event(40_000, 3_000))[1]
    assert worth == ["good", "valid", "valid", "valid", "valid"]


def test_return_to_the_old_level_forgets_the_candidate() -> None:
    """One bad tick leaves nothing behind."""
    market, worth = fold(event(), event(40_000, 0), event(50_010, 250))
    assert worth[-1] == "good"
    assert market.new_level is None


def test_crossed_book_is_a_problem_until_the_next_good_quote() -> None:
    """A crossed or locked book is worth nothing; the next good quote cures it."""
    market, worth = fold(event(), event(at_ms=1, bid=Decimal(50_001), ask=Decimal(50_001)))
    assert worth[-1] == "none"
    assert market.problem(COLLAR) is Code.CROSSED_BOOK
    assert market.update(event(at_ms=2), COLLAR) == "good"
    assert market.problem(COLLAR) is Code.OK


def test_a_mark_is_believed_beside_a_quote_or_alone_after_a_good_one_and_else_not() -> None:
    """A mark that nothing stands beside moves no stop: none before the first quote or with a crossed book."""
    alone, mark = {"bid": None, "ask": None, "bid_size": None, "ask_size": None}, Decimal(49_990)
    before, beside = event(mark_price=mark, **alone), event(at_ms=1, mark_price=mark)
    crossed = event(at_ms=2, mark_price=mark, bid=Decimal(50_001), ask=Decimal(50_001))
    after, astray = event(at_ms=3, mark_price=mark, **alone), event(at_ms=4, mark_price=Decimal(40_000), **alone)
    market, events = InstrumentMarket(), (before, beside, crossed, after, astray, event(at_ms=5))

    believed = [market.mark_of(seen, market.update(seen, COLLAR), COLLAR) for seen in events]

    assert believed == [None, mark, None, mark, None, None]


def test_trade_far_from_the_quotes_is_a_problem_for_entries() -> None:
    """Good quotes beside a last price outside the collar are not believed for entries."""
    market, worth = fold(event(price=Decimal(60_000), high=Decimal(60_000), low=Decimal(60_000)))
    assert worth == ["good"]
    assert market.problem(COLLAR) is Code.PRICE_COLLAR
    assert market.quote_problem is Code.OK


@pytest.mark.parametrize(
    "fields",
    [
        {"price": Decimal(10) ** 9 + 1},
        {"bid": Decimal("0.0000009")},
        {"ask": Decimal(10) ** 9 + 1},
        {"volume": Decimal(10) ** 15 + 1},
        {"ask_size": Decimal(10) ** 27},
    ],
)
def test_implausible_data_change_nothing_but_the_problem(fields: dict[str, Decimal]) -> None:
    """Prices beyond a billion or under a millionth, and sizes beyond 10^15, are not folded."""
    market, worth = fold(event(), event(at_ms=1, **fields))
    assert worth[-1] == "none"
    assert market.problem(COLLAR) is Code.IMPLAUSIBLE_DATA
    assert market.good == 50_000
    assert plausible_price(Decimal("0.000001"))
    assert plausible_price(Decimal(10) ** 9)


def test_gap_heals_after_three_good_quotes_over_two_seconds() -> None:
    """The event that reports the gap counts as the first when its quote is good."""
    market, _ = fold(event(gap=True), event(at_ms=1_000))
    assert market.gap_open
    market.update(event(at_ms=1_999), COLLAR)
    assert market.gap_open
    market.update(event(at_ms=2_000), COLLAR)
    assert not market.gap_open


def test_gap_without_a_good_quote_counts_from_zero() -> None:
    """A gap on a crossed book needs three good quotes after it; a new gap begins anew."""
    crossed = event(gap=True, bid=Decimal(2), ask=Decimal(1))
    market, _ = fold(crossed, event(at_ms=1_000), event(at_ms=2_000))
    assert market.gap_open
    market.update(event(at_ms=2_500), COLLAR)
    assert not market.gap_open
    market.update(event(at_ms=2_600, gap=True), COLLAR)
    assert market.gap_open


def test_crossed_quotes_do_not_heal_a_gap() -> None:
    """Only good quotes count."""
    market, _ = fold(event(gap=True), *(event(at_ms=t, bid=Decimal(2), ask=Decimal(1)) for t in (1_000, 2_000, 3_000)))
    assert market.gap_open


def test_volume_of_the_last_minute() -> None:
    """Volume is summed over 60 whole seconds and leaves after them; an event from the past is not lost."""
    market, _ = fold(
        event(volume=Decimal(1)),
        event(at_ms=400, volume=Decimal(2)),
        event(at_ms=30_000, volume=Decimal(4)),
        event(at_ms=29_000, volume=Decimal(8)),
    )
    assert market.volume_60s(START + 59_000_000) == 15
    assert market.volume_60s(START + 60_000_000) == 12
    assert market.volume_60s(START + 90_000_000) == 0
    market.update(event(at_ms=90_000, volume=Decimal(1)), COLLAR)
    assert len(market.volumes) == 1


def test_volatility_is_the_root_mean_square_of_minute_returns() -> None:
    """Closes 100, 101, 100 ... give returns +0.01 and -1/101 in turn; fewer than six closes give nothing."""
    closes = [100, 101, 100, 101, 100, 101]
    market, _ = fold(*(event(c, 60_000 * i, half="0.01") for i, c in enumerate(closes[:5])))
    assert market.volatility_1m is None
    market.update(event(closes[5], 300_000, half="0.01"), COLLAR)
    down = Decimal("-0.009900990099")
    expected = ((3 * Decimal("0.01") ** 2 + 2 * down**2) / 5).sqrt()
    assert market.volatility_1m is not None
    assert abs(market.volatility_1m - expected) < Decimal("1e-11")


def test_silent_minutes_carry_the_close_and_a_long_silence_begins_anew() -> None:
    """Up to five minutes are bridged with the last close; more than that is not one series."""
    market, _ = fold(event(100, 0, half="0.01"), event(101, 240_000, half="0.01"))
    assert [close.price for close in market.closes] == [100, 100, 100, 100, 101]
    market.update(event(102, 250_000, half="0.01"), COLLAR)
    assert market.closes[-1].price == 102
    market.update(event(103, 250_000 + 360_000, half="0.01"), COLLAR)
    assert [close.price for close in market.closes] == [103]


def test_closes_are_bounded() -> None:
    """61 closes make 60 returns; older ones go."""
    market, _ = fold(*(event(100, 60_000 * i, half="0.01") for i in range(70)))
    assert len(market.closes) == 61


# prices


def test_protection_price_is_on_the_tick_and_never_better_than_the_touch() -> None:
    """Buys: 50001 * 1.002 = 50101.002, down to 50101.00. Sells: 49999 * 0.996 = 49799.004, up to 49799.01."""
    tick = Decimal("0.01")
    assert protection_price("BUY", Decimal(50_001), Decimal("0.002"), tick) == Decimal("50101.00")
    assert protection_price("SELL", Decimal(49_999), Decimal("0.004"), tick) == Decimal("49799.01")
    # a tick coarser than the protection: the touch itself, on the grid
    assert protection_price("BUY", Decimal("1.05"), Decimal("0.002"), Decimal("0.1")) == Decimal("1.1")
    assert protection_price("SELL", Decimal("1.05"), Decimal("0.004"), Decimal("0.1")) == Decimal("1.0")
    assert protection_price("SELL", Decimal("0.05"), Decimal("0.004"), Decimal("0.1")) == Decimal("0.1")


def test_worst_price_includes_the_fee() -> None:
    """50101 * 1.0005 = 50126.0505."""
    assert worst_price(Decimal(50_101), Decimal("0.0005")) == Decimal("50126.0505")


def test_protection_escalates_to_the_limit_and_then_to_market() -> None:
    """0.004, 0.008, 0.016, 0.02, then MARKET for ever."""
    most = Decimal("0.02")
    steps = [escalated_protection(attempt, most) for attempt in range(7)]
    assert steps == [Decimal("0.004"), Decimal("0.008"), Decimal("0.016"), Decimal("0.02"), None, None, None]
    assert [escalated_protection(a, Decimal("0.004")) for a in range(2)] == [Decimal("0.004"), None]
    assert [escalated_protection(a, Decimal("0.001")) for a in range(2)] == [Decimal("0.001"), None]


def slippage(side: Any, quantity: str, **changed: Any) -> Decimal | None:
    """Return the expected slippage on bid 99.99, ask 100.01, one unit a side, no volume."""
    given: dict[str, Any] = {
        "bid_size": Decimal(1),
        "ask_size": Decimal(1),
        "volume_60s": Decimal(0),
        "volatility_1m": Decimal(0),
    } | changed
    quote = Quote(Decimal("99.99"), Decimal("100.01"), given["bid_size"], given["ask_size"], START)
    return expected_slippage(
        side, Decimal(quantity), quote,
        volume_60s=given["volume_60s"], volatility_1m=given["volatility_1m"], tick=Decimal("0.01"),
    )  # fmt: skip


def test_slippage_within_the_touch_is_the_half_spread() -> None:
    """Ask 100.01 against mid 100 is 0.0001, in both directions."""
    assert slippage("BUY", "1") == Decimal("0.0001")
    assert slippage("SELL", "1") == Decimal("0.0001")


def test_slippage_beyond_the_touch_walks_the_book() -> None:
    """3 units on 1: delta = 0.0001 (half-spread), the other 2 at ask * (1 + 0.0001 * (1 + 2) / 2) = 100.0250015.

    Average (100.01 + 2 * 100.0250015) / 3 = 100.020001; against mid 0.00020001.
    """
    found = slippage("BUY", "3")
    assert found is not None
    assert abs(found - Decimal("0.00020001")) < Decimal("1e-11")


def test_slippage_takes_impact_from_volume_and_volatility() -> None:
    """One unit of 100 traded in a minute at 1 % volatility: 0.01 * sqrt(0.01) = 0.001 more, on 100.01."""
    found = slippage("BUY", "1", volume_60s=Decimal(100), volatility_1m=Decimal("0.01"))
    assert found == Decimal("100.01") * Decimal("1.001") / 100 - 1


def test_unknown_depth_gives_no_slippage() -> None:
    """No size, a size of zero, and an order a million times what is there cannot be priced."""
    assert slippage("BUY", "1", ask_size=None) is None
    assert slippage("BUY", "1", ask_size=Decimal(0)) is None
    assert slippage("SELL", "1", bid_size=None) is None
    assert slippage("BUY", "1", ask_size=Decimal("0.0000001")) is None
    assert slippage("BUY", "1", volume_60s=Decimal("0.0000001")) is None
