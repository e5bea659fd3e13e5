"""The statistics as a person reads them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from rich.console import Console

from claire.statistics import StatisticsCollector
from claire.statistics.definitions import DEFINITIONS
from claire.statistics.numbers import amount, duration, percent, price, show
from claire.statistics.screen import render_statistics
from tests.unit.writer.journal_story import tell

pytestmark = pytest.mark.unit

D = Decimal


def test_every_figure_is_on_the_screen_with_its_value_or_what_it_needs() -> None:
    """All labels, the parts of the net PnL, refusals marked as hypothetical, and reasons for what is held back."""
    collector = StatisticsCollector()
    for entry in tell(4, 400).entries:
        collector.observe(entry)
    console = Console(width=140)

    with console.capture() as captured:
        console.print(render_statistics(collector.result()))
    text = captured.get()

    for definition in DEFINITIONS:
        assert definition.label in text
    assert "slippage" in text
    assert "needs 30 days" in text
    assert "hypothetical" in text


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (D("-1234.567"), "usdt", "\N{MINUS SIGN}1,234.57"),
        (D("-0.001"), "usdt", "0.00"),
        (D("0.12345"), "pct", "12.34 %"),
        (D("61.5"), "minutes", "61.5 min"),
        (130, "minutes", "2 h 10 min"),
        (4 * 1440 + 125, "minutes", "4 d 2 h"),
        (12_000, "count", "12,000"),
        (D(250), "ms", "250 ms"),
        (None, "pct", "\N{EN DASH}"),
        (None, "ms", "\N{EN DASH}"),
        (None, "minutes", "\N{EN DASH}"),
        (D("2.5"), "ratio", "2.50"),
    ],
)
def test_numbers_in_their_units(value: Decimal | int | None, unit: str, shown: str) -> None:
    """Thousands separated, a true minus, no minus zero, per cent and durations with their unit."""
    assert show(value, unit).replace("\N{NBSP}", " ") == shown


def test_prices_have_the_digits_that_matter() -> None:
    """Two decimals of a large price, four of a small one, eight of a tiny one."""
    assert [price(D(text)) for text in ("40000", "2.5", "0.00001234")] == ["40,000.00", "2.5000", "0.00001234"]
    assert (price(None), amount(None), percent(None), duration(None)) == ("\N{EN DASH}",) * 4
