"""The perpetual market's side of an order: limits, margin, what a fill does to the position, liquidation, funding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from services.cdb_sandbox.core.book import Book
from services.cdb_sandbox.core.listing import Listing, decimals_of
from services.cdb_sandbox.core.margin import Margin, Position
from services.cdb_sandbox.core.orders import Fill, Order, OrderType
from services.cdb_sandbox.core.records import Records
from services.cdb_sandbox.core.walk import Match
from services.common.decimals import ZERO, divide, floor_to
from services.common.errors import SandboxRefusal
from services.common.perpetuals import funding_amount

__all__ = ["PRICE_LIMIT_RATE", "PerpetualDesk"]

PRICE_LIMIT_RATE: Final = Decimal("0.1")
"""How far beyond the fair price an order may be priced (bidLimitPriceRate and askLimitPriceRate)."""


def _refuse(code: int, message: str) -> SandboxRefusal:
    return SandboxRefusal(code, message, status=200)


class PerpetualDesk:
    """Checks and settles orders of perpetual contracts; `marks` are the fair prices by instrument."""

    def __init__(self, margins: Mapping[str, Margin], records: Records, marks: Mapping[str, Decimal]) -> None:
        self._margins = margins
        self._records = records
        self._marks = marks

    def check(self, order: Order, book: Book) -> None:
        """Hold an order against what contract/detail says of its contract and against the position.

        Raises:
            SandboxRefusal: with MEXC's code of the first rule that it breaks.
        """
        listing, spec = order.listing, order.listing.spec
        if listing.status != "1" or not listing.api_allowed:
            raise _refuse(1002, "Contract not allow place order!")
        if order.quantity <= ZERO or floor_to(order.quantity, listing.lot) != order.quantity:
            raise _refuse(2011, "Order quantity error")
        if not 1 <= order.leverage <= spec.tiers[0].max_leverage:
            raise _refuse(2006, "Leverage ratio error")
        if order.quantity > spec.tiers[-1].max_contracts:
            raise _refuse(2051, "Order quantity is above the maximum")
        if len(order.client_order_id or "") > 32:
            raise _refuse(2030, "The external order id is too long")
        if order.client_order_id and self._records.find(
            order.account, spec.venue, client_order_id=order.client_order_id
        ):
            raise _refuse(2042, "Duplicate order id")
        self._check_price(order, book)
        self._records.refuse_when_full(order.account, listing, 2036)
        self._check_position(order)

    def _check_price(self, order: Order, book: Book) -> None:
        if order.price is None:
            return
        if order.price <= ZERO:
            raise _refuse(2007, "Order price error")
        if (
            decimals_of(order.price) > decimals_of(order.listing.tick)
            or floor_to(order.price, order.listing.tick) != order.price
        ):
            raise _refuse(2015, "Price or quantity precision error")
        fair = self._marks.get(order.listing.key) or book.mid()
        if fair is None:
            return
        if order.side == "BUY" and order.price > fair * (1 + PRICE_LIMIT_RATE):
            raise _refuse(2003, "The price of buy order cannot be higher than the maximum price")
        if order.side == "SELL" and order.price < fair * (1 - PRICE_LIMIT_RATE):
            raise _refuse(2004, "The price of sell order cannot be lower than the minimum price")

    def _check_position(self, order: Order) -> None:
        margin = self._margins[order.account]
        position = margin.position(order.listing)
        if not order.reduce_only:
            if position is not None and position.leverage != order.leverage and self._opening(order) > ZERO:
                raise _refuse(7004, "Leverage must match the existing position")
            return
        if position is None or (position.quantity > ZERO) == (order.side == "BUY"):
            raise _refuse(2009, "Position is not exists or closed")
        if order.quantity > self._closable(order.account, position):
            raise _refuse(2008, "The quantity is insufficient")

    def _closable(self, account: str, position: Position) -> Decimal:
        pending = sum(
            (
                o.remaining
                for o in self._records.open_orders(account, position.listing.spec.venue)
                if o.reduce_only and o.listing is position.listing
            ),
            ZERO,
        )
        return abs(position.quantity) - pending

    def _opening(self, order: Order) -> Decimal:
        """Return how much of an order would open or add: all of it, less what it closes of an opposite position."""
        if order.reduce_only:
            return ZERO
        position = self._margins[order.account].position(order.listing)
        if position is None or (position.quantity > ZERO) == (order.side == "BUY"):
            return order.quantity
        return max(ZERO, order.quantity - abs(position.quantity))

    def reserve(self, order: Order, matches: Sequence[Match], now_ms: int) -> None:
        """Freeze margin and fee of what would open.

        Raises:
            SandboxRefusal: 2005, the account has not so much; 2007, nothing to trade a market order with.
        """
        if order.price is None and not matches:
            raise _refuse(2007, "Order price error")
        opening = self._opening(order)
        if not opening:
            return
        price = max(order.price or ZERO, *(match.price for match in matches), ZERO)
        notional = order.listing.notional(price, opening)
        amount = divide(notional, Decimal(order.leverage)) + notional * order.listing.taker_fee
        self._margins[order.account].freeze(amount, now_ms)
        order.reserved = amount

    def settle(self, order: Order, price: Decimal, quantity: Decimal, now_ms: int, *, maker: bool, own: bool) -> None:
        """Do to the position and the cash what one fill does; the order has counted it already."""
        listing, margin = order.listing, self._margins[order.account]
        fee = listing.notional(price, quantity) * (listing.maker_fee if maker else listing.taker_fee)
        position = margin.position(listing)
        sign = 1 if order.side == "BUY" else -1
        closing = ZERO
        freed = profit = taken = ZERO
        if position is not None and position.quantity * sign < ZERO:
            closing = min(quantity, abs(position.quantity))
            order.position_id = position.position_id
            freed, profit = margin.reduce(listing, closing, price, now_ms)
        if quantity > closing:
            taken = margin.open(listing, sign * (quantity - closing), price, order.leverage, now_ms)
            order.position_id = margin.positions[listing.key].position_id
        margin.note_fee(listing, fee)
        from_reserve = min(order.reserved, taken + fee)
        order.reserved -= from_reserve
        margin.move(now_ms, available=freed + profit - (taken + fee - from_reserve), frozen=-from_reserve)
        order.fee_paid += fee
        order.profit += profit
        self._fill(order, price, quantity, now_ms, fee=fee, profit=profit, maker=maker, own=own)

    def _fill(
        self,
        order: Order,
        price: Decimal,
        quantity: Decimal,
        now_ms: int,
        *,
        fee: Decimal,
        profit: Decimal,
        maker: bool,
        own: bool = False,
    ) -> None:
        self._records.filled(
            Fill(
                trade_id=self._records.next_trade_id(order.listing),
                order_id=order.order_id,
                client_order_id=order.client_order_id,
                account=order.account,
                listing=order.listing,
                side=order.side,
                side_code=order.side_code,
                price=price,
                quantity=quantity,
                notional=order.listing.notional(price, quantity),
                fee=fee,
                fee_asset=order.listing.spec.quote,
                maker=maker,
                self_trade=own,
                time_ms=now_ms,
                profit=profit,
                category=order.category,
            )
        )

    def release(self, order: Order, now_ms: int) -> None:
        """Set free what is left for an order that has ended."""
        if order.reserved:
            self._margins[order.account].move(now_ms, available=order.reserved, frozen=-order.reserved)
            order.reserved = ZERO

    def liquidate(self, account: str, position: Position, now_ms: int) -> Order:
        """Take a position over at its liquidation price; its isolated margin is lost. Return the order that did it."""
        listing, quantity = position.listing, position.quantity
        order_id, sequence = self._records.next_order_id(listing)
        price = position.liquidation_price
        order = Order(
            order_id=order_id,
            sequence=sequence,
            account=account,
            listing=listing,
            side="SELL" if quantity > ZERO else "BUY",
            order_type=OrderType.MARKET,
            quantity=abs(quantity),
            price=price,
            created_ms=now_ms,
            updated_ms=now_ms,
            side_code=4 if quantity > ZERO else 2,
            reduce_only=True,
            leverage=position.leverage,
            category=2,
            position_id=position.position_id,
        )
        self._records.add(order)
        margin = self._margins[account]
        lost = position.margin
        order.fill(abs(quantity), listing.notional(price, abs(quantity)), now_ms, maker=False)
        margin.reduce(listing, abs(quantity), price, now_ms)
        order.profit = -lost
        margin.move(now_ms)
        self._fill(order, price, abs(quantity), now_ms, fee=ZERO, profit=-lost, maker=False)
        self._records.changed(order)
        return order

    def settle_funding(self, listing: Listing, mark: Decimal, rate: Decimal, now_ms: int) -> None:
        """Let every position of a contract pay or receive funding."""
        for margin in self._margins.values():
            position = margin.position(listing)
            if position is not None:
                margin.pay_funding(listing, funding_amount(position.base, mark, rate), rate, now_ms)
