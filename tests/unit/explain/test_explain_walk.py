"""A book that the feed has shown, through the whole pipeline to what `claire explain` says of the fill."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from services.common.events import MarketData, OrderResult
from services.common.timestamps import SECOND_US
from tests.unit.explain.recorded import RecordedPipeline, run, words, write

pytestmark = pytest.mark.unit


def test_the_levels_of_a_book_are_walked_and_explained(tmp_path: Path) -> None:
    """0.1 stands at the touch, the rest of the entry is bought one level deeper; explain names both."""
    pipeline = RecordedPipeline()
    pipeline.quote("50000")
    pipeline.buy("50000", fills=False)
    pipeline.now += SECOND_US
    asks = ((Decimal(50_001), Decimal("0.1")), (Decimal(50_002), Decimal(3)))
    pipeline._feed(
        MarketData, venue="mexc_spot", symbol="BTCUSDT", price=Decimal(50_000), volume=Decimal(100),
        high=Decimal(50_000), low=Decimal(50_000), bid=Decimal(49_999), ask=Decimal(50_001), bid_size=Decimal(9),
        ask_size=Decimal("0.1"), sequence=pipeline.number + 1, asks=asks,
    )  # fmt: skip
    fill = pipeline.the(OrderResult)

    code, output = run("explain", fill.event_id, "--journal", str(write(tmp_path, pipeline.entries)), columns=160)

    assert fill.status == "FILLED"
    assert fill.fill is not None
    assert [row["used"] for row in fill.fill["walk"]] == [Decimal("0.1"), fill.quantity - Decimal("0.1")]
    assert code == 0
    for text in ("paper_walk_v1", "0.1 at 50,001.00 (of 0.1 shown)", "at 50,002.00 (of 3 shown)"):
        assert text in words(output)
    assert (
        b'"asks":[[50001.0,0.1],[50002.0,3.0]]}'
        in {entry.event.event_id: entry.data for entry in pipeline.entries}[str(fill.causation_id)]
    )
