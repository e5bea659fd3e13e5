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
from services.common.decimals import ZERO
from services.common.errors import ContractViolation
from services.common.events import parse_event
from services.common.instruments import instrument_key
from services.common.portfolio import mid_price
from services.common.timestamps import format_timestamp

__all__ = ["Envelope", "Quote", "read_envelope", "read_quote"]

_TEXT = rb'"([^"\\\x00-\x1f]*)"'
_ENVELOPE = re.compile(
    rb'\{"type":' + _TEXT + rb',"event_id":' + _TEXT + rb',"schema_version":"1\.0","timestamp":'
    rb'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)","producer":' + _TEXT + rb',"correlation_id":(?:null|' + _TEXT + rb")"
    rb',"causation_id":(?:null|' + _TEXT + rb"),"
)
_NUMBER = rb"(-?\d+\.\d+)"
_QUOTE = re.compile(
    rb'"venue":"(\w+)","symbol":"(\w+)","price":' + _NUMBER + rb',"volume":' + _NUMBER + rb',"high":' + _NUMBER + rb","
    rb'"low":' + _NUMBER + rb',"bid":(?:null|' + _NUMBER + rb'),"ask":(?:null|' + _NUMBER + rb")"
)
_MARK_PRICE = re.compile(rb',"mark_price":(?:null|' + _NUMBER + rb"),")


class Envelope(NamedTuple):
    """The common fields of an event; `timestamp` is its canonical text, so texts compare as times do."""

    type: str
    event_id: str
    timestamp: str
    producer: str
    correlation_id: str | None
    causation_id: str | None


class Quote(NamedTuple):
    """What values an instrument: its key and its mid (spot) or mark price; None when this event has none."""

    key: str
    price: Decimal | None


def read_envelope(channel: str, data: bytes) -> Envelope:
    """Return the common fields of one journalled event.

    Raises:
        ContractViolation: the bytes are not an event of this channel.
    """
    found = _ENVELOPE.match(data)
    if found is None:
        return _decode_envelope(channel, data)
    kind, event_id, timestamp, producer, correlation_id, causation_id = found.groups()
    if kind.decode() != _TYPES.get(channel):
        raise ContractViolation(f"{channel}: an event of type {kind.decode()!r} does not belong on this channel")
    return Envelope(
        kind.decode(),
        event_id.decode(),
        timestamp.decode(),
        producer.decode(),
        None if correlation_id is None else correlation_id.decode(),
        None if causation_id is None else causation_id.decode(),
    )


def _decode_envelope(channel: str, data: bytes) -> Envelope:
    event = parse_event(channel, data)
    return Envelope(
        event.type,
        event.event_id,
        format_timestamp(event.timestamp),
        event.producer,
        event.correlation_id,
        event.causation_id,
    )


def read_quote(data: bytes) -> Quote:
    """Return what a market_data event says about the value of its instrument, as `Portfolio.mark` would take it.

    Raises:
        ContractViolation: the bytes are not a market_data event.
    """
    found = _QUOTE.search(data, 0, 1_000)
    if found is None:
        return _decode_quote(data)
    venue, symbol, _, _, _, _, bid, ask = found.groups()
    key = instrument_key(venue.decode(), symbol.decode())
    if venue == b"mexc_perpetual":
        mark = _MARK_PRICE.search(data, found.end())
        return _decode_quote(data) if mark is None else Quote(key, _positive(mark.group(1)))
    if bid is None or ask is None:
        return Quote(key, None)
    return Quote(key, _mid(Decimal(bid.decode()), Decimal(ask.decode())))


def _positive(digits: bytes | None) -> Decimal | None:
    return None if digits is None else Decimal(digits.decode())


def _mid(bid: Decimal, ask: Decimal) -> Decimal | None:
    return mid_price(bid, ask) if ZERO < bid < ask else None


def _decode_quote(data: bytes) -> Quote:
    event: Any = parse_event(channels.MARKET_DATA, data)
    key = instrument_key(event.venue, event.symbol)
    if event.venue == "mexc_perpetual":
        return Quote(key, event.mark_price)
    if event.bid is None or event.ask is None:
        return Quote(key, None)
    return Quote(key, _mid(event.bid, event.ask))


_TYPES = {
    channels.MARKET_DATA: "market_data",
    channels.SIGNALS: "signal",
    channels.ORDERS: "order",
    channels.ORDER_RESULTS: "order_result",
    channels.ALERTS: "alert",
    channels.RISK_DECISIONS: "risk_decision",
    channels.CONTROL: "control",
}
