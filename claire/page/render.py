"""The screen of `claire status` as HTML; every value is escaped, and what is unknown says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from html import escape
from typing import Any, Final

from claire.status_screen import feed_words

__all__ = ["render"]

UNKNOWN: Final = "unknown"
COUNTS: Final = frozenset({"positions", "losses_in_a_row"})
STATES: Final = {"ACTIVE": "good", "REDUCING": "warn", "HALTED": "bad", "FROZEN": "bad"}


def render(status: Mapping[str, Any]) -> str:
    """Return the whole page."""
    parts = {
        "head": _head(status),
        "money": _money(status["money"]),
        "limits": "<h2>Limits</h2>" + _limits(status["limits"]),
        "positions": "<h2>Positions</h2>" + _positions(status["positions"]),
        "orders": "<h2>Working orders</h2>" + _orders(status["orders"]),
        "symbols": "<h2>Why no trade now</h2>" + _symbols(status["symbols"]),
        "decisions": "<h2>Decisions</h2>" + _decisions(status["decisions"]),
        "services": "<h2>Services</h2>" + _services(status),
    }
    body = "".join(f'<section id="{name}">{html}</section>' for name, html in parts.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Claire de Binare</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<link rel="stylesheet" href="/style.css"><script src="/script.js" defer></script></head><body><main>'
        f'<p id="lost" class="bad" role="alert" hidden>The page has lost its server; what you see is old.</p>{body}'
        "</main></body></html>"
    )


def _head(status: Mapping[str, Any]) -> str:
    state = status["trading_state"]
    now = str(status["now"] or UNKNOWN)[:19].replace("T", " ")
    line = (
        f"<header><h1>Claire de Binare</h1><span>{_text(status['mode'])}</span>"
        f'<b class="{STATES.get(state, "bad")}">{_text(state)}</b>'
        f'<span class="soft">{_text(now)} UTC (the clock of the run)</span></header>'
    )
    lines = [line]
    lines += [
        f'<p class="warn">{_text(name)} since {_text(str(cause.get("since"))[:19])} by {_text(cause.get("by"))}: '
        f"{_text(cause.get('reason'))}</p>"
        for name, cause in status["causes"].items()
    ]
    if status["risk_silent"]:
        lines.append('<p class="bad">risk does not answer the clock: execution refuses entries</p>')
    return "".join(lines)


def _money(money: Mapping[str, Decimal | None]) -> str:
    pnl = money["daily_pnl"]
    colour = "" if not pnl else "good" if pnl > 0 else "bad"
    tiles = (
        ("Equity, USDT", _amount(money["equity"]), ""),
        ("Day PnL, USDT", f"{_amount(pnl, '+')} ({_percent(money['daily_pnl_pct'], '+')})", colour),
        ("Under the peak", _percent(money["drawdown"]), ""),
        ("Exposure", f"{_amount(money['exposure'])} ({_percent(money['exposure_pct'])})", ""),
    )
    inner = "".join(f'<div><span>{name}</span><b class="{css}">{value}</b></div>' for name, value, css in tiles)
    return f'<div class="tiles">{inner}</div>'


def _limits(limits: Sequence[Mapping[str, Any]]) -> str:
    def row(limit: Mapping[str, Any]) -> list[str]:
        count = limit["limit"] in COUNTS
        numbers = (limit["used"], limit["of"], limit["headroom"])
        return [_text(limit["limit"].replace("_", " ")), *(_number(n) if count else _percent(n) for n in numbers)]

    return _table(("limit", ">used", ">of", ">left"), map(row, limits))


def _positions(positions: Sequence[Mapping[str, Any]]) -> str:
    rows = (
        [
            _text(position["instrument"]), _number(position["quantity"]), _number(position["entry_price"]),
            _number(position["mark_price"]), _amount(position["unrealized_pnl"], "+"),
            _number(position["nearest_stop"]), _percent(position["stop_distance"]),
        ]
        for position in positions
    )  # fmt: skip
    return _table(("instrument", ">quantity", ">entry", ">mark", ">PnL", ">stop", ">to the stop"), rows, "No position.")


def _orders(orders: Sequence[Mapping[str, Any]]) -> str:
    fields = ("order_id", "instrument", "side", "purpose", "quantity", "filled", "status")
    rows = ([_text(order.get(name)) for name in fields] for order in orders)
    names = ("order", "instrument", "side", "purpose", ">quantity", ">filled", "status")
    return _table(names, rows, "No working order.")


def _symbols(symbols: Sequence[Mapping[str, Any]]) -> str:
    rows = (
        [
            _text(symbol["instrument"]), _percent(symbol.get("momentum"), "+"), _percent(symbol.get("threshold")),
            _text(", ".join(symbol.get("reasons") or ()) or symbol.get("why") or symbol.get("action") or ""),
        ]
        for symbol in symbols
    )  # fmt: skip
    return _table(("instrument", ">momentum", ">threshold", "why"), rows, "cdb_core does not answer.")


def _decisions(decisions: Mapping[str, Any]) -> str:
    refused = decisions.get("refused") or {}
    rows = [["approved", _text(decisions.get("approved", UNKNOWN))]]
    rows += [[f"refused by {_text(name)}", _text(count)] for name, count in refused.items()]
    return (
        _table(("decision", ">count"), rows) + '<p class="soft">One of them in full: <code>claire explain ID</code></p>'
    )


def _services(status: Mapping[str, Any]) -> str:
    def row(name: str, service: Mapping[str, Any]) -> list[str]:
        well = "well" if service["healthy"] else "not well" if service["answers"] else "does not answer"
        why = "; ".join(f"{check}: {reason}" for check, reason in service["failing"].items())
        css = "good" if service["healthy"] else "bad"
        lag = UNKNOWN if service["lag"] is None else _text(service["lag"])
        return [_text(name), f'<span class="{css}">{well}</span>', lag, _text(service["last_id"] or ""), _text(why)]

    rows = (row(name, service) for name, service in status["services"].items())
    return f"<p>{_text(feed_words(status['feed']))}</p>" + _table(
        ("service", "health", ">lag", ">journal", "what fails"), rows
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], nothing: str = "") -> str:
    """Return a table of cells that are HTML already; a column with > in front holds numbers."""
    css = ["n" if column.startswith(">") else "" for column in columns]
    head = "".join(
        f'<th class="{c}" scope="col">{column.lstrip(">")}</th>' for c, column in zip(css, columns, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f'<td class="{c}">{cell}</td>' for c, cell in zip(css, row, strict=True)) + "</tr>"
        for row in rows
    )
    if not body and nothing:
        return f'<p class="soft">{nothing}</p>'
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(value: Any) -> str:
    return escape(UNKNOWN if value is None else str(value))


def _amount(value: Decimal | None, sign: str = "") -> str:
    return UNKNOWN if value is None else f"{value:{sign},.2f}"


def _number(value: Decimal | None) -> str:
    return UNKNOWN if value is None else f"{value.normalize():f}"


def _percent(value: Decimal | None, sign: str = "") -> str:
    return UNKNOWN if value is None else f"{value * 100:{sign}.2f} %"
