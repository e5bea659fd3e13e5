"""The second key: execution's own trading state, and what it makes of risk's.

Its own state is a fold of the operator's commands alone, so that a fault in risk cannot open it; risk's can only close.
"""

from __future__ import annotations

from typing import Final, Literal

from services.common import channels
from services.common.events import Control

__all__ = ["UNKNOWN", "TradingState", "after_command", "permits", "reported_state", "risk_permits"]

TradingState = Literal["ACTIVE", "HALTED", "FROZEN"]

UNKNOWN: Final = "UNKNOWN"
_LETS_EXITS_RUN: Final = frozenset({"ACTIVE", "REDUCING", "HALTED"})
_STATES: Final = _LETS_EXITS_RUN | {"FROZEN"}
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


def risk_permits(risk_state: str, purpose: str) -> bool:
    """Tell whether the state that risk reports, or wrote into a decision, lets an order of this purpose through.

    Entries need ACTIVE; when risk is FROZEN only `flatten` passes, and a state that nobody knows may be just that, so
    it is taken for it. Risk's HALTED does not say whether the breaker (strategy exits run) or an operator (they do
    not) halted it, so strategy exits are left to `permits`.
    """
    if purpose == "entry":
        return risk_state == "ACTIVE"
    return risk_state in _LETS_EXITS_RUN or purpose == "flatten"


def reported_state(event: Control) -> str:
    """Return the state in a `trading_state` event of risk; what is none is UNKNOWN: nothing but `flatten`."""
    state = event.details.get("state")
    return state if isinstance(state, str) and state in _STATES else UNKNOWN


def after_command(state: TradingState, command: Control) -> TradingState:
    """Return the state after an operator's command, by the same rules as risk's latches.

    Anybody may halt. Only the operator resumes, with name and reason, or flattens, after which trading stays halted. A
    halt with `details.freeze` freezes, and a plain one never thaws what is frozen.
    """
    if command.action == "halt":
        return "FROZEN" if state == "FROZEN" or command.details.get("freeze") is True else "HALTED"
    if command.producer != channels.OPERATOR:
        return state
    if command.action == "flatten":
        return "FROZEN" if state == "FROZEN" else "HALTED"
    if command.action == "resume" and (command.by or "").strip() and (command.reason or "").strip():
        return "ACTIVE"
    return state
