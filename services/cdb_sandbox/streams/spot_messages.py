"""Messages of the spot streams: the exchange's facts as protobuf."""

from __future__ import annotations

from typing import Final

from services.cdb_sandbox.bars import Bar
from services.cdb_sandbox.core.book import PublicTrade
from services.cdb_sandbox.core.depth import Level
from services.cdb_sandbox.core.facts import WalletChanged
from services.cdb_sandbox.core.orders import Fill, Order, OrderStatus, OrderType
from services.cdb_sandbox.streams.depth_feed import DepthDelta, DepthSnapshot
from services.cdb_sandbox.wire import number
from services.common.decimals import ZERO
from services.common.mexc.push_pb2 import PushDataV3ApiWrapper

__all__ = [
    "account_message",
    "book_ticker_batch_message",
    "book_ticker_message",
    "deal_message",
    "deals_message",
    "depth_message",
    "kline_message",
    "limit_depth_message",
    "mini_ticker_message",
    "order_message",
]

_ORDER_TYPES: Final = {
    OrderType.LIMIT: 1,
    OrderType.LIMIT_MAKER: 2,
    OrderType.IMMEDIATE_OR_CANCEL: 3,
    OrderType.FILL_OR_KILL: 4,
    OrderType.MARKET: 5,
}
_STATUSES: Final = {
    OrderStatus.NEW: 1,
    OrderStatus.FILLED: 2,
    OrderStatus.PARTIALLY_FILLED: 3,
    OrderStatus.CANCELED: 4,
    OrderStatus.PARTIALLY_CANCELED: 5,
}
_TRADE_TYPES: Final = {"BUY": 1, "SELL": 2}


def _wrapper(channel: str, symbol: str | None, now_ms: int) -> PushDataV3ApiWrapper:
    message = PushDataV3ApiWrapper(channel=channel, sendTime=now_ms)
    if symbol is not None:
        message.symbol = symbol
    return message


def deals_message(channel: str, symbol: str, trades: list[PublicTrade], now_ms: int) -> bytes:
    """Return public trades."""
    message = _wrapper(channel, symbol, now_ms)
    body = message.publicAggreDeals
    body.eventType = channel.rpartition("@")[0]
    for trade in trades:
        body.deals.add(
            price=number(trade.price),
            quantity=number(trade.quantity),
            tradeType=_TRADE_TYPES[trade.taker],
            time=trade.time_ms,
            tradeId=trade.trade_id,
        )
    return message.SerializeToString()


def depth_message(channel: str, symbol: str, delta: DepthDelta, now_ms: int) -> bytes:
    """Return changed levels with the versions that they cover."""
    message = _wrapper(channel, symbol, now_ms)
    body = message.publicAggreDepths
    body.eventType = channel.rpartition("@")[0]
    body.fromVersion, body.toVersion = str(delta.first), str(delta.last)
    for price, quantity in delta.asks:
        body.asks.add(price=number(price), quantity=number(quantity))
    for price, quantity in delta.bids:
        body.bids.add(price=number(price), quantity=number(quantity))
    return message.SerializeToString()


def limit_depth_message(channel: str, symbol: str, snapshot: DepthSnapshot, count: int, now_ms: int) -> bytes:
    """Return the best levels whole."""
    message = _wrapper(channel, symbol, now_ms)
    body = message.publicLimitDepths
    body.eventType = channel.partition("@")[0] + "@public.limit.depth.v3.api.pb"
    body.version = str(snapshot.version)
    for price, quantity in snapshot.asks[:count]:
        body.asks.add(price=number(price), quantity=number(quantity))
    for price, quantity in snapshot.bids[:count]:
        body.bids.add(price=number(price), quantity=number(quantity))
    return message.SerializeToString()


def _touch(levels: list[Level]) -> tuple[str, str]:
    level = levels[0] if levels else Level(ZERO, ZERO)
    return number(level.price), number(level.quantity)


def book_ticker_message(channel: str, symbol: str, snapshot: DepthSnapshot, now_ms: int) -> bytes:
    """Return best bid and ask."""
    message = _wrapper(channel, symbol, now_ms)
    body = message.publicAggreBookTicker
    body.bidPrice, body.bidQuantity = _touch(snapshot.bids)
    body.askPrice, body.askQuantity = _touch(snapshot.asks)
    body.version = str(snapshot.version)
    return message.SerializeToString()


