"""The report as one self-contained HTML page: a pure function of the report's data, so equal data give equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from html import escape
from typing import Any

from claire.report import tables
from claire.report.charts import Marks, histogram, time_chart
from claire.report.document import document
from claire.statistics.numbers import amount, percent
from services.common.decimals import ZERO

__all__ = ["render"]

JsonObject = Mapping[str, Any]


def render(report: JsonObject) -> str:
    """Return the page.

    Args:
        report: as `claire.report.data.report_data` makes it, or as it was read back from JSON.
    """
    values, charts = report["statistics"], report["charts"]
    title = report.get("title") or report.get("run_id") or "no run"
    sections = [
        _head(report, title),
        _tiles(values),
        _section("Equity", _equity(charts, values.get("exposure_limit_pct"))),
        *(_section(_instrument(key), _price_chart(key, charts)) for key in charts["prices"]),
        _section("Where the result comes from", tables.pnl_split(values["pnl_split"], values["net_pnl"])),
        _section("Round trips", _trips(values, charts)),
        _section("Months and days", _calendar(charts)),
        _section(
            "Refused entries",
            tables.refusals(values["refusals_by_layer"], values["entries_decided"], values["entries_refused"]),
        ),
        _section("All statistics", _note() + tables.statistics_table(values)),
        _section("Where the numbers come from", _manifest(report)),
    ]
    return document(title, "\n".join(sections))


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>{body}</section>"


def _head(report: JsonObject, title: str) -> str:
    period = report["period"]
    between = " to ".join(str(period[name])[:16].replace("T", " ") for name in ("from", "to") if period[name])
    mode, length = report.get("mode") or "paper", _length(Decimal(report["statistics"]["days"]))
    return (
        f"<header><p class=brand>Claire de Binare</p><h1>{escape(title)}</h1>"
        f"<p>{escape(between)} UTC · {length} · {escape(mode)} trading</p></header>"
    )


def _length(days: Decimal) -> str:
    if days >= 1:
        return f"{amount(days, 1)} days"
    minutes = round(days * 24 * 60)
    return f"{amount(days * 24, 1)} hours" if minutes >= 60 else f"{minutes} min"


def _tiles(values: JsonObject) -> str:
    sharpe = values["sharpe"]
    wins = f"{amount(values['wins'], 0)} won"
    tiles = [
        ("Net PnL", amount(values["net_pnl"]), "USDT", values["net_pnl"]),
        ("Return", percent(values["return_pct"]), "on the initial equity", values["return_pct"]),
        ("Max drawdown", percent(values["max_drawdown_pct"]), "one-minute equity", None),
        ("Round trips", amount(values["round_trips"], 0), wins, None),
        ("Fees", amount(values["fees"]), "USDT", None),
        ("Slippage", amount(values["slippage"]), "USDT against the mid", None),
        ("Buy and hold", percent(values["buy_and_hold_pct"]), "same instruments, no costs", None),
        ("Sharpe", amount(sharpe), "annual" if sharpe is not None else values["not_shown"].get("sharpe", ""), None),
    ]
    return (
        '<div class="tiles">'
        + "".join(
            f"<div><span>{escape(name)}</span><b{_side(sign)}>{escape(value)}</b><small>{escape(note)}</small></div>"
            for name, value, note, sign in tiles
        )
        + "</div>"
    )


def _side(sign: Decimal | None) -> str:
    return "" if not sign else f' class="{"gain" if sign > 0 else "loss"}"'


def _money_label(values: Sequence[Decimal]) -> Callable[[float], str]:
    places = 0 if not values or max(values) - min(values) > 20 else 2
    return lambda value: amount(Decimal(str(value)), places)


def _price_label(values: Sequence[Decimal]) -> Callable[[float], str]:
    places = 0 if min(values) >= 1_000 else 2 if min(values) >= 10 else 4 if min(values) >= Decimal("0.1") else 8
    return lambda value: amount(Decimal(str(value)), places)


def _percent_label(values: Sequence[Decimal]) -> Callable[[float], str]:
    largest = max((abs(value) for value in values), default=ZERO)
    places = 0 if largest > Decimal("0.1") else 1 if largest > Decimal("0.01") else 2
    return lambda value: percent(Decimal(str(value)), places)


def _equity(charts: JsonObject, limit: Decimal | None) -> str:
    equity = charts["equity"]
    return (
        time_chart(
            "equity",
            equity,
            caption="Equity, USDT",
            label=_money_label(equity["v"]),
            reference=float(equity["v"][0]) if equity["v"] else None,
            tall=True,
        )
        + time_chart(
            "drawdown",
            charts["drawdown_pct"],
            caption="Drawdown from the peak",
            label=_percent_label(charts["drawdown_pct"]["v"]),
            kind="area",
            flat=-0.01,
        )
        + time_chart(
            "exposure",
            charts["exposure_pct"],
            caption="Open risk: position value over equity"
            + ("" if limit is None else f" (limit {percent(limit, 0)})"),
            label=_percent_label(charts["exposure_pct"]["v"]),
            kind="area",
        )
    )


def _instrument(key: str) -> str:
    venue, _, symbol = key.partition(":")
    return f"{symbol}, {'perpetual' if venue == 'mexc_perpetual' else 'spot'}"


def _price_chart(key: str, charts: JsonObject) -> str:
    marks, times = charts["marks"][key], charts["equity"]["t"]
    shorts = marks.get("shorts")
    return time_chart(
        f"price-{key.replace(':', '-')}",
        charts["prices"][key],
        caption="Price, USDT",
        label=_price_label(charts["prices"][key]["v"]),
        between=(times[0], times[-1]),
        marks=(
            Marks("refused", "\N{MULTIPLICATION SIGN}", "refused", marks["refused"]),
            Marks("entry", "▲", "long entries" if shorts else "entries", marks["entries"]),
            *([Marks("entry", "△", "short entries", shorts)] if shorts else []),
            Marks("exit", "▼", "exits", marks["exits"]),
        ),
        tall=True,
    )


def _trips(values: JsonObject, charts: JsonObject) -> str:
    distribution = charts["distribution"]
    parts = [
        histogram(
            distribution,
            caption="Net PnL of round trips, USDT",
            label=lambda value: amount(Decimal(str(round(value, 9))), 0 if distribution["width"] >= 1 else 2),
        )
    ]
    if values["by_symbol"]:
        parts.append(
            f'<div class="pair">{tables.results(values["by_symbol"], "symbol")}'
            f"{tables.results(values['by_exit'], 'exit')}</div>"
        )
    parts.append(tables.round_trips(charts["round_trips"], values["round_trips"]))
    return "".join(parts)


def _calendar(charts: JsonObject) -> str:
    return tables.periods(charts["months"], "month (UTC)") + (
        tables.periods(charts["days"], "day (UTC)") if charts["days"] else ""
    )


def _note() -> str:
    return (
        "<p>Annualised on 365 days; returns are those of UTC days with data; a round trip is flat to flat, net of fees "
        "and funding, and a win has a net above zero. Ratios are shown from 30 days and 30 round trips on: "
        "below that they would be chance.</p>"
    )


def _manifest(report: JsonObject) -> str:
    rows: list[tuple[str, str]] = [
        ("run", str(report.get("run_id") or "")),
        ("code", str(report.get("code_version") or "")),
        ("chain tip", str(report.get("chain_tip") or "not computed")),
        *((f"settings of {service}", value) for service, value in sorted(report["settings_hashes"].items())),
        *((str(name), _plain(value)) for name, value in sorted(report["manifest"].items())),
        ("events", ", ".join(f"{name} {amount(count, 0)}" for name, count in sorted(report["events"].items()))),
    ]
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows) + "</dl>"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return str(value)
