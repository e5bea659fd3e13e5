"""The rule of a paper fill and its numbers, in the order in which the rule used them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from claire.explain.wording import base_of, bps, clock, fee, money, number, percent, price, quantity, short
from services.common.events import OrderResult
from services.common.timestamps import parse_timestamp

__all__ = ["fill_lines"]

_LIMITS: Final = {
    "order": "the whole order",
    "participation": "our share of the minute's volume",
    "levels": "the depth that is believed",
    "protection": "the protective price",
}


def fill_lines(result: OrderResult) -> list[str]:
    """Return what made this fill, line by line."""
    base = base_of(result.symbol)
    assert result.last_quantity is not None, "a fill has a quantity"
    value = None if result.last_price is None else result.last_quantity * result.last_price
    told = [
        (
            f"fill: {quantity(result.last_quantity)} {base} at {price(result.last_price)}, worth {money(value)}, as "
            f"{result.liquidity or 'unknown'}; filled in all {quantity(result.filled_quantity)} of "
            f"{quantity(result.quantity)}"
        )
    ]
    fill = result.fill
    if fill is not None and fill.get("rule") in {"paper_ioc_v1", "paper_walk_v1"}:
        told += _paper(fill, base)
    elif fill is not None and fill.get("rule") == "paper_queue_v1":
        told += _queue(fill, base)
    elif fill is not None:
        told.append(f"rule: {fill.get('rule')}: {fill.get('by', '')}")
    rate = None if fill is None else _number(fill, "fee_rate")
    paid = fee(result.fee or Decimal(0), result.fee_currency) + ("" if rate is None else f" ({percent(rate)})")
    told.append(f"cost: slippage against mid {bps(result.slippage_bps)}; fee {paid}")
    return told


def _number(fill: Mapping[str, Any], name: str) -> Decimal | None:
    value = fill.get(name)
    return Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


def _paper(fill: Mapping[str, Any], base: str) -> list[str]:
    def value(name: str) -> Decimal:
        return _number(fill, name) or Decimal(0)

    eligible, quoted = (clock(parse_timestamp(fill[name])) for name in ("eligible_from", "quote_timestamp"))
    constructed = ", constructed from a candle" if fill.get("synthetic") else ""
    moved = ""
    if fill.get("synthetic") and (value("bid"), value("ask")) != (value("quote_bid"), value("quote_ask")):
        moved = f"; not believed to be better than mid at decision, so taken as {price(value('touch'))} at the touch"
    q2 = value("q2")
    at_touch = f"at the touch {price(value('touch'))}"
    beyond = "" if not q2 else (
        f", {quantity(q2)} beyond at {price(_number(fill, 'level_price'))} (δ {percent(value('delta'))})"
    )  # fmt: skip
    sigma = "" if fill.get("sigma_known") else ", assumed"
    decided = _LIMITS.get(str(fill.get("limited_by")), str(fill.get("limited_by")))
    shown, levels = number(value("displayed"), 4), number(value("levels"), 4)
    walk = fill.get("walk") or []
    depth = f"{fill.get('max_levels')} times that is {levels}"
    if walk:
        seen = f"{number(value('left'), 4)} on the {fill.get('levels_seen')} levels seen"
        depth = f"{seen}, at most {levels} with those beyond"
    traded, own, cap = (number(value(name), 4) for name in ("volume_60s", "own_60s", "cap"))
    return [
        _joined(
            f"rule: {fill.get('rule')}, the first valid quote after {fill.get('latency_ms')} ms ",
            f"({eligible}) came at {quoted}",
        ),
        _joined(
            f"quote: bid {price(value('quote_bid'))}, ask {price(value('quote_ask'))}{constructed}",
            f" [{short(str(fill.get('quote_event_id')))}]{moved}",
        ),
        _joined(
            f"quantity: order {quantity(value('requested'))}; at the touch {number(value('available'), 4)} {base} of ",
            f"{shown} shown, {depth}; share of the minute ",
            f"{percent(value('participation'))} of {traded} less own {own} is {cap}; decided by {decided}",
        ),
        *_walked(walk, base),
        _joined(
            f"price: {quantity(value('q1'))} {'on those levels' if walk else at_touch}{beyond}; ",
            f"impact {percent(value('impact'))} (sigma {percent(value('sigma_1m'))} a minute{sigma}), ",
            f"worst {price(value('worst_price'))}, protected at {price(value('protection_price'))}; ",
            f"rounded to the tick {price(value('price'))}",
        ),
    ]


def _queue(fill: Mapping[str, Any], base: str) -> list[str]:
    def value(name: str) -> str:
        return number(_number(fill, name) or Decimal(0), 4)

    ahead = "a size that was not shown" if fill.get("ahead") is None else value("ahead")
    decided = {"volume": "what traded beyond the queue"} | _LIMITS
    limit = str(fill.get("limited_by"))
    came = clock(parse_timestamp(fill["quote_timestamp"]))
    return [
        f"rule: paper_queue_v1, rested at {price(_number(fill, 'price'))} and was reached at {came}",
        _joined(
            f"quote: bid {price(_number(fill, 'quote_bid'))}, ask {price(_number(fill, 'quote_ask'))}",
            f" [{short(str(fill.get('quote_event_id')))}]",
        ),
        _joined(
            f"quantity: {value('volume')} {base} traded, to {price(_number(fill, 'reached'))}; ",
            f"{value('counts')} of it counts, {ahead} was ahead, {value('beyond_queue')} came to us; ",
            f"share of the minute {percent(_number(fill, 'participation'))} of {value('volume_60s')} ",
            f"less own {value('own_60s')} is {value('cap')}; decided by {decided.get(limit, limit)}",
        ),
    ]


def _walked(walk: Sequence[Mapping[str, Any]], base: str) -> list[str]:
    """Return the levels of a book walk, best first, in one line."""
    if not walk:
        return []
    told = []
    for level in walk:
        used, shown, taken = (_number(level, name) or Decimal(0) for name in ("used", "shown", "taken"))
        ours = f", {number(taken, 4)} of it taken by us before" if taken else ""
        told.append(f"{quantity(used)} at {price(_number(level, 'price'))} (of {number(shown, 4)} shown{ours})")
    return [f"levels walked: {'; '.join(told)} {base}"]


def _joined(*parts: str) -> str:
    return "".join(parts)
