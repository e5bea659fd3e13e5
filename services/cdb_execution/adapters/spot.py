"""One spot account at MEXC, behind the seam `Exchange`.

Source: MEXC API documentation (spot v3), "Spot Account/Trade" and "Market Data Endpoints".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from services.cdb_execution.adapters.caller import MexcCaller
from services.cdb_execution.adapters.dialects import Call, plain
from services.cdb_execution.adapters.order_rules import off_grid
from services.cdb_execution.adapters.outcome import not_sent, spot_outcome
from services.cdb_execution.adapters.sending import may_still_leave
from services.cdb_execution.adapters.spot_reading import read_balances, read_order, read_trade
from services.cdb_execution.exchange import (
    Balance,
    FundingPayment,
    OrderReport,
    OrderRequest,
    OrderRules,
    PlaceOutcome,
    PositionReport,
    Trade,
)
from services.cdb_execution.live.order_rules import rules_told
from services.common.errors import (
    ExchangeAnswerInvalid,
    ExchangeHistoryTooLong,
    ExchangeRefused,
    ExchangeUnreachable,
)
from services.common.instruments import InstrumentSpec
from services.common.mexc.instruments import Listing, spot_listing
from services.common.mexc.rows import as_row, as_rows, text

__all__ = ["SPOT_TIME", "MexcSpot"]

SPOT_TIME: Final = Call("GET", "/api/v3/time", signed=False)
_ORDER: Final = "/api/v3/order"
_NOT_KNOWN: Final = frozenset({"-2011", "-2013", "30026"})
"""Codes with which the exchange does not know an order; cancelling one that has ended is answered so, too."""
_PAGE: Final = 100
_NOT_LISTED: Final = frozenset({"-1121", "10007", "30014", "30021"})
_NARROWEST_MS: Final = 2
_MOST_WINDOWS: Final = 1_000
"""About twenty thousand fills since books and exchange agreed; what has missed more is not healed but told."""
_TYPES: Final = {"IOC": "IMMEDIATE_OR_CANCEL", "FOK": "FILL_OR_KILL", "GTC": "LIMIT"}


AskedT = TypeVar("AskedT")


class MexcSpot:
    """Spot v3; safe to call from several threads."""

    def __init__(self, caller: MexcCaller, *, longest_wait_sec: float = 1.0) -> None:
        """Ask nothing yet.

        Args:
            caller: sends and signs.
            longest_wait_sec: an order that would have to wait longer for its turn is not sent.
        """
        self.caller = caller
        self._longest_wait_sec = longest_wait_sec
        self._listings: dict[str, Listing] = {}

    def place(self, request: OrderRequest) -> PlaceOutcome:
        """Send one order, once; see :class:`services.cdb_execution.exchange.Exchange`.

        Spot has no reduce-only, and needs none to sell: there is nothing to sell but what is held.
        """
        return self._submit(request, _ORDER)

    def test(self, request: OrderRequest) -> PlaceOutcome:
        """Have an order validated by the exchange's test endpoint."""
        return self._submit(request, f"{_ORDER}/test")

    def _submit(self, request: OrderRequest, path: str) -> PlaceOutcome:
        listing = self._listings.get(request.symbol)
        broken = off_grid(request, listing) if listing is not None else None
        if request.venue != "mexc_spot" or (request.reduce_only and request.side == "BUY"):
            return not_sent("not_spot", f"{request.venue}, {request.side}, reduce_only={request.reduce_only}")
        if broken is not None:
            return not_sent(*broken)
        call = Call("POST", path, _parameters(request), bucket="order" if path == _ORDER else "weight")
        try:
            answer = self.caller.send(
                call, longest_wait_sec=self._longest_wait_sec, may_leave=lambda: may_still_leave(request)
            )
        except (ExchangeUnreachable, ExchangeRefused) as error:
            return not_sent("no_server_time", str(error))
        return spot_outcome(answer, test=path != _ORDER)

    def cancel(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """Cancel what is left of an order, and return what became of it."""
        call = Call("DELETE", _ORDER, {"symbol": symbol, "origClientOrderId": client_order_id}, bucket="order")
        try:
            self.caller.once(call)
        except ExchangeRefused as refused:
            if refused.code not in _NOT_KNOWN:
                raise
        # The answer tells the state before or after, depending on whom one asks; and one that has ended is "unknown".
        return self.query(symbol, client_order_id)

    def cancel_all(self, symbol: str) -> None:
        """Cancel every open order of an instrument."""
        try:
            self.caller.once(Call("DELETE", "/api/v3/openOrders", {"symbol": symbol}, bucket="order"))
        except ExchangeRefused as refused:
            if refused.code not in _NOT_KNOWN:
                raise

    def query(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """Return what became of an order; None when the exchange does not know it."""
        try:
            answer = self.caller.ask(
                Call("GET", _ORDER, {"symbol": symbol, "origClientOrderId": client_order_id}, weight=2)
            )
        except ExchangeRefused as refused:
            if refused.code in _NOT_KNOWN:
                return None
            raise
        report = read_order(answer)
        if (report.symbol, report.client_order_id) != (symbol, client_order_id):
            raise ExchangeAnswerInvalid(
                f"clientOrderId={report.client_order_id!r} of {report.symbol}: "
                f"{client_order_id!r} of {symbol} was asked for"
            )
        return report

    def open_orders(self, symbols: Sequence[str]) -> list[OrderReport]:
        """Return every open order of the account on these symbols."""
        return [order for symbol in symbols for order in self._if_listed(symbol, self._open_orders)]

    def _open_orders(self, symbol: str) -> list[OrderReport]:
        answer = self.caller.ask(Call("GET", "/api/v3/openOrders", {"symbol": symbol}, weight=3))
        return [read_order(row) for row in as_rows(answer, "openOrders")]

    def _if_listed(self, symbol: str, ask: Callable[[str], list[AskedT]]) -> list[AskedT]:
        """Return what is asked of an instrument; nothing, when the exchange has it no more and says so twice.

        Its balance is still compared, so that nothing can go missing with it.
        """
        try:
            return ask(symbol)
        except ExchangeRefused as refused:
            if refused.code not in _NOT_LISTED or self.listings([symbol]):
                raise
            return []

    def trades(self, symbol: str, since: int) -> list[Trade]:
        """Return every fill since a time, oldest first.

        An answer holds at most 100 and nothing says which, so a full one is asked for again in two halves of its time.
        """
        return self._if_listed(symbol, lambda listed: self._trades(listed, since))

    def _trades(self, symbol: str, since: int) -> list[Trade]:
        found: dict[tuple[str, str, str], Trade] = {}
        asked = 0
        windows = [(max(since // 1_000, 0), self.caller.clock.now_ms() + 1_000)]
        while windows:
            asked += 1
            if asked > _MOST_WINDOWS:
                raise ExchangeHistoryTooLong(f"myTrades of {symbol}: not all in {_MOST_WINDOWS} answers of {_PAGE}")
            start, end = windows.pop()
            times = {"startTime": str(start), "endTime": str(end), "limit": str(_PAGE)}
            rows = as_rows(
                self.caller.ask(Call("GET", "/api/v3/myTrades", {"symbol": symbol, **times}, weight=10)), "trades"
            )
            for trade in map(read_trade, rows):
                if trade.time >= since:
                    found[trade.trade_id, trade.exchange_order_id, trade.side] = trade
            if len(rows) >= _PAGE:
                if end - start <= _NARROWEST_MS:
                    raise ExchangeHistoryTooLong(f"{len(rows)} trades within {_NARROWEST_MS} ms: more than it can show")
                middle = (start + end) // 2
                # They overlap: whether the ends of a window belong to it is not documented.
                windows += [(start, middle + 1), (middle, end)]
        return sorted(found.values(), key=lambda trade: (trade.time, trade.trade_id))

    def balances(self) -> list[Balance]:
        """Return what the account holds."""
        return read_balances(self.caller.ask(Call("GET", "/api/v3/account", weight=10)))

    def positions(self) -> list[PositionReport]:
        """Return nothing: spot has balances."""
        return []

    def funding(self, symbol: str, since: int) -> list[FundingPayment]:  # noqa: ARG002 - as on perpetuals
        """Return nothing: spot pays none."""
        return []

    def hedge_mode(self) -> bool:
        """Return False: spot has no positions."""
        return False

    def listings(self, symbols: Sequence[str]) -> list[Listing]:
        """Return what the exchange publishes of instruments now; those that it does not list are left out."""
        call = Call("GET", "/api/v3/exchangeInfo", {"symbols": ",".join(symbols)}, weight=25, signed=False)
        try:
            answer = self.caller.ask(call)
        except ExchangeRefused as refused:
            if refused.code not in _NOT_LISTED:
                raise
            # One that it does not list makes it refuse the question about all.
            return [listing for symbol in symbols if len(symbols) > 1 for listing in self.listings([symbol])]
        rows = as_rows(as_row(answer, "exchangeInfo").get("symbols"), "symbols")
        read = [spot_listing(row) for row in rows if text(row, "symbol") in symbols]
        self._listings.update({listing.spec.symbol: listing for listing in read})
        return read

    def clock_offset_ms(self) -> int:
        """Return what the exchange's clock is ahead of ours, as last measured."""
        return self.caller.clock.offset_ms

    def silent_for_sec(self) -> float:
        """Return for how long the exchange wants silence."""
        return self.caller.limiter.silent_for()

    def rules(self, symbols: Sequence[str]) -> list[OrderRules]:
        """Return which orders the exchange takes now."""
        return [rules_told(listing.spec) for listing in self.listings(symbols)]

    def instruments(self, symbols: Sequence[str]) -> list[InstrumentSpec]:
        """Return the grids of those instruments that can be traded by API now."""
        return [listing.spec for listing in self.listings(symbols) if listing.spec.closed is None]


def _parameters(request: OrderRequest) -> dict[str, str]:
    """Return the parameters of a new order; its time in force is a type of its own."""
    parameters = {
        "symbol": request.symbol,
        "side": request.side,
        "type": "MARKET" if request.order_type == "MARKET" else _TYPES[request.time_in_force],
        "quantity": plain(request.quantity),
    }
    if request.price is not None:
        parameters["price"] = plain(request.price)
    return {**parameters, "newClientOrderId": request.client_order_id}
