"""The row that follows from one event: names and units of the tables, and no memory."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from services.cdb_writer.rows import OrderRow, PositionRow, SignalRow, TradeRow, json_text
from services.common.currencies import fee_kind
from services.common.decimals import ZERO, quantise
from services.common.events import Order, OrderResult, Signal
from services.common.instruments import DEFAULT_INSTRUMENTS, PERPETUAL, instrument_key
from services.common.perpetuals import liquidation_price, maintenance_fraction
from services.common.portfolio import Portfolio, Position
from services.common.timestamps import format_timestamp

__all__ = ["TERMINAL", "order_row", "position_row", "signal_row", "trade_row", "updated_order"]

ORDER_STATUS: Final = {
    "SUBMITTING": "submitting",
    "NEW": "submitted",
    "PARTIALLY_FILLED": "partial",
    "FILLED": "filled",
    "CANCELED": "cancelled",
    "REJECTED": "rejected",
    "EXPIRED": "expired",
    "UNKNOWN": "unknown",
}
"""What stands in `orders.status` for each status of an order_result; before the first one it is `pending`."""

TERMINAL: Final = frozenset({"filled", "cancelled", "rejected", "expired"})

EXCHANGE: Final = "MEXC"

_PERPETUALS: Final = {
    instrument_key(spec.venue, spec.symbol): spec for spec in DEFAULT_INSTRUMENTS if spec.venue == PERPETUAL
}


def _fee_in_quote(result: OrderResult) -> Decimal:
    fee, kind = result.fee or ZERO, fee_kind(result.symbol, result.fee_currency)
    if kind == "base":
        return fee * (result.last_price or ZERO)
    return fee if kind == "quote" else ZERO


def signal_row(event: Signal, run_id: str) -> SignalRow:
    """Return the row of a signal."""
    return SignalRow(
        signal_id=event.event_id,
        run_id=run_id,
        venue=event.venue,
        symbol=event.symbol,
        signal_type=event.signal_type,
        intent=event.intent,
        price=event.price,
        confidence=event.confidence,
        timestamp=format_timestamp(event.timestamp),
        source=event.producer,
        strategy=event.strategy,
        reason=event.reason,
        pct_change=event.pct_change,
        correlation_id=event.correlation_id,
        metadata=json_text(event.inputs),
    )


def order_row(event: Order, run_id: str) -> OrderRow:
    """Return the row of an order that risk has sent and nobody has answered."""
    at = format_timestamp(event.timestamp)
    return OrderRow(
        order_id=event.order_id,
        client_order_id=event.client_order_id,
        run_id=run_id,
        signal_id=event.signal_id,
        decision_id=event.decision_id,
        venue=event.venue,
        symbol=event.symbol,
        side=event.side.lower(),
        order_type=event.order_type.lower(),
        time_in_force=event.time_in_force,
        purpose=event.purpose,
        price=event.price,
        reference_price=event.reference_price,
        size=event.quantity,
        reduce_only=event.reduce_only,
        leverage=event.leverage,
        approved=True,
        rejection_reason=None,
        status="pending",
        status_reason=None,
        filled_size=ZERO,
        avg_fill_price=None,
        fees=ZERO,
        slippage_bps=None,
        exchange_order_id=None,
        mode=None,
        created_at=at,
        submitted_at=None,
        filled_at=None,
        updated_at=at,
        correlation_id=event.correlation_id,
    )


def updated_order(order: OrderRow, result: OrderResult, *, new_fill: bool) -> OrderRow:
    """Return the row of an order after a result."""
    at = format_timestamp(result.timestamp)
    changes: dict[str, Any] = {
        "status": ORDER_STATUS[result.status],
        "status_reason": result.reason,
        "mode": result.mode,
        "updated_at": at,
        "exchange_order_id": result.exchange_order_id or order.exchange_order_id,
    }
    if result.status == "REJECTED":
        changes["rejection_reason"] = result.reason
    elif order.submitted_at is None:
        changes["submitted_at"] = at
    if result.status == "FILLED":
        changes["filled_at"] = at
    if new_fill:
        changes["filled_size"] = result.filled_quantity
        changes["avg_fill_price"] = result.average_price
        changes["slippage_bps"] = result.slippage_bps
        changes["fees"] = order.fees + _fee_in_quote(result)
    return replace(order, **changes)


def trade_row(result: OrderResult, order: OrderRow, run_id: str, realized_pnl: Decimal) -> TradeRow:
    """Return the row of one fill; `order` is its order before the fill."""
    assert result.last_price is not None, "the ledger refuses a fill without a price"
    return TradeRow(
        trade_id=result.event_id,
        run_id=run_id,
        order_id=result.order_id,
        venue=result.venue,
        symbol=result.symbol,
        side=result.side.lower(),
        purpose=order.purpose,
        price=order.reference_price or order.price or result.last_price,
        size=result.filled_quantity - order.filled_size,
        execution_price=result.last_price,
        slippage_bps=result.slippage_bps,
        fees=_fee_in_quote(result),
        fee_currency=result.fee_currency,
        liquidity=result.liquidity,
        realized_pnl=realized_pnl,
        status="filled" if result.status == "FILLED" else "partial",
        timestamp=format_timestamp(result.timestamp),
        exchange=EXCHANGE,
        exchange_trade_id=result.trade_id or result.event_id,
        mode=result.mode,
        metadata=json_text(result.fill or {}),
    )


def position_row(
    portfolio: Portfolio, key: str, run_id: str, timestamp: int, stop_loss_pct: Decimal | None
) -> PositionRow:
    """Return the row of a position as the ledger has it now."""
    position, mark = portfolio.positions[key], portfolio.marks.get(key)
    value, entry_price = portfolio.value_of(key), position.entry_price
    at = format_timestamp(timestamp)
    stop = None
    if entry_price is not None and stop_loss_pct is not None:
        distance = entry_price * stop_loss_pct
        stop = quantise(entry_price - distance if position.quantity > 0 else entry_price + distance, 12)
    return PositionRow(
        run_id=run_id,
        venue=position.venue,
        symbol=position.symbol,
        side="long" if position.quantity > 0 else "short" if position.quantity < 0 else "none",
        size=abs(position.quantity),
        entry_price=entry_price,
        current_price=None if mark is None else mark.price,
        unrealized_pnl=None if value is None else value - position.cost,
        realized_pnl=position.realized_pnl,
        fees=position.fees,
        stop_loss_price=stop,
        take_profit_price=None,
        liquidation_price=_liquidation_price(position, key),
        opened_at=None if position.opened_at is None else format_timestamp(position.opened_at),
        updated_at=at,
        closed_at=None if position.quantity else at,
        margin=position.margin,
        funding=position.funding,
    )


def _liquidation_price(position: Position, key: str) -> Decimal | None:
    spec = _PERPETUALS.get(key)
    return None if spec is None else liquidation_price(position, maintenance_fraction(position.quantity, spec))
