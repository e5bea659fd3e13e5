"""Admission of foreign messages: what an operator or another tool publishes by hand on a channel.

Reads old payloads generously, stamps what it admits with the owner's `now` (nobody else moves the clock) and gives it
an id that is a function of its bytes and of the owner's admission counter. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

from services.common import channels
from services.common.book import book_fault, read_side
from services.common.codec import decode
from services.common.errors import ContractViolation, NumberOutOfContract
from services.common.events import EVENT_BY_CHANNEL, Event, MarketData
from services.common.identity import derive_id
from services.common.journal.admission import MAX_EVENT_BYTES
from services.common.timestamps import format_timestamp, parse_timestamp

__all__ = ["ADMITTED", "admit"]

ADMITTED: Final = frozenset({channels.MARKET_DATA, channels.SIGNALS, channels.ALERTS, channels.CONTROL})
"""Where a foreign message may be admitted (on `control` only `halt`); on every other channel it is forbidden."""

MAX_NESTING: Final = 32
"""Objects within objects that a message may have below its own: every reader recurses, and none near its limit."""

_IDENTITY = frozenset({"event_id", "schema_version", "timestamp", "producer", "causation_id", "type"})


def admit(channel: str, raw: bytes, *, owner: str, counter: int, now: int, run_id: str, default_venue: str) -> Event:
    """Return the event that a foreign message becomes.

    Args:
        channel: where it came.
        raw: its bytes.
        owner: the service that admits it and becomes its producer.
        counter: number of this admission by the owner (the number of its cause `foreign:<counter>`).
        now: the owner's `now`, microseconds.
        run_id: of the current run.
        default_venue: venue of messages that name none.

    Raises:
        ContractViolation: forbidden on this channel, or invalid; the text names the field, its value and what is meant.
    """
    if channels.FOREIGN_OWNER.get(channel) != owner or channel not in ADMITTED:
        raise ContractViolation(f"{channel}: messages from outside the journal are not admitted here")
    if len(raw) > MAX_EVENT_BYTES:
        raise ContractViolation(f"{channel}: {len(raw)} bytes, over {MAX_EVENT_BYTES}")
    given = decode(raw)
    if not isinstance(given, dict):
        raise ContractViolation(f"{channel}: an object is meant, not {type(given).__name__}")
    model = EVENT_BY_CHANNEL[channel]
    kind = model.model_fields["type"].default
    if given.get("type", kind) != kind:
        raise ContractViolation(f"{channel}: type={given['type']!r:.80}; {kind!r} is meant")
    own_time = _own_time(given)
    fields = {name: value for name, value in given.items() if name in model.model_fields and name not in _IDENTITY}
    _require_shallow(channel, fields)
    _READERS[channel](fields, given, own_time, counter)
    if "venue" in model.model_fields:
        fields["venue"] = given.get("venue") or default_venue
    event_id = derive_id(run_id, owner, "foreign", sha256(raw).hexdigest(), counter)
    if channel == channels.CONTROL and fields.get("command_id") is None:
        fields["command_id"] = event_id
    event = model.parse({**fields, "event_id": event_id, "timestamp": format_timestamp(now), "producer": owner})
    if isinstance(event, MarketData) and not event.low <= event.price <= event.high:
        raise ContractViolation(f"MarketData: price={event.price} is not between low={event.low} and high={event.high}")
    _require_encodable(channel, event)
    return event


def _own_time(given: Mapping[str, Any]) -> int | None:
    """Return the message's own time, microseconds; None when it has none.

    Raises:
        ContractViolation: it has one that is no time.
    """
    for name in ("exchange_timestamp", "timestamp", "ts_ms", "ts"):
        if given.get(name) is not None:
            try:
                return parse_timestamp(given[name])
            except ValueError as error:
                raise ContractViolation(f"{name}: {error}") from error
    return None


def _read_market_data(fields: dict[str, Any], given: Mapping[str, Any], own_time: int | None, counter: int) -> None:
    price = given.get("price")
    if fields.get("volume") is None:
        fields["volume"] = given["trade_qty"] if given.get("trade_qty") is not None else 0
    for name in ("high", "low"):
        if fields.get(name) is None:
            fields[name] = price
    for name in ("gap", "synthetic"):
        if fields.get(name) is None:
            fields.pop(name, None)
    _read_levels(fields)
    fields["sequence"] = counter
    fields["exchange_timestamp"] = None if own_time is None else format_timestamp(own_time)


def _read_levels(fields: dict[str, Any]) -> None:
    """Take the levels of a book over where they can be read and agree with the quote; else the message is without."""
    sides = {name: read_side(fields.pop(name, None), falling=name == "bids") for name in ("bids", "asks")}
    quote = dict(fields)
    for name, side in sides.items():
        if side is not None and quote.get(name[:-1]) is None:
            quote[name[:-1]], quote[f"{name[:-1]}_size"] = side[0]
    (bid, ask) = ((quote.get(name), quote.get(f"{name}_size")) for name in ("bid", "ask"))
    if any(side is not None for side in sides.values()) and book_fault(bid, ask, sides["bids"], sides["asks"]) is None:
        fields.update(quote, **{name: side for name, side in sides.items() if side is not None})


def _read_signal(fields: dict[str, Any], given: Mapping[str, Any], own_time: int | None, counter: int) -> None:  # noqa: ARG001 - one shape for all readers
    direction = given.get("signal_type") or given.get("side")
    fields["signal_type"] = direction.lower() if isinstance(direction, str) else direction
    if fields.get("intent") is None:
        fields["intent"] = "exit" if fields["signal_type"] == "sell" else "entry"  # spot: what is sold was bought
    if fields.get("confidence") is None:
        fields["confidence"] = 1
    if fields.get("reason") is None:
        fields["reason"] = ""
    if fields.get("strategy") is None:
        fields["strategy"] = str(given.get("source") or "foreign")
    inputs = fields.get("inputs")
    if inputs is None or isinstance(inputs, dict):
        own = {} if own_time is None else {"foreign_timestamp": format_timestamp(own_time)}
        fields["inputs"] = {**(inputs or {}), **own}


def _read_alert(fields: dict[str, Any], given: Mapping[str, Any], own_time: int | None, counter: int) -> None:  # noqa: ARG001 - one shape for all readers
    for name in ("level", "code"):
        if isinstance(fields.get(name), str):
            fields[name] = fields[name].upper()
    if fields.get("context") is None:
        fields.pop("context", None)


def _read_control(fields: dict[str, Any], given: Mapping[str, Any], own_time: int | None, counter: int) -> None:  # noqa: ARG001 - one shape for all readers
    if given.get("action") != "halt":
        raise ContractViolation(
            f"control: action={given.get('action')!r:.80}; only halt is admitted from outside, use the claire command"
        )
    fields.pop("run_id", None)
    if fields.get("details") is None:
        fields.pop("details", None)
    fields["by"] = fields.get("by") or "foreign"


_Reader = Callable[[dict[str, Any], Mapping[str, Any], int | None, int], None]
_READERS: Final[dict[str, _Reader]] = {
    channels.MARKET_DATA: _read_market_data,
    channels.SIGNALS: _read_signal,
    channels.ALERTS: _read_alert,
    channels.CONTROL: _read_control,
}


def _require_shallow(channel: str, fields: Mapping[str, Any]) -> None:
    """Refuse nesting beyond the limit; looks at one level after the other, so that it does not recurse itself."""
    level = [value for value in fields.values() if isinstance(value, dict | list)]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_NESTING:
            raise ContractViolation(f"{channel}: nested deeper than {MAX_NESTING} levels")
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]


def _require_encodable(channel: str, event: Event) -> None:
    """Refuse what cannot stand in the journal (numbers inside free-form objects, odd Unicode)."""
    try:
        size = len(event.data)
    except NumberOutOfContract as error:
        raise ContractViolation(f"{channel}: {error}") from error
    if size > MAX_EVENT_BYTES:
        raise ContractViolation(f"{channel}: {size} bytes, over {MAX_EVENT_BYTES}")
