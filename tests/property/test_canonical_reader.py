"""The short way of reading journalled events never differs from the long way through pydantic."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.common.canonical import construct
from services.common.codec import decode
from services.common.errors import ContractViolation
from services.common.events import (
    EVENT_BY_CHANNEL,
    LAYERS,
    Control,
    Event,
    LayerVerdict,
    MarketData,
    OrderResult,
    PortfolioView,
    RiskDecision,
    Sizing,
    parse_event,
)
from services.common.market_bytes import read_market_data
from tests.property.effort import examples

pytestmark = pytest.mark.unit

money = st.decimals(min_value="0.00000001", max_value="9999999999", places=8, allow_nan=False)
maybe_money = st.none() | money
instants = st.integers(min_value=100_000_000_000_000, max_value=253_402_300_799_999_999)
names = st.text(alphabet="abcdef0123456789", min_size=1, max_size=32)
free = st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | money | st.text(max_size=5))


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Draw one valid event of several kinds."""
    common: dict[str, Any] = {
        "event_id": draw(names),
        "timestamp": draw(instants),
        "producer": draw(names),
        "correlation_id": draw(st.none() | names),
        "causation_id": draw(st.none() | names),
    }
    kind = draw(st.sampled_from(["market_data", "control", "order_result", "risk_decision"]))
    if kind == "market_data":
        return MarketData(
            **common,
            venue="mexc_spot",
            symbol="BTCUSDT",
            price=draw(money),
            volume=draw(money),
            high=draw(money),
            low=draw(money),
            bid=draw(maybe_money),
            ask=draw(maybe_money),
            exchange_timestamp=draw(st.none() | instants),
            sequence=draw(st.integers(min_value=0)),
            gap=draw(st.booleans()),
        )
    if kind == "control":
        return Control(**common, action="tick", details=draw(free), by=draw(st.none() | st.text(max_size=5)))
    if kind == "order_result":
        return OrderResult(
            **common,
            order_id=draw(names),
            client_order_id=draw(names),
            status=draw(st.sampled_from(["NEW", "FILLED"])),
            venue="mexc_spot",
            symbol="ETHUSDT",
            side="SELL",
            quantity=draw(money),
            filled_quantity=draw(money),
            last_price=draw(maybe_money),
            fill=draw(st.none() | free),
        )
    view = {name: draw(maybe_money) for name in PortfolioView.model_fields if name != "trading_state"}
    return RiskDecision(
        **common,
        signal_id=None,
        venue="mexc_spot",
        symbol="BTCUSDT",
        side="BUY",
        purpose="entry",
        approved=draw(st.booleans()),
        reason=draw(st.text(max_size=10)),
        layers=tuple(
            LayerVerdict(
                layer=layer, code="OK", status="pass", value=draw(maybe_money), detail=draw(st.text(max_size=5))
            )
            for layer in LAYERS
        ),
        sizing=Sizing(method="fixed_fractional", requested=draw(money), approved=draw(money), inputs=draw(free)),
        portfolio=PortfolioView(**view, trading_state="ACTIVE"),
    )


@given(event=events())
@settings(max_examples=examples(150), deadline=None)
def test_short_way_reads_what_the_long_way_reads(event: Event) -> None:
    """A canonical event read the short way equals the same event read by pydantic, and has the same bytes."""
    value = decode(event.data)

    short = type(event).parse(value)
    long = type(event).model_validate(value)

    assert short == long == event
    assert short.data == event.data


@given(event=events(), data=st.data())
@settings(max_examples=examples(150), deadline=None)
def test_short_way_accepts_nothing_that_the_long_way_refuses(event: Event, data: st.DataObject) -> None:
    """With any one field replaced by something odd, the short way either declines or agrees with pydantic."""
    value = decode(event.data)
    name = data.draw(st.sampled_from(sorted(value)))
    value[name] = data.draw(
        st.sampled_from(
            [None, True, -1, 0, "", "x", "2020-13-01T00:00:00.000000Z", Decimal("-1.5"), [], {}, Decimal("0.0")]
        )
        | st.text(max_size=70)
    )
    read = type(event)._read

    values = None if read is None else read(value)

    if values is not None:
        assert type(event).model_validate(value) == construct(type(event), values)


