"""Equity and drawdown as pictures: SVG that stretches, labels that do not, and the numbers to be read off."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

from claire.page.html import amount, percent, text
from claire.page.look import View
from claire.page.past import RUN, SPANS, Mark
from claire.report.axes import number_ticks, time_ticks
from claire.report.charts import HEIGHT, WIDTH, Frame, frame_around, line_points, unit

__all__ = ["curves", "spans"]

NAMES: Final = {"run": "run", "week": "7 days", "day": "today"}
GLYPHS: Final = {"buy": "▲", "sell": "▼"}


@dataclass(frozen=True)
class Drawing:
    """One chart.

    Attributes:
        name: of its style, and part of its id.
        caption: what is shown, in which unit.
        said: in a sentence what there is to see.
        frame: what the axes span.
        times, written: each point as it is read off.
        lines: SVG in the units of the picture.
        label: writes a value at the axis with so many decimals.
        marks: SVG in per cent.
    """

    name: str
    caption: str
    said: str
    frame: Frame
    times: Sequence[int]
    written: Sequence[str]
    lines: str
    label: Callable[[float, int], str]
    marks: str = ""


def spans(view: View) -> str:
    """Return the choice of the curve's time."""
    links = (
        f'<a href="{"/" if name == RUN else f"/?span={name}"}"{" aria-current=page" if name == view.span else ""}>'
        f"{NAMES[name]}</a>"
        for name in SPANS
    )
    return f'<nav aria-label="Time of the curve">{"".join(links)}</nav>'


def curves(view: View) -> str:
    """Return the two pictures, or why there is none."""
    old = view.curve_fault and not view.stale
    note = f'<p class="warn">not renewed: {text(view.curve_fault)}</p>' if old else ""
    if len(view.points) < 2:
        return (
            note
            + '<p class="soft">No curve yet: the writer stores the portfolio once a minute of the run\'s clock.</p>'
        )
    return note + _chart(_equity(view)) + _chart(_drawdown(view))


def _equity(view: View) -> Drawing:
    points = view.points
    times, values = [point.at for point in points], [float(point.equity) for point in points]
    frame = frame_around(times[0], times[-1], min(values), max(values), pad=True)
    began = unit(frame.y(values[0]), HEIGHT)
    return Drawing(
        "equity",
        "Equity, USDT",
        f"from {amount(points[0].equity)} to {amount(points[-1].equity)}, lowest {min(values):,.2f}, "
        f"highest {max(values):,.2f}",
        frame,
        times,
        [amount(point.equity) for point in points],
        f'<path class="reference" d="M0 {began}H{WIDTH}"/><path class="line" d="{line_points(times, values, frame)}"/>',
        lambda value, places: f"{value:,.{places}f}",
        "".join(_mark(mark, times, values, frame) for mark in view.marks),
    )


def _drawdown(view: View) -> Drawing:
    points = view.points
    times, values = [point.at for point in points], [-100 * float(point.fall) for point in points]
    frame = frame_around(times[0], times[-1], min([*values, -0.01]), 0.0, pad=False)
    line = line_points(times, values, frame)
    return Drawing(
        "drawdown",
        "Under the peak",
        f"now {percent(points[-1].fall)}, deepest {percent(max(point.fall for point in points))}",
        frame,
        times,
        [percent(point.fall) for point in points],
        f'<path class="fill" d="{line}L{WIDTH} 0L0 0Z"/><path class="line" d="{line}"/>',
        lambda value, places: f"{abs(value):.{places}f} %",
    )


def _mark(mark: Mark, times: Sequence[int], values: Sequence[float], frame: Frame) -> str:
    """Return a fill on the line; what lies before it, or after its end, is left out."""
    if not times[0] <= mark.at <= times[-1]:
        return ""
    value = values[bisect_right(times, mark.at) - 1]
    moment = datetime.fromtimestamp(mark.at, UTC)
    return (
        f'<text class="mark {escape(mark.side)}" x="{frame.x(mark.at):.2%}" y="{frame.y(value):.2%}">'
        f"{GLYPHS.get(mark.side, '•')}<title>{moment:%Y-%m-%d %H:%M:%S} {escape(mark.words)}</title></text>"
    )


def _chart(drawing: Drawing) -> str:
    frame = drawing.frame
    rows = number_ticks(frame.low, frame.high, 4)
    step = rows[1] - rows[0] if len(rows) > 1 else 1.0
    places = next((n for n in range(4) if math.isclose(step, round(step, n), rel_tol=1e-6)), 4)
    grid = "".join(f'<path class="grid" d="M0 {unit(frame.y(row), HEIGHT)}H{WIDTH}"/>' for row in rows)
    left = "".join(
        f'<text x="100%" y="{frame.y(row):.2%}">{escape(drawing.label(row + 0.0, places))}</text>' for row in rows
    )
    below = "".join(
        f'<text x="{frame.x(tick.at):.2%}" y="60%" class="{_edge(frame.x(tick.at))}">{escape(tick.label)}</text>'
        for tick in time_ticks(int(frame.first), int(frame.last), 6)
    )
    shares = [round(frame.x(at), 4) for at in drawing.times]
    points = {"x": shares, "t": list(drawing.times), "v": list(drawing.written)}
    said, data = escape(drawing.said), escape(json.dumps(points, separators=(",", ":")))
    return (
        f'<figure id="c-{drawing.name}" class="chart {drawing.name}" tabindex="0" '
        f'aria-label="{drawing.caption}: {said}. Arrow keys read it off." data-points="{data}">'
        f"<figcaption>{drawing.caption} <small>{said}</small></figcaption>"
        f'<div class="plot"><svg class="y" aria-hidden="true">{left}</svg><div class="area">'
        f'<svg aria-hidden="true" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">{grid}{drawing.lines}</svg>'
        f'<svg class="marks" aria-hidden="true">{drawing.marks}</svg>'
        '<svg class="hair" data-own="" aria-hidden="true"></svg></div>'
        f'<svg class="x" aria-hidden="true">{below}</svg></div><output class="reading" data-own=""></output></figure>'
    )


def _edge(share: float) -> str:
    return "begin" if share < 0.05 else "end" if share > 0.95 else ""
