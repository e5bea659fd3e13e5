"""Whatever bytes a stranger publishes become an event that reads back equal, or a named violation: never a crash."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.common.channels import ALERTS, CONTROL, FOREIGN_OWNER, MARKET_DATA, SIGNALS
from services.common.codec import decode
from services.common.errors import ContractViolation
from services.common.events import Event, MarketData, parse_event
from services.common.instruments import normalise_symbol
from services.common.journal.foreign import admit
from services.common.timestamps import parse_timestamp
from tests.property.effort import examples

pytestmark = [pytest.mark.unit, pytest.mark.security]

COMPLETE: dict[str, dict[str, Any]] = {
    MARKET_DATA: {"symbol": "BTCUSDT", "price": 1, "timestamp": 1_732_291_200},
    SIGNALS: {"symbol": "BTCUSDT", "side": "buy", "price": 1, "inputs": {}},
    ALERTS: {"level": "INFO", "code": "A_CODE", "message": "text"},
    CONTROL: {"action": "halt", "reason": "why"},
}
FIELDS = sorted(
    {name for message in COMPLETE.values() for name in message}
    | {"high", "volume", "confidence", "intent", "context", "details", "by", "type", "source", "ts", "correlation_id"}
)
ODD_TEXTS = (
    # JSON texts, put in place of a field's value
    "1e9999999999999999999999",
    "-1e-9999999999999999999999",
    "1e999999",
    "1e-999999",
    "-0.0",
    "9" * 4_299,
    "9" * 5_000,
    '"NaN"',
    '"sNaN"',
    '"-Infinity"',
    '"1e9999999999999999999999"',
    '"\\ud800"',
    '"\\u0000"',
    '"0001-01-01T00:00:00+05:00"',
    '"9999-12-31T23:59:59-05:00"',
    '"1969-12-31T23:59:59Z"',
    '"2024-W01-1T00:00:00Z"',
    '"\\u0662024-01-01T00:00:00Z"',
    "[" * 300 + "]" * 300,
    "[" * 990 + "]" * 990,
    "[" * 100_000,
    '{"a":' * 400 + "1" + "}" * 400,
    '{"a":0.1234567890123456789}',
    '{"\\ud800":1}',
    '{"a":1,"a":1}',
    "true",
    "null",
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def admitted(channel: str, raw: bytes) -> Event | None:
    """Return what the owner of the channel admits; None when it refuses the message by name."""
    try:
        return admit(
            channel,
            raw,
            owner=FOREIGN_OWNER[channel],
            counter=1,
            now=1_700_000_000_000_000,
            run_id="run",
            default_venue="mexc_spot",
        )
    except ContractViolation:
        return None


def message(channel: str, name: str, value: str) -> bytes:
    """Return a complete message of a channel in which one field has the given JSON text as its value."""
    fields = {**{key: json.dumps(given) for key, given in COMPLETE[channel].items()}, name: value}
    return ("{" + ",".join(f'"{key}":{text}' for key, text in fields.items()) + "}").encode(errors="surrogatepass")


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No collection of cycles: at the recursion limit, finalisers of what other tests left would fail there."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("channel", sorted(COMPLETE))
@pytest.mark.parametrize("name", FIELDS)
def test_an_odd_value_in_any_field_is_admitted_exactly_or_refused_by_name(channel: str, name: str) -> None:
    """Huge exponents, times outside the calendar, deep nesting, lone surrogates: no other error than a violation."""
    for odd in ODD_TEXTS:
        event = admitted(channel, message(channel, name, odd))
        if event is not None:
            assert parse_event(channel, event.data).data == event.data


@given(channel=st.sampled_from(sorted(COMPLETE)), name=st.sampled_from(FIELDS), value=json_values)
@example(channel=SIGNALS, name="inputs", value={"": ""})
@settings(max_examples=examples(80), deadline=None)
def test_any_json_value_in_any_field_is_admitted_exactly_or_refused_by_name(
    channel: str, name: str, value: Any
) -> None:
    """What is admitted reads back from its bytes as the same event with the same bytes; the rest is a violation."""
    event = admitted(channel, message(channel, name, json.dumps(value)))

    if event is not None:
        again = parse_event(channel, event.data)
        assert again.data == event.data
        assert again == event


@given(raw=st.binary(max_size=60))
@settings(max_examples=examples(80), deadline=None)
def test_any_bytes_are_admitted_or_refused_by_name(raw: bytes) -> None:
    """Bytes that are no JSON at all are refused like every other message."""
    for channel in COMPLETE:
        assert admitted(channel, raw) is None or raw.strip().startswith(b"{")


CANONICAL = MarketData(
    event_id="m",
    timestamp=1_700_000_000_000_000,
    producer="cdb_ws",
    venue="mexc_spot",
    symbol="BTCUSDT",
    price=1,
    high=1,
    low=1,
    sequence=1,
)


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("timestamp", "2023-11-14T22:13:2\u0660.000000Z"),
        ("timestamp", "2023-11-14T22:13:20.00000\uff11Z"),
        ("timestamp", "1969-12-31T23:59:59.000000Z"),
        ("timestamp", "0500-01-01T00:00:00.000000Z"),
        ("event_id", "\ud800"),
        ("producer", "\udfff"),
        ("symbol", "BTCUSDT\n"),
        ("symbol", "BTCUSD\uff34"),
    ],
)
def test_short_way_declines_what_the_long_way_refuses(name: str, odd: str) -> None:
    """Digits of other scripts, times before 1970 and lone surrogates are no canonical text on either way."""
    value = {**decode(CANONICAL.data), name: odd}

    with pytest.raises(ValueError, match=name):
        MarketData.model_validate(value)
    assert MarketData._read is not None

    assert MarketData._read(value) is None


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "1969-12-31T23:59:59Z"])
def test_times_outside_the_calendar_are_refused(text: str) -> None:
    """A time that could not be written again as four-digit UTC since 1970 is refused when it is read."""
    with pytest.raises(ValueError, match="1970 to 9999"):
        parse_timestamp(text)


@pytest.mark.parametrize("text", ["BTCUSDT\n", "stra\u00dfeusdt", "\u017fusdtx", "\ufb01\ufb01\ufb01", "BTCUSD\u0131"])
def test_a_symbol_has_plain_letters_from_the_start(text: str) -> None:
    """Letters that only become A to Z when they are raised, and a line end, name no instrument."""
    with pytest.raises(ContractViolation, match="5 to 20 letters and digits"):
        normalise_symbol(text)
