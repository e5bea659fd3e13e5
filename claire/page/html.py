"""Small parts of a page, and how numbers stand in it; every value is escaped here, and what is unknown says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from html import escape
from typing import Any, Final

__all__ = [
    "UNKNOWN", "amount", "bar", "document", "number", "number_or", "percent", "price", "section", "side_class", "table",
    "text", "time_of", "words",
]  # fmt: skip

UNKNOWN: Final = "unknown"


def document(title: str, body: str, *, classes: str = "", live: bool = False) -> str:
    """Return a whole page.

    Args:
        title: text.
        body: HTML.
        classes: of the body.
        live: whether the page renews itself.
    """
    renewing = (
        '<script src="/script.js" defer></script><noscript><meta http-equiv="refresh" content="5"></noscript>'
        if live
        else '<script src="/copy.js" defer></script>'
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="/icon.svg" type="image/svg+xml">'
        f'<link rel="stylesheet" href="/style.css">{renewing}</head>'
        f'<body class="{escape(classes)}">{body}</body></html>'
    )


def section(name: str, heading: str, body: str, note: str = "") -> str:
    """Return a section with its heading; `body` and `note` are HTML, the name is its id."""
    aside = f"<small>{note}</small>" if note else ""
    return (
        f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{text(heading)}{aside}</h2>{body}</section>'
    )


def table(
    columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], *, caption: str, nothing: str = "", css: str = ""
) -> str:
    """Return a table; its cells are HTML.

    Args:
        columns: names; one with > in front holds numbers. The first column names its row.
        rows: each with its key, by which it is known again when the page is renewed.
        caption: what it holds, for those who do not see it.
        nothing: what stands there instead of an empty table.
        css: class.
    """
    classes = [' class="n"' if column.startswith(">") else "" for column in columns]
    names = [column.lstrip(">") for column in columns]
    head = "".join(f"<th scope=col{c}>{text(name)}</th>" for c, name in zip(classes, names, strict=True))
    body = ""
    for key, cells in rows:
        label = [f' data-label="{escape(name)}"' if name else "" for name in names]
        first, *others = zip(classes, label, cells, strict=True)
        body += f'<tr data-key="{escape(key)}"><th scope=row{first[0]}>{first[2]}</th>'
        body += "".join(f"<td{c}{name}>{cell}</td>" for c, name, cell in others) + "</tr>"
    if not body and nothing:
        return f'<p class="soft">{text(nothing)}</p>'
    return (
        f'<table class="{css}"><caption class="unseen">{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def bar(share: Decimal | None, label: str) -> str:
    """Return how full something is: green, from a half on amber, from four fifths on red; striped when unknown."""
    if share is None:
        return f'<svg class="bar none" role="img" aria-label="{escape(label)}: unknown"></svg>'
    full = max(Decimal(0), min(Decimal(1), share))
    css = "bad" if full >= Decimal("0.8") else "warn" if full >= Decimal("0.5") else "good"
    return (
        f'<svg class="bar {css}" role="img" aria-label="{escape(label)}: {full * 100:.0f} % used">'
        f'<rect width="{full * 100:.1f}%" height="100%"/></svg>'
    )


def words(name: Any) -> str:
    """Return a name of the program as words, escaped."""
    return text(str(name).replace("_", " ")) if name is not None else UNKNOWN


def text(value: Any) -> str:
    """Return a value as text that cannot be anything else."""
    return escape(UNKNOWN if value is None else str(value))


def time_of(moment: Any) -> str:
    """Return a moment to the second, as text; what is no moment is unknown."""
    if isinstance(moment, datetime):
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    return text(str(moment)[:19].replace("T", " ")) if moment and str(moment)[:1].isdigit() else UNKNOWN


def amount(value: Decimal | None, sign: str = "") -> str:
    """Return quote currency to the cent; `sign` `+` shows both signs."""
    return UNKNOWN if value is None else f"{value:{sign},.2f}"


def number(value: Any) -> str:
    """Return a number with all its digits and no trailing zeros."""
    return number_or(value, UNKNOWN)


def number_or(value: Any, otherwise: str) -> str:
    """Return a number as `number` does, or what stands for its absence."""
    if value is None or isinstance(value, bool):
        return otherwise
    try:
        exact = Decimal(str(value))
    except ArithmeticError:
        return text(value)
    return f"{exact.normalize():,f}" if exact.is_finite() else text(value)


def price(value: Decimal | None, otherwise: str = UNKNOWN) -> str:
    """Return a price: two decimals, below one all digits."""
    if value is None:
        return otherwise
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value.normalize():f}"


def percent(value: Decimal | None, sign: str = "") -> str:
    """Return a fraction as per cent."""
    return UNKNOWN if value is None else f"{value * 100:{sign}.2f} %"


def side_class(value: Decimal | None) -> str:
    """Return the class of a gain or a loss."""
    return "" if not value else "good" if value > 0 else "bad"
