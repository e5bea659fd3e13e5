"""The comparison on a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from claire.scenarios.results import Result
from claire.statistics.numbers import amount, percent

__all__ = ["render_table"]

WIDE: Final = 110
NAME_WIDTH: Final = 36
NAMED: Final = 2
"""Scenarios named that failed for the same reason."""


def render_table(title: str, results: Sequence[Result], *, width: int) -> RenderableType:
    """Return the comparison as a table, with the reasons of failures below it.

    Args:
        title: of the plan.
        results: in the order of the plan.
        width: columns of the terminal; from `WIDE` on there is more to see.
    """
    wide = width >= WIDE
    padding = (0, 2 if wide else 1, 0, 0)
    table = Table(title=title, title_justify="left", pad_edge=False, box=None, header_style="dim", padding=padding)
    table.add_column("scenario", overflow="fold", max_width=NAME_WIDTH)
    for heading in ("return", "drawdown", "trips", "won", "refused"):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        for heading in ("net PnL, USDT", "fees", "exposure"):
            table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("alerts", overflow="fold", justify="left" if wide else "right")
    best = max((result.value("return_pct") for result in results if result.state == "ok"), default=None)
    for result in results:
        table.add_row(*_row(result, best, wide=wide))
    return Group(table, *_reasons(results))


def _reasons(results: Sequence[Result]) -> list[Text]:
    """Return why scenarios failed, each reason once."""
    found: dict[str, list[str]] = {}
    for result in results:
        if result.state == "failed":
            found.setdefault(result.reason, []).append(result.scenario.name)
    lines = []
    for reason, names in found.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines.append(Text(f"{', '.join(names[:NAMED])}{more} failed: {reason}", style="red"))
    return lines


def _row(result: Result, best: Any, *, wide: bool) -> list[RenderableType]:
    name = Text(_broken(result.scenario.name))
    if result.state != "ok":
        style = "red" if result.state == "failed" else "dim"
        return [name, Text(result.state, style=style)]
    value = result.value
    came_to = value("return_pct")
    style = "" if not came_to else "green" if came_to > 0 else "red"
    cells: list[RenderableType] = [
        name,
        Text(percent(came_to), style=f"bold {style}" if came_to == best else style),
        percent(value("max_drawdown_pct")),
        amount(value("round_trips"), 0),
        amount(value("wins"), 0),
        amount(value("entries_refused"), 0),
    ]
    if wide:
        cells += [amount(value("net_pnl")), amount(value("fees")), percent(value("exposure_max_pct"), 1)]
    alerts = result.alerts or {}
    said = ", ".join(f"{code} {count}" for code, count in alerts.items()) if wide else amount(sum(alerts.values()), 0)
    return [*cells, Text(said if alerts else "", style="dim" if wide else "")]


def _broken(name: str) -> str:
    """Return a long name on several lines, broken between its parts."""
    lines = [""]
    for part in re.findall(r"[^/]+/?", name):
        if lines[-1] and len(lines[-1]) + len(part) > NAME_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
