"""The live feeds' books: the newest quote, and behind it what depth messages showed."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cdb_ws.conflation import Conflator
from services.cdb_ws.live.depth import book_behind, pushed, ranked
from services.cdb_ws.live.perpetual import PerpetualProtocol
from services.cdb_ws.live.spot import SpotProtocol
from services.cdb_ws.live.words import Quote
from services.cdb_ws.mint import Mint
from services.cdb_ws.observation import Observation
from services.common.book import Book
from services.common.events import MarketData, parse_event
from services.common.mexc.push_pb2 import PushDataV3ApiWrapper
from tests.unit.ws.live_desk import START_US, LiveDesk, book

pytestmark = pytest.mark.unit

BTC = "BTCUSDT"
Rows = tuple[tuple[str, str], ...]


def depth(bids: Rows, asks: Rows, version: str = "") -> bytes:
    """A limited book as the spot market pushes it."""
    message = PushDataV3ApiWrapper(channel=f"spot@public.limit.depth.v3.api.pb@{BTC}@5", symbol=BTC)
    for side, rows in ((message.publicLimitDepths.bids, bids), (message.publicLimitDepths.asks, asks)):
        for price, size in rows:
            side.add(price=price, quantity=size)
    message.publicLimitDepths.version = version
    return message.SerializeToString()


def levels(*rows: tuple[str, str]) -> tuple[tuple[Decimal, Decimal], ...]:
    """Return levels from text."""
    return tuple((Decimal(price), Decimal(size)) for price, size in rows)


FIVE = depth((("98", "4"), ("99", "1"), ("97", "0")), (("102", "5"), ("101", "1"), ("103", "6")))


def test_the_newest_quote_stands_before_the_levels_that_were_seen() -> None:
    """The quote has moved on since the depth: what stands at its price or before it is left out."""
    desk = LiveDesk().begin()

    desk.frame(FIVE)
    desk.frame(book(BTC, "98.5", "102"))

    first, second = desk.observations
    assert first.book == Book(
        levels(("99.0", "1.0"), ("98.0", "4.0")), levels(("101.0", "1.0"), ("102.0", "5.0"), ("103.0", "6.0"))
    )
    assert second.book == Book(levels(("98.5", "1.5"), ("98.0", "4.0")), levels(("102.0", "2.0"), ("103.0", "6.0")))
    assert (second.bid, second.ask) == (Decimal("98.5"), 102)


def test_a_depth_message_renews_the_levels_while_quotes_are_fresh() -> None:
    """It makes no observation of its own then, and the next quote has its levels."""
    desk = LiveDesk().begin()
    desk.frame(book(BTC, "99", "101"))

    desk.frame(FIVE)
    desk.frame(book(BTC, "99", "101"))

    assert [one.book is None for one in desk.observations] == [True, False]


def test_levels_are_believed_for_two_seconds_and_not_after_a_cut() -> None:
    """An old book is none, and a new connection begins without one."""
    desk = LiveDesk().begin()
    desk.frame(FIVE)

    desk.now_us += 1_999_999
    desk.frame(book(BTC, "99", "101"))
    desk.now_us += 1
    desk.frame(book(BTC, "99", "101"))
    desk.frame(FIVE)
    desk.feed.instruments[BTC].cut()
    desk.frame(book(BTC, "99", "101"))

    assert [one.book is None for one in desk.observations] == [False, False, True, True]


def test_late_depth_a_crossed_quote_and_prices_twice_are_no_book() -> None:
    """An older version is passed over; a crossed quote has no levels; a price that stands twice has no size."""
    desk = LiveDesk().begin()
    desk.frame(depth((("99", "1"),), (("101", "1"), ("102", "2")), "5"))
    desk.frame(depth((("99", "1"),), (("101", "1"), ("103", "3")), "4"))
    desk.frame(book(BTC, "99", "101"))
    desk.frame(book(BTC, "101", "101"))
    desk.frame(depth((("99", "1"),), (("101", "1"), ("101", "2")), "6"))
    desk.now_us += 100_000
    desk.frame(book(BTC, "99", "101"))

    sides = [None if one.book is None else one.book.asks for one in desk.observations]
    assert sides == [levels(("101", "1"), ("102", "2")), levels(("101", "2"), ("102", "2")), None, levels(("101", "2"))]


@pytest.mark.parametrize(("wanted", "topic"), [(0, 5), (5, 5), (6, 10), (11, 20), (20, 20)])
def test_as_many_levels_are_asked_for_as_are_wanted(wanted: int, topic: int) -> None:
    """The exchange pushes 5, 10 or 20."""
    assert SpotProtocol(100, wanted).topics(BTC)[2].endswith(f"@{topic}")
    frames = PerpetualProtocol(wanted).subscribe(["depth.full@BTC_USDT"], 1)
    assert json.loads(frames[0])["param"]["limit"] == topic == pushed(wanted)


@pytest.mark.parametrize(("most", "seen"), [(0, None), (1, 1), (2, 2), (5, 3)])
def test_the_setting_bounds_the_levels(most: int, seen: int | None) -> None:
    """0 turns them off."""
    desk = LiveDesk(MARKET_DATA_DEPTH_LEVELS=most).begin()
    desk.frame(FIVE)
    one = desk.observations[0].book
    assert (None if one is None or one.asks is None else len(one.asks)) == seen


def test_contracts_become_base_units_in_every_level() -> None:
    """Sizes of a perpetual are counted in contracts at the exchange."""
    quote = Quote(BTC, "t", Decimal(99), Decimal(101), Decimal(5000), None, bids=levels(("99", "5000"), ("98", "7")))
    assert book_behind(quote, quote, 5, Decimal("0.0001")) == Book(levels(("99.0", "0.5"), ("98.0", "0.0007")), None)
    assert book_behind(replace(quote, bid_size=None), quote, 5, Decimal(1)) is None


@pytest.mark.parametrize("kept", ["first", "last", "none"])
def test_conflation_keeps_the_book_of_the_newest_quote(kept: str) -> None:
    """What has no quote says nothing of the book; a newer quote without levels takes them away."""
    one, two = Book(levels(("99", "1")), None), Book(levels(("98", "1")), None)
    plain = Observation(START_US, BTC, Decimal(100), Decimal(100), Decimal(100))
    quoted = replace(plain, bid=Decimal(99), ask=Decimal(101))
    rows = {
        "first": [replace(quoted, book=one), plain],
        "last": [replace(quoted, book=one), replace(quoted, book=two)],
        "none": [replace(quoted, book=one), quoted],
    }[kept]
    conflator = Conflator(4)
    for row in rows:
        assert not conflator.add(row)
    (merged,) = conflator.flush()
    assert merged.book == {"first": one, "last": two, "none": None}[kept]


_ROWS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9)), max_size=8)


@given(_ROWS, _ROWS, st.tuples(st.integers(1, 40), st.integers(0, 40), st.integers(0, 9)), st.integers(1, 20))
def test_whatever_is_pushed_the_book_is_in_contract(
    bids: Any, asks: Any, quoted: tuple[int, int, int], most: int
) -> None:
    """Any depth behind any quote makes market data that are read back as they were written."""
    bid, spread, size = quoted
    sides = (tuple((Decimal(p), Decimal(s)) for p, s in rows) for rows in (bids, asks))
    falling, rising = (ranked(side, falling=way) for side, way in zip(sides, (True, False), strict=True))
    quote = Quote(BTC, "t", Decimal(bid), Decimal(bid + spread), Decimal(size), Decimal(1), None, None, falling, rising)
    seen = book_behind(quote, quote, most, Decimal(1))
    price = Decimal(bid)
    row = Observation(
        START_US, BTC, price, price, price, bid=quote.bid, ask=quote.ask, bid_size=quote.bid_size, ask_size=Decimal(1),
        book=seen,
    )  # fmt: skip

    (event,) = Mint("r", "mexc_spot").market_data([row], 1)

    assert isinstance(event, MarketData)
    assert parse_event(event.channel, event.data) == event
    assert (seen is None) == (spread == 0)
    assert event.bids is None or len(event.bids) <= most
