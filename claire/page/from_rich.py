"""What was drawn for a terminal, as HTML: the same words, so that a page and a command never tell two stories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rich.console import Group
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from claire.page.html import text

__all__ = ["as_html"]

HEADING: Final = "bold cyan"
CLASSES: Final = (("red", "bad"), ("yellow", "warn"), ("green", "good"), ("dim", "soft"))


def as_html(drawn: Any) -> str:
    """Return a drawing of texts, groups and tables as HTML.

    Raises:
        TypeError: it holds something else.
    """
    if isinstance(drawn, Text):
        return _paragraph(drawn)
    if isinstance(drawn, Group):
        return "".join(as_html(part) for part in drawn.renderables)
    if isinstance(drawn, Padding):
        return as_html(drawn.renderable)
    if isinstance(drawn, Table):
        return _table(drawn)
    if isinstance(drawn, str):
        return text(drawn)
    raise TypeError(f"{type(drawn).__name__} cannot be shown on a page")


def _paragraph(line: Text) -> str:
    if not line.plain.strip():
        return ""
    inner = _inline(line)
    first = line.spans[0] if line.spans else None
    if first is not None and first.start == 0 and str(first.style) == HEADING:
        return f"<h2>{inner}</h2>"
    css = "lead" if "bold" in str(line.style) else _css(line.style)
    return f'<p class="{css}">{inner}</p>'


def _inline(line: Text) -> str:
    """Return the text with its styled stretches; they follow one another, none is in another."""
    parts, at = [], 0
    for span in sorted(line.spans, key=lambda span: span.start):
        css = _css(span.style)
        if not css or span.start < at:
            continue
        stretch = line.plain[span.start : span.end]
        parts.append(f'{text(line.plain[at : span.start])}<span class="{css}">{text(stretch)}</span>')
        at = span.end
    return "".join(parts) + text(line.plain[at:])


def _css(style: str | Style) -> str:
    return next((css for colour, css in CLASSES if colour in str(style)), "")


def _table(drawn: Table) -> str:
    columns = drawn.columns
    rows: Iterable[tuple[Any, ...]] = zip(*(column.cells for column in columns), strict=True)
    if not drawn.show_header:
        pairs = "".join(f"<dt>{_cell(row[0])}</dt><dd>{' '.join(map(_cell, row[1:]))}</dd>" for row in rows)
        return f"<dl>{pairs}</dl>"
    css = [' class="n"' if column.justify == "right" else "" for column in columns]
    names = [_cell(column.header) for column in columns]
    head = "".join(f"<th scope=col{c}>{name}</th>" for c, name in zip(css, names, strict=True))
    body = "".join(
        f"<tr><th scope=row>{_cell(row[0])}</th>"
        + "".join(
            f'<td{c} data-label="{name}">{_cell(cell)}</td>'
            for c, name, cell in zip(css[1:], names[1:], row[1:], strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table class="wide"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cell(cell: Any) -> str:
    if isinstance(cell, Text):
        css = _css(cell.style)
        return f'<span class="{css}">{_inline(cell)}</span>' if css else _inline(cell)
    return as_html(cell)
