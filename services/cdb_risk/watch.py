"""Conditions that a person must hear of while they last; looked at with every tick of the clock."""

from __future__ import annotations

from services.cdb_risk.account import MARK_STALE_US
from services.cdb_risk.notices import Notice
from services.cdb_risk.situation import Situation
from services.common.timestamps import SECOND_US

__all__ = ["ANSWER_US", "BLIND_US", "EXIT_LATCHED_US", "conditions"]

BLIND_US = MARK_STALE_US
EXIT_LATCHED_US = 30 * SECOND_US
ANSWER_US = 60 * SECOND_US


def conditions(situation: Situation) -> dict[str, Notice]:
    """Return what holds now, by a key that names the condition and what it is about."""
    found: dict[str, Notice] = {}
    _blind(situation, found)
    _latched_exits(situation, found)
    _unanswered(situation, found)
    return found


def _blind(situation: Situation, found: dict[str, Notice]) -> None:
    stale = situation.stale_marks()
    for key in situation.open_positions():
        quote = situation.quote(key)
        age = None if quote is None else (situation.now - quote.timestamp) // SECOND_US
        if quote is None or situation.now - quote.timestamp > BLIND_US:
            message = f"{key} is held and has had no quote for {age} s: its stop cannot trigger"
            found[f"BLIND_WHILE_POSITIONED/{key}"] = Notice("CRITICAL", "BLIND_WHILE_POSITIONED", message, {"key": key})
        elif key in stale:
            message = f"{key} is held and has had no good mark for 60 s: entries are blocked"
            found[f"MARKS_STALE/{key}"] = Notice("WARNING", "MARKS_STALE", message, {"key": key})


def _latched_exits(situation: Situation, found: dict[str, Notice]) -> None:
    for key, latched in situation.state.exits.items():
        seconds = (situation.now - latched.since) // SECOND_US
        if situation.now - latched.since > EXIT_LATCHED_US:
            message = f"{latched.purpose} of {key} is latched for {seconds} s after {latched.attempts} orders"
            found[f"EXIT_LATCHED/{key}"] = Notice("CRITICAL", "EXIT_LATCHED", message, {"key": key})


def _unanswered(situation: Situation, found: dict[str, Notice]) -> None:
    for reservation in situation.state.reservations.orders.values():
        since = reservation.unanswered_since
        if since is None or situation.now - since <= ANSWER_US:
            continue
        code = "ORDER_UNKNOWN" if reservation.status == "UNKNOWN" else "ORDER_UNANSWERED"
        message = (
            f"order {reservation.order_id} is {reservation.status} for over 60 s; it stays reserved until execution, "
            f"reconciliation or an operator (resolve_order) says what became of it"
        )
        found[f"{code}/{reservation.order_id}"] = Notice("CRITICAL", code, message, {"order_id": reservation.order_id})
