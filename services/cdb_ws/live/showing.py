"""What a live feed shows: what is wrong now, and `/status`."""

from __future__ import annotations

from typing import Any

from services.cdb_ws.live.instrument import round_sec
from services.cdb_ws.live.links import Connection, Slot

__all__ = ["show_connection", "slot_problems"]


def slot_problems(slot: Slot, socket_url: str, now_us: int) -> dict[str, str]:
    """Return what is wrong with a connection and its subscriptions, by what it is about."""
    connection, found = slot.current, {}
    if slot.trouble:
        found[f"connection_{slot.number}"] = slot.trouble
    elif connection is None or connection.opened_us is None:
        found[f"connection_{slot.number}"] = f"{socket_url}: connecting"
    if connection is not None:
        found.update(_unsubscribed(connection, now_us))
    return found


def _unsubscribed(connection: Connection, now_us: int) -> dict[str, str]:
    found = {topic: f"refused: {reason}" for topic, reason in connection.subscriptions.refusals().items()}
    for topic in connection.subscriptions.unconfirmed(now_us):
        found.setdefault(topic, "subscribed, and never echoed")
    return found


def show_connection(slot: Slot, now_us: int) -> dict[str, Any]:
    """Return a connection as `/status` shows it."""
    connection = slot.current
    age_us = None if connection is None or connection.opened_us is None else now_us - connection.opened_us
    return {
        "number": None if connection is None else connection.number,
        "age_sec": None if age_us is None else round_sec(age_us),
        "symbols": list(slot.symbols),
        "attempt": slot.attempt,
    }
