"""Levels of a book in market data: absent from the bytes where there are none, and never against the quote."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.book import MAX_LEVELS, Side, read_side
from services.common.channels import CORE, MARKET_DATA
from services.common.errors import ContractViolation
from services.common.events import MarketData, parse_event
from services.common.journal.foreign import admit
from tests.property.effort import examples

pytestmark = pytest.mark.unit

QUOTED: dict[str, Any] = {
    "event_id": "e1", "timestamp": "2021-05-19T12:00:00Z", "producer": "cdb_ws", "venue": "mexc_spot",
    "symbol": "BTCUSDT", "price": Decimal("100.0"), "high": Decimal("100.0"), "low": Decimal("100.0"), "sequence": 1,
    "bid": Decimal("99.5"), "bid_size": Decimal("2.5"), "ask": Decimal("100.5"), "ask_size": Decimal("1.5"),
}  # fmt: skip


def side(*levels: tuple[str, str]) -> Side:
    """Return levels from text."""
    return tuple((Decimal(price), Decimal(size)) for price, size in levels)


BIDS = side(("99.5", "2.5"), ("99.4", "1.0"))
ASKS = side(("100.5", "1.5"), ("100.6", "7.0"), ("101.0", "0.5"))


def test_levels_stand_behind_everything_else_and_only_where_they_are_known() -> None:
    """Without levels the bytes are those of before; a side that was not seen is not written."""
    without, one, both = (
        MarketData.parse(QUOTED | more) for more in ({}, {"asks": ASKS}, {"bids": BIDS, "asks": ASKS})
    )

    assert without.data.endswith(b'"funding_rate":null}')
    assert one.data == without.data[:-1] + b',"asks":[[100.5,1.5],[100.6,7.0],[101.0,0.5]]}'
    assert json.loads(both.data)["bids"] == [[99.5, 2.5], [99.4, 1.0]]


@pytest.mark.parametrize("more", [{}, {"bids": BIDS}, {"asks": ASKS}, {"bids": BIDS, "asks": ASKS}])
def test_the_short_way_reads_what_the_long_way_reads(more: dict[str, Any]) -> None:
    """Written, read by the compiled reader, made from Python objects: always the same event with the same bytes."""
    event = MarketData.parse(QUOTED | more)
    assert MarketData._read is not None

    read = MarketData._read(json.loads(event.data, parse_float=Decimal))

    assert read is not None
    assert read == {name: value for name, value in event.__dict__.items() if name != "data"}
    assert parse_event(MARKET_DATA, event.data) == event == MarketData.model_validate(QUOTED | more)
    assert MarketData.make(**event.model_dump()) == event


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"bids": ()}, "at least 1"),
        ({"bids": BIDS * MAX_LEVELS}, "at most 20"),
        ({"bids": BIDS[::-1]}, "first level 1.0 at 99.4 is not the quote 2.5 at 99.5"),
        ({"bids": (*BIDS, BIDS[1])}, "each price once"),
        ({"asks": (ASKS[0], ASKS[2], ASKS[1])}, "100.6 stands behind 101.0"),
        ({"asks": side(("100.5", "9"))}, "not the quote"),
        ({"asks": ASKS, "ask": None}, "not the quote"),
        ({"bids": BIDS, "ask": Decimal("99.5")}, "crossed"),
        ({"asks": side(("100.5", "1.5"), ("100.6", "0"))}, "greater than 0"),
        ({"asks": (*ASKS, (Decimal("NaN"), Decimal(1)))}, "finite"),
        ({"asks": (*ASKS, (Decimal(102), Decimal(1), Decimal(1)))}, "asks"),
    ],
)
def test_levels_that_contradict_are_refused_on_every_way(wrong: dict[str, Any], named: str) -> None:
    """Sorted, uncrossed, the first level the quote, finite and above 0: else the fault is named."""
    fields = MarketData.parse(QUOTED).model_dump() | wrong

    with pytest.raises(ContractViolation, match=named):
        MarketData.parse(QUOTED | wrong)
    with pytest.raises(ValueError, match=named):
        MarketData.make(**fields)


@settings(max_examples=examples(40))
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)), max_size=30), st.booleans())
def test_a_side_of_another_tool_is_sorted_or_left_alone(rows: list[tuple[int, int]], falling: bool) -> None:
    """In any order, as numbers or text, with empty levels and more columns; a price that stands twice is none."""
    read = read_side([[price, str(size), "x"] for price, size in rows], falling=falling)

    prices = [price for price, _ in rows]
    wanted = sorted(((p, s) for p, s in rows if s), reverse=falling)[:MAX_LEVELS]
    odd = any(price in prices[:place] and dict(rows[:place]).get(price) for place, price in enumerate(prices))
    assert read == (None if odd or not wanted else tuple(wanted))


@pytest.mark.parametrize("rows", [None, 7, "x", [1], [[1]], [[0, 1]], [[1, -1]], [["x", 1]], [[True, 1]], [["NaN", 1]]])
def test_a_side_that_is_none_is_left_out(rows: Any) -> None:
    """Whatever it is."""
    assert read_side(rows, falling=True) is None


@pytest.mark.parametrize(
    ("more", "bids", "asks"),
    [
        ({"bids": [["99.4", 1], [99.5, "2.5"], [99, 0]]}, BIDS, None),
        ({"bids": [[99.5, 2.5], [99.4, 1]], "asks": [[101, 0.5], [100.5, 1.5], [100.6, 7]]}, BIDS, ASKS),
        ({"bids": [[99.5, 9]]}, None, None),
        ({"bids": {"99.5": 9}, "asks": None}, None, None),
        ({"bids": [[99.5, 2.5], [99.4, 1]], "ask": 99.5}, None, None),
    ],
)
def test_a_foreign_message_has_its_levels_where_they_can_be_believed(
    more: dict[str, Any], bids: Side | None, asks: Side | None
) -> None:
    """Levels that cannot be read or contradict the quote are left out: the message is admitted as before."""
    message = {"symbol": "BTCUSDT", "price": 100, "bid": 99.5, "bid_size": 2.5, "ask": 100.5, "ask_size": 1.5} | more

    event = admit(
        MARKET_DATA, json.dumps(message).encode(), owner=CORE, counter=1, now=1_700_000_000_000_000, run_id="run",
        default_venue="mexc_spot",
    )  # fmt: skip

    assert isinstance(event, MarketData)
    assert (event.bids, event.asks, event.bid) == (bids, asks, Decimal("99.5"))


def test_the_quote_of_a_foreign_message_may_be_its_first_levels() -> None:
    """Whoever gives levels alone has given the quote."""
    raw = b'{"symbol":"BTCUSDT","price":100,"bids":[[99.5,2.5]],"asks":[[100.5,1.5]]}'

    event = admit(
        MARKET_DATA, raw, owner=CORE, counter=1, now=1_700_000_000_000_000, run_id="run", default_venue="mexc_spot"
    )

    assert isinstance(event, MarketData)
    assert (event.bid, event.bid_size, event.ask, event.ask_size) == tuple(
        map(Decimal, ("99.5", "2.5", "100.5", "1.5"))
    )
