"""Admission of foreign messages: generous with old payloads, strict with everything else."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from services.common.channels import (
    ALERTS,
    CHANNELS,
    CONTROL,
    CORE,
    FOREIGN_OWNER,
    MARKET_DATA,
    RISK,
    SIGNALS,
    WRITER,
)
from services.common.errors import ContractViolation
from services.common.events import Alert, Control, Event, MarketData, Signal, parse_event
from services.common.journal.foreign import ADMITTED, admit

pytestmark = pytest.mark.unit

NOW = 1_700_000_000_000_000


def take(channel: str, message: Any, *, counter: int = 7, now: int = NOW, run_id: str = "run") -> Event:
    """Admit a message as its owner would."""
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    return admit(
        channel,
        raw,
        owner=FOREIGN_OWNER[channel],
        counter=counter,
        now=now,
        run_id=run_id,
        default_venue="mexc_spot",
    )


def test_old_market_data_becomes_an_event() -> None:
    """The payload of old tools (BTC_USDT, epoch seconds, no bid or ask, extra fields) is admitted and completed."""
    event = take(
        MARKET_DATA,
        b'{"type":"market_data","symbol":"BTC_USDT","timestamp":1732291200,"price":95000.10,"volume":250000.0,'
        b'"pct_change":3.42,"interval":"1m"}',
    )
    assert isinstance(event, MarketData)
    assert (event.symbol, event.venue, event.producer) == ("BTCUSDT", "mexc_spot", CORE)
    assert event.price == event.high == event.low == Decimal("95000.10")
    assert event.volume == 250_000
    assert (event.timestamp, event.exchange_timestamp) == (NOW, 1_732_291_200_000_000)
    assert (event.sequence, event.gap, event.synthetic, event.bid) == (7, False, False, None)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"timestamp": 1_700_000_000}, NOW),
        ({"timestamp": 1_700_000_000_123}, NOW + 123_000),
        ({"ts_ms": 1_700_000_000_123}, NOW + 123_000),
        ({"timestamp": "2023-11-14T22:13:20Z"}, NOW),
        ({"exchange_timestamp": "2023-11-14T22:13:21Z", "timestamp": 1}, NOW + 1_000_000),
        ({}, None),
    ],
)
def test_own_time_is_kept_apart_from_the_clock(own: dict[str, Any], expected: int | None) -> None:
    """A message's own time, however written, stays in exchange_timestamp; `timestamp` is the owner's now."""
    event = take(MARKET_DATA, {"symbol": "BTCUSDT", "price": 1, **own})
    assert isinstance(event, MarketData)
    assert (event.timestamp, event.exchange_timestamp) == (NOW, expected)


def test_given_quotes_are_kept_and_identity_is_not() -> None:
    """Quotes, sizes and venue count; ids, producer, sequence and causes given by a stranger do not."""
    event = take(
        MARKET_DATA,
        {
            "symbol": "ethusdt", "venue": "mexc_perpetual", "price": "10.5", "high": 11, "low": 10, "bid": "10.4",
            "ask": "10.6", "bid_size": 1, "ask_size": 2, "trade_qty": "3", "gap": None, "synthetic": True,
            "event_id": "mine", "producer": "cdb_ws", "sequence": 1, "causation_id": "x", "schema_version": "9",
        },
    )  # fmt: skip
    assert isinstance(event, MarketData)
    assert (event.bid, event.ask, event.high, event.low) == (Decimal("10.4"), Decimal("10.6"), 11, 10)
    assert (event.symbol, event.venue, event.volume, event.synthetic) == ("ETHUSDT", "mexc_perpetual", 3, True)
    assert (event.producer, event.sequence, event.causation_id) == (CORE, 7, None)
    assert event.event_id != "mine"


def test_old_signal_becomes_an_event() -> None:
    """`side` stands for signal_type, a sell is an exit, the source names the strategy, its own time is kept."""
    event = take(
        SIGNALS, {"symbol": "BTC_USDT", "side": "SELL", "price": 5, "timestamp": 1_700_000_000, "source": "me"}
    )
    assert isinstance(event, Signal)
    assert (event.signal_type, event.intent, event.strategy, event.confidence) == ("sell", "exit", "me", 1)
    assert event.inputs == {"foreign_timestamp": "2023-11-14T22:13:20.000000Z"}
    assert (event.producer, event.timestamp) == (RISK, NOW)


def test_new_signal_keeps_what_it_says() -> None:
    """A complete signal keeps its intent, confidence, reason, strategy and inputs."""
    event = take(
        SIGNALS,
        {
            "type": "signal", "symbol": "BTCUSDT", "signal_type": "buy", "intent": "exit", "price": 5,
            "confidence": 0.25, "reason": "why", "strategy": "s", "inputs": {"m": 0.1}, "correlation_id": "chain",
        },
    )  # fmt: skip
    assert isinstance(event, Signal)
    assert (event.intent, event.confidence, event.reason, event.strategy) == ("exit", Decimal("0.25"), "why", "s")
    assert (event.inputs, event.correlation_id) == ({"m": Decimal("0.1")}, "chain")
    assert isinstance(take(SIGNALS, {"symbol": "BTCUSDT", "side": "buy", "price": 5}), Signal)


def test_alert_and_halt_are_admitted_by_the_writer() -> None:
    """An alert in any case of letters, and the one command that is admitted: halt, done once."""
    event = take(ALERTS, {"level": "warning", "code": "my_code", "message": "m", "context": None})
    assert isinstance(event, Alert)
    assert (event.level, event.code, event.producer, event.context) == ("WARNING", "MY_CODE", WRITER, {})

    halt = take(CONTROL, {"action": "halt", "run_id": "forged", "details": None, "reason": "panic"})
    assert isinstance(halt, Control)
    assert (halt.action, halt.by, halt.reason, halt.run_id) == ("halt", "foreign", "panic", None)
    assert halt.command_id == halt.event_id
    named = take(CONTROL, {"action": "halt", "command_id": "c1", "by": "me"})
    assert isinstance(named, Control)
    assert (named.command_id, named.by) == ("c1", "me")


@pytest.mark.parametrize("channel", sorted(set(CHANNELS) - ADMITTED))
def test_other_channels_admit_nothing(channel: str) -> None:
    """Orders, decisions and results never come from outside the journal."""
    with pytest.raises(ContractViolation, match="not admitted"):
        take(channel, {"type": "order"})


def test_only_the_owner_admits() -> None:
    """A message on a channel that another service owns is not this service's business."""
    with pytest.raises(ContractViolation, match="not admitted"):
        admit(MARKET_DATA, b"{}", owner=RISK, counter=1, now=NOW, run_id="r", default_venue="mexc_spot")


