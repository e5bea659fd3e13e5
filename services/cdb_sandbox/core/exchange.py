"""The exchange: takes orders, matches them against the recorded market and each other, and keeps every account.

How an order trades (the rule that the tests of live execution rely on):

* A marketable order takes, best price first and in order of time at each price, what the book shows when it arrives:
  the recorded quantity that stood there before, own resting orders, the rest of the recorded quantity.
* What is left of a LIMIT rests. It fills at its own price (1) when a recorded trade goes through its price: wholly;
  (2) when recorded trades at its price have used up the queue ahead of it: with what is left of the trade; (3) when the
  recorded opposite quote crosses it: with what that quote offers. A quote that leaves its price alone as the best
  empties the queue ahead.
* IMMEDIATE_OR_CANCEL and MARKET: what is left is cancelled. FILL_OR_KILL: all at once or nothing. LIMIT_MAKER: is
  cancelled when it would trade at once.
* Every fill of a taker is a public trade, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from services.cdb_sandbox.core.book import Book, opposite
from services.cdb_sandbox.core.depth import Quote
from services.cdb_sandbox.core.facts import Fact
from services.cdb_sandbox.core.listing import Listing
from services.cdb_sandbox.core.margin import Margin
from services.cdb_sandbox.core.orders import Order, OrderType, Side
from services.cdb_sandbox.core.perpetual import PerpetualDesk
from services.cdb_sandbox.core.records import Records
from services.cdb_sandbox.core.spot import SpotDesk
from services.cdb_sandbox.core.walk import Match, walk, walk_quote
from services.cdb_sandbox.core.wallet import Wallet
from services.common.decimals import ONE, ZERO, floor_to
from services.common.errors import SandboxRefusal

__all__ = ["Exchange", "OrderDraft", "Stake"]

_FUNDING_MS: Final = 8 * 3600 * 1000
_ENDED_CODES: Final = {
    OrderType.IMMEDIATE_OR_CANCEL: 18,
    OrderType.FILL_OR_KILL: 19,
    OrderType.LIMIT_MAKER: 20,
    OrderType.MARKET: 21,
}
"""Why the exchange itself cancelled: the perpetual order's `errorCode`."""


@dataclass(frozen=True)
class Stake:
    """What an account begins with: spot balances by asset, and the cash of its perpetual account in USDT."""

    balances: Mapping[str, Decimal] = field(default_factory=dict)
    perpetual_usdt: Decimal = ZERO


@dataclass(frozen=True, kw_only=True)
class OrderDraft:
    """An order as a customer asks for it; quantities in the exchange's unit (see `Order`)."""

    account: str
    listing: Listing
    side: Side
    order_type: OrderType
    quantity: Decimal = ZERO
    price: Decimal | None = None
    quote_quantity: Decimal | None = None
    client_order_id: str | None = None
    side_code: int = 0
    reduce_only: bool = False
    leverage: int = 1