ODD_TEXTS = (
    b"null", b"true", b"0.0", b"0.00", b"-0.0", b"-1.5", b"1", b"01.0", b"1.", b".5", b"1e5", b"1.0E-3", b" 1.0", b"[]",
    b"0.000000000000000000001", b"123456789012345678901234567890.5", b'""', b'"x"', b'"btc_usdt"', b'"a\\u0041"',
    '"é"'.encode(), b'"\xff"', b'"2020-13-01T00:00:00.000000Z"', b'"2020-01-01T24:00:00.000000Z"',
    b'"2020-01-01T00:00:00.000Z"', b"[[1.5,0.0]]", b"[[0.0,1.0]]", b"[[1.5,2.0],[1.5,1.0]]", b"[[1.5,2.0],]",
    b"[[1.5]]",
)  # fmt: skip
levels = st.lists(st.tuples(money, money), min_size=1, max_size=3, unique_by=lambda level: level[0])


@st.composite
def market_data(draw: st.DrawFn) -> MarketData:
    """Draw market data with or without levels, of either venue."""
    fields: dict[str, Any] = {}
    side = draw(st.sampled_from(["bid", "ask", None]))
    if side is not None:
        rows = tuple(sorted(draw(levels), reverse=side == "bid"))
        fields = {f"{side}s": rows, side: rows[0][0], f"{side}_size": rows[0][1]}
    return MarketData(
        event_id=draw(names),
        timestamp=draw(instants),
        producer=draw(names),
        correlation_id=draw(st.none() | names),
        venue=draw(st.sampled_from(["mexc_spot", "mexc_perpetual"])),
        symbol="BTCUSDT",
        price=draw(money),
        volume=draw(money),
        high=draw(money),
        low=draw(money),
        exchange_timestamp=draw(st.none() | instants),
        sequence=draw(st.integers(min_value=0, max_value=10**17)),
        gap=draw(st.booleans()),
        synthetic=draw(st.booleans()),
        mark_price=draw(maybe_money),
        funding_rate=draw(st.none() | st.decimals(-1, 1, places=6)),
        **fields,
    )


@given(event=market_data())
@settings(max_examples=examples(100), deadline=None)
def test_plain_market_data_is_read_from_its_bytes_in_one_step(event: MarketData) -> None:
    """All that our encoder writes of it: the fields in schema order, as the long way reads them."""
    values = read_market_data(event.data)

    assert values is not None
    assert list(values) == list(MarketData.model_fields)
    assert construct(MarketData, values) == MarketData.model_validate(decode(event.data)) == event
    assert parse_event("market_data", event.data).data == event.data


@given(event=market_data(), data=st.data())
@settings(max_examples=examples(200), deadline=None)
def test_the_one_step_accepts_nothing_that_the_long_way_refuses(event: MarketData, data: st.DataObject) -> None:
    """With one field's text replaced by something odd it declines, or both read the same; so do bytes cut anywhere."""
    fields = re.findall(rb'"\w+":(?:"[^"]*"|\[\[.*?\]\]|[^,}]+)', event.data)
    field = data.draw(st.sampled_from(fields))
    name = field.partition(b":")[0]
    raw = event.data.replace(field, name + b":" + data.draw(st.sampled_from(ODD_TEXTS)), 1)
    raw = raw[: data.draw(st.sampled_from([len(raw), len(raw) - 1]) | st.integers(0, len(raw)))]

    try:
        short = parse_event("market_data", raw)
    except ContractViolation:
        short = None
    try:
        long = MarketData.model_validate(decode(raw))
    except (ContractViolation, ValidationError):
        long = None

    assert short == long


def test_every_contract_has_a_short_way() -> None:
    """No event falls back to the slow reader for every message without anybody noticing."""
    assert [channel for channel, model in EVENT_BY_CHANNEL.items() if model._read is None] == []
