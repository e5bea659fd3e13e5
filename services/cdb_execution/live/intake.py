"""What an answer of the exchange says that is not known yet, as fields of the order results that state it.

Answers come from the reply to an order, from asking, and from the user stream: late, twice, in any order. Each fill is
stated once, by its trade id; an order's end is stated when everything that it filled has been. The rest is nothing new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from services.cdb_execution.attempt import BPS
from services.cdb_execution.codes import CancelCode, RejectCode, UnknownCode
from services.cdb_execution.exchange import OrderReport, PlaceOutcome, Trade
from services.cdb_execution.order_state import TERMINAL, WorkingOrder
from services.cdb_execution.paper_fills import fit
from services.cdb_execution.state import ExecutionState
from services.common.currencies import fee_kind
from services.common.decimals import ONE, ZERO, divide, quantise
from services.common.instruments import PERPETUAL

__all__ = [
    "Answered",
    "Message",
    "Placed",
    "find_order",
    "fits",
    "more_than_told",
    "news_beyond",
    "news_of",
    "own_trades",
]

_DECIMALS: Final = 18
_LONGEST_REASON: Final = 400
_UNANSWERED: Final = frozenset({"SUBMITTING", "UNKNOWN"})


@dataclass(frozen=True)
class Placed:
    """What is known after an order was sent (in shadow mode: validated)."""

    order_id: str
    outcome: PlaceOutcome


@dataclass(frozen=True)
class Answered:
    """What the exchange says of an order that it was asked for; None when it does not know it."""

    order_id: str
    report: OrderReport | None
    trades: tuple[Trade, ...] = ()


Message = Placed | Answered | OrderReport | Trade


def find_order(
    orders: Iterable[WorkingOrder], client_order_id: str | None, exchange_order_id: str
) -> WorkingOrder | None:
    """Return the order that the exchange speaks of; None when it is none of ours, or cannot be told yet."""
    for order in orders:
        assert order.live is not None, "orders at the exchange are followed"
        if order.client_order_id == client_order_id or order.live.exchange_order_id == exchange_order_id:
            return order
    return None


def news_of(state: ExecutionState, message: Message) -> list[dict[str, Any]]:
    """Return the fields of the order results that a message is worth, in order; mostly none or one.

    Args:
        state: with everything folded that was stated before.
        message: of the exchange.
    """
    if isinstance(message, Placed):
        order = _by_id(state, message.order_id)
        return [] if order is None else _placed(order, message.outcome)
    if isinstance(message, Answered):
        order = _by_id(state, message.order_id)
        return [] if order is None else _answered(state, order, message)
    order = find_order(state.sent(), message.client_order_id, message.exchange_order_id)
    if order is None:
        return []
    if isinstance(message, Trade):
        return [] if _is_known(state, order, message) else [_fill(order, message, message.quantity)]
    return _reported(order, message)


def _by_id(state: ExecutionState, order_id: str) -> WorkingOrder | None:
    return next((order for order in state.sent() if order.order_id == order_id), None)


def _placed(order: WorkingOrder, outcome: PlaceOutcome) -> list[dict[str, Any]]:
    assert order.live is not None, "what was placed is followed"
    said = ": ".join(part for part in (outcome.code, outcome.detail) if part)[:_LONGEST_REASON]
    if order.status not in _UNANSWERED or order.filled_quantity or order.live.exchange_order_id is not None:
        return []
    if outcome.verdict == "accepted":
        return [_result(order, "NEW", exchange_order_id=outcome.exchange_order_id, reason=outcome.detail or None)]
    if outcome.verdict == "refused":
        return [_result(order, "REJECTED", reason=f"{RejectCode.REFUSED}: {said}")]
    if outcome.verdict == "not_sent":
        return [_result(order, "REJECTED", reason=f"{RejectCode.NOT_SENT}: {said}")]
    return (
        [_result(order, "UNKNOWN", reason=f"{UnknownCode.NO_ANSWER}: {said}")] if order.status == "SUBMITTING" else []
    )


def _answered(state: ExecutionState, order: WorkingOrder, message: Answered) -> list[dict[str, Any]]:
    """Return the first that is new: after it is folded, the same message says what is left."""
    assert order.live is not None, "what is asked for is followed"
    for trade in message.trades:
        if not _is_known(state, order, trade):
            return [_fill(order, trade, trade.quantity)]
    more = more_than_told(order, own_trades(order, message.trades))
    if more is not None and fits(state, order, *more):
        return [_fill(order, *more)]
    if message.report is not None:
        return _reported(order, message.report)
    if order.status in _UNANSWERED and order.live.exchange_order_id is None and not order.filled_quantity:
        return [_result(order, "UNKNOWN", reason=f"{UnknownCode.NOT_FOUND}: the exchange does not know it")]
    return []


def _reported(order: WorkingOrder, report: OrderReport) -> list[dict[str, Any]]:
    if order.status in TERMINAL or report.filled_quantity != order.filled_quantity or not _is_of(order, report):
        return []  # nothing new, an old word, or fills that have to be told one by one first
    known = report.exchange_order_id
    if report.status == "REJECTED" and order.status in _UNANSWERED and not order.filled_quantity:
        why = f"{RejectCode.REFUSED}: {report.error_code or 'the exchange says REJECTED'}"
        return [_result(order, "REJECTED", exchange_order_id=known, reason=why)]
    if report.status in {"CANCELED", "REJECTED"}:
        why = f"{CancelCode.BY_EXCHANGE}: {report.error_code or report.status}"
        return [_result(order, "CANCELED", exchange_order_id=known, reason=why)]
    if order.status in _UNANSWERED and order.remaining:
        status = "PARTIALLY_FILLED" if order.filled_quantity else "NEW"
        return [_result(order, status, exchange_order_id=known)]
    return []


def news_beyond(state: ExecutionState, order: WorkingOrder, trades: Sequence[Trade]) -> list[dict[str, Any]]:
    """Return what an order has filled beyond an operator's word of it, and has to be booked.

    Args:
        state: with everything folded that was stated before.
        order: that has ended.
        trades: all fills of the account since it was last compared.
    """
    more = more_than_told(order, own_trades(order, trades))
    return [] if more is None or not fits(state, order, *more) else [_fill(order, *more)]


def own_trades(order: WorkingOrder, trades: Iterable[Trade]) -> list[Trade]:
    """Return the fills of an order among many."""
    own = (t for t in trades if find_order([order], t.client_order_id, t.exchange_order_id) is not None)
    return [trade for trade in own if _is_of(order, trade)]


def more_than_told(order: WorkingOrder, own: Iterable[Trade]) -> tuple[Trade, Decimal] | None:
    """Return the last fill beyond what an operator has said of an order, and how much of it is beyond; mostly None.

    His word has no number, so that it can only be compared with all that the exchange tells of the order.

    Args:
        order: that has ended.
        own: all its fills.
    """
    if order.live is None or not order.live.settled:
        return None
    told = {trade.trade_id: trade for trade in own}
    beyond = sum((trade.quantity for trade in told.values()), ZERO) - order.filled_quantity
    if beyond <= ZERO:
        return None
    last = max((t for t in told.values() if t.trade_id not in order.live.trades), key=lambda t: (t.time, t.trade_id))
    return last, min(beyond, last.quantity)


def fits(state: ExecutionState, order: WorkingOrder, trade: Trade, quantity: Decimal) -> bool:
    """Whether so much of a fill can be booked: not more than was ordered, nor than can be held with its fee paid."""
    in_base = trade.fee if fee_kind(trade.symbol, trade.fee_currency) == "base" else ZERO
    if (in_base and order.venue == PERPETUAL) or (order.side == "BUY" and in_base > quantity):
        return False
    sold = quantity + max(in_base, ZERO) if order.side == "SELL" else quantity
    return quantity <= order.remaining and state.can_hold(order, sold)


def _is_known(state: ExecutionState, order: WorkingOrder, trade: Trade) -> bool:
    """Whether a fill is booked, or must not be: it does not fit, or an operator may have told it already."""
    assert order.live is not None, "what fills is followed"
    known = trade.trade_id in order.live.trades or order.live.settled
    return known or not (_is_of(order, trade) and fits(state, order, trade, trade.quantity))


def _is_of(order: WorkingOrder, said: OrderReport | Trade) -> bool:
    """Whether what is said under an order's id is of what was ordered."""
    return (said.venue, said.symbol, said.side) == (order.venue, order.symbol, order.side)


