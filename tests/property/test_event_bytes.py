"""What is read from an event's bytes in one step is what the decoder and the contract read."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.canonical import construct
from services.common.codec import decode
from services.common.event_bytes import compile_bytes_reader
from services.common.events import EVENT_BY_CHANNEL, Alert, Event, MarketData, Order, Signal, parse_event
from tests.property.effort import examples
from tests.property.test_canonical_reader import ODD_TEXTS, events

pytestmark = pytest.mark.unit

COMMON = {
    "event_id": "e", "timestamp": "2026-01-01T00:00:00.000000Z", "producer": "cdb_risk", "correlation_id": "m",
    "causation_id": "s", "venue": "mexc_spot", "symbol": "BTCUSDT",
}  # fmt: skip
PLAIN = (
    Signal.model_validate(
        {**COMMON, "signal_type": "buy", "intent": "entry", "price": 5, "confidence": 1, "inputs": {"bars": 3}}
    ),
    Order.model_validate(
        {
            **COMMON, "order_id": "o", "client_order_id": "cdb-1_a", "signal_id": None, "decision_id": "d",
            "side": "SELL", "order_type": "MARKET", "quantity": 1, "price": None, "reduce_only": True,
            "purpose": "exit", "reference_price": 5,
        }
    ),
)  # fmt: skip


def test_plain_events_take_the_one_step() -> None:
    """Signal and order as they stand in the journal: fields in schema order, equal to what pydantic reads."""
    for event in PLAIN:
        read = type(event)._read_bytes

        values = None if read is None else read(event.data)

        assert values is not None
        assert list(values) == list(type(event).model_fields)
        assert construct(type(event), values) == type(event).model_validate(decode(event.data)) == event


def test_what_cannot_be_read_in_one_step_has_no_reader() -> None:
    """Fields that may be left out, and a pattern that cannot stand within another: these go the long way."""
    assert compile_bytes_reader(MarketData) is None
    assert compile_bytes_reader(Alert) is None


@given(event=events() | st.sampled_from(PLAIN))
@settings(max_examples=examples(80), deadline=None)
def test_one_step_reads_what_the_long_way_reads(event: Event) -> None:
    """Every event is read from its bytes as it was made, whichever way it took."""
    read = parse_event(event.channel, event.data)

    assert read == event
    assert read.data == event.data


@given(event=events() | st.sampled_from(PLAIN), data=st.data())
@settings(max_examples=examples(120), deadline=None)
def test_one_step_accepts_nothing_that_the_long_way_refuses(event: Event, data: st.DataObject) -> None:
    """With one value's text replaced by something odd, or bytes cut anywhere, it declines or reads the same."""
    field = data.draw(st.sampled_from(re.findall(rb'"\w+":(?:"[^"]*"|[^,"}\]]+)', event.data)))
    odd = data.draw(st.sampled_from((*ODD_TEXTS, b"{}", b'{"a":1,"a":2}', b'{"a":{}}', b'{"a":"}"}', b'{"a":NaN}')))
    raw = event.data.replace(field, field.partition(b":")[0] + b":" + odd, 1)
    raw = raw[: data.draw(st.sampled_from([len(raw), len(raw), len(raw) - 1]))]
    read = EVENT_BY_CHANNEL[event.channel]._read_bytes

    values = None if read is None else read(raw)

    if values is not None:
        assert construct(type(event), values) == type(event).model_validate(decode(raw))
