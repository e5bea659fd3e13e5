"""The equity curve as a small PNG."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from services.cdb_notifier.message import Message

__all__ = ["HEIGHT", "WIDTH", "draw"]

WIDTH: Final = 900
HEIGHT: Final = 420
SCALE: Final = 2
"""Drawn twice as large and made smaller: lines without stairs."""
LEFT, RIGHT, TOP, BOTTOM = 96, 24, 62, 44
PAPER, INK, SOFT, RULE = (255, 255, 255), (22, 32, 44), (91, 103, 118), (221, 226, 232)
LINE, UNDER = (31, 95, 191), (228, 236, 248)


def draw(message: Message) -> bytes:
    """Return the curve of a message (two points at least) as PNG, the message's title above it."""
    times = [point.at for point in message.curve]
    values = [float(point.equity) for point in message.curve]
    low, high = min(values), max(values)
    room = max((high - low) * 0.08, abs(high) * 0.00005, 0.01)
    low, high = low - room, high + room
    begin, span = times[0], max(times[-1] - times[0], 1)
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), PAPER)
    pen = ImageDraw.Draw(image)

    def place(at: int, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (at - begin) / span
        y = TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)
        return x * SCALE, y * SCALE

    line = [place(at, value) for at, value in zip(times, values, strict=True)]
    floor = (HEIGHT - BOTTOM) * SCALE
    pen.polygon([(line[0][0], floor), *line, (line[-1][0], floor)], fill=UNDER)
    for step in range(5):
        value = low + (high - low) * step / 4
        y = place(begin, value)[1]
        pen.line([(LEFT * SCALE, y), ((WIDTH - RIGHT) * SCALE, y)], fill=RULE, width=SCALE)
        _text(pen, (LEFT - 10, y / SCALE), f"{value:,.2f}", colour=SOFT, size=12, anchor="rm")
    pen.line(line, fill=LINE, width=2 * SCALE, joint="curve")
    x, y = line[-1]
    pen.ellipse([x - 8, y - 8, x + 8, y + 8], fill=LINE, outline=PAPER, width=SCALE)
    for step in range(5):
        at = begin + span * step // 4
        text = f"{datetime.fromtimestamp(at / 1_000_000, UTC):%H:%M}"
        anchor = ("lt", "mt", "mt", "mt", "rt")[step]
        _text(pen, (place(at, low)[0] / SCALE, HEIGHT - BOTTOM + 10), text, colour=SOFT, size=12, anchor=anchor)
    _text(pen, (LEFT, 18), message.title, colour=INK, size=19, anchor="lt")
    _text(pen, (WIDTH - RIGHT, 22), "equity, USDT, UTC", colour=SOFT, size=12, anchor="rt")
    out = BytesIO()
    image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).quantize(64).save(out, "PNG", optimize=True)
    return out.getvalue()


def _text(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    *,
    colour: tuple[int, int, int],
    size: int,
    anchor: str,
) -> None:
    pen.text((at[0] * SCALE, at[1] * SCALE), text, colour, ImageFont.load_default(size * SCALE), anchor=anchor)
