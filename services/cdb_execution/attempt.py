"""What one quote makes of a working order: a paper fill with its numbers, or what stands in its way."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from services.cdb_execution.codes import ExpiryCode, shown
from services.cdb_execution.market import Market
from services.cdb_execution.order_state import WorkingOrder
from services.cdb_execution.paper_fills import Obstacle, PaperFill, Request, TopOfBook, attempt_fill, fit
from services.cdb_execution.settings import ExecutionSettings
from services.common.decimals import ONE, ZERO, divide
from services.common.events import MarketData
from services.common.instruments import InstrumentSpec
from services.common.portfolio import mid_price
from services.common.timestamps import format_timestamp

__all__ = ["attempt", "numbers_of", "slippage_bps"]

BPS: Final = Decimal(10_000)


def attempt(
    order: WorkingOrder,
    event: MarketData,
    market: Market,
    spec: InstrumentSpec,
    settings: ExecutionSettings,
    *,
    now: int,
    mark_known: bool,
) -> PaperFill | Obstacle:
    """Try to fill an order from one quote; nothing is booked.

    Args:
        order: that works and whose latency is over.
        event: the quote.
        market: what is known of the instrument, with this quote in it.
        spec: grids of the instrument.
        settings: rules of the paper exchange.
        now: folded clock, microseconds.
        mark_known: False for a perpetual without a mark price, where margin could not be known.
    """
    bid, ask = event.bid, event.ask
    if bid is None or ask is None:
        return Obstacle(ExpiryCode.NO_QUOTE, "market data without bid and ask")
    if not spec.tick_size <= bid < ask:
        return Obstacle(ExpiryCode.NO_QUOTE, f"bid {shown(bid)} and ask {shown(ask)} are no valid quote")
    if not mark_known:
        return Obstacle(ExpiryCode.NO_QUOTE, "no mark price has come, so margin and liquidation are not known")
    assert order.reference_price is not None, "orders without a mid at decision are refused"
    buys = order.side == "BUY"
    direction, touch = (ONE, ask) if buys else (-ONE, bid)
    collar = order.reference_price * (ONE - direction * settings.PRICE_COLLAR_PCT)
    if direction * touch < direction * collar:
        return Obstacle(
            ExpiryCode.PRICE_COLLAR,
            f"touch {shown(touch)} is too good to be true, mid was {shown(order.reference_price)}",
        )
    refused = _refused_improvement(order, event, mid_price(bid, ask))
    bid, ask, touch = bid + refused, ask + refused, touch + refused
    bounded = touch * (ONE + direction * settings.MAX_SLIPPAGE_PCT)
    request = Request(
        side=order.side,
        quantity=order.remaining,
        protection=bounded if order.price is None else order.price,
        participation=settings.PAPER_PARTICIPATION,
        max_levels=settings.PAPER_MAX_LEVELS,
        tick_size=spec.tick_size,
        lot_size=spec.lot_size,
    )
    # A constructed quote has no depth, and may have been moved away from the levels that a message claims.
    levels = () if event.synthetic else market.levels(order.side)
    displayed, taken = (market.ask_size, market.ask_taken) if buys else (market.bid_size, market.bid_taken)
    if levels:
        displayed, taken = levels[0].shown, levels[0].taken
    book = TopOfBook(
        bid=bid,
        ask=ask,
        displayed=displayed,
        taken=taken,
        volume_60s=market.volume_60s(now),
        own_60s=market.own_60s(now),
        sigma_1m=market.sigma_1m,
        levels=levels,
    )
    return attempt_fill(request, book)


def numbers_of(
    order: WorkingOrder, event: MarketData, made: dict[str, Any], fee_rate: Decimal, latency_ms: int
) -> dict[str, Any]:
    """Return every number that made a fill, as it stands in the order result's `fill`."""
    return {
        **made,
        "mid_at_decision": order.reference_price,
        "fee_rate": fee_rate,
        "latency_ms": latency_ms,
        "eligible_from": format_timestamp(order.eligible_from),
        "quote_timestamp": format_timestamp(event.timestamp),
        "quote_event_id": event.event_id,
        "quote_bid": event.bid,
        "quote_ask": event.ask,
        "synthetic": event.synthetic,
    }


def _refused_improvement(order: WorkingOrder, event: MarketData, mid: Decimal) -> Decimal:
    """Return by how much a constructed quote has to move so that its mid is not better for us than that at decision.

    The path within a candle is made up (the low comes first), so what looks like a better price a moment later is
    not one that anybody could have had. What looks like a worse price is believed.
    """
    assert order.reference_price is not None, "orders without a mid at decision are refused"
    if not event.synthetic:
        return ZERO
    missing = order.reference_price - mid
    return max(ZERO, missing) if order.side == "BUY" else min(ZERO, missing)


def slippage_bps(order: WorkingOrder) -> Decimal:
    """Return d * (average / mid at decision - 1) * 10^4: positive is worse for us; spread included, fee not."""
    assert order.reference_price is not None, "orders without a mid at decision are refused"
    assert order.average_price is not None, "slippage is that of a fill"
    direction = ONE if order.side == "BUY" else -ONE
    return fit(direction * (divide(order.average_price, order.reference_price) - ONE) * BPS)