@pytest.mark.parametrize("action", ["tick", "resume", "flatten", "config", "started", None, 5])
def test_control_admits_nothing_but_halt(action: Any) -> None:
    """Nobody outside moves the clock, resumes, flattens or configures by PUBLISH."""
    with pytest.raises(ContractViolation, match="only halt"):
        take(CONTROL, {"action": action})


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\xff", "not JSON"),
        (b"nonsense", "not JSON"),
        (b"[]", "an object"),
        (b'{"price":NaN,"symbol":"BTCUSDT"}', "NaN"),
        (b'{"price":1,"price":2,"symbol":"BTCUSDT"}', "twice"),
        (b'{"price":0,"symbol":"BTCUSDT"}', "price"),
        (b'{"price":-1,"symbol":"BTCUSDT"}', "price"),
        (b'{"price":"NaN","symbol":"BTCUSDT"}', "price"),
        (b'{"price":"Infinity","symbol":"BTCUSDT"}', "price"),
        (b'{"price":1e400,"symbol":"BTCUSDT"}', "price"),
        (b'{"price":true,"symbol":"BTCUSDT"}', "price"),
        (b'{"price":null,"symbol":"BTCUSDT"}', "price"),
        (b'{"symbol":"BTCUSDT"}', "price"),
        (b'{"price":1}', "symbol"),
        (b'{"price":1,"symbol":"B"}', "symbol"),
        (b'{"price":1,"symbol":"BTCUSDT","venue":"nyse"}', "venue"),
        (b'{"price":1,"symbol":"BTCUSDT","bid":-1}', "bid"),
        (b'{"price":1,"symbol":"BTCUSDT","timestamp":"yesterday"}', "timestamp"),
        (b'{"price":1,"symbol":"BTCUSDT","timestamp":true}', "timestamp"),
        (b'{"price":1,"symbol":"BTCUSDT","type":"signal"}', "type"),
        (b'{"price":1,"symbol":"BTCUSDT","type":{}}', "type"),
        (b'{"price":1,"symbol":"BTCUSDT","high":0.5}', "high"),
        (b'{"price":1,"symbol":"BTCUSDT","low":1.5}', "low"),
        (b'{"symbol":"BTCUSDT","price":1,"correlation_id":"\\ud800"}', "unicode"),
        (b" " * 1_048_577, "bytes"),
    ],
)
def test_invalid_market_data_is_refused_with_the_reason(message: bytes, words: str) -> None:
    """Whatever is wrong with a message, the refusal says what, and nothing else is raised."""
    with pytest.raises(ContractViolation, match=words):
        take(MARKET_DATA, message)


