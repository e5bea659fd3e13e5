"""Rows of recorded files: numbers, ticks, candles and the path that is played for a candle."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_ws.candles import candle_path, parse_candle
from services.cdb_ws.numbers import milliseconds, not_negative, positive, signed_fraction
from services.cdb_ws.observation import Observation, add_volumes
from services.cdb_ws.ticks import TickReader
from services.common.errors import FeedInputInvalid

pytestmark = pytest.mark.unit

MINUTE = 1_621_296_000_000


def candle_row(**changes: str) -> dict[str, str]:
    """A row of the crash day: open lies above high, as BitMEX writes it."""
    row = {
        "ts_ms": str(MINUTE),
        "symbol": "XBTUSD",
        "interval": "1m",
        "open": "43600",
        "high": "43590.5",
        "low": "43500",
        "close": "43550",
        "volume": "240.00000000000000003",
    }
    return {**row, **changes}


def tick_row(**changes: str) -> dict[str, str]:
    """A trade with its quote."""
    row = {
        "ts_ms": str(MINUTE),
        "symbol": "BTCUSDT",
        "price": "100.5",
        "qty": "0.25",
        "side": "buy",
        "bid": "100.4",
        "ask": "100.6",
        "bid_size": "1",
        "ask_size": "2",
    }
    return {**row, **changes}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("50000.50", "50000.50"),
        ("1e-7", "0.0000001"),
        ("0.000051540000000000005", "0.00005154"),
        ("999999999999.9999999999999999", "999999999999.9999999999999999"),
        ("0.00000000000000005", "0"),
    ],
)
def test_numbers_keep_their_digits(text: str, value: str) -> None:
    """Plain and exponent numbers are read exactly; only beyond 16 decimals (tails of doubles) something is rounded."""
    assert not_negative("volume", text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", "NaN", "Infinity", "-1", "1_000", "abc", "1000000000000", "١٢", "1e13", "0x10", "1,5"]
)
def test_numbers_that_are_none_are_refused(text: str) -> None:
    """NaN, infinities, negative, grouped, non-ASCII and too large numbers are refused with their name and value."""
    with pytest.raises(FeedInputInvalid, match="volume="):
        not_negative("volume", text)


def test_a_price_of_zero_is_refused() -> None:
    """Zero is a quantity, but no price."""
    assert not_negative("qty", "0.0") == 0
    with pytest.raises(FeedInputInvalid, match=r"price=0\.0: a number above 0 is meant"):
        positive("price", "0.0")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1621296000", "looks like seconds"),
        ("1621296000000000", "micro- or nanoseconds"),
        ("1621296000000.5", "whole milliseconds"),
        ("2021-05-18", "whole milliseconds"),
        ("", "whole milliseconds"),
        ("-5", "whole milliseconds"),
    ],
)
def test_times_in_other_units_are_refused_with_the_unit(text: str, hint: str) -> None:
    """Only epoch milliseconds are taken; other units are recognised by their size and named."""
    with pytest.raises(FeedInputInvalid, match=hint):
        milliseconds("ts_ms", text)


def test_a_candle_is_played_as_four_moments() -> None:
    """Open, low, high, close at 0, 15, 30 and 59.9 s; 2 bp spread; sizes volume/240; volume in quarters."""
    path = candle_path(parse_candle(candle_row(), "BTCUSDT"))
    start_us = MINUTE * 1000
    assert [o.timestamp_us - start_us for o in path] == [0, 15_000_000, 30_000_000, 59_900_000]
    assert [o.price for o in path] == [Decimal(p) for p in ("43600", "43500", "43590.5", "43550")]
    assert path[0].bid == Decimal("43595.64")  # 43600 * (1 - 0.0001)
    assert path[0].ask == Decimal("43604.36")
    assert {o.bid_size for o in path} == {Decimal(1)}  # 240 / 240
    assert [o.volume for o in path] == [Decimal(60)] * 4
    assert all(o.synthetic and o.low == o.price == o.high and o.symbol == "BTCUSDT" for o in path)


def test_the_last_moment_has_the_remainder_of_the_volume() -> None:
    """The four volumes add up exactly, also when a quarter has no short decimal form."""
    path = candle_path(parse_candle(candle_row(volume="0.0000000000000007"), "BTCUSDT"))
    assert [o.volume for o in path] == [0, 0, 0, Decimal("0.0000000000000007")]
    path = candle_path(parse_candle(candle_row(volume="48.50759738"), "BTCUSDT"))
    assert sum(o.volume for o in path) == Decimal("48.50759738")
    assert path[3].volume - path[0].volume < Decimal("1e-11")


def test_a_longer_candle_is_stretched() -> None:
    """An hour is played at 0, 15, 30 minutes and a tenth of a second before its end; sizes per quarter second of it."""
    path = candle_path(parse_candle(candle_row(interval="1h", volume="14400"), "BTCUSDT"))
    assert [(o.timestamp_us - MINUTE * 1000) // 100_000 for o in path] == [0, 9_000, 18_000, 35_999]
    assert path[0].bid_size == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interval": "60"}, "interval='60'"),
        ({"interval": "0m"}, "interval='0m'"),
        ({"high": "43499", "close": "43499"}, "high=43499 is below low=43500"),
        ({"close": "43591"}, "close=43591 lies outside"),
        ({"open": "0"}, "open=0"),
        ({"volume": "-1"}, "volume='-1'"),
        ({"ts_ms": "x"}, "ts_ms='x'"),
    ],
)
def test_impossible_candles_are_refused(changes: dict[str, str], message: str) -> None:
    """A candle that contradicts itself is refused with the column and the value."""
    with pytest.raises(FeedInputInvalid, match=message.replace("(", r"\(")):
        parse_candle(candle_row(**changes), "BTCUSDT")


def test_a_trade_row_is_a_trade_with_its_quote() -> None:
    """Price, quantity and the quote beside it are taken over."""
    assert TickReader().read(tick_row(), "BTCUSDT") == Observation(
        timestamp_us=MINUTE * 1000,
        symbol="BTCUSDT",
        price=Decimal("100.5"),
        high=Decimal("100.5"),
        low=Decimal("100.5"),
        volume=Decimal("0.25"),
        bid=Decimal("100.4"),
        ask=Decimal("100.6"),
        bid_size=Decimal(1),
        ask_size=Decimal(2),
    )


def test_a_quote_has_the_mid_before_the_first_trade_and_then_the_last_trades_price() -> None:
    """The price of a row without a trade is the last trade of its own symbol, before that the mid."""
    reader = TickReader()
    quote = tick_row(price="", qty="", side="", bid="99", ask="100")
    assert reader.read(quote, "BTCUSDT").price == Decimal("99.5")
    reader.read(tick_row(), "BTCUSDT")
    after = reader.read(quote, "BTCUSDT")
    assert (after.price, after.volume) == (Decimal("100.5"), 0)
    assert reader.read(quote, "ETHUSDT").price == Decimal("99.5")


def test_quotes_and_sizes_may_be_unknown() -> None:
    """A trade without a quote and a quote without sizes are taken as such; a file may lack the size columns."""
    reader = TickReader()
    bare = reader.read(tick_row(bid="", ask="", bid_size="", ask_size="", side=""), "BTCUSDT")
    assert (bare.bid, bare.ask, bare.bid_size, bare.ask_size) == (None, None, None, None)
    row = tick_row()
    del row["bid_size"], row["ask_size"]
    sizeless = reader.read(row, "BTCUSDT")
    assert (sizeless.bid, sizeless.bid_size) == (Decimal("100.4"), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qty": ""}, "qty=''"),
        ({"qty": "0"}, "qty=0"),
        ({"price": "NaN"}, "price='NaN'"),
        ({"side": "long"}, "side='long'"),
        ({"price": ""}, "a trade without its price"),
        ({"price": "", "qty": ""}, "a trade without its price"),
        ({"bid": ""}, "both or neither"),
        ({"ask": ""}, "both or neither"),
        ({"bid": "", "ask": ""}, "sizes without their quote"),
        ({"bid": "0"}, "bid=0"),
        ({"ask_size": "-2"}, "ask_size='-2'"),
        (dict.fromkeys(("price", "qty", "side", "bid", "ask", "bid_size", "ask_size"), ""), "neither a trade"),
    ],
)
def test_impossible_ticks_are_refused(changes: dict[str, str], message: str) -> None:
    """A row that is neither a whole trade nor a whole quote is refused with the column and the value."""
    with pytest.raises(FeedInputInvalid, match=message):
        TickReader().read(tick_row(**changes), "BTCUSDT")


def test_a_volume_beyond_28_digits_is_refused_rather_than_rounded() -> None:
    """Sums are exact or an error."""
    with pytest.raises(FeedInputInvalid, match="does not fit"):
        add_volumes(Decimal("999999999999.9999999999999999"), Decimal("0.0000000000000002"))


def test_a_perpetual_recording_may_have_mark_and_funding_rate() -> None:
    """Each where it is known; a later row without them keeps the earlier ones when rows are merged."""
    reader = TickReader()
    first = reader.read(tick_row(mark_price="100.45", funding_rate="-0.0001"), "BTCUSDT")
    second = reader.read(tick_row(mark_price="", funding_rate=""), "BTCUSDT")
    assert (first.mark_price, first.funding_rate) == (Decimal("100.45"), Decimal("-0.0001"))
    assert (second.mark_price, second.funding_rate) == (None, None)
    merged = first.then(second)
    assert (merged.mark_price, merged.funding_rate) == (Decimal("100.45"), Decimal("-0.0001"))
    assert second.then(first).mark_price == Decimal("100.45")


@pytest.mark.parametrize("text", ["1.5", "-2", "NaN", "--1", "x"])
def test_bad_funding_rates_are_refused(text: str) -> None:
    """A fraction between -1 and 1 is meant."""
    with pytest.raises(FeedInputInvalid, match="funding_rate"):
        signed_fraction("funding_rate", text)
