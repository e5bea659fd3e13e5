"""The portfolio ledger: cash, positions and marks as a fold of fills.

Books that balance to the last digit: equity = cash + sum over spot of quantity * mark + sum over perpetuals of
(margin + quantity * mark - cost) = initial cash + realised PnL + unrealised PnL + funding - fees. Positions keep their
total cost and margin instead of an average price, so that the only divisions (the shares of a partial close, and the
margin of an order) are taken from one side and given to the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.common.currencies import fee_kind
from services.common.decimals import ZERO, divide
from services.common.errors import IllegalTransition
from services.common.events import MarketData, OrderResult
from services.common.instruments import PERPETUAL, instrument_key

__all__ = ["Mark", "Portfolio", "Position", "mid_price"]

_HALF = Decimal("0.5")
ORDERS_REMEMBERED = 4096
"""How many orders' cumulative quantities are kept, so that a repeated result is never booked twice."""


def mid_price(bid: Decimal, ask: Decimal) -> Decimal:
    """Return (bid + ask) / 2; exact, since halving a decimal only adds a digit."""
    return (bid + ask) * _HALF


@dataclass(slots=True)
class Mark:
    """The last good valuation of an instrument: price in quote currency, time in microseconds."""

    price: Decimal
    timestamp: int


@dataclass
class Position:
    """What is held of one instrument.

    Attributes:
        quantity: base units, signed (spot is never negative).
        cost: quote currency paid for what is still held, fees not included (negative for shorts).
        realized_pnl: of what was closed or liquidated, in quote currency, fees and funding not included.
        fees: in quote currency; fees taken in base coin are valued at their fill's price, those in a third coin (MX)
            are counted in `Portfolio.coin_fees` alone.
        opened_at: time of the fill that opened it from flat, microseconds; None while flat.
        margin: isolated margin of a perpetual, quote currency, taken out of cash; 0 on spot.
        funding: received (negative: paid) so far, quote currency; perpetuals only.
    """

    venue: str
    symbol: str
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    opened_at: int | None = None
    margin: Decimal = ZERO
    funding: Decimal = ZERO

    def trade(self, side: str, quantity: Decimal, price: Decimal, leverage: int) -> Decimal:
        """Book a fill of a perpetual and return what it does to cash: margin locked, or margin and PnL given back.

        Args:
            side: BUY or SELL.
            quantity: base units, above 0.
            price: of the fill, quote currency.
            leverage: of the order; the margin of an increasing fill is its notional / leverage.

        Raises:
            IllegalTransition: the fill closes more than is held and would open the other direction.
        """
        signed = quantity if side == "BUY" else -quantity
        if self.quantity * signed >= 0:
            margin = divide(quantity * price, Decimal(leverage))
            self.quantity += signed
            self.cost += signed * price
            self.margin += margin
            return -margin
        held = abs(self.quantity)
        if quantity > held:
            raise IllegalTransition(f"{side} {quantity} {self.symbol} against {self.quantity} would flip the position")
        whole = quantity == held
        cost = self.cost if whole else divide(self.cost * quantity, held)
        margin = self.margin if whole else divide(self.margin * quantity, held)
        pnl = -signed * price - cost
        self.quantity += signed
        self.cost -= cost
        self.margin -= margin
        self.realized_pnl += pnl
        return margin + pnl

    @property
    def entry_price(self) -> Decimal | None:
        """Average price of what is held, quote currency; None while flat."""
        return divide(self.cost, self.quantity) if self.quantity else None