def _fill(order: WorkingOrder, trade: Trade, quantity: Decimal) -> dict[str, Any]:
    filled = order.filled_quantity + quantity
    average = divide(order.filled_notional + quantity * trade.price, filled)
    status = order.status if order.status in TERMINAL else "FILLED" if filled == order.quantity else "PARTIALLY_FILLED"
    assert order.reference_price is not None, "orders without a mid at decision are refused"
    direction = ONE if order.side == "BUY" else -ONE
    return {
        **_result(order, str(status), exchange_order_id=trade.exchange_order_id),
        "filled_quantity": filled,
        "average_price": average,
        "last_quantity": quantity,
        "last_price": trade.price,
        "fee": quantise(trade.fee, _DECIMALS),
        "fee_currency": trade.fee_currency,
        "liquidity": trade.liquidity,
        "slippage_bps": fit(direction * (divide(average, order.reference_price) - ONE) * BPS),
        "trade_id": trade.trade_id,
    }


def _result(
    order: WorkingOrder, status: str, *, exchange_order_id: str | None = None, reason: str | None = None
) -> dict[str, Any]:
    assert order.live is not None, "results of the exchange are of orders that are followed"
    filled: Decimal = order.filled_quantity
    return {
        "correlation_id": order.correlation_id,
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "exchange_order_id": exchange_order_id or order.live.exchange_order_id,
        "status": status,
        "venue": order.venue,
        "symbol": order.symbol,
        "side": order.side,
        "quantity": order.quantity,
        "filled_quantity": filled,
        "average_price": order.average_price if filled > ZERO else None,
        "reason": reason,
    }
