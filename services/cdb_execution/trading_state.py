"""Execution's own trading state: the second key beside risk's.

It is a fold of the operator's commands alone, so that a fault in risk cannot open it.
"""

from __future__ import annotations

from typing import Final, Literal

from services.common import channels
from services.common.events import Control

__all__ = ["TradingState", "after_control", "decision_permits", "permits"]

TradingState = Literal["ACTIVE", "HALTED", "FROZEN"]

_REFUSED_WHEN_HALTED: Final = frozenset({"entry", "exit"})


def permits(state: str, purpose: str) -> bool:
    """Tell whether execution's own state lets an order of this purpose work.

    HALTED (an operator's halt): no entries and no strategy exits, protective exits still run. FROZEN: nothing but
    `flatten`. An unknown state permits nothing.
    """
    if state == "ACTIVE":
        return True
    if state == "HALTED":
        return purpose not in _REFUSED_WHEN_HALTED
    return state == "FROZEN" and purpose == "flatten"


def decision_permits(risk_state: str, purpose: str) -> bool:
    """Tell whether the trading state that risk wrote into its decision lets an order of this purpose through.

    Entries need ACTIVE; when risk is FROZEN only `flatten` passes. Risk's HALTED does not say whether the breaker
    (strategy exits run) or an operator (they do not) halted it, so exits are left to `permits`.
    """
    if purpose == "entry":
        return risk_state == "ACTIVE"
    return risk_state != "FROZEN" or purpose == "flatten"


def after_control(state: TradingState, command: Control) -> TradingState:
    """Return the state after a control event.

    Anybody may halt; only the operator resumes, with name and reason. A halt with `details.freeze` freezes (anything
    but an explicit false counts as true), and a plain halt never thaws what is frozen.
    """
    if command.action == "halt":
        frozen = state == "FROZEN" or command.details.get("freeze", False) is not False
        return "FROZEN" if frozen else "HALTED"
    if command.action == "resume" and command.producer == channels.OPERATOR and command.by and command.reason:
        return "ACTIVE"
    return state
