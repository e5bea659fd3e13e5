"""What the publish script must know of a batch and cannot read itself: its class of admission, and a new run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from services.common.channels import CONTROL, MARKET_DATA, ORDER_RESULTS, ORDERS, RISK_DECISIONS, SIGNALS, WS
from services.common.events import Control, Event

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
    entry = vital = False
    for event in events:  # by channel: of a pydantic class, `isinstance` costs ten times as much
        channel, said = event.channel, event.__dict__
        if channel == MARKET_DATA:
            return "market_data"
        if channel == SIGNALS:
            opens = said["intent"] == "entry"
        elif channel in {ORDERS, RISK_DECISIONS}:
            opens = said["purpose"] == "entry"
        else:
            vital = vital or channel == ORDER_RESULTS
            continue
        entry = entry or (opens and said.get("approved", True))
        vital = vital or not opens
    return "entry" if entry and not vital else "vital"


def run_begun(events: Sequence[Event]) -> str:
    """Return the run_id of a `started` of cdb_ws among the events, or an empty text."""
    for event in events:
        if event.channel == CONTROL and event.producer == WS:
            assert isinstance(event, Control)
            if event.action == "started":
                return event.run_id or ""
    return ""
