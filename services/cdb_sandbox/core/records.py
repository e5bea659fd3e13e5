"""The exchange's own records: every order, every fill, every id that it has given, and the facts not told yet."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Final

from services.cdb_sandbox.core.book import PublicTrade
from services.cdb_sandbox.core.facts import Fact, Filled, OrderChanged, Traded
from services.cdb_sandbox.core.listing import Listing
from services.cdb_sandbox.core.orders import Fill, Order, Side
from services.common.errors import SandboxRefusal

__all__ = ["Records"]

_FIRST_SPOT: Final = 505979017439000000
_FIRST_PERPETUAL: Final = 739113577038000000


class Records:
    """Orders by id, fills in order, and facts until somebody drains them."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self._open: dict[str, Order] = {}
        self._of_account: dict[tuple[str, str], list[Order]] = {}
        self._by_client: dict[tuple[str, str, str], Order] = {}
        self._facts: list[Fact] = []
        self._count = 0

    def next_number(self) -> int:
        """Return a number that was never given before: of an order, a trade, a position."""
        self._count += 1
        return self._count

    def next_order_id(self, listing: Listing) -> tuple[str, int]:
        """Return an order's id as MEXC would write it, and its place in the order of arrival."""
        number = self.next_number()
        text = str(_FIRST_PERPETUAL + number) if listing.is_perpetual else f"C02__{_FIRST_SPOT + number}"
        return text, number

    def next_trade_id(self, listing: Listing) -> str:
        """Return a trade's id as MEXC would write it."""
        number = self.next_number()
        return str(16_000_000_000 + number) if listing.is_perpetual else f"{_FIRST_SPOT + number}X1"

    def add(self, order: Order) -> None:
        """Keep a new order."""
        self.orders[order.order_id] = order
        self._of_account.setdefault((order.account, order.listing.spec.venue), []).append(order)
        if order.client_order_id is not None:
            self._by_client[order.account, order.listing.spec.venue, order.client_order_id] = order
        self.changed(order)

    def changed(self, order: Order) -> None:
        """Tell that an order has changed."""
        if order.is_open:
            self._open[order.order_id] = order
        else:
            self._open.pop(order.order_id, None)
        self._facts.append(OrderChanged(order=replace(order)))

    def filled(self, fill: Fill) -> None:
        """Keep and tell a fill."""
        self.fills.append(fill)
        self._facts.append(Filled(fill=fill))

    def traded(self, listing: Listing, price: Decimal, quantity: Decimal, taker: Side, now_ms: int) -> PublicTrade:
        """Tell everybody of a trade and return it."""
        trade = PublicTrade(
            listing=listing,
            trade_id=self.next_trade_id(listing),
            price=price,
            quantity=quantity,
            taker=taker,
            time_ms=now_ms,
        )
        self._facts.append(Traded(trade=trade))
        return trade

    def tell(self, fact: Fact) -> None:
        """Add a fact of another kind."""
        self._facts.append(fact)

    def drain(self) -> list[Fact]:
        """Return what was not told yet, oldest first, and forget it."""
        facts, self._facts = self._facts, []
        return facts

    def of_account(self, account: str, venue: str) -> list[Order]:
        """Return all orders of an account at a venue, oldest first."""
        return list(self._of_account.get((account, venue), []))

    def open_orders(self, account: str, venue: str) -> list[Order]:
        """Return the open orders of an account at a venue, oldest first."""
        return [o for o in self._open.values() if o.account == account and o.listing.spec.venue == venue]

    def find(
        self, account: str, venue: str, *, order_id: str | None = None, client_order_id: str | None = None
    ) -> Order | None:
        """Return an order of an account by its id, else by its client's id (the latest of that id); None: unknown."""
        if order_id is not None:
            order = self.orders.get(order_id)
            ours = order is not None and order.account == account and order.listing.spec.venue == venue
            return order if ours else None
        return self._by_client.get((account, venue, client_order_id or ""))

    def refuse_when_full(self, account: str, listing: Listing, code: int) -> None:
        """Refuse another order when the account has as many open ones as it may.

        Raises:
            SandboxRefusal: with that code.
        """
        if len(self.open_orders(account, listing.spec.venue)) >= listing.max_open_orders:
            raise SandboxRefusal(code, "The maximum number of open orders is reached")
