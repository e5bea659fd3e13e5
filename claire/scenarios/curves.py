"""Charts that lay several scenarios over each other, in the way of the report's charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Any, Final

from claire.report.axes import Tick, number_ticks, time_ticks
from claire.report.charts import HEIGHT, WIDTH, empty_figure, figure, frame_around, line_points, plot, unit
from claire.report.downsample import thin
from claire.scenarios.results import Result
from claire.statistics.numbers import percent

__all__ = ["MOST_CURVES", "heat_map", "overlay"]

MOST_CURVES: Final = 24
"""Curves in one chart: eight colours, each whole, dashed and dotted."""
COLOURS: Final = 8
POINTS: Final = 150


@dataclass(frozen=True)
class _Curve:
    name: str
    times: list[int]
    returns: list[float]
    style: str


def overlay(caption: str, results: Sequence[Result]) -> str:
    """Return the returns of scenarios over their time as HTML; of more than `MOST_CURVES` the best and the worst."""
    shown = [result for result in results if result.report is not None and result.report["charts"]["equity"]["t"]]
    if not shown:
        return empty_figure(escape(caption))
    left_out = len(shown) - MOST_CURVES
    if left_out > 0:
        ranked = sorted(shown, key=lambda result: (result.value("return_pct") or Decimal(0), result.scenario.number))
        kept = {result.scenario.number for result in (*ranked[: MOST_CURVES // 2], *ranked[-MOST_CURVES // 2 :])}
        shown = [result for result in shown if result.scenario.number in kept]
        caption += f"; the best and the worst {MOST_CURVES // 2}, {left_out} between them left out"
    curves = [_curve(result, place) for place, result in enumerate(shown)]
    first, last = min(curve.times[0] for curve in curves), max(curve.times[-1] for curve in curves)
    levels = [value for curve in curves for value in curve.returns]
    frame = frame_around(first, last, min(*levels, 0.0), max(*levels, 0.0), pad=True)
    body = f'<path class="reference" d="M0 {unit(frame.y(0.0), HEIGHT)}H{WIDTH}"/>' + "".join(
        f'<path class="curve {curve.style}" d="{line_points(curve.times, curve.returns, frame)}">'
        f"<title>{escape(curve.name)} {escape(_percent(curve.returns[-1]))}</title></path>"
        for curve in curves
    )
    places = 2 if frame.high - frame.low < 0.02 else 1 if frame.high - frame.low < 0.2 else 0
    rows = [
        Tick(value, percent(Decimal(str(round(value, 9))), places)) for value in number_ticks(frame.low, frame.high)
    ]
    key = "".join(
        f'<li><svg viewBox="0 0 26 8" aria-hidden="true"><path class="curve {curve.style}" d="M0 4H26"/></svg>'
        f"<span>{escape(curve.name)}</span><b>{escape(_percent(curve.returns[-1]))}</b></li>"
        for curve in curves
    )
    return figure(
        escape(caption),
        plot(body, "", rows, time_ticks(first, last), frame, classes="tall") + f'<ul class="key">{key}</ul>',
        "",
        "",
    )


def _curve(result: Result, place: int) -> _Curve:
    assert result.report is not None
    equity = result.report["charts"]["equity"]
    times, levels = list(equity["t"]), [float(value) for value in equity["v"]]
    kept = thin(times, levels, POINTS)
    begin = levels[0] or 1.0
    dash = place // COLOURS
    style = f"c{place % COLOURS}" + (f" dash{dash}" if dash else "")
    return _Curve(result.scenario.name, [times[at] for at in kept], [levels[at] / begin - 1 for at in kept], style)


def _percent(value: float) -> str:
    return percent(Decimal(f"{value:.10g}"))


def heat_map(caption: str, across: str, down: str, results: Sequence[Result]) -> str:
    """Return the returns over two parameters of a grid as HTML: the stronger the colour, the larger the return.

    Args:
        caption: which scenarios these are.
        across: the setting whose values are the columns.
        down: the setting whose values are the rows.
        results: one for each pair of values.
    """
    cells: dict[tuple[str, str], Result] = {
        (result.scenario.axes.grid[down], result.scenario.axes.grid[across]): result for result in results
    }
    columns = list(dict.fromkeys(column for _, column in cells))
    rows = list(dict.fromkeys(row for row, _ in cells))
    largest = max((abs(result.value("return_pct") or Decimal(0)) for result in results), default=Decimal(0))
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr><th>{escape(row)}</th>{''.join(_heat(cells.get((row, column)), largest) for column in columns)}</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table class="heat"><caption>{escape(caption)}</caption>'
        f"<thead><tr><th>{escape(down)} ↓ {escape(across)} →</th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _heat(result: Result | None, largest: Decimal) -> str:
    value: Any = None if result is None else result.value("return_pct")
    if result is None or value is None:
        return f"<td>{'' if result is None else result.state}</td>"
    strength = int(60 * abs(value) / largest) if largest else 0
    side = "gain" if value >= 0 else "loss"
    drawdown = escape(percent(result.value("max_drawdown_pct")))
    return (
        f'<td style="background:color-mix(in srgb, var(--{side}) {strength}%, transparent)" '
        f'title="{escape(result.scenario.name)}">{escape(percent(value))}<small>{drawdown} deep</small></td>'
    )
