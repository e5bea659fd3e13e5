"""An operator's word on an order whose end is unknown becomes its terminal result, when risk has answered for it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.common import channels
from services.common.events import Alert
from tests.unit.execution.execution_desk import SPOT, Desk

pytestmark = [pytest.mark.unit, pytest.mark.risk]

ORDER = {
    "order_id": "ord-lost",
    "client_order_id": "cdb-lost",
    "venue": SPOT,
    "symbol": "BTCUSDT",
    "side": "BUY",
    "purpose": "entry",
    "quantity": Decimal("0.2"),
    "reference_price": Decimal(40_000),
}


def command(desk: Desk, order_id: str = "ord-lost", **fields: Any) -> str:
    """Give the operator's command, and return its event id."""
    details = {key: fields.pop(key) for key in ("outcome", "quantity", "price", "fee") if key in fields}
    given: dict[str, Any] = {"producer": channels.OPERATOR, "by": "ana", "reason": "looked"} | fields
    desk.control("resolve_order", **given, details={"order_id": order_id, **details})
    return desk.entries[-1].event.event_id


def answer(desk: Desk, command_id: str, outcome: str, filled: str = "0", **fields: Any) -> None:
    """Give risk's answer to a command."""
    producer = fields.pop("producer", channels.RISK)
    details = {**ORDER, "outcome": outcome, "filled_quantity": Decimal(filled), **fields}
    desk.control(
        "resolve_order", producer=producer, by="ana", reason="looked", causation_id=command_id, details=details
    )


def refusals(desk: Desk) -> list[str]:
    """Return what was said about refused resolutions."""
    return [event.message for event in desk.outputs if isinstance(event, Alert) and event.code == "RESOLUTION_REFUSED"]


def unknown(desk: Desk, filled: str = "0") -> str:
    """Let an order be UNKNOWN, as the exchange's client leaves it after a time-out; return its id."""
    desk.send(1_000)
    order = desk.machine.state.working[0]
    if Decimal(filled):
        order.book(Decimal(filled), Decimal(40_000))
        desk.machine.state.positions[order.instrument] = Decimal(filled)
    order.advance("UNKNOWN")
    return order.order_id


def test_an_order_that_never_arrived_expires() -> None:
    """EXPIRED with its code and who said so; no position, and a second answer ends nothing twice."""
    desk = Desk()
    asked = command(desk, outcome="never_arrived")
    assert desk.results == [], "the operator's word alone ends nothing"

    answer(desk, asked, "never_arrived")
    (result,) = desk.results
    assert (result.order_id, result.client_order_id, result.status) == ("ord-lost", "cdb-lost", "EXPIRED")
    assert result.reason == "NEVER_ARRIVED: ana: looked"
    assert result.filled_quantity == 0
    answer(desk, asked, "never_arrived")
    assert len(desk.results) == 1
    assert refusals(desk) == ["cdb_risk resolves an order that no operator has asked for"]
    answer(desk, command(desk, outcome="never_arrived"), "never_arrived")
    assert refusals(desk)[-1] == "order ord-lost has ended already"
    assert len(desk.results) == 1


def test_an_order_that_filled_is_booked_as_told() -> None:
    """0.2 at 40 100 with a told fee: FILLED, the position follows, and the fill names the rule and the person."""
    desk = Desk()
    told = {"price": Decimal(40_100), "fee": Decimal(4)}

    answer(desk, command(desk, outcome="filled", **told), "filled", "0.2", **told)

    (result,) = desk.results
    assert (result.status, result.last_quantity, result.last_price) == ("FILLED", Decimal("0.2"), 40_100)
    assert (result.fee, result.fee_currency, result.slippage_bps) == (4, "USDT", 25)
    assert result.fill == {"rule": "operator", "by": "ana: looked", "fee_told": True}
    assert desk.machine.summary()["positions"] == {f"{SPOT}:BTCUSDT": Decimal("0.2")}


