"""What holds for every paper fill that walks a book, whatever the book and whatever we took of it before."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cdb_execution.levels import LevelSeen, SeenSide
from services.cdb_execution.paper_fills import PaperFill, Request, TopOfBook, attempt_fill
from services.common.book import Side
from tests.property.effort import examples
from tests.property.test_execution_properties import LOT, TICK, books, requests

pytestmark = [pytest.mark.unit, pytest.mark.risk]

QUIET = settings(derandomize=True, deadline=None, max_examples=examples(120))

sizes = st.integers(min_value=1, max_value=500_000).map(lambda lots: lots * LOT)
steps = st.lists(st.tuples(st.integers(min_value=1, max_value=900), sizes), min_size=0, max_size=6)
NEW = {"levels_seen", "left", "mean_level", "walk"}


def levels_of(request: Request, book: TopOfBook, deeper: Any) -> Side:
    """Return the touch of a book and deeper levels on the side that the request meets."""
    price = book.ask if request.side == "BUY" else book.bid
    levels = [(price, book.displayed)]
    for step, size in deeper:
        price += request.direction * step * TICK
        levels.append((price, size))
    return tuple(levels)


def seen(book: TopOfBook, levels: tuple[LevelSeen, ...]) -> TopOfBook:
    """Return the book with its levels."""
    return TopOfBook(**vars(book) | {"displayed": levels[0].shown, "taken": levels[0].taken, "levels": levels})


@given(requests, books)
@QUIET
def test_a_book_of_one_level_is_the_rule_of_the_touch(request: Request, book: TopOfBook) -> None:
    """Rule 4 applies beyond the levels seen: where that is the touch alone, every number is the same."""
    price = book.ask if request.side == "BUY" else book.bid

    plain = attempt_fill(request, book)
    walked = attempt_fill(request, seen(book, (LevelSeen(price, book.displayed, book.taken),)))

    if not isinstance(plain, PaperFill):
        assert not isinstance(walked, PaperFill)
        assert walked.code == plain.code
        return
    assert isinstance(walked, PaperFill)
    assert walked.numbers.keys() - plain.numbers.keys() == NEW
    assert {name: walked.numbers[name] for name in plain.numbers} == plain.numbers | {"rule": "paper_walk_v1"}
    assert (walked.price, walked.quantity, walked.at_touch) == (plain.price, plain.quantity, plain.at_touch)


@given(requests, books, steps, st.integers(min_value=1, max_value=5))
@QUIET
def test_no_level_is_taken_twice_and_nothing_fills_better_than_what_was_taken(
    request: Request, book: TopOfBook, deeper: Any, orders: int
) -> None:
    """One order after the other at an unchanged book: each pays its levels or more, and their sum was shown."""
    side = SeenSide()
    shown = levels_of(request, book, deeper)
    used = dict.fromkeys((price for price, _ in shown), Decimal(0))
    for _ in range(orders):
        side.observe(shown, falling=request.side == "SELL")
        made = attempt_fill(request, seen(book, side.seen()))
        if not isinstance(made, PaperFill):
            break
        walked = sum((quantity for _, quantity in made.of_levels), Decimal(0))
        assert walked + made.numbers["q2"] == made.quantity <= request.quantity
        assert [(row["price"], row["used"]) for row in made.numbers["walk"] if row["used"]] == list(made.of_levels)
        assert (made.numbers["worst_price"] - request.protection) * request.direction <= 0
        paid = sum((price * quantity for price, quantity in made.of_levels), Decimal(0))
        paid += made.numbers["q2"] * shown[-1][0]
        assert (made.price * made.quantity - paid) * request.direction >= 0
        for price, quantity in made.of_levels:
            used[price] += quantity
        side.take(made.of_levels)
    assert all(used[price] <= size for price, size in shown)
