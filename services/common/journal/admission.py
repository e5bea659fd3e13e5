"""What the publish script must know of a batch and cannot read itself: its class of admission, and a new run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from services.common.channels import WS
from services.common.events import Control, Event, MarketData, Order, OrderResult, RiskDecision, Signal

__all__ = ["MAX_BATCH_BYTES", "MAX_BATCH_EVENTS", "MAX_EVENT_BYTES", "AdmissionClass", "admission_class", "run_begun"]

AdmissionClass = Literal["market_data", "entry", "vital"]

MAX_EVENT_BYTES: Final = 1_048_576
MAX_BATCH_BYTES: Final = 16_777_216
MAX_BATCH_EVENTS: Final = 10_000


def admission_class(events: Sequence[Event]) -> AdmissionClass:
    """Return the class of a batch, which is admitted or refused as a whole.

    A batch with market data is market data (70 % of memory and above: refused). One that opens a position is an entry
    (80 %), unless it also carries an exit or an order's result: these always pass, and the entry with them.
    """
    if any(isinstance(event, MarketData) for event in events):
        return "market_data"
    if any(_is_entry(event) for event in events) and not any(_is_vital(event) for event in events):
        return "entry"
    return "vital"


def _is_entry(event: Event) -> bool:
    return (
        (isinstance(event, Signal) and event.intent == "entry")
        or (isinstance(event, Order) and event.purpose == "entry")
        or (isinstance(event, RiskDecision) and event.purpose == "entry" and event.approved)
    )


def _is_vital(event: Event) -> bool:
    return (
        isinstance(event, OrderResult)
        or (isinstance(event, Signal) and event.intent == "exit")
        or (isinstance(event, Order | RiskDecision) and event.purpose != "entry")
    )


def run_begun(events: Sequence[Event]) -> str:
    """Return the run_id of a `started` of cdb_ws among the events, or an empty text."""
    for event in events:
        if isinstance(event, Control) and event.action == "started" and event.producer == WS:
            return event.run_id or ""
    return ""
