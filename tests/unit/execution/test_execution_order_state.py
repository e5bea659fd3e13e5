"""The order state machine: which transitions exist, and that the others are faults."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from typing import Any, get_args

import pytest

from services.cdb_execution.order_state import TERMINAL, TRANSITIONS, OrderStatus, WorkingOrder
from services.common.errors import IllegalTransition

pytestmark = pytest.mark.unit


def an_order(**changed: Any) -> WorkingOrder:
    """Return an order for one base unit."""
    fields: dict[str, Any] = {
        "order_id": "ord-1",
        "client_order_id": "cdb-1",
        "correlation_id": None,
        "instrument": "mexc_spot:BTCUSDT",
        "venue": "mexc_spot",
        "symbol": "BTCUSDT",
        "side": "BUY",
        "purpose": "entry",
        "quantity": Decimal(1),
        "price": Decimal(100),
        "reference_price": Decimal(99),
        "eligible_from": 0,
        "deadline": 10,
    }
    return WorkingOrder(**fields | changed)


def with_status(status: OrderStatus | None) -> WorkingOrder:
    """Return an order that stands in `status` and has filled what that status means."""
    order = an_order(status=status)
    if status in {"PARTIALLY_FILLED", "FILLED"}:
        order.filled_quantity = Decimal("0.5") if status == "PARTIALLY_FILLED" else Decimal(1)
    return order


def test_every_status_is_in_the_table() -> None:
    """The table says of every status of the contract what may follow."""
    assert set(TRANSITIONS) == {None, *get_args(OrderStatus)}
    assert {"FILLED", "CANCELED", "REJECTED", "EXPIRED"} == TERMINAL


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (before, after)
        for before, after in product(TRANSITIONS, get_args(OrderStatus))
        if after not in TRANSITIONS[before]
    ],
)
def test_a_transition_that_is_not_in_the_table_is_a_fault(before: OrderStatus | None, after: OrderStatus) -> None:
    """No other transition than the listed ones can happen, least of all out of a terminal status."""
    order = with_status(before)

    with pytest.raises(IllegalTransition, match=f"to {after}"):
        order.advance(after)

    assert order.status == before


@pytest.mark.parametrize("before", [None, "SUBMITTING", "NEW", "PARTIALLY_FILLED", "UNKNOWN"])
def test_listed_transitions_that_say_nothing_about_fills_happen(before: OrderStatus | None) -> None:
    """Every listed transition that is no fill is taken."""
    for after in TRANSITIONS[before] - {"FILLED", "PARTIALLY_FILLED"}:
        order = with_status(before)
        order.advance(after)
        assert order.status == after


def test_fills_add_up_to_an_average() -> None:
    """0.25 at 100 and 0.75 at 104: average (25 + 78) / 1 = 103."""
    order = an_order(status="NEW")

    order.book(Decimal("0.25"), Decimal(100))
    assert (order.status, order.remaining, order.average_price) == ("PARTIALLY_FILLED", Decimal("0.75"), Decimal(100))
    order.book(Decimal("0.75"), Decimal(104))

    assert (order.status, order.average_price, order.fills) == ("FILLED", Decimal(103), 2)


def test_nothing_filled_has_no_average() -> None:
    """An average price exists from the first fill on."""
    assert an_order().average_price is None


@pytest.mark.parametrize(("quantity", "price"), [("1.000001", "100"), ("0", "100"), ("-1", "100"), ("1", "0")])
def test_an_impossible_fill_is_a_fault(quantity: str, price: str) -> None:
    """More than is left, nothing, or a price of zero cannot be booked."""
    order = an_order(status="NEW")

    with pytest.raises(IllegalTransition, match="is left to fill"):
        order.book(Decimal(quantity), Decimal(price))

    assert order.filled_quantity == 0


@pytest.mark.parametrize(
    ("filled", "status"), [("0", "FILLED"), ("0.5", "FILLED"), ("0", "PARTIALLY_FILLED"), ("1", "PARTIALLY_FILLED")]
)
def test_a_status_that_contradicts_the_fills_is_a_fault(filled: str, status: OrderStatus) -> None:
    """FILLED means all of it, PARTIALLY_FILLED some of it."""
    order = an_order(status="NEW", filled_quantity=Decimal(filled))

    with pytest.raises(IllegalTransition, match=f"{status} with {filled} of 1 filled"):
        order.advance(status)


def test_a_full_order_cannot_end_otherwise_than_filled() -> None:
    """What is filled in full is not cancelled."""
    order = an_order(status="NEW", filled_quantity=Decimal(1))

    with pytest.raises(IllegalTransition, match="CANCELED with 1 of 1 filled"):
        order.advance("CANCELED")


def test_what_has_filled_cannot_be_rejected() -> None:
    """A rejection says that nothing happened."""
    order = an_order(status="UNKNOWN", filled_quantity=Decimal("0.5"))

    with pytest.raises(IllegalTransition, match="REJECTED although"):
        order.advance("REJECTED")
