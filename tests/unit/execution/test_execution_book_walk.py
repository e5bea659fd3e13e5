"""Paper fills that walk the levels a feed has shown, against numbers worked out by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from claire.explain.fill_rule import fill_lines
from services.cdb_execution.codes import ExpiryCode
from services.cdb_execution.levels import Depth, LevelSeen, SeenSide, Taken
from services.cdb_execution.market import Sigma
from services.cdb_execution.paper_fills import Obstacle, PaperFill, Request, TopOfBook, attempt_fill
from services.common.book import Side
from services.common.events import OrderResult
from tests.unit.execution.execution_desk import Desk

pytestmark = pytest.mark.unit

ASKS = (("40001", "0.4"), ("40002", "0.3"), ("40005", "0.3"))


def side(*levels: tuple[str, str]) -> Side:
    """Return levels from text."""
    return tuple((Decimal(price), Decimal(size)) for price, size in levels)


def seen(*levels: tuple[str, ...]) -> tuple[LevelSeen, ...]:
    """Return levels as an order finds them: price, shown, and what we took."""
    return tuple(LevelSeen(Decimal(p), Decimal(s), Decimal(taken[0] if taken else 0)) for p, s, *taken in levels)


def buy(quantity: str, *levels: tuple[str, ...], volume: str = "100", **changed: Any) -> PaperFill | Obstacle:
    """Try to buy from levels: 100 BTC traded in the last minute at a volatility of 0.001."""
    book = seen(*levels)
    request = Request(
        "BUY", Decimal(quantity), Decimal(99_999), Decimal("0.10"), 4, Decimal("0.01"), Decimal("0.000001")
    )
    return attempt_fill(
        Request(**vars(request) | changed),
        TopOfBook(
            Decimal(39_999), book[0].price, book[0].shown, book[0].taken, Decimal(volume), Decimal(0),
            Sigma(Decimal("0.001"), known=True), book,
        ),
    )  # fmt: skip


def bought(quantity: str, *levels: tuple[str, ...], **changed: Any) -> PaperFill:
    """Buy what must fill."""
    made = buy(quantity, *levels, **changed)
    assert isinstance(made, PaperFill)
    return made


def test_each_level_is_paid_at_its_own_price() -> None:
    """0.4 at 40001, 0.3 at 40002, 0.3 at 40005: mean 40002.5; impact 0.001 * sqrt(1/100) = 0.0001 -> 40006.51.

    The worst unit stands at 40005: 40005 * 1.0001 = 40009.0005 -> 40009.01.
    """
    made = bought("1", *ASKS)

    assert (made.quantity, made.price, made.at_touch) == (1, Decimal("40006.51"), Decimal("0.4"))
    assert made.of_levels == side(*ASKS)
    assert (made.numbers["rule"], made.numbers["worst_price"]) == ("paper_walk_v1", Decimal("40009.01"))
    assert (made.numbers["q1"], made.numbers["q2"], made.numbers["level_price"]) == (1, 0, None)
    assert made.numbers["walk"] == [
        {"price": Decimal(price), "shown": Decimal(size), "taken": 0, "used": Decimal(size)} for price, size in ASKS
    ]


def test_only_the_levels_down_to_the_last_used_are_told() -> None:
    """0.5 needs two of three."""
    made = bought("0.5", *ASKS)

    assert [(level["price"], level["used"]) for level in made.numbers["walk"]] == [
        (Decimal(40_001), Decimal("0.4")),
        (Decimal(40_002), Decimal("0.1")),
    ]
    assert made.numbers["levels_seen"] == 3


def test_beyond_the_levels_seen_a_ladder_is_guessed() -> None:
    """Three of at most four levels are seen: one more of their mean size 1/3 is believed, from 40005 on.

    q2 0.2 at 40005 * (1 + 0.00005 * (1 + 0.6) / 2) = 40006.6002; mean (40002.5 + 0.2 * 40006.6002) / 1.2 =
    40003.18337, times 1 + 0.001 * sqrt(1.2 / 100) -> 40007.57; more than 1.333333 is not there.
    """
    made, more = bought("1.2", *ASKS), bought("5", *ASKS)

    assert (made.quantity, made.numbers["q1"], made.numbers["q2"]) == (Decimal("1.2"), 1, Decimal("0.2"))
    assert (made.numbers["level_price"], made.price) == (Decimal("40006.6002"), Decimal("40007.57"))
    assert (more.quantity, more.limited_by) == (Decimal("1.333333"), "levels")


def test_a_book_of_more_levels_than_are_believed_unseen_is_walked_to_its_end_and_no_further() -> None:
    """What is shown is believed; nothing is guessed beyond four levels."""
    made = bought("9", *((str(40_001 + step), "0.1") for step in range(6)))

    assert (made.quantity, made.limited_by, made.numbers["q2"]) == (Decimal("0.6"), "levels", 0)


def test_what_we_took_of_each_level_is_not_there() -> None:
    """The touch is used up and half of the second level: 0.1 is left of that, and the third is whole."""
    made = bought("0.2", ("40001", "0.4", "0.4"), ("40002", "0.3", "0.2"), ("40005", "0.3"))

    assert made.of_levels == side(("40002", "0.1"), ("40005", "0.1"))
    assert made.at_touch == 0
    assert [level["used"] for level in made.numbers["walk"]] == [0, Decimal("0.1"), Decimal("0.1")]


def test_the_protective_price_ends_the_walk() -> None:
    """40002 with impact is within 40006, 40005 is not: what stands at the first two levels fills."""
    made = bought("1", *ASKS, protection=Decimal(40006))

    assert made.limited_by == "protection"
    assert made.quantity == Decimal("0.7")
    assert made.numbers["worst_price"] <= 40_006


def test_without_any_size_left_nothing_fills() -> None:
    """The reason counts all levels; without volume in the minute only the touch counts."""
    none = buy("1", ("40001", "0.4", "0.4"), ("40002", "0.1", "0.2"))
    quiet = buy("1", ("40001", "0.4", "0.4"), ("40002", "9"), volume="0")

    assert isinstance(none, Obstacle)
    assert (none.code, none.detail) == (ExpiryCode.NO_SIZE, "0.5 shown on 2 levels, 0.6 taken by us")
    assert isinstance(quiet, Obstacle)
    assert quiet.code == ExpiryCode.PARTICIPATION_CAP


@pytest.mark.parametrize(
    ("then", "left"),
    [
        (ASKS, ["0.1", "0.3", "0.3"]),
        ((("40001", "0.35"), *ASKS[1:]), ["0.05", "0.3", "0.3"]),
        ((("40001", "0.41"), *ASKS[1:]), ["0.41", "0.3", "0.3"]),
        ((("40000.5", "1"), *ASKS), ["1", "0.1", "0.3", "0.3"]),
        (ASKS[1:], ["0.3", "0.3"]),
        ((), []),
    ],
)
def test_a_level_is_refreshed_by_more_size_or_by_having_been_gone(then: Any, left: list[str]) -> None:
    """Equal or less size is the old one; a better price before it changes nothing."""
    asks = SeenSide()
    asks.observe(side(*ASKS), falling=False)
    asks.take(side(("40001", "0.2")))
    asks.take(side(("40001", "0.1")))

    asks.observe(side(*then), falling=False)

    assert [level.available for level in asks.seen()] == list(map(Decimal, left))


def test_what_was_gone_is_whole_when_it_comes_back_and_what_was_out_of_sight_is_not() -> None:
    """The level behind the last one seen may be there still; one that the book passes over is not."""
    depth = Depth()
    bids = side(("99", "1"), ("98", "1"), ("97", "1"))
    depth.observe(bids, None)
    depth.bids.take(side(("99", "0.5"), ("98", "0.25"), ("97", "0.25")))

    depth.observe(side(("99.5", "1"), ("99", "1"), ("98.5", "1")), None)
    hidden = list(depth.bids.taken)
    depth.observe(side(("99.5", "1"), ("97.5", "1"), ("97", "1")), None)
    depth.observe(bids, None)

    one, half, quarter = Decimal(1), Decimal("0.5"), Decimal("0.25")
    assert hidden == [Taken(price, one, took) for price, took in ((Decimal(99), half), (98, quarter), (97, quarter))]
    assert [level.taken for level in depth.bids.seen()] == [0, 0, quarter]
    assert depth.asks.seen() == ()


def walked(desk: Desk, at_ms: int, **fields: Any) -> list[OrderResult]:
    """Quote with the levels of this test, and return what filled."""
    levels = side(*ASKS)
    outputs = desk.quote(at_ms, ask="40001", size="0.4", bid_size="0.5", volume="1000", **{"asks": levels} | fields)
    return [event for event in outputs if isinstance(event, OrderResult)]


@pytest.mark.parametrize("restarting", [False, True])
def test_two_orders_share_the_levels_of_one_book(restarting: bool) -> None:
    """What the first has taken is not there for the second, until more is shown; also over a restart."""
    desk = Desk(restarting=restarting)
    walked(desk, 0)
    desk.send(100, quantity="0.5")
    (first,) = walked(desk, 400)
    desk.send(500, quantity="0.5")
    (second,) = walked(desk, 800)
    desk.send(900, quantity="0.5")
    (third,) = walked(desk, 1_200, asks=side(("40001", "0.4"), ("40003", "9")))

    assert first.fill is not None
    assert [level["used"] for level in first.fill["walk"]] == [Decimal("0.4"), Decimal("0.1")]
    assert second.fill is not None
    assert [(level["taken"], level["used"]) for level in second.fill["walk"]] == [
        (Decimal("0.4"), 0),
        (Decimal("0.1"), Decimal("0.2")),
        (0, Decimal("0.3")),
    ]
    assert third.fill is not None
    assert [level["used"] for level in third.fill["walk"]] == [0, Decimal("0.5")]


def test_without_levels_the_touch_counts_as_before() -> None:
    """A feed that ceases to show its depth, and a constructed quote that claims one, are filled by the touch's rule."""
    desk = Desk()
    walked(desk, 0)
    desk.send(100, quantity="0.1")
    (blind,) = walked(desk, 400, asks=None)
    desk.send(500, quantity="0.1")
    (constructed,) = walked(desk, 800, synthetic=True)

    assert (blind.fill or {})["rule"] == (constructed.fill or {})["rule"] == "paper_ioc_v1"
    assert (constructed.fill or {})["taken"] == Decimal("0.1")


def test_explain_shows_the_walk() -> None:
    """Every level with what was shown, what we had taken, and what was used."""
    desk = Desk()
    walked(desk, 0)
    desk.send(100, quantity="0.5")
    walked(desk, 400)
    desk.send(500, quantity="0.9", order={"price": Decimal(40081)})
    (result, *_) = walked(desk, 800)

    told = "\n".join(fill_lines(result))

    assert "rule: paper_walk_v1" in told
    assert "0.5 on the 3 levels seen" in told
    assert "levels walked: 0 at 40,001.00 (of 0.4 shown, 0.4 of it taken by us before); 0.2 at 40,002.00" in told
    assert "on those levels" in told
    assert "beyond at 40,007.00" in told
