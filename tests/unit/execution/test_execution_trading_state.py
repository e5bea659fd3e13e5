"""Execution's own trading state: the operator's commands, folded."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from services.cdb_execution.trading_state import TradingState, after_command, permits, reported_state, risk_permits
from services.common.events import Control, Order

pytestmark = [pytest.mark.unit, pytest.mark.risk]

PURPOSES = get_args(Order.model_fields["purpose"].annotation)
PROTECTIVE = {"stop_loss", "take_profit", "trailing_stop", "liquidation_guard", "flatten"}


def command(action: Any, producer: str = "operator", **fields: Any) -> Control:
    """Return an operator's command."""
    given: dict[str, Any] = {"by": "ada", "reason": "test"} | fields
    return Control(event_id="c", timestamp=1_621_425_600_000_000, producer=producer, action=action, **given)


@pytest.mark.parametrize(
    ("state", "permitted"),
    [
        ("ACTIVE", set(PURPOSES)),
        ("HALTED", PROTECTIVE),
        ("FROZEN", {"flatten"}),
        ("nonsense", set()),
    ],
)
def test_what_each_state_permits(state: str, permitted: set[str]) -> None:
    """HALTED keeps protective exits, FROZEN only flatten, and a state that nobody knows permits nothing."""
    assert {purpose for purpose in PURPOSES if permits(state, purpose)} == permitted


@pytest.mark.parametrize(
    ("risk_state", "permitted"),
    [
        ("ACTIVE", set(PURPOSES)),
        ("REDUCING", PROTECTIVE | {"exit"}),
        ("HALTED", PROTECTIVE | {"exit"}),
        ("FROZEN", {"flatten"}),
        ("nonsense", {"flatten"}),
        ("UNKNOWN", {"flatten"}),
    ],
)
def test_what_the_state_in_a_risk_permits(risk_state: str, permitted: set[str]) -> None:
    """An entry needs ACTIVE; a frozen risk lets only a flatten through, and so does a state that nobody knows."""
    assert {purpose for purpose in PURPOSES if risk_permits(risk_state, purpose)} == permitted


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        ("ACTIVE", command("halt"), "HALTED"),
        ("ACTIVE", command("halt", details={"freeze": False}), "HALTED"),
        ("ACTIVE", command("halt", details={"freeze": True}), "FROZEN"),
        ("ACTIVE", command("halt", details={"freeze": "no"}), "HALTED"),
        ("HALTED", command("halt", details={"freeze": True}), "FROZEN"),
        ("FROZEN", command("halt"), "FROZEN"),
        ("ACTIVE", command("halt", producer="cdb_writer", by=None, reason=None), "HALTED"),
        ("HALTED", command("resume"), "ACTIVE"),
        ("FROZEN", command("resume"), "ACTIVE"),
        ("HALTED", command("resume", producer="cdb_risk"), "HALTED"),
        ("HALTED", command("resume", by=None), "HALTED"),
        ("HALTED", command("resume", reason=" "), "HALTED"),
        ("HALTED", command("reset_breaker"), "HALTED"),
        ("ACTIVE", command("flatten"), "HALTED"),
        ("FROZEN", command("flatten"), "FROZEN"),
        ("ACTIVE", command("flatten", producer="cdb_core"), "ACTIVE"),
        ("ACTIVE", command("tick", producer="cdb_ws"), "ACTIVE"),
    ],
)
def test_what_a_command_does(before: TradingState, event: Control, after: str) -> None:
    """Anybody may halt; only the operator resumes, with name and reason; what is frozen stays so."""
    assert after_command(before, event) == after


@pytest.mark.parametrize(
    ("details", "state"),
    [
        ({"state": "REDUCING"}, "REDUCING"),
        ({"state": "RUNNING"}, "UNKNOWN"),
        ({}, "UNKNOWN"),
        ({"state": None}, "UNKNOWN"),
        ({"state": 1}, "UNKNOWN"),
    ],
)
def test_what_risk_reports_is_taken_over(details: dict[str, Any], state: str) -> None:
    """A report that cannot be read is no permission to enter."""
    assert reported_state(command("trading_state", producer="cdb_risk", details=details)) == state
