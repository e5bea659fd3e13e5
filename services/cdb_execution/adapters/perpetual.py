"""One USDT-perpetual account at MEXC in one-way mode with isolated margin, behind the seam `Exchange`.

Source: MEXC API documentation (perpetual v1), "Account and Trading Endpoints" and "Market Endpoints".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from time import monotonic
from typing import Any, Final, TypeVar

from services.cdb_execution.adapters.caller import MexcCaller
from services.cdb_execution.adapters.dialects import Call
from services.cdb_execution.adapters.order_rules import broken_rule, contracts, off_grid
from services.cdb_execution.adapters.outcome import not_sent, perpetual_outcome
from services.cdb_execution.adapters.perpetual_reading import (
    read_asset,
    read_funding,
    read_order,
    read_position,
    read_trade,
)
from services.cdb_execution.adapters.sending import may_still_leave
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
from services.common.instruments import PERPETUAL, InstrumentSpec
from services.common.mexc.instruments import Listing, contract_listing
from services.common.mexc.rows import Row, as_row, as_rows, identifier, integer, optional_number
from services.common.mexc.symbols import perpetual_symbol

__all__ = ["PERPETUAL_TIME", "MexcPerpetual"]

PERPETUAL_TIME: Final = Call("GET", "/api/v1/contract/ping", bucket="read", signed=False)
_PRIVATE: Final = "/api/v1/private"
_NOT_KNOWN: Final = "2040"
_NO_CONTRACT: Final = "1001"
_PAGE: Final = 100
_UNASKED_PAGE: Final = 20
_MOST_PAGES: Final = 200
"""Twenty thousand fills since books and exchange agreed; what has missed more is not healed but told."""
_TYPES: Final = {"GTC": 1, "IOC": 3, "FOK": 4}
_MARKET: Final = 5
_ISOLATED: Final = 1
_ONE_WAY: Final = 2
_HEDGE: Final = "1"
_OPENING: Final = {"BUY": 1, "SELL": 3}
_CLOSING: Final = {"BUY": 2, "SELL": 4}

ReadT = TypeVar("ReadT")


class MexcPerpetual:
    """Perpetual v1; safe to call from several threads."""

    def __init__(self, caller: MexcCaller, *, longest_wait_sec: float = 1.0) -> None:
        """Ask nothing yet; see :class:`services.cdb_execution.adapters.spot.MexcSpot`."""
        self.caller = caller
        self._longest_wait_sec = longest_wait_sec
        self._listings: dict[str, Listing] = {}

    def place(self, request: OrderRequest) -> PlaceOutcome:
        """Send one order, once; the contract's size, in which it is counted, is asked for when not yet known."""
        if request.venue != PERPETUAL:
            return not_sent("not_perpetual", request.venue)
        try:
            listing = self._known(request.symbol)
        except (ExchangeUnreachable, ExchangeRefused) as error:
            return not_sent("unknown_contract", str(error))
        broken = off_grid(request, listing)
        count = contracts(request.quantity, listing.spec.contract_size)
        if broken is not None or count is None:
            return not_sent(*(broken or ("off_lot", f"{request.quantity} is no whole number of contracts")))
        call = Call("POST", f"{_PRIVATE}/order/create", payload=_payload(request, listing, count), bucket="order")
        try:
            answer = self.caller.send(
                call, longest_wait_sec=self._longest_wait_sec, may_leave=lambda: may_still_leave(request)
            )
        except (ExchangeUnreachable, ExchangeRefused) as error:
            return not_sent("no_server_time", str(error))
        return perpetual_outcome(answer)

    def test(self, request: OrderRequest) -> PlaceOutcome:
        """Judge an order by the contract's published rules and price limits of now: there is no test endpoint.

        Raises nothing; `unknown` when the exchange cannot be asked.
        """
        try:
            found = self.listings([request.symbol])
            if request.venue != PERPETUAL or not found:
                return PlaceOutcome(verdict="refused", code="unknown_contract", detail=request.symbol)
            broken = broken_rule(request, found[0]) or self._beyond_limits(request)
        except (ExchangeUnreachable, ExchangeRefused) as error:
            return PlaceOutcome(verdict="unknown", code="no_answer", detail=str(error))
        if broken is not None:
            return PlaceOutcome(verdict="refused", code=broken[0], detail=broken[1])
        return PlaceOutcome(verdict="accepted")

    def _beyond_limits(self, request: OrderRequest) -> tuple[str, str] | None:
        if request.price is None:
            return None
        call = Call("GET", "/api/v1/contract/ticker", {"symbol": _name(request.symbol)}, bucket="read", signed=False)
        ticker = as_row(self.caller.ask(call), "ticker")
        highest, lowest = optional_number(ticker, "maxBidPrice"), optional_number(ticker, "minAskPrice")
        if request.side == "BUY" and highest is not None and request.price > highest:
            return "2003", f"{request.price} is above the highest bid {highest}"
        if request.side == "SELL" and lowest is not None and request.price < lowest:
            return "2004", f"{request.price} is below the lowest ask {lowest}"
        return None

    def cancel(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """Cancel what is left of an order, and return what became of it.

        By the exchange's id: how cancelling by client id is written differs between the editions of the documentation.
        """
        report = self.query(symbol, client_order_id)
        if report is None or report.status in {"FILLED", "CANCELED", "REJECTED"}:
            return report
        call = Call("POST", f"{_PRIVATE}/order/cancel", payload=[report.exchange_order_id], bucket="cancel")
        for row in as_rows(self.caller.once(call), "cancelled"):
            if identifier(row, "errorCode") not in {"0", _NOT_KNOWN, "2041"}:
                raise ExchangeRefused(identifier(row, "errorCode"), str(row.get("errorMsg", ""))[:200])
        return self.query(symbol, client_order_id)

    def cancel_all(self, symbol: str) -> None:
        """Cancel every open order of a contract."""
        payload = {"symbol": _name(symbol)}
        self.caller.once(Call("POST", f"{_PRIVATE}/order/cancel_all", payload=payload, bucket="cancel"))

    def query(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """Return what became of an order; None when the exchange does not know it."""
        try:
            data = self._read(f"order/external/{_name(symbol)}/{client_order_id}")
        except ExchangeRefused as refused:
            if refused.code == _NOT_KNOWN:
                return None
            raise
        if data is None:
            return None
        report = read_order(data, self.contract_size)
        if (report.symbol, report.client_order_id) != (symbol, client_order_id):
            raise ExchangeAnswerInvalid(
                f"externalOid={report.client_order_id!r} of {report.symbol}: "
                f"{client_order_id!r} of {symbol} was asked for"
            )
        return report

    def open_orders(self, symbols: Sequence[str]) -> list[OrderReport]:
        """Return every open order of the account on these symbols."""
        rows = self._pages("order/list/open_orders", {}, None)
        reports = (read_order(row, self.contract_size) for row in rows)
        return [report for report in reports if report.symbol in symbols]

    def trades(self, symbol: str, since: int) -> list[Trade]:
        """Return every fill since a time, oldest first."""
        rows = self._pages("order/list/order_deals", _window(symbol, since), ("timestamp", since))
        found = {trade.trade_id: trade for trade in (read_trade(row, self.contract_size) for row in rows)}
        return _since(found.values(), since, lambda trade: trade.time)

    def funding(self, symbol: str, since: int) -> list[FundingPayment]:
        """Return every settlement of funding since a time, oldest first."""
        rows = self._pages("position/funding_records", _window(symbol, since), ("settleTime", since))
        found = {payment.payment_id: payment for payment in map(read_funding, rows)}
        return _since(found.values(), since, lambda payment: payment.time)

    def balances(self) -> list[Balance]:
        """Return what the account holds; `locked` is in orders and as margin, unrealised profit is not in it."""
        held = [read_asset(row) for row in as_rows(self._read("account/assets"), "assets")]
        return [balance for balance in held if balance.free or balance.locked]

    def positions(self) -> list[PositionReport]:
        """Return the open positions."""
        rows = as_rows(self._read("position/open_positions"), "positions")
        return [position for position in (read_position(row, self.contract_size) for row in rows) if position.quantity]

    def hedge_mode(self) -> bool:
        """Return whether the account keeps long and short of one contract apart.

        Raises:
            ExchangeAnswerInvalid: the answer is none of the two modes.
        """
        mode = str(self._read("position/position_mode"))
        if mode not in {_HEDGE, str(_ONE_WAY)}:
            raise ExchangeAnswerInvalid(f"position_mode={mode[:80]!r}: 1 (hedge) or 2 (one-way) is meant")
        return mode == _HEDGE

    def listings(self, symbols: Sequence[str]) -> list[Listing]:
        """Return what the exchange publishes of contracts now; those that it does not list are left out."""
        parameters = {"symbol": _name(symbols[0])} if len(symbols) == 1 else {}
        call = Call("GET", "/api/v1/contract/detail", parameters, bucket="read", signed=False)
        try:
            data = self.caller.ask(call)
        except ExchangeRefused as refused:
            if refused.code == _NO_CONTRACT:
                return []
            raise
        names = {_name(symbol) for symbol in symbols}
        rows = as_rows([data] if isinstance(data, dict) else data, "contracts")
        read = [contract_listing(row) for row in rows if row.get("symbol") in names]
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
        """Return the grids of those contracts that can be traded by API now."""
        return [listing.spec for listing in self.listings(symbols) if listing.spec.closed is None]

    def contract_size(self, symbol: str) -> Decimal:
        """Return the base units of one contract.

        Raises:
            ExchangeAnswerInvalid: the exchange lists no such contract.
        """
        return self._known(symbol).spec.contract_size

    def _known(self, symbol: str) -> Listing:
        if symbol not in self._listings:
            began = monotonic()
            self.listings([symbol])
            if monotonic() - began > self._longest_wait_sec:
                raise ExchangeUnreachable(f"{symbol}: it took too long to learn the contract's size")
        if symbol not in self._listings:
            raise ExchangeAnswerInvalid(f"symbol={symbol!r}: the exchange lists no such contract")
        return self._listings[symbol]

    def _read(self, path: str, parameters: dict[str, str] | None = None) -> Any:
        return self.caller.ask(Call("GET", f"{_PRIVATE}/{path}", parameters or {}, bucket="read"))

    def _pages(self, path: str, parameters: dict[str, str], until: tuple[str, int] | None) -> list[Row]:
        """Return the rows of all pages.

        Args:
            path: below the private interface.
            parameters: beside the page.
            until: field and time (microseconds); when rows come newest first, older pages are not asked for.
        """
        rows: list[Row] = []
        before: list[Row] = []
        for page in range(1, _MOST_PAGES + 1):
            data = self._read(path, {**parameters, "page_num": str(page), "page_size": str(_PAGE)})
            found = as_rows(data.get("resultList") if isinstance(data, dict) else data, path)
            if found and found == before:
                if len(found) >= _PAGE:
                    raise ExchangeHistoryTooLong(
                        f"{path}: page {page} is page {page - 1} again; what is older is hidden"
                    )
                return rows  # beyond its last page an exchange may show that once more
            rows, before = rows + found, found
            if _is_last(data, found, page) or (until is not None and _reaches_back(found, *until)):
                return rows
        raise ExchangeHistoryTooLong(f"{path}: over {_MOST_PAGES} pages of {_PAGE} rows")


def _is_last(data: Any, found: list[Row], page: int) -> bool:
    """Whether no page follows: because the answer says so, else because this one is not full at any size of pages.

    An exchange that does not heed the size that was asked for shows 20 rows, the size without asking.
    """
    pages = optional_number(data, "totalPage") if isinstance(data, dict) else None
    return len(found) < _UNASKED_PAGE or (pages is not None and page >= pages)


def _reaches_back(rows: list[Row], field: str, since: int) -> bool:
    first, last = integer(rows[0], field), integer(rows[-1], field)
    return last * 1_000 < since and last < first


def _since(found: Any, since: int, time: Callable[[ReadT], int]) -> list[ReadT]:
    return sorted((each for each in found if time(each) >= since), key=time)


def _name(symbol: str) -> str:
    return perpetual_symbol(symbol)


def _window(symbol: str, since: int) -> dict[str, str]:
    return {"symbol": _name(symbol), "start_time": str(since // 1_000)}


def _payload(request: OrderRequest, listing: Listing, count: Decimal) -> dict[str, Any]:
    """Return the body of a new order; closing is a side of its own, and `reduceOnly` beside it."""
    market = request.order_type == "MARKET"
    payload: dict[str, Any] = {"symbol": listing.name, "vol": count}
    if request.price is not None:
        payload["price"] = request.price
    return {
        **payload,
        "side": (_CLOSING if request.reduce_only else _OPENING)[request.side],
        "type": _MARKET if market else _TYPES[request.time_in_force],
        "openType": _ISOLATED,
        "leverage": request.leverage,
        "externalOid": request.client_order_id,
        "positionMode": _ONE_WAY,
        "reduceOnly": request.reduce_only,
    }
