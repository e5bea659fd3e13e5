"""The short way of reading canonical events gives what the long way gives."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cdb_writer.envelope import Envelope, read_envelope, read_quote
from services.common.errors import ContractViolation
from services.common.events import Alert, Control, Event, MarketData, parse_event
from services.common.instruments import instrument_key
from services.common.portfolio import Portfolio
from services.common.timestamps import format_timestamp
from tests.property.effort import examples

pytestmark = pytest.mark.unit

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
IDS = st.one_of(st.text("0123456789abcdef", min_size=32, max_size=32), TEXT)
TIMES = st.integers(0, 253_402_300_799_999_999)
PRICES = st.decimals("0.00000001", "1000000", places=8)


def common(**more: Any) -> dict[str, Any]:
    """Strategies of the fields that every event has."""
    return {
        "event_id": IDS,
        "timestamp": TIMES,
        "producer": st.one_of(st.just("cdb_ws"), TEXT),
        "correlation_id": st.none() | IDS,
        "causation_id": st.none() | IDS,
        **more,
    }


ALERTS = st.builds(
    Alert,
    level=st.just("INFO"),
    code=st.just("TEST"),
    message=TEXT,
    context=st.dictionaries(TEXT, TEXT, max_size=2),
    **common(),
)
CONTROLS = st.builds(
    Control,
    action=st.sampled_from(["tick", "started", "halt"]),
    details=st.dictionaries(TEXT, TEXT, max_size=2) | st.just({"action": "tick"}),
    **common(),
)
MARKET_DATA = st.builds(
    MarketData,
    venue=st.sampled_from(["mexc_spot", "mexc_perpetual"]),
    symbol=st.sampled_from(["BTCUSDT", "ETHUSDT"]),
    price=PRICES,
    volume=PRICES,
    high=PRICES,
    low=PRICES,
    bid=st.none() | PRICES,
    ask=st.none() | PRICES,
    sequence=st.integers(0, 10**9),
    exchange_timestamp=st.none() | TIMES,
    mark_price=st.none() | PRICES,
    **common(),
)


@settings(max_examples=examples(300), deadline=None, derandomize=True)
@given(st.one_of(ALERTS, CONTROLS, MARKET_DATA))
def test_the_envelope_is_that_of_the_parsed_event(event: Event) -> None:
    """Whatever text stands in ids and producer, both ways read the same."""
    parsed = parse_event(event.channel, event.data)
    assert read_envelope(event.channel, event.data) == Envelope(
        parsed.type,
        parsed.event_id,
        format_timestamp(parsed.timestamp),
        parsed.producer,
        parsed.correlation_id,
        parsed.causation_id,
        parsed.action if isinstance(parsed, Control) else None,
    )


@settings(max_examples=examples(300), deadline=None, derandomize=True)
@given(MARKET_DATA)
def test_a_quote_marks_as_the_ledger_would(event: MarketData) -> None:
    """The value read from the bytes is the one that `Portfolio.mark` takes, or none where it takes none."""
    portfolio = Portfolio.with_cash(Decimal(0))
    portfolio.mark(event)
    quote = read_quote(event.data)
    mark = portfolio.marks.get(instrument_key(event.venue, event.symbol))
    assert quote.key == instrument_key(event.venue, event.symbol)
    assert quote.price == (None if mark is None else mark.price)


@settings(max_examples=examples(100), deadline=None, derandomize=True)
@given(st.binary(max_size=60) | st.sampled_from([b"{}", b"null", b'{"type":"alert"}', b"\xff"]))
def test_what_is_no_event_is_refused(data: bytes) -> None:
    """Neither way makes an event of other bytes."""
    with pytest.raises(ContractViolation):
        read_envelope("alerts", data)


@settings(max_examples=examples(20), deadline=None, derandomize=True)
@given(ALERTS)
def test_an_event_of_another_channel_is_refused(event: Event) -> None:
    """An alert on the orders channel is not let through by the short way."""
    with pytest.raises(ContractViolation):
        read_envelope("orders", event.data)


def test_other_bytes_have_no_quote() -> None:
    """Only the canonical bytes of market data are read."""
    with pytest.raises(ContractViolation):
        read_quote(b'{"type":"alert"}')