@dataclass
class Portfolio:
    """Cash (quote currency, free and locked together), positions by instrument key, and the marks that value them.

    Attributes:
        coin_fees: fees taken in coins that are neither bought nor paid with, by coin; they are no part of the equity.
    """

    initial_cash: Decimal = ZERO
    cash: Decimal = ZERO
    positions: dict[str, Position] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    booked: dict[str, Decimal] = field(default_factory=dict)
    coin_fees: dict[str, Decimal] = field(default_factory=dict)

    @classmethod
    def with_cash(cls, cash: Decimal) -> Portfolio:
        """Return a flat portfolio."""
        return cls(initial_cash=cash, cash=cash)

    def mark(self, event: MarketData) -> None:
        """Value the instrument at mid (spot) or at its mark price; without either the last mark stays."""
        venue, bid, ask = event.venue, event.bid, event.ask
        if venue == PERPETUAL:
            price = event.mark_price
        elif bid is not None and ask is not None and bid < ask:
            price = mid_price(bid, ask)
        else:
            price = None
        if price is not None:
            self.value_at(instrument_key(venue, event.symbol), price, event.timestamp)

    def value_at(self, key: str, price: Decimal, timestamp: int) -> None:
        """Value an instrument at a price (quote currency) that was good at a time (microseconds)."""
        mark = self.marks.get(key)
        if mark is None:
            self.marks[key] = Mark(price, timestamp)
        else:
            mark.price, mark.timestamp = price, timestamp

    def book(self, result: OrderResult, leverage: int = 1) -> Decimal:
        """Book the fill that an order result reports and return its quantity (0: nothing new in it).

        The cumulative quantity decides what is new, so that a repeated result changes nothing, and of one that tells
        in part what another has told (an operator's word crossing the exchange's) only the rest is booked.

        Args:
            result: of an order.
            leverage: of that order, which its result does not repeat; spot has none.

        Raises:
            IllegalTransition: the cumulative quantity grew by more than the result's last quantity, a fill without
                price, a spot sale of more than is held, a perpetual fill that would flip the position, or one with a
                fee that is not in quote currency.
        """
        before = self.booked.get(result.order_id, ZERO)
        quantity = result.filled_quantity - before
        if quantity <= 0:
            return ZERO
        if result.last_price is None or result.last_quantity is None or result.last_quantity < quantity:
            raise IllegalTransition(
                f"order {result.order_id}: {before} was booked, cumulative is {result.filled_quantity}, "
                f"but the fill says {result.last_quantity} at {result.last_price}"
            )
        self.booked.pop(result.order_id, None)
        self.booked[result.order_id] = result.filled_quantity
        while len(self.booked) > ORDERS_REMEMBERED:
            del self.booked[next(iter(self.booked))]
        self._fill(result, quantity, result.last_price, leverage)
        return quantity

    def _fill(self, result: OrderResult, quantity: Decimal, price: Decimal, leverage: int) -> None:
        key = instrument_key(result.venue, result.symbol)
        position = self.positions.setdefault(key, Position(result.venue, result.symbol))
        notional = quantity * price
        if not position.quantity:
            position.opened_at = result.timestamp
        if result.venue == PERPETUAL:
            self.cash += position.trade(result.side, quantity, price, leverage)
        elif result.side == "BUY":
            position.quantity += quantity
            position.cost += notional
            self.cash -= notional
        else:
            if quantity > position.quantity:
                raise IllegalTransition(
                    f"order {result.order_id}: sells {quantity} {result.symbol}, but {position.quantity} is held"
                )
            share = (
                position.cost if quantity == position.quantity else divide(position.cost * quantity, position.quantity)
            )
            position.quantity -= quantity
            position.cost -= share
            position.realized_pnl += notional - share
            self.cash += notional
        self._pay_fee(result, position, price)
        if not position.quantity:
            position.opened_at = None

    def _pay_fee(self, result: OrderResult, position: Position, price: Decimal) -> None:
        fee = result.fee or ZERO
        if not fee:
            return
        kind = fee_kind(result.symbol, result.fee_currency)
        if kind == "base" and result.venue == PERPETUAL:
            raise IllegalTransition(f"order {result.order_id}: a fee in {result.fee_currency} on a perpetual")
        if kind == "other":
            coin = str(result.fee_currency)
            self.coin_fees[coin] = self.coin_fees.get(coin, ZERO) + fee
        elif kind == "base":
            # Taken from what was bought: fewer base units, and their cost is the fee.
            position.quantity -= fee
            position.cost -= fee * price
            position.fees += fee * price
        else:
            position.fees += fee
            self.cash -= fee

    def adjust(
        self, venue: str, symbol: str, change: Decimal, price: Decimal, timestamp: int, *, leverage: int = 1
    ) -> None:
        """Change a position by what came or went without a fill of ours, at a price and without cash.

        On spot what went (at most what is held) is written off at its cost, since what was received for it is not known
        here (cash is adjusted by itself); a perpetual is changed like by a fill with this leverage.
        """
        key = instrument_key(venue, symbol)
        position = self.positions.setdefault(key, Position(venue, symbol))
        if not position.quantity:
            position.opened_at = timestamp
        if venue == PERPETUAL:
            side = "BUY" if change > 0 else "SELL"
            against = min(abs(change), abs(position.quantity)) if position.quantity * change < 0 else ZERO
            for quantity in (against, abs(change) - against):
                if quantity:
                    self.cash += position.trade(side, quantity, price, leverage)
        elif change >= 0:
            position.quantity += change
            position.cost += change * price
        else:
            change = max(change, -position.quantity)  # a fill may have crossed the operator's word
            whole = -change == position.quantity
            share = position.cost if whole else divide(position.cost * -change, position.quantity)
            position.quantity += change
            position.cost -= share
            position.realized_pnl -= share
        if not position.quantity:
            position.opened_at = None

    def fund(self, key: str, amount: Decimal) -> None:
        """Book a funding payment of a perpetual: received when above 0, paid when below; out of cash, not of margin.

        Raises:
            IllegalTransition: the instrument was never traded.
        """
        position = self._perpetual(key, "funding")
        position.funding += amount
        self.cash += amount

    def liquidate(self, key: str) -> Decimal:
        """Close a position that the exchange has liquidated and return the loss: its isolated margin, all of it.

        Raises:
            IllegalTransition: nothing is held.
        """
        position = self._perpetual(key, "liquidation")
        if not position.quantity:
            raise IllegalTransition(f"liquidation of {key}, of which nothing is held")
        loss, position.margin = position.margin, ZERO
        position.realized_pnl -= loss
        position.quantity = position.cost = ZERO
        position.opened_at = None
        return loss

    def _perpetual(self, key: str, what: str) -> Position:
        position = self.positions.get(key)
        if position is None or position.venue != PERPETUAL:
            raise IllegalTransition(f"{what} of {key}, which is no perpetual that was traded")
        return position

    def position(self, venue: str, symbol: str) -> Position:
        """Return the position of an instrument, a flat one when it was never traded."""
        return self.positions.get(instrument_key(venue, symbol)) or Position(venue, symbol)

    def value_of(self, key: str) -> Decimal | None:
        """Return the signed notional of a position at its mark; None when it is held and was never marked."""
        position = self.positions[key]
        if not position.quantity:
            return ZERO
        mark = self.marks.get(key)
        return None if mark is None else position.quantity * mark.price

    @property
    def equity(self) -> Decimal | None:
        """Cash plus what all positions are worth; None when a held position was never marked (unknown is not zero).

        A spot position is worth quantity * mark, a perpetual its margin + quantity * mark - cost.
        """
        total, marks = self.cash, self.marks
        for key, position in self.positions.items():
            value = ZERO
            if position.quantity:
                mark = marks.get(key)
                if mark is None:
                    return None
                value = position.quantity * mark.price
            total += value if position.venue != PERPETUAL else position.margin + value - position.cost
        return total

    @property
    def unrealized_pnl(self) -> Decimal | None:
        """Notional of all positions at mark less their cost, both signed; None when unknown."""
        total = ZERO
        for key, position in self.positions.items():
            value = self.value_of(key)
            if value is None:
                return None
            total += value - position.cost
        return total

    @property
    def realized_pnl(self) -> Decimal:
        """Of everything closed so far, fees and funding not included."""
        return sum((position.realized_pnl for position in self.positions.values()), ZERO)

    @property
    def fees(self) -> Decimal:
        """Paid so far, in quote currency."""
        return sum((position.fees for position in self.positions.values()), ZERO)

    @property
    def funding(self) -> Decimal:
        """Funding received less paid so far, in quote currency."""
        return sum((position.funding for position in self.positions.values()), ZERO)

    @property
    def margin(self) -> Decimal:
        """Isolated margin of all perpetual positions, in quote currency."""
        return sum((position.margin for position in self.positions.values()), ZERO)
