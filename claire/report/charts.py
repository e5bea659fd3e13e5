"""Charts as HTML and SVG without any library: the picture stretches to the screen, its labels keep their size.

The SVG has no aspect ratio of its own; labels and marks are HTML placed in per cent above it. The same data stand
beside it as JSON for the pointer's read-out, so that the page works without scripts, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from claire.report.axes import Tick, number_ticks, time_ticks

__all__ = [
    "HEIGHT",
    "WIDTH",
    "Frame",
    "Marks",
    "empty_figure",
    "figure",
    "frame_around",
    "histogram",
    "line_points",
    "plot",
    "time_chart",
    "unit",
]

WIDTH: Final = 2000
HEIGHT: Final = 600

Series = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Marks:
    """Glyphs of one kind on a time chart.

    Attributes:
        kind: style class: entry, exit or refused.
        glyph: the character drawn.
        label: what it stands for in the legend.
        points: each with `t`, `price` (None: on the line) and `text`.
    """

    kind: str
    glyph: str
    label: str
    points: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Frame:
    """What the two axes of a chart span."""

    first: float
    last: float
    low: float
    high: float

    def x(self, at: float) -> float:
        """Return where on the axis something is, 0 to 1 from the left."""
        return (at - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        """Return where on the axis a value is, 0 to 1 from the top."""
        return (self.high - value) / (self.high - self.low)


def time_chart(
    name: str,
    series: Series,
    *,
    caption: str,
    label: Callable[[float], str],
    kind: str = "line",
    marks: Sequence[Marks] = (),
    reference: float | None = None,
    between: tuple[int, int] | None = None,
    flat: float = 0.01,
    tall: bool = False,
) -> str:
    """Return a series over time as HTML.

    Args:
        name: makes ids unique on the page.
        series: `t` in seconds since the epoch and `v`.
        caption: what is shown, in which unit.
        label: writes a value at the axis and at the pointer.
        kind: `line`, or `area` filled towards zero.
        marks: glyphs upon it.
        reference: a value with a dashed line.
        between: first and last time of the axis, where they are not the series' own.
        flat: how far the axis of an area reaches when all of it is 0.
        tall: whether it is taller than the others.
    """
    times, values = [int(at) for at in series["t"]], [float(value) for value in series["v"]]
    if not times:
        return empty_figure(caption)
    placed = [(mark, point, _price(point, times, values)) for mark in marks for point in mark.points]
    shown = [*values, *(value for *_, value in placed)]
    if kind == "area":
        shown.append(0.0 if any(shown) else flat)
    if reference is not None:
        shown.append(reference)
    first, last = between or (times[0], times[-1])
    frame = frame_around(first, last, min(shown), max(shown), pad=kind != "area")
    body = _path(times, values, frame, area=kind == "area")
    if reference is not None:
        body += f'<path class="reference" d="M0 {unit(frame.y(reference), HEIGHT)}H{WIDTH}"/>'
    glyphs = "".join(
        f'<i class="mark {mark.kind}" style="left:{frame.x(point["t"]):.2%};top:{frame.y(value):.2%}" '
        f'title="{escape(_moment(point["t"]))} {escape(label(value))} {escape(str(point["text"]))}">{mark.glyph}</i>'
        for mark, point, value in placed
    )
    legend = "".join(
        f'<span class="{mark.kind}">{mark.glyph} {escape(mark.label)} {len(mark.points)}</span>' for mark in marks
    )
    ticks = [Tick(value, label(value)) for value in number_ticks(frame.low, frame.high)]
    points = {"from": first, "to": last, "t": times, "v": [label(value) for value in values]}
    data = json.dumps(points, separators=(",", ":"), ensure_ascii=False)
    return figure(
        caption + (f'<span class="legend">{legend}</span>' if legend else ""),
        plot(body, glyphs, ticks, time_ticks(first, last), frame, classes="tall" if tall else ""),
        f'<script type="application/json" class="points">{data}</script>',
        name,
    )


def histogram(distribution: Mapping[str, Any], *, caption: str, label: Callable[[float], str]) -> str:
    """Return the distribution of net PnL as HTML: losses and gains in their own colours, zero an edge."""
    counts, first, width = distribution["counts"], float(distribution["first"]), float(distribution["width"])
    if not counts:
        return empty_figure(caption)
    frame = Frame(first, first + width * len(counts), 0.0, max(counts) * 1.08)
    bars = ""
    for place, count in enumerate(counts):
        if count:
            begins = first + place * width
            left, right = unit(frame.x(begins), WIDTH), unit(frame.x(begins + width), WIDTH)
            top = unit(frame.y(count), HEIGHT)
            side = "gain" if begins >= 0 else "loss"
            bars += (
                f'<rect class="{side}" x="{left + 3}" y="{top}" width="{right - left - 6}" height="{HEIGHT - top}">'
                f"<title>{escape(label(begins))} to {escape(label(begins + width))}: {count}</title></rect>"
            )
    edges = number_ticks(frame.first, frame.last, 5)
    rows = [Tick(value, f"{value:.0f}") for value in number_ticks(0, frame.high, 4) if value == int(value)]
    return figure(
        caption, plot(bars, "", rows, [Tick(edge, label(edge)) for edge in edges], frame, classes="bars"), "", ""
    )


def _price(point: Mapping[str, Any], times: Sequence[int], values: Sequence[float]) -> float:
    """Return the mark's own price, or the line's last value at its time."""
    if point["price"] is not None:
        return float(point["price"])
    place = next((place for place, time in enumerate(times) if time > point["t"]), len(times))
    return values[max(place - 1, 0)]


def frame_around(first: int, last: int, low: float, high: float, *, pad: bool) -> Frame:
    """Return a frame with some room above and below; without it where a value of 0 is an edge."""
    room = (high - low) * 0.06 or abs(high) * 0.001 or 1.0
    return Frame(
        first,
        max(last, first + 1),
        low - room if pad or low < 0 or high == low == 0 else low,
        high + room if pad or high > 0 else high,
    )


def line_points(times: Sequence[int], values: Sequence[float], frame: Frame) -> str:
    """Return a line as the `d` of an SVG path; one point alone becomes a level line."""
    points: list[str] = []
    before: tuple[int, int] | None = None
    for at, value in zip(times, values, strict=True):
        place = unit(frame.x(at), WIDTH), unit(frame.y(value), HEIGHT)
        if place != before:
            points.append(f"{place[0]} {place[1]}")
            before = place
    return "M" + "L".join(points) if len(points) > 1 else f"M0 {points[0].split()[1]}H{WIDTH}"


def _path(times: Sequence[int], values: Sequence[float], frame: Frame, *, area: bool) -> str:
    line = line_points(times, values, frame)
    drawn = f'<path class="line" d="{line}"/>'
    if area:
        zero = unit(frame.y(0.0), HEIGHT)
        drawn = f'<path class="fill" d="{line}L{WIDTH} {zero}L0 {zero}Z"/>' + drawn
    return drawn


def unit(share: float, size: int) -> int:
    """Return a share of the picture in its own units."""
    return round(share * size)


def plot(body: str, glyphs: str, rows: Sequence[Tick], columns: Sequence[Tick], frame: Frame, *, classes: str) -> str:
    """Return the picture with its grid and labels.

    Args:
        body: SVG.
        glyphs: HTML above it, placed in per cent.
        rows: labelled values at the left.
        columns: labelled values or times below.
        frame: what they span.
        classes: of style.
    """
    grid = "".join(f'<path class="grid" d="M0 {unit(frame.y(row.at), HEIGHT)}H{WIDTH}"/>' for row in rows)
    left = "".join(f'<span style="top:{frame.y(row.at):.2%}">{escape(row.label)}</span>' for row in rows)
    below = "".join(
        f'<span style="left:{share:.2%}" class="{_edge(share)}">{escape(column.label)}</span>'
        for column in columns
        for share in [frame.x(column.at)]
    )
    return (
        f'<div class="plot {classes}"><div class="y">{left}</div><div class="area">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{grid}{body}</svg>'
        f'{glyphs}</div><div class="x">{below}</div></div>'
    )


def _edge(share: float) -> str:
    return "begin" if share < 0.04 else "end" if share > 0.96 else ""


def figure(caption: str, plot: str, data: str, name: str) -> str:
    """Return a figure with its caption (HTML); the name is its id."""
    identity = f' id="{escape(name)}"' if name else ""
    return f"<figure{identity}><figcaption>{caption}</figcaption>{plot}{data}</figure>"


def empty_figure(caption: str) -> str:
    """Return what stands where there is nothing to draw."""
    return f'<figure><figcaption>{caption}</figcaption><p class="nothing">nothing to show</p></figure>'


def _moment(at: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
