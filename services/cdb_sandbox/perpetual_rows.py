"""Orders, fills, positions and tickers of perpetuals as MEXC writes them, in REST answers and in pushes alike."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from services.cdb_sandbox.bars import Bar
from services.cdb_sandbox.core.facts import PositionState
from services.cdb_sandbox.core.listing import Listing, decimals_of
from services.cdb_sandbox.core.orders import Fill, Order, OrderStatus, OrderType
from services.cdb_sandbox.core.perpetual import PRICE_LIMIT_RATE
from services.common.decimals import ZERO, divide, quantise

if TYPE_CHECKING:
    from services.cdb_sandbox.house import House

__all__ = [
    "FUNDING_MS",
    "HEDGE",
    "ONE_WAY",
    "ORDER_STATES",
    "contract_id",
    "fill_row",
    "funding_row",
    "order_row",
    "position_row",
    "ticker_row",
]

FUNDING_MS: Final = 8 * 3600 * 1000
ONE_WAY: Final = 2
HEDGE: Final = 1
"""Position modes; nothing can be traded in the second here."""

_CODES: Final = {
    OrderType.LIMIT: 1,
    OrderType.LIMIT_MAKER: 2,
    OrderType.IMMEDIATE_OR_CANCEL: 3,
    OrderType.FILL_OR_KILL: 4,
    OrderType.MARKET: 5,
}
ORDER_STATES: Final = {
    OrderStatus.NEW: 2,
    OrderStatus.PARTIALLY_FILLED: 2,
    OrderStatus.FILLED: 3,
    OrderStatus.CANCELED: 4,
    OrderStatus.PARTIALLY_CANCELED: 4,
}


def order_row(order: Order) -> dict[str, Any]:
    """Return an order as REST and the personal stream show it."""
    price = order.price if order.price is not None else order.average_price
    margin = divide(order.listing.notional(price, order.quantity), Decimal(order.leverage))
    maker = order.maker and order.filled > ZERO
    return {
        "orderId": order.order_id,
        "symbol": order.listing.name,
        "positionId": order.position_id,
        "price": price,
        "priceStr": str(price),
        "vol": order.quantity,
        "leverage": order.leverage,
        "side": order.side_code,
        "category": order.category,
        "orderType": _CODES[order.order_type],
        "dealAvgPrice": order.average_price,
        "dealAvgPriceStr": str(order.average_price),
        "dealVol": order.filled,
        "orderMargin": ZERO if order.reduce_only else margin,
        "takerFee": ZERO if maker else order.fee_paid,
        "makerFee": order.fee_paid if maker else ZERO,
        "profit": order.profit,
        "feeCurrency": order.listing.spec.quote,
        "openType": 1,
        "state": ORDER_STATES[order.status],
        "externalOid": order.client_order_id or f"_m_{int(order.order_id):032x}",
        "errorCode": order.cancel_code,
        "usedMargin": ZERO if order.reduce_only else margin,
        "createTime": order.created_ms,
        "updateTime": order.updated_ms,
        "positionMode": 2,
        "reduceOnly": order.reduce_only,
        "version": order.version,
        "showCancelReason": 0,
        "showProfitRateShare": 0,
        "bboTypeNum": 0,
        "totalFee": order.fee_paid,
    }


def fill_row(fill: Fill) -> dict[str, Any]:
    """Return a fill as REST shows it."""
    return {
        "id": fill.trade_id,
        "symbol": fill.listing.name,
        "side": fill.side_code,
        "vol": fill.quantity,
        "price": fill.price,
        "feeCurrency": fill.fee_asset,
        "fee": fill.fee,
        "timestamp": fill.time_ms,
        "profit": fill.profit,
        "category": fill.category,
        "orderId": fill.order_id,
        "taker": not fill.maker,
        "isTaker": not fill.maker,
    }


def position_row(state: PositionState) -> dict[str, Any]:
    """Return a position as REST and the personal stream show it."""
    return {
        "positionId": state.position_id,
        "symbol": state.name,
        "positionType": 2 if state.quantity < ZERO else 1,
        "openType": 1,
        "state": 1 if state.quantity else 3,
        "holdVol": abs(state.quantity),
        "frozenVol": 0,
        "closeVol": state.closed,
        "holdAvgPrice": state.entry,
        "openAvgPrice": state.entry,
        "closeAvgPrice": state.close_average,
        "liquidatePrice": state.liquidation_price,
        "oim": state.margin,
        "im": state.margin,
        "holdFee": state.funding,
        "realised": state.realised,
        "leverage": state.leverage,
        "adlLevel": 1,
        "marginRatio": 0,
        "createTime": state.opened_ms,
        "updateTime": state.updated_ms,
        "autoAddIm": False,
        "version": state.version,
        "positionMode": ONE_WAY,
    }


def contract_id(listing: Listing) -> int:
    """Return a contract's number."""
    return sum(listing.name.encode())


def ticker_row(house: House, listing: Listing, now_ms: int) -> dict[str, Any]:
    """Return the ticker of a contract, as REST and the stream `sub.ticker` show it."""
    book = house.exchange.books[listing.key]
    last = book.last or ZERO
    day = house.bars[listing.key].day(now_ms) or Bar(now_ms, last, last, last, last)
    fair = house.exchange.marks.get(listing.key, last)
    change = last - day.open
    return {
        "contractId": contract_id(listing),
        "symbol": listing.name,
        "lastPrice": last,
        "bid1": book.best("BUY") or ZERO,
        "ask1": book.best("SELL") or ZERO,
        "volume24": day.volume,
        "amount24": day.amount,
        "holdVol": 0,
        "lower24Price": day.low,
        "high24Price": day.high,
        "riseFallRate": divide(change, day.open, 4) if day.open else ZERO,
        "riseFallValue": change,
        "indexPrice": fair,
        "fairPrice": fair,
        "fundingRate": house.exchange.funding_rates.get(listing.key, Decimal("0.0001")),
        "maxBidPrice": quantise(fair * (1 + PRICE_LIMIT_RATE), decimals_of(listing.tick)),
        "minAskPrice": quantise(fair * (1 - PRICE_LIMIT_RATE), decimals_of(listing.tick)),
        "timestamp": now_ms,
    }


def funding_row(house: House, listing: Listing, now_ms: int) -> dict[str, Any]:
    """Return rate and next settlement of a contract's funding."""
    rate = house.exchange.funding_rates.get(listing.key, Decimal("0.0001"))
    return {"symbol": listing.name, "rate": rate, "nextSettleTime": (now_ms // FUNDING_MS + 1) * FUNDING_MS}
