"""The statistics on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from claire.statistics.definitions import DEFINITIONS
from claire.statistics.numbers import amount, show
from claire.statistics.result import Statistics

__all__ = ["render_statistics"]


def render_statistics(statistics: Statistics) -> RenderableType:
    """Return every figure, the parts of the net PnL, and the refusals; what is not shown says what it needs."""
    parts: list[RenderableType] = [_figures(statistics), _split(statistics)]
    if statistics.refusals:
        parts.append(_refusals(statistics))
    return Group(*parts)


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), min_width=60
    )
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    return table


def _figures(statistics: Statistics) -> Table:
    table = _table(f"statistics ({amount(statistics.days, 1)} days)", "", "value")
    table.add_column("", style="dim")
    for definition in DEFINITIONS:
        value = statistics.values[definition.name]
        note = definition.unit_text if value is not None else statistics.not_shown[definition.name]
        table.add_row(definition.label, "-" if value is None else show(value, definition.unit), note)
    return table


def _split(statistics: Statistics) -> Table:
    table = _table("where the net PnL comes from (USDT)", "", "value")
    for name, part in statistics.pnl_split.items():
        table.add_row(name, amount(part))
    return table


def _refusals(statistics: Statistics) -> RenderableType:
    table = _table("refused entries", "layer", "decisive", "failing", "would win", "mean bp")
    for name, layer in statistics.refusals.items():
        table.add_row(
            name,
            amount(layer.decisive, 0),
            amount(layer.failing, 0),
            f"{layer.won} of {layer.ended}",
            amount(layer.mean_bps, 1),
        )
    note = "hypothetical: touch to touch until the next exit of the strategy or the stop, taker fees, no depth"
    return Group(table, Text(note, style="dim"))