class Exchange:
    """All books and accounts. Every method that changes something takes the exchange's time in milliseconds."""

    def __init__(
        self, listings: Iterable[Listing], stakes: Mapping[str, Stake], mx_price: Decimal = Decimal(2)
    ) -> None:
        self.listings = {listing.key: listing for listing in listings}
        self.books = {key: Book(listing) for key, listing in self.listings.items()}
        self.records = Records()
        self.marks: dict[str, Decimal] = {}
        self.funding_rates: dict[str, Decimal] = {}
        self.wallets = {name: Wallet(name, stake.balances, self.records) for name, stake in stakes.items()}
        self.margins = {name: Margin(name, stake.perpetual_usdt, self.records) for name, stake in stakes.items()}
        self._spot = SpotDesk(self.wallets, self.records, mx_price)
        self._perpetual = PerpetualDesk(self.margins, self.records, self.marks)
        self._funded_until: int | None = None

    def by_name(self, venue: str, name: str) -> Listing | None:
        """Return the listing that MEXC calls so at a venue; None when there is none."""
        return next((x for x in self.listings.values() if x.spec.venue == venue and x.name == name), None)

    def drain(self) -> list[Fact]:
        """Return what has happened since the last call, in order."""
        return self.records.drain()

    def _desk(self, listing: Listing) -> SpotDesk | PerpetualDesk:
        return self._perpetual if listing.is_perpetual else self._spot

    def _draw_up(self, draft: OrderDraft, now_ms: int, order_id: str, sequence: int) -> Order:
        return Order(
            order_id=order_id,
            sequence=sequence,
            account=draft.account,
            listing=draft.listing,
            side=draft.side,
            order_type=draft.order_type,
            quantity=draft.quantity,
            price=draft.price,
            created_ms=now_ms,
            updated_ms=now_ms,
            client_order_id=draft.client_order_id,
            quote_quantity=draft.quote_quantity,
            side_code=draft.side_code,
            reduce_only=draft.reduce_only,
            leverage=draft.leverage,
        )

    def test(self, draft: OrderDraft, now_ms: int) -> None:
        """Check an order without placing it.

        Raises:
            SandboxRefusal: it would be refused.
        """
        self._desk(draft.listing).check(self._draw_up(draft, now_ms, "", 0), self.books[draft.listing.key])

    def place(self, draft: OrderDraft, now_ms: int, *, fill_at_most: Decimal = ONE) -> Order:
        """Accept an order and trade it as far as it can be now.

        Args:
            draft: the order.
            now_ms: the exchange's time.
            fill_at_most: share of the quantity that may trade at once (a fault of tests); the liquidity that it would
                have taken beyond is gone.

        Raises:
            SandboxRefusal: it is not accepted, and nothing has changed.
        """
        book, desk = self.books[draft.listing.key], self._desk(draft.listing)
        order = self._draw_up(draft, now_ms, *self.records.next_order_id(draft.listing))
        desk.check(order, book)
        if order.quote_quantity is not None:
            matches = walk_quote(book, order.quote_quantity)
            order.quantity = sum((match.quantity for match in matches), ZERO)
        else:
            matches = walk(book, order.side, order.quantity, order.price)
        desk.reserve(order, matches, now_ms)
        self.records.add(order)
        available = sum((match.quantity for match in matches), ZERO)
        if (order.order_type is OrderType.LIMIT_MAKER and matches) or (
            order.order_type is OrderType.FILL_OR_KILL and available < order.quantity
        ):
            self._end(order, now_ms, _ENDED_CODES[order.order_type])
            return order
        capped = _capped(matches, order, fill_at_most)
        self._execute(order, book, capped, now_ms)
        for match, done in zip(matches, capped, strict=True):
            if match.resting is None and match.quantity > done.quantity:
                book.take(opposite(order.side), match.price, match.quantity - done.quantity)
        if order.is_open and order.order_type in {OrderType.LIMIT, OrderType.LIMIT_MAKER}:
            book.rest(order)
        elif order.is_open:
            self._end(order, now_ms, _ENDED_CODES[order.order_type])
        return order

    def cancel(self, order: Order, now_ms: int) -> None:
        """Cancel what is left of an open order.

        Raises:
            IllegalTransition: it has ended.
        """
        self._end(order, now_ms, 0)

    def _end(self, order: Order, now_ms: int, code: int) -> None:
        order.cancel(now_ms, code)
        self._finish(order, now_ms)
        self.records.changed(order)

    def _finish(self, order: Order, now_ms: int) -> None:
        self.books[order.listing.key].remove(order)
        self._desk(order.listing).release(order, now_ms)

    def _execute(self, order: Order, book: Book, matches: Iterable[Match], now_ms: int) -> None:
        for price, quantity, resting in matches:
            if quantity <= ZERO:
                continue
            self.records.traded(book.listing, price, quantity, order.side, now_ms)
            book.last = price
            own = resting is not None and resting.account == order.account
            if resting is None:
                book.take(opposite(order.side), price, quantity)
            else:
                self._fill(resting, price, quantity, now_ms, maker=True, own=own)
            self._fill(order, price, quantity, now_ms, maker=False, own=own)

    def _fill(
        self, order: Order, price: Decimal, quantity: Decimal, now_ms: int, *, maker: bool, own: bool = False
    ) -> None:
        order.fill(quantity, order.listing.notional(price, quantity), now_ms, maker=maker)
        self._desk(order.listing).settle(order, price, quantity, now_ms, maker=maker, own=own)
        self.books[order.listing.key].changes += 1
        if not order.is_open:
            self._finish(order, now_ms)
        self.records.changed(order)

    def on_quote(self, listing: Listing, quote: Quote, now_ms: int) -> None:
        """Take over a recorded quote; resting orders that it crosses fill at their own prices with what it offers."""
        book = self.books[listing.key]
        book.set_quote(quote)
        if book.last is None:
            book.last = floor_to((quote.bid + quote.ask) * Decimal("0.5"), listing.tick)
        for side in ("BUY", "SELL"):
            self._cross(book, side, now_ms)
        if listing.is_perpetual and listing.key not in self.marks:
            self.marks[listing.key] = floor_to((quote.bid + quote.ask) * Decimal("0.5"), listing.tick)

    def _cross(self, book: Book, side: Side, now_ms: int) -> None:
        for order in book.resting(side):
            assert order.price is not None
            for price, offered in book.recorded(opposite(side)):
                if order.price < price if side == "BUY" else order.price > price:
                    break
                quantity = min(offered, order.remaining)
                book.take(opposite(side), price, quantity)
                self._fill(order, order.price, quantity, now_ms, maker=True)
                if not order.is_open:
                    break

    def on_trade(self, listing: Listing, price: Decimal, quantity: Decimal, taker: Side | None, now_ms: int) -> None:
        """Take over a recorded trade (taker None: not known) and fill the resting orders that it reaches."""
        book = self.books[listing.key]
        shown: Side = taker or ("BUY" if book.last is None or price >= book.last else "SELL")
        book.last = price
        self.records.traded(listing, price, quantity, shown, now_ms)
        for side in ("BUY", "SELL"):
            if taker is None or side == opposite(taker):
                self._reach(book, side, price, quantity, now_ms)

    def _reach(self, book: Book, side: Side, price: Decimal, quantity: Decimal, now_ms: int) -> None:
        left, passed = quantity, ZERO
        for order in book.resting(side):
            assert order.price is not None
            if order.price > price if side == "BUY" else order.price < price:
                self._fill(order, order.price, order.remaining, now_ms, maker=True)
            elif order.price == price:
                ahead = min(left, max(ZERO, order.queue_ahead - passed))
                left, passed = left - ahead, passed + ahead
                order.queue_ahead = max(ZERO, order.queue_ahead - passed)
                filled = min(left, order.remaining)
                if filled:
                    left -= filled
                    self._fill(order, order.price, filled, now_ms, maker=True)

    def on_mark(self, listing: Listing, mark: Decimal, now_ms: int) -> None:
        """Take over a fair price and liquidate the positions that it has reached."""
        self.marks[listing.key] = mark
        for account, margin in self.margins.items():
            position = margin.position(listing)
            if position is not None and position.is_liquidated(mark):
                for order in self.records.open_orders(account, listing.spec.venue):
                    if order.listing is listing:
                        self._end(order, now_ms, 13)
                self._perpetual.liquidate(account, position, now_ms)

    def on_time(self, now_ms: int) -> None:
        """Settle funding when a settlement (00, 08, 16 UTC) has passed since the last call."""
        before, self._funded_until = self._funded_until, now_ms
        if before is None or before // _FUNDING_MS == now_ms // _FUNDING_MS:
            return
        for key, mark in self.marks.items():
            rate = self.funding_rates.get(key, Decimal("0.0001"))
            self._perpetual.settle_funding(self.listings[key], mark, rate, now_ms)

    def set_leverage(self, account: str, listing: Listing, leverage: int) -> None:
        """Set an account's leverage of a contract for orders to come.

        Raises:
            SandboxRefusal: 2006, it is no leverage of this contract; 2019, orders or a position are open.
        """
        if not 1 <= leverage <= listing.spec.tiers[0].max_leverage:
            raise SandboxRefusal(2006, "Leverage ratio error", status=200)
        margin = self.margins[account]
        open_orders = self.records.open_orders(account, listing.spec.venue)
        if margin.position(listing) is not None or any(order.listing is listing for order in open_orders):
            raise SandboxRefusal(2019, "There are open orders or a position; leverage cannot be changed", status=200)
        margin.leverages[listing.key] = leverage


def _capped(matches: list[Match], order: Order, share: Decimal) -> list[Match]:
    """Return the matches, cut so that together they fill at most a share of the order."""
    if share >= ONE:
        return matches
    left = floor_to(order.quantity * share, order.listing.lot)
    capped = []
    for match in matches:
        capped.append(match._replace(quantity=min(left, match.quantity)))
        left -= capped[-1].quantity
    return capped
