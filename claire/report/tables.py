"""The report's tables as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from html import escape
from typing import Any

from claire.statistics.definitions import DEFINITIONS
from claire.statistics.numbers import amount, percent, price, show
from services.common.events import LAYERS

__all__ = ["periods", "pnl_split", "refusals", "results", "round_trips", "statistics_table"]

JsonObject = Mapping[str, Any]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, classes: str = "") -> str:
    """Return a table; the first `left` columns are text, the others numbers. Cells are HTML."""
    head = "".join(
        f'<th scope="col"{"" if place < left else " class=n"}>{escape(name)}</th>' for place, name in enumerate(columns)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{'' if place < left else ' class=n'}>{cell}</td>" for place, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table class="{classes}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _coloured(value: Decimal | int | None, text: str) -> str:
    if value is None or not value:
        return escape(text)
    return f'<span class="{"gain" if value > 0 else "loss"}">{escape(text)}</span>'


def periods(rows: Sequence[JsonObject], name: str) -> str:
    """Return the table of months or days."""
    return _table(
        (name, "return", "net", "drawdown", "trips", "won", "fees"),
        [
            (
                f'<span class="when">{escape(row["name"])}</span>',
                _coloured(row["return_pct"], percent(row["return_pct"])),
                _coloured(row["net"], amount(row["net"])),
                percent(row["max_drawdown_pct"]),
                amount(row["round_trips"], 0),
                amount(row["wins"], 0),
                amount(row["fees"]),
            )
            for row in rows
        ],
    )


def pnl_split(split: JsonObject, net: Decimal) -> str:
    """Return the parts of the net PnL with bars."""
    names = {"price": "Price", "slippage": "Slippage", "fees": "Fees", "funding": "Funding"}
    largest = max([abs(value) for value in split.values()] + [abs(net)]) or Decimal(1)
    rows = [(label, split[name]) for name, label in names.items()] + [("Net PnL", net)]
    return _table(
        ("part", "", "USDT"),
        [
            (f"<b>{label}</b>" if label == "Net PnL" else label, _bar(value, largest), _coloured(value, amount(value)))
            for label, value in rows
        ],
        left=2,
        classes="split",
    )


def _bar(value: Decimal, largest: Decimal) -> str:
    side = "gain" if value >= 0 else "loss"
    return f'<span class="bar {side}" style="width:{float(abs(value) / largest):.1%}"></span>'


def refusals(layers: JsonObject, decided: int, refused: int) -> str:
    """Return refusals by layer with what the refused entries would have made."""
    if not layers:
        return f'<p class="nothing">None of {amount(decided, 0)} entries was refused.</p>'
    largest = Decimal(max(layer["failing"] for layer in layers.values()))
    rows = []
    for name in LAYERS:
        layer = layers.get(name)
        if layer is None:
            continue
        guess = layer["hypothetical"]
        codes = ", ".join(f"{code} {count}" for code, count in layer["codes"].items())
        rows.append(
            (
                f"<b>{escape(name.replace('_', ' '))}</b><small>{escape(codes)}</small>",
                _bar(-Decimal(layer["failing"]), largest),
                amount(layer["decisive"], 0),
                amount(layer["failing"], 0),
                _coloured(guess["mean_net_bps"], amount(guess["mean_net_bps"], 1)),
                f"{amount(guess['won'], 0)} of {amount(guess['ended'], 0)}",
                _coloured(guess["sum_net"], amount(guess["sum_net"])) if guess["ended"] else amount(None),
            )
        )
    table = _table(
        ("layer", "", "decisive", "failing", "mean, bp", "would win", "sum, USDT"), rows, left=2, classes="split layers"
    )
    return (
        f"<p>{amount(refused, 0)} of {amount(decided, 0)} entries were refused. <i>Decisive</i> counts the first layer "
        "that failed, <i>failing</i> every layer that did.</p>" + table + "<p><small><b>Hypothetical:</b> entered at "
        "the touch of the first quote after the refusal, left at the touch after the strategy's next exit or at the "
        "stop, taker fees on both sides, in the size that sizing asked for. Depth, latency and the other layers are "
        "not looked at; what had not ended is left out.</small></p>"
    )


def round_trips(rows: Sequence[JsonObject], total: int) -> str:
    """Return the last round trips, the newest first."""
    if not rows:
        return '<p class="nothing">No round trip has ended.</p>'
    table = _table(
        ("closed (UTC)", "round trip", "net", "net %", "entry", "exit", "fees"),
        [
            (
                f'<span class="when">{escape(row["closed_at"][:16].replace("T", " "))}</span>',
                f"{escape(row['symbol'])}<small>{escape(row['direction'])}, {escape(_words(row['exit']))}</small>",
                _coloured(row["net"], amount(row["net"])),
                _coloured(row["net"], percent(row["net_pct"])),
                price(row["entry_price"]),
                price(row["exit_price"]),
                amount(row["fees"]),
            )
            for row in reversed(rows)
        ],
        left=2,
    )
    more = f"<p><small>The last {len(rows)} of {amount(total, 0)}; all are in trades.csv.</small></p>"
    return table + (more if total > len(rows) else "")


def _words(name: str) -> str:
    return name.replace("_", " ")


def results(groups: JsonObject, name: str) -> str:
    """Return round trips grouped by symbol or exit."""
    return _table(
        (name, "trips", "won", "net", "fees"),
        [
            (
                escape(group.rpartition(":")[2].replace("_", " ")),
                amount(row["round_trips"], 0),
                amount(row["wins"], 0),
                _coloured(row["net"], amount(row["net"])),
                amount(row["fees"]),
            )
            for group, row in groups.items()
        ],
    )


def statistics_table(values: JsonObject) -> str:
    """Return every statistic with its definition; what is not shown says what it needs."""
    return _table(
        ("statistic", "value", "definition"),
        [
            (
                f"{escape(definition.label)}<small>{escape(definition.unit_text)}</small>",
                escape(show(values.get(definition.name), definition.unit))
                if values.get(definition.name) is not None
                else f"<small>{escape(values['not_shown'].get(definition.name, ''))}</small>",
                f"{escape(definition.meaning)}<small><code>{escape(definition.formula)}</code>"
                + ("" if definition.source == "definition" else f" · {escape(definition.source)}")
                + "</small>",
            )
            for definition in DEFINITIONS
        ],
        classes="statistics",
    )
