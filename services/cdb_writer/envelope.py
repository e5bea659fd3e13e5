"""What every event carries, read from its canonical bytes without decoding the rest.

Canonical events have their keys in schema order, so the common fields (and the top of the book of market data) stand
at the front in a fixed form. Bytes that do not have that form (an escaped character in an id) are decoded in full: both
ways give the same values, which a property test proves.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, NamedTuple

from services.common import channels
from services.common.errors import ContractViolation
from services.common.events import parse_event
from services.common.instruments import instrument_key
from services.common.portfolio import mid_price
from services.common.timestamps import format_timestamp

__all__ = ["Envelope", "Quote", "read_envelope", "read_quote"]

_TEXT = r'"([^"\\\x00-\x1f]*)"'
_ENVELOPE = re.compile(
    r'\{"type":' + _TEXT + r',"event_id":' + _TEXT + r',"schema_version":"1\.0","timestamp":'
    r'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)","producer":' + _TEXT + r',"correlation_id":(?:null|' + _TEXT + r")"
    r',"causation_id":(?:null|' + _TEXT + r'),(?:"action":"(\w+)")?',
    re.ASCII,
)
_NUMBER = r"(-?\d+\.\d+)"
_QUOTE = re.compile(
    r'"venue":"(\w+)","symbol":"(\w+)","price":' + _NUMBER + r',"volume":' + _NUMBER + r',"high":' + _NUMBER + r","
    r'"low":' + _NUMBER + r',"bid":(?:null|' + _NUMBER + r'),"ask":(?:null|' + _NUMBER + r")",
    re.ASCII,
)
_MARK_PRICE = re.compile(r',"mark_price":(?:null|' + _NUMBER + r"),", re.ASCII)


class Envelope(NamedTuple):
    """The common fields of an event, and a control event's action; `timestamp` is its canonical text."""

    type: str
    event_id: str
    timestamp: str
    producer: str
    correlation_id: str | None
    causation_id: str | None
    action: str | None


class Quote(NamedTuple):
    """What values an instrument: its key and its mid (spot) or mark price; None when this event has none."""

    key: str
    price: Decimal | None


def read_envelope(channel: str, data: bytes) -> Envelope:
    """Return the common fields of one journalled event.

    Raises:
        ContractViolation: the bytes are not an event of this channel.
    """
    try:
        found = _ENVELOPE.match(data.decode())
    except UnicodeDecodeError as error:
        raise ContractViolation(f"{channel}: not UTF-8: {error}") from error
    if found is None:
        return _decode_envelope(channel, data)
    envelope = Envelope._make(found.groups())
    if envelope.type != _TYPES.get(channel):
        raise ContractViolation(f"{channel}: an event of type {envelope.type!r} does not belong on this channel")
    return envelope


def _decode_envelope(channel: str, data: bytes) -> Envelope:
    event: Any = parse_event(channel, data)
    return Envelope(
        event.type,
        event.event_id,
        format_timestamp(event.timestamp),
        event.producer,
        event.correlation_id,
        event.causation_id,
        event.action if channel == channels.CONTROL else None,
    )


def read_quote(data: bytes) -> Quote:
    """Return what a market_data event says about the value of its instrument, as `Portfolio.mark` would take it.

    Raises:
        ContractViolation: the bytes are not a market_data event.
    """
    text = data.decode()
    found = _QUOTE.search(text, 0, 1_000)
    if found is None:
        raise ContractViolation("market_data: these are not the canonical bytes of such an event")
    venue, symbol, _, _, _, _, bid, ask = found.groups()
    key = instrument_key(venue, symbol)
    if venue == "mexc_perpetual":
        mark = _MARK_PRICE.search(text, found.end())
        return Quote(key, None if mark is None or mark.group(1) is None else Decimal(mark.group(1)))
    if bid is None or ask is None:
        return Quote(key, None)
    best_bid, best_ask = Decimal(bid), Decimal(ask)
    return Quote(key, mid_price(best_bid, best_ask) if best_bid < best_ask else None)


_TYPES = {
    channels.MARKET_DATA: "market_data",
    channels.SIGNALS: "signal",
    channels.ORDERS: "order",
    channels.ORDER_RESULTS: "order_result",
    channels.ALERTS: "alert",
    channels.RISK_DECISIONS: "risk_decision",
    channels.CONTROL: "control",
}
