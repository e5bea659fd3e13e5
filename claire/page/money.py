"""Money: the tiles, and how much of each limit is used and left."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from claire.page.html import amount, bar, number, percent, side_class, table, text
from claire.status_screen import COUNTS, LIMIT_NAMES

__all__ = ["limits", "tiles"]

BASES: Final = {
    "daily_drawdown": "start_of_day_equity",
    "circuit_breaker": "peak_equity",
    "total_exposure": "equity",
    "largest_position": "equity",
}
"""Of what each limit is a share: what is left of it can be said in money."""


def tiles(status: Mapping[str, Any]) -> str:
    """Return the numbers that a trader looks at first."""
    money: Mapping[str, Decimal | None] = status["money"]
    pnl, fall = money["daily_pnl"], money["drawdown"]
    shown = (
        ("Equity, USDT", amount(money["equity"]), f"cash {amount(money['cash'])}", ""),
        ("Day PnL net, USDT", amount(pnl, "+"), percent(money["daily_pnl_pct"], "+"), side_class(pnl)),
        ("Under the peak", percent(fall), f"peak {amount(money['peak_equity'])}", ""),
        ("Exposure", percent(money["exposure_pct"]), amount(money["exposure"]), ""),
        ("Fees, USDT", amount(money["fees"]), "of the run", ""),
    )
    return '<div class="tiles">' + "".join(
        f'<div><span>{name}</span><b class="{css}">{value}</b><small>{note}</small></div>'
        for name, value, note, css in shown
    ) + "</div>"  # fmt: skip


def limits(status: Mapping[str, Any]) -> str:
    """Return the limits with bars and with what is left, in money where it can be said."""
    rows = [(limit["limit"], _limit(limit, status["money"])) for limit in status["limits"]]
    columns, nothing = ("limit", "", ">used", ">left"), "cdb_risk does not answer."
    return table(columns, rows, caption="Limits: used and left", nothing=nothing, css="limits")


def _limit(limit: Mapping[str, Any], money: Mapping[str, Decimal | None]) -> tuple[str, ...]:
    name, used, most, left = (limit[part] for part in ("limit", "used", "of", "headroom"))
    label, write = LIMIT_NAMES.get(name, name), number if name in COUNTS else percent
    spent = None if used is None else max(used, Decimal(0))  # a gain uses nothing of a limit of losses
    base = money.get(BASES.get(name, ""))
    worth = "" if base is None or left is None else f"<small>{amount(max(left, Decimal(0)) * base)} USDT</small>"
    return (
        text(label),
        bar(None if spent is None or not most else spent / most, label),
        f"{write(spent)}<small>of {write(most)}</small>",
        f"{write(left)}{worth}",
    )