def test_a_partial_fill_is_booked_and_the_rest_is_cancelled() -> None:
    """0.05 of 0.2: PARTIALLY_FILLED with the assumed taker fee, then CANCELED."""
    desk = Desk()
    told = {"price": Decimal(40_000)}

    answer(desk, command(desk, outcome="filled", quantity=Decimal("0.05"), **told), "filled", "0.05", **told)

    first, last = desk.results
    assert (first.status, first.filled_quantity, first.fee) == ("PARTIALLY_FILLED", Decimal("0.05"), 1)
    assert (last.status, last.filled_quantity, last.reason) == ("CANCELED", Decimal("0.05"), "RESOLVED: ana: looked")


def test_an_unknown_order_of_execution_keeps_what_it_had_filled() -> None:
    """0.05 was known; cancelled keeps it, filled adds the rest, a sale is booked as one."""
    desk = Desk()
    order_id = unknown(desk, "0.05")

    answer(desk, command(desk, order_id, outcome="canceled"), "canceled", "0.05", order_id=order_id)

    assert (desk.results[-1].status, desk.results[-1].filled_quantity) == ("CANCELED", Decimal("0.05"))
    assert desk.machine.state.working == []
    told = {"price": Decimal(40_000)}
    sold = {"order_id": "ord-sold", "side": "SELL", "purpose": "exit", "quantity": Decimal("0.05")}
    answer(desk, command(desk, "ord-sold", outcome="filled", **told), "filled", "0.05", **sold, **told)
    assert desk.machine.summary()["positions"] == {}


@pytest.mark.parametrize(
    ("outcome", "filled", "told"),
    [
        ("never_arrived", "0.05", {}),
        ("canceled", "0.1", {}),
        ("filled", "0.05", {"quantity": Decimal("0.05"), "price": Decimal(40_000)}),
    ],
)
def test_an_answer_that_contradicts_what_execution_knows_is_refused(
    outcome: str, filled: str, told: dict[str, Decimal]
) -> None:
    """Execution knows of 0.05 filled: it neither never arrived, nor filled otherwise without more of it."""
    desk = Desk()
    order_id = unknown(desk, "0.05")
    asked = command(desk, order_id, outcome=outcome, **told)

    answer(desk, asked, outcome, filled, order_id=order_id, **{key: told[key] for key in told if key != "quantity"})

    assert "is known here" in refusals(desk)[0]
    assert desk.machine.state.working[0].status == "UNKNOWN"


def test_an_order_that_works_is_not_resolved() -> None:
    """Execution knows that it is NEW and will end it itself."""
    desk = Desk()
    desk.send(1_000)
    order_id = desk.results[-1].order_id

    answer(desk, command(desk, order_id, outcome="never_arrived"), "never_arrived", order_id=order_id)

    assert "is NEW" in refusals(desk)[0]
    assert [order.order_id for order in desk.machine.state.working] == [order_id]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ({"outcome": "never_arrived"}, {"outcome": "canceled"}),
        ({"outcome": "never_arrived"}, {"outcome": "never_arrived", "order_id": "ord-other"}),
        (
            {"outcome": "filled", "price": Decimal(40_000)},
            {"outcome": "filled", "filled": "0.2", "price": Decimal(39_000)},
        ),
        (
            {"outcome": "filled", "price": Decimal(40_000)},
            {"outcome": "filled", "filled": "0.1", "price": Decimal(40_000)},
        ),
        ({"outcome": "never_arrived"}, {"outcome": "never_arrived", "producer": "cdb_core"}),
        ({"outcome": "never_arrived"}, {"outcome": "never_arrived", "side": "LONG"}),
        ({"outcome": "never_arrived", "by": " "}, {"outcome": "never_arrived"}),
        ({"outcome": "never_arrived", "reason": None}, {"outcome": "never_arrived"}),
        ({"outcome": "lost"}, {"outcome": "never_arrived"}),
    ],
)
def test_both_keys_must_say_the_same(asked: dict[str, Any], answered: dict[str, Any]) -> None:
    """A command without name, reason or sense is none, and an answer that differs from it ends nothing: CRITICAL."""
    desk = Desk()

    answer(desk, command(desk, **asked), **answered)

    assert desk.results == []
    assert len(refusals(desk)) == 1


def test_commands_without_an_answer_are_forgotten_one_by_one() -> None:
    """The memory of unanswered commands is bounded."""
    desk = Desk()
    for _ in range(70):
        command(desk, outcome="never_arrived")

    assert len(desk.machine.state.resolutions) == 64