@pytest.mark.parametrize(
    "inputs",
    [
        b'{"n":' + b"1" * 40 + b".5}",
        b'{"n":1e-30}',
        b"[" * 600 + b"]" * 600,
        b'{"n":' + b"[" * 300 + b"]" * 300 + b"}",
        b'"text"',
    ],
)
def test_free_form_inputs_that_cannot_be_journalled_are_refused(inputs: bytes) -> None:
    """Numbers beyond the wire's digits or absurd nesting inside free-form objects are refused, or stand as they are."""
    raw = b'{"symbol":"BTCUSDT","side":"buy","price":1,"inputs":' + inputs + b"}"
    try:
        event = take(SIGNALS, raw)
    except ContractViolation:
        return
    assert parse_event(SIGNALS, event.data) == event


@pytest.mark.parametrize("depth", [33, 400, 700, 950])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"n":', b"}")])
def test_nesting_beyond_the_limit_is_refused(depth: int, opening: bytes, closing: bytes) -> None:
    """Whatever a stranger nests is refused before code that recurses sees it: how deep that gets depends on its caller.

    An event that one service could just read would stop another one whose stack is a little higher.
    """
    inputs = b'{"n":' + opening * (depth - 1) + b"1" + closing * (depth - 1) + b"}"
    raw = b'{"symbol":"BTCUSDT","side":"buy","price":1,"inputs":' + inputs + b"}"

    # the decoder has a limit of its own, which the height of the stack moves
    with pytest.raises(ContractViolation, match=r"32 levels|not JSON: maximum recursion"):
        take(SIGNALS, raw)


def test_nesting_up_to_the_limit_is_admitted() -> None:
    """Thirty-two levels of free-form objects are more than anybody needs, and they are kept."""
    raw = b'{"symbol":"BTCUSDT","side":"buy","price":1,"inputs":' + b'{"n":' * 32 + b"1" + b"}" * 33

    event = take(SIGNALS, raw)

    assert parse_event(SIGNALS, event.data) == event


def test_event_that_grows_over_the_limit_is_refused() -> None:
    """What fits as a message but not as an event is refused."""
    raw = json.dumps({"level": "INFO", "code": "X1", "message": "x" * 1_048_500}).encode()
    assert len(raw) <= 1_048_576
    with pytest.raises(ContractViolation, match="bytes"):
        take(ALERTS, raw)


def test_id_is_a_function_of_bytes_counter_and_run() -> None:
    """The same admission gives the same bytes in every restart; another counter, text or run another id."""
    message = {"symbol": "BTCUSDT", "price": 1}
    first = take(MARKET_DATA, message)
    assert take(MARKET_DATA, message).data == first.data
    others = [
        take(MARKET_DATA, message, counter=8),
        take(MARKET_DATA, message, run_id="other"),
        take(MARKET_DATA, {**message, "price": 2}),
    ]
    assert len({event.event_id for event in (first, *others)}) == 4
