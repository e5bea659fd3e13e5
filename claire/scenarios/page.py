"""The comparison as one self-contained HTML page; a pure function of the results, in the style of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from html import escape
from itertools import combinations
from typing import Any

from claire.report.document import asset, document
from claire.scenarios.curves import heat_map, overlay
from claire.scenarios.results import Result, folder_name
from claire.statistics.numbers import amount, percent
from services.common.decimals import ZERO

__all__ = ["render_comparison"]

HEADINGS = ("scenario", "return", "drawdown", "net PnL, USDT", "trips", "won", "refused", "fees", "alerts")


def render_comparison(title: str, results: Sequence[Result], *, linked: bool) -> str:
    """Return the page.

    Args:
        title: of the plan.
        results: in the order of the plan.
        linked: whether each scenario has a `report.html` in its folder.
    """
    done = [result for result in results if result.state == "ok"]
    failed = sum(result.state == "failed" for result in results)
    missing = len(results) - len(done) - failed
    counts = [f"{amount(len(results), 0)} scenarios"]
    counts += [f"{failed} failed"] if failed else []
    counts += [f"{missing} not run"] if missing else []
    parts = [
        f"<header><p class=brand>Claire de Binare</p><h1>{escape(title)}</h1><p>{', '.join(counts)}</p></header>",
        f"<section><h2>Comparison</h2>{_table(results, linked=linked)}</section>",
        f"<section><h2>Return since the beginning</h2>{''.join(_overlays(done))}</section>",
    ]
    if heats := "".join(_heat_maps(results)):
        parts.append(f"<section><h2>The grid</h2>{heats}</section>")
    package = "claire.scenarios"
    return document(title, "\n".join(parts), style=asset("style.css", package), script=asset("script.js", package))


def _table(results: Sequence[Result], *, linked: bool) -> str:
    largest = max((abs(result.value("return_pct") or ZERO) for result in results), default=ZERO)
    head = "".join(
        f"<th{'' if place in {0, len(HEADINGS) - 1} else ' class=n'}><button>{escape(name)}</button></th>"
        for place, name in enumerate(HEADINGS)
    )
    body = "".join(_row(result, largest, linked=linked) for result in results)
    table = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table class="comparison">{table}</table></div>'


def _row(result: Result, largest: Decimal, *, linked: bool) -> str:
    name = escape(result.scenario.name).replace("/", "/<wbr>")  # where a phone breaks it
    if result.state != "ok":
        reason = escape(result.reason or "the work was interrupted before its turn")
        return (
            f'<tr class="failed"><td>{name}</td><td colspan="{len(HEADINGS) - 1}">'
            f"{escape(result.state)}: {reason}</td></tr>"
        )
    if linked:
        name = f'<a href="{escape(folder_name(result.scenario))}/report.html">{name}</a>'
    alerts = ", ".join(f"{code} {count}" for code, count in (result.alerts or {}).items())
    value = result.value
    return (
        f'<tr><td data-v="{escape(result.scenario.name)}">{name}</td>'
        + _return(value("return_pct"), largest)
        + _number(value("max_drawdown_pct"), percent)
        + _number(value("net_pnl"), amount)
        + _number(value("round_trips"), _count)
        + _number(value("wins"), _count)
        + _number(value("entries_refused"), _count)
        + _number(value("fees"), amount)
        + f'<td class="alerts" data-v="{sum((result.alerts or {}).values())}">{escape(alerts)}</td></tr>'
    )


def _return(value: Any, largest: Decimal) -> str:
    share = 0 if not largest or value is None else int(100 * abs(value) / largest)
    side = "gain" if value is not None and value >= 0 else "loss"
    return (
        f'<td class="n size" data-v="{"" if value is None else value}">{escape(percent(value))}'
        f'<i class="{side}" style="width:{share}%"></i></td>'
    )


def _number(value: Any, show: Any) -> str:
    return f'<td class="n" data-v="{"" if value is None else value}">{escape(show(value))}</td>'


def _count(value: Any) -> str:
    return amount(value, 0)


def _overlays(results: Sequence[Result]) -> Iterator[str]:
    """Yield a chart for each period: scenarios of different times have nothing to lay over each other."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.scenario.axes.period or "", []).append(result)
    for name, group in groups.items():
        assert group[0].report is not None
        said = group[0].report["period"]
        between = f"{str(said['from'])[:16].replace('T', ' ')} to {str(said['to'])[:16].replace('T', ' ')} UTC"
        yield overlay(f"{name}: {between}" if name else between, group)
    if not groups:
        yield '<p class="nothing">no scenario has come to its end</p>'


def _heat_maps(results: Sequence[Result]) -> Iterator[str]:
    """Yield a map for each pair of parameters and everything else that a scenario is made of."""
    grids = [result for result in results if len(result.scenario.axes.grid) >= 2]
    if not grids:
        return
    varied = [
        name
        for name in grids[0].scenario.axes.grid
        if len({result.scenario.axes.grid.get(name) for result in grids}) > 1
    ]
    for down, across in combinations(varied, 2):
        groups: dict[tuple[str, ...], list[Result]] = {}
        for result in grids:
            axes = result.scenario.axes
            rest = [
                f"{name}={value}" for name, value in axes.grid.items() if name in varied and name not in {down, across}
            ]
            key = (axes.period or "", axes.profile or "", axes.set or "", *rest, axes.stress)
            groups.setdefault(key, []).append(result)
        for key, group in groups.items():
            said = ", ".join(part for part in key if part and part != "none")
            yield heat_map(f"Return; below it the maximum drawdown{': ' + said if said else ''}", across, down, group)
