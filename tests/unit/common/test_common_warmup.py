"""Warm-up rows: which become bars, and which break the contract."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.common.errors import ContractViolation
from services.common.timestamps import MINUTE_US
from services.common.warmup import WarmupBar, warmup_bars

pytestmark = pytest.mark.unit


def row(minute: int, close: Any = Decimal(100), volume: Any = Decimal(2)) -> list[Any]:
    """Return a warm-up row whose high is 110 and low 90."""
    return [minute * MINUTE_US, Decimal(95), Decimal(110), Decimal(90), close, volume]


def test_warmup_rows_become_bars() -> None:
    """Rows of start, open, high, low, close, volume become bars; whole numbers and missing minutes are accepted."""
    bars = warmup_bars([row(10), row(12, close=101, volume=0)])

    assert bars == [
        WarmupBar(10, Decimal(110), Decimal(90), Decimal(100), Decimal(2)),
        WarmupBar(12, Decimal(110), Decimal(90), Decimal(101), Decimal(0)),
    ]


def test_the_extremes_of_a_warmup_bar_contain_its_close() -> None:
    """Exchanges whose close lies outside their own extremes do not get a bar that contradicts itself."""
    (bar,) = warmup_bars([row(10, close=Decimal(120))])

    assert bar.high == Decimal(120)


@pytest.mark.parametrize(
    "bars",
    [
        None,
        "rows",
        [row(10), row(10)],
        [row(11), row(10)],
        [[10 * MINUTE_US + 1, *row(10)[1:]]],
        [row(10)[:5]],
        [7],
        [row(10, close=Decimal(0))],
        [row(10, close="a price")],
        [row(10, close=None)],
        [row(10, volume=Decimal(-1))],
        [row(10, volume=Decimal("NaN"))],
        [["10", *row(10)[1:4], Decimal("NaN"), Decimal(1)]],
    ],
)
def test_a_warmup_row_that_is_no_bar_is_refused(bars: Any) -> None:
    """Rows that are out of order, off the minute, too short, or without usable numbers break the contract."""
    with pytest.raises(ContractViolation, match="warm-up bar"):
        warmup_bars(bars)
