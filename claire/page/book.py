"""What is held and what works: positions with the way to stop and liquidation, orders with what hinders them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claire.page.html import UNKNOWN, amount, number, number_or, percent, price, side_class, table, text, time_of, words
from claire.page.wording import instrument

__all__ = ["exchange", "orders", "outside", "positions"]


def positions(status: Mapping[str, Any]) -> str:
    """Return what is held."""
    if status["trading_state"] is None:
        return '<p class="bad">unknown: cdb_risk does not answer</p>'
    rows = []
    for position in status["positions"]:
        key = str(position["instrument"])
        pnl, quantity = position["unrealized_pnl"], position["quantity"]
        side = "" if not quantity else "long" if quantity > 0 else "short"
        dust = " dust" if position.get("dust") else ""
        cells = (
            f"{instrument(key)} <small>{side}{dust}</small>",
            number(quantity),
            price(position["entry_price"]),
            price(position["mark_price"]),
            f"{amount(position['value'])}<small>{percent(position['share'])}</small>",
            f'<span class="{side_class(pnl)}">{amount(pnl, "+")}</span>',
            _way(position["nearest_stop"], position["stop_distance"]),
            _way(position["liquidation_price"], position["liquidation_distance"]),
        )
        rows.append((key, cells))
    names = (
        "instrument",
        ">quantity",
        ">entry",
        ">mark",
        ">value, of equity",
        ">gross PnL",
        ">stop, away",
        ">liquidation, away",
    )
    return table(names, rows, caption="Positions", nothing="No position.", css="wide")


def _way(at: Any, away: Any) -> str:
    return "-" if at is None else f"{price(at)}<small>{percent(away)}</small>"


def orders(status: Mapping[str, Any]) -> str:
    """Return what works, UNKNOWN first."""
    if status["trading_state"] is None and not status["orders"]:
        return '<p class="bad">unknown: cdb_risk does not answer</p>'
    rows = []
    for order in status["orders"]:
        unknown = order.get("status") == UNKNOWN.upper()
        cells = (
            f"<code>{text(order.get('order_id'))}</code>",
            instrument(order.get("instrument")),
            f"{words(order.get('purpose'))} {text(str(order.get('side')).lower())}",
            f"{number(order.get('filled'))}<small>of {number(order.get('quantity'))}</small>",
            number_or(order.get("price"), "-"),
            f'<b class="{"bad" if unknown else ""}">{text(order.get("status"))}</b>',
            time_of(order.get("since")) if order.get("since") else "-",
            text(order.get("obstacle") or "-"),
        )
        rows.append((str(order.get("order_id")), cells))
    names = ("order", "instrument", "what", ">filled", ">price", "status", "since", "hindered by")
    return table(names, rows, caption="Working orders", nothing="No working order.", css="wide")


def outside(status: Mapping[str, Any]) -> str:
    """Return what the exchange says besides: reconciliation, funding."""
    last = status["last_reconciliation"]
    shown = time_of(last) if str(last)[:1].isdigit() else text(last)
    parts = [f"last reconciliation: {shown}"]
    if status["next_funding"] is not None:
        parts.append(f"next funding: {time_of(status['next_funding'])} UTC")
    return " · ".join(parts)


def exchange(live: Mapping[str, Any]) -> str:
    """Return what was compared with the exchange, and what an operator would have to accept."""
    compared, canary = live.get("reconciliation") or {}, live.get("canary") or {}
    parts = [f"verdict <b>{words(compared.get('verdict'))}</b>"]
    if canary:
        paused = ', <b class="bad">paused</b>' if canary.get("paused") else ""
        parts.append(f"canary: {text(canary.get('fills'))} fills{paused}")
    parts += [
        f"order <code>{text(order.get('order_id'))}</code> without an answer since {time_of(order.get('since'))}, "
        f"asked {text(order.get('asked'))} times"
        for order in live.get("unknown_orders") or ()
    ]
    rows = [
        (
            str(difference.get("name")),
            (
                f"<code>{text(difference.get('name'))}</code>",
                number(difference.get("expected")),
                number(difference.get("actual")),
                text(difference.get("detail")),
            ),
        )
        for difference in compared.get("to_accept") or ()
    ]
    found = table(
        ("difference", ">expected", ">actual", "what it is"), rows, caption="Differences", nothing="No difference.",
        css="wide",
    )  # fmt: skip
    fix = "<code>claire resume --accept NAME --by YOU --reason TEXT</code>" if rows else ""
    return f"<p>{' · '.join(parts)}</p>{found}" + (f"<p>when you know why: {fix}</p>" if fix else "")
