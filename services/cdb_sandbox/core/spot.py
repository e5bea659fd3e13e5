"""The spot market's side of an order: filters, what is locked for it, what a fill moves, what its end gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from services.cdb_sandbox.core.book import Book
from services.cdb_sandbox.core.listing import Listing
from services.cdb_sandbox.core.orders import Fill, Order, OrderType
from services.cdb_sandbox.core.records import Records
from services.cdb_sandbox.core.walk import Match
from services.cdb_sandbox.core.wallet import Wallet
from services.common.decimals import ZERO, divide, floor_to
from services.common.errors import SandboxRefusal

__all__ = ["SpotDesk"]

_PLACES: Final = 12


class SpotDesk:
    """Checks and settles spot orders. `mx_price` is what one MX costs in quote currency."""

    def __init__(self, wallets: Mapping[str, Wallet], records: Records, mx_price: Decimal) -> None:
        self._wallets = wallets
        self._records = records
        self._mx_price = mx_price

    def check(self, order: Order, book: Book) -> None:
        """Hold an order against what exchangeInfo says of its instrument.

        Raises:
            SandboxRefusal: with MEXC's code of the first rule that it breaks.
        """
        listing = order.listing
        _check_open(listing, order)
        _check_numbers(listing, order)
        self._records.refuse_when_full(order.account, listing, 30029)
        reference = order.price or book.best("SELL" if order.side == "BUY" else "BUY")
        notional = order.quote_quantity
        if notional is None and reference is not None:
            notional = listing.notional(reference, order.quantity)
        if notional is not None and notional < listing.spec.min_notional:
            least = f"{listing.spec.min_notional.normalize():f}{listing.spec.quote}"
            raise SandboxRefusal(30002, f"The minimum transaction volume cannot be less than:{least}")
        if notional is not None and notional > listing.spec.max_notional:
            most = f"{listing.spec.max_notional.normalize():f}{listing.spec.quote}"
            raise SandboxRefusal(30003, f"The maximum transaction volume cannot be greater than:{most}")
        self._check_band(order, book.last)

    @staticmethod
    def _check_band(order: Order, last: Decimal | None) -> None:
        band = order.listing.price_band
        if band is None or last is None or order.price is None:
            return
        beyond = order.price > last * (1 + band) if order.side == "BUY" else order.price < last * (1 - band)
        if beyond:
            raise SandboxRefusal(30087, "Order price is outside the allowed range")

    def reserve(self, order: Order, matches: Sequence[Match], now_ms: int) -> None:
        """Lock what the order may need.

        Raises:
            SandboxRefusal: 30004, the account has not so much; 30025, nothing to trade a market order with.
        """
        if order.order_type is OrderType.MARKET and not matches:
            raise SandboxRefusal(30025, "No opposing order")
        spec = order.listing.spec
        asset, amount = (
            (spec.base, order.quantity) if order.side == "SELL" else (spec.quote, self._cost(order, matches))
        )
        self._wallets[order.account].lock(asset, amount, now_ms)
        order.reserved = amount

    def _cost(self, order: Order, matches: Sequence[Match]) -> Decimal:
        if order.price is not None:
            cost = order.price * order.quantity
        else:
            cost = sum((match.price * match.quantity for match in matches), ZERO)
        if order.listing.fee_asset == "quote":
            cost += cost * max(order.listing.taker_fee, order.listing.maker_fee)
        return cost

    def settle(self, order: Order, price: Decimal, quantity: Decimal, now_ms: int, *, maker: bool, own: bool) -> None:
        """Move what one fill moves; the order has counted it already."""
        listing, wallet = order.listing, self._wallets[order.account]
        spec, notional = listing.spec, price * quantity
        fee, fee_asset = self._fee(order, quantity, notional, maker=maker)
        if order.side == "BUY":
            spent, received, asset = notional, quantity, spec.base
        else:
            spent, received, asset = quantity, notional, spec.quote
        if fee_asset == spec.quote and order.side == "BUY":
            spent += fee
        wallet.spend(spec.quote if order.side == "BUY" else spec.base, spent, now_ms)
        order.reserved -= spent
        wallet.receive(asset, received - fee if fee_asset == asset else received, now_ms)
        if fee_asset == "MX" and asset != "MX":
            wallet.receive("MX", -fee, now_ms, "TRADE_FEE")
        order.fee_paid += fee
        self._records.filled(
            Fill(
                trade_id=self._records.next_trade_id(listing),
                order_id=order.order_id,
                client_order_id=order.client_order_id,
                account=order.account,
                listing=listing,
                side=order.side,
                side_code=0,
                price=price,
                quantity=quantity,
                notional=notional,
                fee=fee,
                fee_asset=fee_asset,
                maker=maker,
                self_trade=own,
                time_ms=now_ms,
            )
        )
        surplus = self._surplus(order)
        if surplus:
            wallet.unlock(spec.quote, surplus, now_ms, "ENTRUST_UNFROZEN")
            order.reserved -= surplus

    @staticmethod
    def _surplus(order: Order) -> Decimal:
        """Return what a buy that filled better than its limit has locked too much."""
        if order.side == "SELL" or order.price is None:
            return ZERO
        needed = order.price * order.remaining
        if order.listing.fee_asset == "quote":
            needed += needed * max(order.listing.taker_fee, order.listing.maker_fee)
        return max(ZERO, order.reserved - needed)

    def _fee(self, order: Order, quantity: Decimal, notional: Decimal, *, maker: bool) -> tuple[Decimal, str]:
        listing = order.listing
        rate, spec = listing.maker_fee if maker else listing.taker_fee, listing.spec
        if listing.fee_asset == "MX":
            fee = divide(notional * rate, self._mx_price, _PLACES)
            if self._wallets[order.account].free.get("MX", ZERO) >= fee:
                return fee, "MX"
        if order.side == "BUY" and listing.fee_asset != "quote":
            return quantity * rate, spec.base
        return notional * rate, spec.quote

    def release(self, order: Order, now_ms: int) -> None:
        """Unlock what is left for an order that has ended."""
        asset = order.listing.spec.base if order.side == "SELL" else order.listing.spec.quote
        self._wallets[order.account].unlock(asset, order.reserved, now_ms)
        order.reserved = ZERO


def _check_open(listing: Listing, order: Order) -> None:
    if listing.status != "1":
        raise SandboxRefusal(30016, "Trading disabled")
    if not listing.api_allowed:
        raise SandboxRefusal(10007, "symbol not support api")
    refused_side = {1: (), 2: ("SELL",), 3: ("BUY",), 4: ("BUY", "SELL")}[listing.side_type]
    if order.side in refused_side:
        raise SandboxRefusal(30001, "Current transaction direction is not allowed to place an order")


def _check_numbers(listing: Listing, order: Order) -> None:
    if order.quote_quantity is not None:
        if order.quote_quantity <= ZERO:
            raise SandboxRefusal(10102, "Amount should be greater than 0")
        return
    if order.quantity <= ZERO:
        raise SandboxRefusal(10102, "Amount should be greater than 0")
    if floor_to(order.quantity, listing.lot) != order.quantity:
        raise SandboxRefusal(10096, "The number of decimals of the amount is too large")
    if order.quantity < listing.spec.min_quantity:
        raise SandboxRefusal(30002, f"The minimum transaction volume cannot be less than:{listing.spec.min_quantity}")
    if order.price is not None and order.price <= ZERO:
        raise SandboxRefusal(33333, "price must be greater than 0")
    if order.price is not None and floor_to(order.price, listing.tick) != order.price:
        raise SandboxRefusal(33333, "price scale is invalid")
