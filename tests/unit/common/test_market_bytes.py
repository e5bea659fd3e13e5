"""Market data read from its bytes in one step: plainly canonical or not at all."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.common.events import MarketData
from services.common.market_bytes import read_market_data

pytestmark = pytest.mark.unit

EVENT = MarketData(
    event_id="e1", timestamp=1_700_000_000_000_000, producer="cdb_ws", venue="mexc_spot", symbol="BTCUSDT",
    price=Decimal("50000.5"), volume=Decimal("1.0"), high=Decimal("50000.5"), low=Decimal("50000.5"),
    bid=Decimal("50000.0"), ask=Decimal("50001.0"), bid_size=Decimal("2.0"), ask_size=Decimal("2.0"), sequence=7,
    exchange_timestamp=1_700_000_000_000_000, bids=((Decimal("50000.0"), Decimal("2.0")),),
)  # fmt: skip


def test_every_field_comes_back() -> None:
    """Also times, levels and what is null."""
    values = read_market_data(EVENT.data)

    assert values == {name: getattr(EVENT, name) for name in MarketData.model_fields}


@pytest.mark.parametrize(
    ("plain", "odd"),
    [
        (b"2023-11-14T22:13:20", b"2023-11-14T25:13:20"),
        (b'"price":50000.5', b'"price":0.0'),
        (b'"ask":50001.0', b'"ask":0.0'),
        (b"[[50000.0,2.0]]", b"[[50000.0,0.0]]"),
        (b'"sequence":7', b'"sequence": 7'),
        (b'"sequence":7', b'"sequence":-7'),
        (b"cdb_ws", "ü".encode()),
    ],
)
def test_what_is_not_plainly_canonical_is_left_to_the_contract(plain: bytes, odd: bytes) -> None:
    """An hour that no day has, zero where a price is meant, a space, a sign, a letter beyond ASCII."""
    assert plain in EVENT.data

    assert read_market_data(EVENT.data.replace(plain, odd)) is None
