"""What an operator may command, and what a command must carry.

Halting is easy: anyone, no name needed. Undoing a halt is not: an operator's name and a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.cdb_risk.trading_state import TradingState
from services.common import channels
from services.common.events import Control

__all__ = ["COMMANDS", "refusal"]

COMMANDS: Final = frozenset({"halt", "resume", "flatten", "reset_breaker", "resolve_order"})

_NEEDS_NAME_AND_REASON: Final = frozenset({"resume", "reset_breaker", "resolve_order"})


def refusal(
    command: Control, trading: TradingState, differences: Sequence[str] = (), unknown: Sequence[str] = ()
) -> str | None:
    """Return why a command is not done; None when it is.

    Args:
        command: of whomever.
        trading: the latches.
        differences: between books and exchange, which `resume` has to accept by name.
        unknown: ids of orders that have been UNKNOWN for too long; nobody resumes before he has said what became of
            them.
    """
    if command.action != "halt" and command.producer != channels.OPERATOR:
        return f"{command.action} comes from {command.producer}; only an operator may command it"
    if command.action in _NEEDS_NAME_AND_REASON and not ((command.by or "").strip() and (command.reason or "").strip()):
        return f"{command.action} needs a name (--by) and a reason (--reason)"
    if command.action == "resume" and not (trading.is_set("halt") or trading.is_set("freeze")):
        return f"nothing is halted by an operator; set are: {', '.join(trading.causes) or 'nothing'}"
    if command.action == "resume" and unknown:
        return (
            f"order {', '.join(unknown)} has been UNKNOWN for over 60 s: see at the exchange what became of it, "
            "say so (claire resolve-order), then resume"
        )
    named = command.details.get("accept")
    missing = [name for name in differences if not isinstance(named, list) or name not in named]
    if command.action == "resume" and missing:
        return f"resume has to accept the differences by name: {', '.join(missing)}"
    if command.action == "reset_breaker" and not trading.is_set("breaker"):
        return "the circuit breaker has not tripped"
    return None
