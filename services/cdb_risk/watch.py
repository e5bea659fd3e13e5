"""Conditions that a person must hear of while they last; looked at with every tick of the clock."""

from __future__ import annotations

from services.cdb_risk.account import MARK_STALE_US
from services.cdb_risk.exits import examine_exit
from services.cdb_risk.finding import shown, wire
from services.cdb_risk.liquidation import liquidation_view
from services.cdb_risk.notices import Notice
from services.cdb_risk.protective import LatchedExit
from services.cdb_risk.situation import Situation
from services.cdb_risk.triggers import levels
from services.common.instruments import PERPETUAL
from services.common.timestamps import SECOND_US

__all__ = ["ANSWER_US", "BLIND_US", "CODES", "EXIT_LATCHED_US", "conditions"]

BLIND_US = MARK_STALE_US
EXIT_LATCHED_US = 30 * SECOND_US
ANSWER_US = 60 * SECOND_US
CODES = (
    "BLIND_WHILE_POSITIONED",
    "MARKS_STALE",
    "LIQUIDATION_NEAR",
    "EXIT_LATCHED",
    "ORDER_UNKNOWN",
    "ORDER_UNANSWERED",
)
"""Alert codes of all conditions."""


def conditions(situation: Situation) -> dict[str, Notice]:
    """Return what holds now, by a key that names the condition and what it is about."""
    found: dict[str, Notice] = {}
    state = situation.state
    if not (state.exits or state.reservations.orders or state.account.invested):
        return found
    _blind(situation, found)
    _liquidation(situation, found)
    _latched_exits(situation, found)
    _unanswered(situation, found)
    return found


def _blind(situation: Situation, found: dict[str, Notice]) -> None:
    portfolio, now = situation.state.account.portfolio, situation.now
    for key, position in portfolio.positions.items():
        quote, mark = situation.quote(key), portfolio.marks.get(key)
        blind = quote is None or now - quote.timestamp > BLIND_US
        stale = mark is None or now - mark.timestamp > MARK_STALE_US
        if not (position.quantity and (blind or stale)) or situation.is_dust(key):
            continue
        if blind:
            message = f"{key} is held and {_last_seen(situation, key)}; {_not_knowable(situation, key)}"
            found[f"BLIND_WHILE_POSITIONED/{key}"] = Notice("CRITICAL", "BLIND_WHILE_POSITIONED", message, {"key": key})
        elif key.startswith(PERPETUAL):
            message = f"{key} is held and has had no mark price for 60 s: neither its stop nor its guard can trigger"
            found[f"BLIND_WHILE_POSITIONED/{key}"] = Notice("CRITICAL", "BLIND_WHILE_POSITIONED", message, {"key": key})
        else:
            message = f"{key} is held and has had no good mark for 60 s: entries are blocked"
            found[f"MARKS_STALE/{key}"] = Notice("WARNING", "MARKS_STALE", message, {"key": key})


def _liquidation(situation: Situation, found: dict[str, Notice]) -> None:
    """Page when a position is within twice the guard's distance of its liquidation."""
    portfolio, near = situation.state.account.portfolio, 2 * situation.settings.LIQUIDATION_GUARD_PCT
    for key, position in portfolio.positions.items():
        if position.venue != PERPETUAL:
            continue
        mark = portfolio.marks.get(key) if position.quantity else None
        view = liquidation_view(situation.settings.spec(key), position, None if mark is None else mark.price)
        if view is not None and view.distance <= near:
            message = f"{key} is {shown(view.distance)} from its liquidation at {shown(view.price)}"
            context = {"key": key, "distance": wire(view.distance), "price": wire(view.price)}
            found[f"LIQUIDATION_NEAR/{key}"] = Notice("CRITICAL", "LIQUIDATION_NEAR", message, context)


def _last_seen(situation: Situation, key: str) -> str:
    quote = situation.quote(key)
    if quote is None:
        return "no quote of it has ever been seen"
    seconds = (situation.now - quote.timestamp) // SECOND_US
    return f"its last quote, {shown(quote.bid)} to {shown(quote.ask)}, is {seconds} s old"


def _not_knowable(situation: Situation, key: str) -> str:
    """Say which prices may have been reached without anybody seeing it."""
    position = situation.state.account.portfolio.positions[key]
    at = levels(situation.settings, position, situation.state.best.get(key))
    prices = ", ".join(f"{purpose} {shown(price)}" for purpose, price in at.items())
    return f"whether it has reached {prices} cannot be known, and nothing is guessed"


def _held_back(situation: Situation, key: str, latched: LatchedExit) -> str:
    """Say what keeps a latched exit from leaving now."""
    if situation.state.reservations.exit_working(key):
        return "its order works"
    outcome = examine_exit(situation, key, latched)
    if outcome.approved:
        return "it asks again with the next quote"
    first = next(layer for layer in outcome.layers if layer.status == "fail")
    why = _last_seen(situation, key) if first.layer == "timeout_check" else first.detail
    return f"held back by {first.code}: {why}"


def _latched_exits(situation: Situation, found: dict[str, Notice]) -> None:
    for key, latched in situation.state.exits.items():
        seconds = (situation.now - latched.since) // SECOND_US
        if situation.now - latched.since > EXIT_LATCHED_US:
            why = _held_back(situation, key, latched)
            message = f"{latched.purpose} of {key} is latched for {seconds} s after {latched.attempts} orders: {why}"
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
