"""The second key: every purpose in every state of execution and of risk, as orders that risk has approved."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from services.common import channels
from services.common.events import Alert, Order
from tests.unit.execution.execution_desk import Desk

pytestmark = [pytest.mark.unit, pytest.mark.risk]

PURPOSES = get_args(Order.model_fields["purpose"].annotation)
EXITS = frozenset(PURPOSES) - {"entry"}
PROTECTIVE = EXITS - {"exit"}

OWN = {"ACTIVE": frozenset(PURPOSES), "HALTED": PROTECTIVE, "FROZEN": frozenset({"flatten"})}
RISK = {
    "ACTIVE": frozenset(PURPOSES),
    "REDUCING": EXITS,
    "HALTED": EXITS,
    "FROZEN": frozenset({"flatten"}),
    "SOMETHING": frozenset({"flatten"}),
    None: frozenset({"flatten"}),
}


def report(desk: Desk, state: object) -> None:
    """Let risk report its state."""
    desk.control("trading_state", producer=channels.RISK, service=channels.RISK, details={"state": state})


def restricted(desk: Desk, own: str, risk: str | None) -> None:
    """Bring execution and what it knows of risk into these states."""
    if own != "ACTIVE":
        desk.halt(freeze=own == "FROZEN")
    if risk != "ACTIVE":
        report(desk, risk)


def order(desk: Desk, purpose: str) -> Any:
    """Send an approved order of a purpose and return its first result; 0.2 BTC are held."""
    if purpose == "entry":
        desk.send(2_000)
    else:
        desk.send(2_000, side="SELL", purpose=purpose, quantity="0.1", status="bypass")
    return desk.results[-1]


@pytest.mark.parametrize("risk", RISK)
@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_both_keys_must_turn(purpose: str, own: str, risk: str | None) -> None:
    """Accepted exactly when both states let the purpose through, restarted before each event; refused with its code."""
    desk = Desk(restarting=True)
    desk.hold("0.2")
    restricted(desk, own, risk)

    result = order(desk, purpose)

    if purpose in OWN[own] & RISK[risk]:
        assert result.status == "NEW"
    else:
        assert (result.status, str(result.reason).split(":")[0]) == ("REJECTED", "TRADING_STATE")


@pytest.mark.parametrize("risk", RISK)
@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_what_works_is_cancelled_when_its_key_is_withdrawn(purpose: str, own: str, risk: str | None) -> None:
    """An order that was accepted ends as soon as a state forbids its purpose, and works on otherwise."""
    desk = Desk()
    desk.hold("0.2")
    working = order(desk, purpose)
    assert working.status == "NEW"

    restricted(desk, own, risk)

    if purpose in OWN[own] & RISK[risk]:
        assert [order.order_id for order in desk.machine.state.working] == [working.order_id]
    else:
        assert desk.machine.state.working == []
        assert (desk.results[-1].status, str(desk.results[-1].reason).split(":")[0]) == ("CANCELED", "TRADING_STATE")


@pytest.mark.parametrize("state", [None, "RUNNING", 1, ""])
def test_a_state_that_nobody_knows_is_told(state: object) -> None:
    """CRITICAL, with what was reported: only a flatten leaves until risk says something that is known."""
    desk = Desk()
    report(desk, state)
    (alert,) = [event for event in desk.outputs if isinstance(event, Alert)]
    assert (alert.level, alert.code, alert.context["reported"]) == ("CRITICAL", "RISK_STATE_UNKNOWN", str(state))
    report(desk, "ACTIVE")
    desk.send(2_000)
    assert desk.results[-1].status == "NEW"
