"""What became of the orders: fills, how much of them was filled, as maker or taker, and how soon."""

from __future__ import annotations

from decimal import Decimal

from claire.statistics.round_trips import Fill
from services.common.currencies import fee_kind
from services.common.decimals import ZERO
from services.common.events import Order, OrderResult, Signal
from services.common.timestamps import MS_US

__all__ = ["OrderFlow"]

_ENDED = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED"})


class OrderFlow:
    """Folds signals, orders and their results.

    Attributes:
        orders: by order id.
        ended: number of orders by terminal status.
        traded, as_maker: notional filled, quote currency.
        at_mid: the same at the mids of the decisions.
        ordered_value, filled_value: of ended orders, at the mid at decision.
        signal_to_fill_us: of each order with a signal, to its first fill.
    """

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.ended: dict[str, int] = {}
        self.traded = self.as_maker = self.at_mid = ZERO
        self.ordered_value = self.filled_value = ZERO
        self.signal_to_fill_us: list[int] = []
        self._signals: dict[str, int] = {}
        self._filled: set[str] = set()
        self._closed: set[str] = set()

    def on_signal(self, signal: Signal) -> None:
        """Remember when it came."""
        self._signals[signal.event_id] = signal.timestamp

    def on_order(self, order: Order) -> None:
        """Remember it; a repeated id changes nothing."""
        self.orders.setdefault(order.order_id, order)

    def fill_of(self, result: OrderResult, quantity: Decimal) -> Fill:
        """Return the fill that a result reports.

        Args:
            result: with a last price, as the ledger has booked it.
            quantity: new base units in it, above 0.
        """
        assert result.last_price is not None, "the ledger refuses a fill without a price"
        order, price = self.orders.get(result.order_id), result.last_price
        mid = price if order is None or order.reference_price is None else order.reference_price
        fee = result.fee or ZERO
        kind = fee_kind(result.symbol, result.fee_currency)
        in_base = kind == "base"
        fill = Fill(
            timestamp=result.timestamp,
            venue=result.venue,
            symbol=result.symbol,
            side=result.side,
            purpose="entry" if order is None else order.purpose,
            quantity=quantity,
            price=price,
            mid=mid,
            fee=fee * price if in_base else fee if kind == "quote" else ZERO,
            base_fee=fee if in_base else ZERO,
            slippage=quantity * (price - mid if result.side == "BUY" else mid - price),
            liquidity=result.liquidity,
            order_id=result.order_id,
            signal_id=None if order is None else order.signal_id,
            trade_id=result.trade_id,
        )
        self.traded += quantity * price
        self.at_mid += quantity * mid
        if result.liquidity == "maker":
            self.as_maker += quantity * price
        self._note_latency(fill)
        return fill

    def _note_latency(self, fill: Fill) -> None:
        if fill.order_id in self._filled:
            return
        self._filled.add(fill.order_id)
        asked = self._signals.get(fill.signal_id or "")
        if asked is not None:
            self.signal_to_fill_us.append(fill.timestamp - asked)

    def on_result(self, result: OrderResult) -> None:
        """Note how an order ended, once."""
        order = self.orders.get(result.order_id)
        if result.status not in _ENDED or order is None or result.order_id in self._closed:
            return
        self._closed.add(result.order_id)
        self.ended[result.status] = self.ended.get(result.status, 0) + 1
        price = order.reference_price or order.price or result.average_price or ZERO
        self.ordered_value += order.quantity * price
        self.filled_value += result.filled_quantity * price

    @property
    def latencies_ms(self) -> list[float]:
        """Signal to first fill, in milliseconds."""
        return [latency / MS_US for latency in self.signal_to_fill_us]
