"""The page as a whole: its parts in the order in which a trader looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claire.page.book import exchange, orders, outside, positions
from claire.page.curve import curves, spans
from claire.page.decisions import decisions, verdicts
from claire.page.head import banners, header, title
from claire.page.html import document, section, text
from claire.page.look import View
from claire.page.market import symbols
from claire.page.money import limits, tiles
from claire.page.pipeline import alerts, flow, services

__all__ = ["render"]

MODES = frozenset({"paper", "shadow", "live"})


def render(view: View) -> str:
    """Return the whole page."""
    status = view.status
    mode = status["mode"] if status["mode"] in MODES else "unsure"
    run = f"run {text(view.past.run_id or status['run_id'])}"
    body = (
        f'{header(view)}<main>{banners(view)}<section id="money" aria-label="Money">{tiles(status)}</section>'
        f'<div class="pair">{section("curve", "Equity and drawdown", curves(view), run + spans(view))}'
        f"{section('limits', 'Limits', limits(status))}</div>"
        + _book(status)
        + (section("exchange", "Exchange", exchange(view.exchange)) if view.exchange else "")
        + section("symbols", "Why no trade now", symbols(view))
        + section("decisions", "Last decisions", decisions(view), verdicts(view))
        + section(
            "flow", "Flow", flow(view), "of the run (ticks: since cdb_ws started), and the rate of the last minute"
        )
        + f'<div class="pair even">{section("services", "Services", services(view))}'
        + f"{section('alerts', 'Last alerts', alerts(view))}</div>"
        + "</main>"
    )
    return document(title(status), body, classes=f"mode-{mode}", live=True)


def _book(status: Mapping[str, Any]) -> str:
    """Return positions and orders, side by side when there are none of either."""
    held = section("positions", "Positions", positions(status), outside(status))
    working = section("orders", "Working orders", orders(status))
    if status["positions"] or status["orders"]:
        return held + working
    return f'<div class="pair even">{held}{working}</div>'