def book_ticker_batch_message(channel: str, symbol: str, snapshot: DepthSnapshot, now_ms: int) -> bytes:
    """Return best bid and ask in the batch form, a batch of one."""
    message = _wrapper(channel, symbol, now_ms)
    item = message.publicBookTickerBatch.items.add()
    item.bidPrice, item.bidQuantity = _touch(snapshot.bids)
    item.askPrice, item.askQuantity = _touch(snapshot.asks)
    return message.SerializeToString()


def kline_message(channel: str, symbol: str, bar: Bar, span_ms: int, now_ms: int) -> bytes:
    """Return the bar that is forming."""
    message = _wrapper(channel, symbol, now_ms)
    body = message.publicSpotKline
    body.interval = channel.rpartition("@")[2]
    body.windowStart, body.windowEnd = bar.open_ms // 1000, (bar.open_ms + span_ms) // 1000
    body.openingPrice, body.closingPrice = number(bar.open), number(bar.close)
    body.highestPrice, body.lowestPrice = number(bar.high), number(bar.low)
    body.volume, body.amount = number(bar.volume), number(bar.amount)
    return message.SerializeToString()


def mini_ticker_message(channel: str, symbol: str, day: Bar, now_ms: int) -> bytes:
    """Return the statistics of the last 24 hours; rates are left out."""
    message = _wrapper(channel, symbol, now_ms)
    body = message.publicMiniTicker
    body.symbol, body.price, body.high, body.low = symbol, number(day.close), number(day.high), number(day.low)
    body.volume, body.quantity = number(day.amount), number(day.volume)
    return message.SerializeToString()


def order_message(order: Order, now_ms: int) -> bytes:
    """Return what has become of one of the account's orders."""
    message = _wrapper("spot@private.orders.v3.api.pb", order.listing.name, now_ms)
    body = message.privateOrders
    price = order.price if order.price is not None else order.average_price
    amount = order.quote_quantity or price * order.quantity
    body.id, body.clientId = order.order_id, order.client_order_id or ""
    body.price, body.quantity, body.amount = number(price), number(order.quantity), number(amount)
    body.avgPrice = number(order.average_price)
    body.orderType, body.tradeType = _ORDER_TYPES[order.order_type], _TRADE_TYPES[order.side]
    body.isMaker = order.maker
    body.remainAmount = number(max(ZERO, amount - order.filled_notional))
    body.remainQuantity = number(order.remaining)
    if order.last_fill:
        body.lastDealQuantity = number(order.last_fill)
    body.cumulativeQuantity, body.cumulativeAmount = number(order.filled), number(order.filled_notional)
    body.status, body.createTime = _STATUSES[order.status], order.created_ms
    return message.SerializeToString()


def deal_message(fill: Fill, now_ms: int) -> bytes:
    """Return a fill of one of the account's orders."""
    message = _wrapper("spot@private.deals.v3.api.pb", fill.listing.name, now_ms)
    body = message.privateDeals
    body.price, body.quantity, body.amount = number(fill.price), number(fill.quantity), number(fill.notional)
    body.tradeType, body.isMaker, body.isSelfTrade = _TRADE_TYPES[fill.side], fill.maker, fill.self_trade
    body.tradeId, body.clientOrderId, body.orderId = fill.trade_id, fill.client_order_id or "", fill.order_id
    body.feeAmount, body.feeCurrency, body.time = number(fill.fee), fill.fee_asset, fill.time_ms
    return message.SerializeToString()


def account_message(change: WalletChanged, now_ms: int) -> bytes:
    """Return a balance that has changed."""
    message = _wrapper("spot@private.account.v3.api.pb", None, now_ms)
    message.createTime = change.time_ms
    body = message.privateAccount
    body.vcoinName, body.coinId = change.asset, f"{int.from_bytes(change.asset.encode()):032x}"
    body.balanceAmount, body.balanceAmountChange = number(change.free), number(change.free_change)
    body.frozenAmount, body.frozenAmountChange = number(change.locked), number(change.locked_change)
    body.type, body.time = change.reason, change.time_ms
    return message.SerializeToString()
