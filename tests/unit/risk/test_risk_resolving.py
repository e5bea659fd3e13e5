"""`resolve_order`: what risk answers for, what it refuses, and that only a result ends a reservation."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.common import channels
from services.common.events import Control, Order
from services.common.resolution import read_settlement
from tests.unit.risk.risk_desk import BTC, RiskDesk

pytestmark = [pytest.mark.unit, pytest.mark.risk]

AFTER_MS = 60_001


def unanswered(**changed: Any) -> tuple[RiskDesk, Order]:
    """Return a desk with an entry of 0.149997 BTC that was never answered, and the entry."""
    desk = RiskDesk(**changed)
    desk.quote()
    order = desk.buy()
    desk.tick(AFTER_MS)
    return desk, order


def resolve(desk: RiskDesk, order_id: str, **fields: Any) -> list[Control]:
    """Give the command and return risk's answers."""
    details = {key: fields.pop(key) for key in ("outcome", "quantity", "price", "fee") if key in fields}
    given = {"by": "ana", "reason": "looked"} | fields
    outputs = desk.command("resolve_order", **given, details={"order_id": order_id, **details})
    return [event for event in outputs if isinstance(event, Control) and event.action == "resolve_order"]


def test_risk_answers_with_what_it_reserved_and_frees_nothing() -> None:
    """The answer names order, person and reason; the reservation ends with execution's result alone."""
    desk, order = unanswered()

    (event,) = resolve(desk, order.order_id, outcome="never_arrived")

    assert (event.by, event.reason, event.producer) == ("ana", "looked", channels.RISK)
    answer = read_settlement(event)
    assert (answer.order_id, answer.client_order_id) == (order.order_id, order.client_order_id)
    assert (answer.quantity, answer.filled_quantity, answer.side) == (order.quantity, 0, "BUY")
    assert answer.reference_price == order.reference_price
    assert desk.alert_codes()[-1] == "ORDER_RESOLVED"
    assert order.order_id in desk.machine.state.reservations.orders
    desk.append(event)
    assert desk.alert_codes()[-1] == "ORDER_RESOLVED", "its own answer is no command"
    desk.result(order, "EXPIRED")
    assert desk.machine.state.reservations.orders == {}


@pytest.mark.parametrize(
    ("told", "filled"),
    [
        ({"outcome": "filled", "price": Decimal(50_010)}, "0.149997"),
        ({"outcome": "filled", "price": Decimal(50_010), "quantity": Decimal("0.1"), "fee": Decimal(2)}, "0.1"),
        ({"outcome": "canceled"}, "0"),
    ],
)
def test_a_fill_is_the_whole_order_unless_told_otherwise(told: dict[str, Any], filled: str) -> None:
    """`filled` without a quantity is the whole order; `canceled` what was reported."""
    desk, order = unanswered()

    (event,) = resolve(desk, order.order_id, **told)

    answer = read_settlement(event)
    assert answer.filled_quantity == Decimal(filled)
    assert (answer.price, answer.fee) == (told.get("price"), told.get("fee"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"outcome": "never_arrived", "by": " "}, "needs a name"),
        ({"outcome": "never_arrived", "reason": None}, "needs a name"),
        ({"outcome": "never_arrived", "producer": channels.WRITER}, "only an operator"),
        ({"outcome": "gone"}, "outcome"),
        ({}, "outcome"),
        ({"outcome": "filled"}, "needs a price"),
        ({"outcome": "canceled", "price": Decimal(1)}, "nothing else has one"),
        ({"outcome": "canceled", "fee": Decimal(1)}, "only `filled`"),
        ({"outcome": "filled", "price": Decimal(0)}, "price"),
        ({"outcome": "filled", "price": Decimal(54_000)}, "cannot be"),
        ({"outcome": "filled", "price": Decimal("50000.123456789")}, "at most 8 decimals"),
        ({"outcome": "filled", "price": Decimal(50_000), "quantity": Decimal(1)}, "of 0.149997 was known"),
        ({"outcome": "filled", "price": Decimal(50_000), "quantity": Decimal("0.0000001")}, "lots of"),
        ({"outcome": "filled", "price": Decimal(50_000), "fee": Decimal(400)}, "than any exchange takes"),
    ],
)
def test_what_makes_no_sense_is_refused_with_an_alert(given: dict[str, Any], said: str) -> None:
    """No name, no operator, no such outcome, a fill that cannot be: refused, nothing answered, still reserved."""
    desk, order = unanswered()

    assert resolve(desk, order.order_id, **given) == []

    assert desk.alerts[-1].code == "COMMAND_REFUSED"
    assert said in desk.alerts[-1].message
    assert order.order_id in desk.machine.state.reservations.orders


def test_an_unknown_order_is_refused_with_an_alert() -> None:
    """Nothing is reserved under that id."""
    desk, _ = unanswered()
    assert resolve(desk, "ord-else", outcome="never_arrived") == []
    assert desk.alerts[-1].message == "no order ord-else is reserved"


def test_an_answered_or_a_young_order_is_refused() -> None:
    """What execution works on it will end itself, and an answer may be on the way for a minute."""
    desk = RiskDesk()
    desk.quote()
    order = desk.buy()
    desk.tick(60_000)
    resolve(desk, order.order_id, outcome="never_arrived")
    assert "less than 60 s" in desk.alerts[-1].message
    desk.result(order, "NEW")
    desk.tick(AFTER_MS)
    resolve(desk, order.order_id, outcome="never_arrived")
    assert "is NEW" in desk.alerts[-1].message


def test_a_partly_filled_order_did_arrive() -> None:
    """0.1 is booked and the rest UNKNOWN: it may be cancelled or filled further, but it did arrive."""
    desk = RiskDesk()
    desk.quote()
    order = desk.buy()
    desk.result(order, "PARTIALLY_FILLED", filled="0.1", price=50_000)
    desk.result(order, "UNKNOWN", filled="0.1", last=0)
    desk.tick(AFTER_MS)
    assert resolve(desk, order.order_id, outcome="never_arrived") == []
    assert "it did arrive" in desk.alerts[-1].message
    (event,) = resolve(desk, order.order_id, outcome="canceled")
    assert read_settlement(event).filled_quantity == Decimal("0.1")


def test_an_exit_of_more_than_is_held_is_refused() -> None:
    """The position shrank beneath the lost exit: a fill of all of it would flip the books."""
    desk = RiskDesk()
    desk.hold()
    desk.quote(at_ms=1_000)
    desk.exit()
    order = desk.orders[-1]
    desk.tick(1_000 + AFTER_MS)
    desk.machine.state.account.portfolio.positions[BTC].quantity = Decimal("0.1")
    assert resolve(desk, order.order_id, outcome="filled", price=Decimal(50_000)) == []
    assert "0.1 is held" in desk.alerts[-1].message
