"""The event contracts: tolerant in what they read, exact in what they write, immutable."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from services.common.codec import decode, encode
from services.common.errors import ContractViolation
from services.common.events import EVENT_BY_CHANNEL, LAYERS, LayerVerdict, MarketData, Signal, parse_event

pytestmark = pytest.mark.unit

MARKET: dict[str, Any] = {
    "event_id": "e1",
    "timestamp": "2021-05-19T12:00:00Z",
    "producer": "cdb_ws",
    "venue": "mexc_spot",
    "symbol": "BTCUSDT",
    "price": Decimal("50000.10"),
    "high": Decimal(50_001),
    "low": Decimal(50_000),
    "sequence": 1,
}


def market(**changed: Any) -> MarketData:
    """Return market data with some fields changed."""
    return MarketData.parse({**MARKET, **changed})


def test_bytes_are_canonical() -> None:
    """Keys in schema order, times with microseconds, money plain, null for what is unknown."""
    assert market(exchange_timestamp=1_621_425_600_500).data == (
        b'{"type":"market_data","event_id":"e1","schema_version":"1.0","timestamp":"2021-05-19T12:00:00.000000Z",'
        b'"producer":"cdb_ws","correlation_id":null,"causation_id":null,"venue":"mexc_spot","symbol":"BTCUSDT",'
        b'"price":50000.1,"volume":0.0,"high":50001.0,"low":50000.0,"bid":null,"ask":null,"bid_size":null,'
        b'"ask_size":null,"exchange_timestamp":"2021-05-19T12:00:00.500000Z","sequence":1,"gap":false,'
        b'"synthetic":false,"mark_price":null,"funding_rate":null}'
    )


def test_equal_values_in_other_clothes_give_equal_bytes() -> None:
    """Trailing zeros, another spelling of the symbol, epoch seconds: the same event."""
    other = market(price=Decimal("50000.1000"), symbol="btc_usdt", timestamp=1_621_425_600, extra="ignored")
    assert other == market()
    assert other.data == market().data


def test_what_was_written_is_read_back() -> None:
    """parse(data) gives an equal event with the same bytes."""
    again = parse_event("market_data", market().data)
    assert again == market()
    assert again.data == market().data


@pytest.mark.parametrize(
    "changed",
    [
        {"price": 50_000.5},  # a float is no exact number
        {"price": True},
        {"price": Decimal("NaN")},
        {"price": Decimal("Infinity")},
        {"price": Decimal(0)},
        {"price": Decimal(-1)},
        {"price": None},
        {"price": Decimal("1E-19")},
        {"price": Decimal("1E+28")},
        {"volume": Decimal(-1)},
        {"symbol": "x"},
        {"symbol": 7},
        {"venue": "nowhere"},
        {"sequence": -1},
        {"timestamp": "yesterday"},
        {"timestamp": None},
        {"event_id": ""},
        {"event_id": "x" * 65},
        {"schema_version": "2.0"},
        {"type": "signal"},
        {"gap": "perhaps"},
    ],
    ids=str,
)
def test_what_breaks_the_contract_is_named(changed: dict[str, Any]) -> None:
    """Every mistake is a ContractViolation that names the field."""
    with pytest.raises(ContractViolation, match=next(iter(changed))):
        market(**changed)


def test_all_mistakes_are_named_at_once() -> None:
    """One reading tells everything that is wrong."""
    with pytest.raises(ContractViolation) as caught:
        market(price=None, symbol="?", sequence="x")
    assert all(name in str(caught.value) for name in ("price", "symbol", "sequence"))


def test_events_are_immutable_and_copies_have_their_own_bytes() -> None:
    """A field cannot be set; a changed copy does not keep the old bytes."""
    event = market()
    before = event.data
    with pytest.raises(ValidationError):
        event.price = Decimal(1)
    assert event.model_copy(update={"sequence": 2}).data != before
    assert event.data == before


def test_text_that_is_no_unicode_is_refused() -> None:
    """A lone surrogate can be read from JSON but never be written: it is refused on the way in or out."""
    value = decode(b'{"a":"\\ud800"}')["a"]
    with pytest.raises(ContractViolation):
        _ = Signal.parse(
            {
                **{key: MARKET[key] for key in ("event_id", "timestamp", "producer", "venue", "symbol", "price")},
                "signal_type": "buy",
                "intent": "entry",
                "confidence": Decimal(1),
                "reason": value,
            }
        ).data


@pytest.mark.parametrize("data", [b"[]", b"7", b"null", b"{", b'{"type":"market_data"}'])
def test_what_is_no_event_is_refused(data: bytes) -> None:
    """No object, no JSON, or an object without its fields."""
    with pytest.raises(ContractViolation):
        parse_event("market_data", data)


def test_unknown_channels_are_refused() -> None:
    """There are seven channels and no others."""
    with pytest.raises(ContractViolation, match="no channel"):
        parse_event("gossip", b"{}")
    assert len(EVENT_BY_CHANNEL) == 7


def test_a_verdict_knows_its_text() -> None:
    """Records inside events are written in schema order too."""
    verdict = LayerVerdict(layer=LAYERS[0], code="OK", status="pass", value=Decimal("1.50"))
    assert encode(verdict) == (
        b'{"layer":"data_quality","code":"OK","status":"pass","value":1.5,"limit":null,"headroom":null,"detail":""}'
    )
