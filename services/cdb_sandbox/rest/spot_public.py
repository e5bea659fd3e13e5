"""Spot v3, public endpoints: time, exchangeInfo, book, trades, bars, tickers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from services.cdb_sandbox.bars import INTERVALS_MS, Bar
from services.cdb_sandbox.core.listing import Listing, decimals_of
from services.cdb_sandbox.house import House
from services.cdb_sandbox.rest.request import Request
from services.cdb_sandbox.wire import number
from services.common.decimals import ZERO, divide
from services.common.errors import SandboxRefusal

__all__ = [
    "agg_trades",
    "average_price",
    "book_ticker",
    "default_symbols",
    "depth",
    "exchange_info",
    "klines",
    "ping",
    "price_ticker",
    "server_time",
    "ticker_day",
    "trades",
]

SPOT: Final = "mexc_spot"


def ping(house: House, request: Request) -> Any:
    """Answer that the exchange is there."""
    return {}


def server_time(house: House, request: Request) -> Any:
    """Return the exchange's time."""
    return {"serverTime": request.now_ms}


def _spot_listings(house: House) -> list[Listing]:
    return [listing for listing in house.exchange.listings.values() if not listing.is_perpetual]


def default_symbols(house: House, request: Request) -> Any:
    """Return the symbols that may be traded by API."""
    names = [listing.name for listing in _spot_listings(house) if listing.api_allowed]
    return {"code": 200, "data": names, "msg": None, "timestamp": request.now_ms}


def _named(house: House, request: Request) -> list[Listing]:
    names = request.params.get("symbols") or request.params.get("symbol")
    if not names:
        return _spot_listings(house)
    return [house.listing(SPOT, name) for name in names.split(",")]


def exchange_info(house: House, request: Request) -> Any:
    """Return grids, minimums, fees and filters of the listed symbols."""
    return {
        "timezone": "CST",
        "serverTime": request.now_ms,
        "rateLimits": [],
        "exchangeFilters": [],
        "symbols": [_symbol_info(listing) for listing in _named(house, request)],
    }


def _symbol_info(listing: Listing) -> dict[str, Any]:
    spec = listing.spec
    price_decimals = decimals_of(listing.tick)
    filters = []
    if listing.price_band is not None:
        band = number(listing.price_band)
        filters = [{"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": band, "askMultiplierDown": band}]
    return {
        "symbol": listing.name,
        "status": listing.status,
        "baseAsset": spec.base,
        "baseAssetPrecision": decimals_of(listing.lot),
        "quoteAsset": spec.quote,
        "quotePrecision": price_decimals,
        "quoteAssetPrecision": price_decimals,
        "baseCommissionPrecision": decimals_of(listing.lot),
        "quoteCommissionPrecision": price_decimals,
        "orderTypes": ["LIMIT", "MARKET", "LIMIT_MAKER"],
        "isSpotTradingAllowed": listing.api_allowed,
        "isMarginTradingAllowed": False,
        "quoteAmountPrecision": number(spec.min_notional),
        "baseSizePrecision": number(spec.min_quantity),
        "permissions": ["SPOT"],
        "filters": filters,
        "maxQuoteAmount": number(spec.max_notional),
        "makerCommission": number(listing.maker_fee),
        "takerCommission": number(listing.taker_fee),
        "quoteAmountPrecisionMarket": number(spec.min_notional),
        "maxQuoteAmountMarket": number(spec.max_notional),
        "fullName": spec.base,
        "tradeSideType": listing.side_type,
        "contractAddress": "",
        "st": False,
    }


def depth(house: House, request: Request) -> Any:
    """Return the book; `lastUpdateId` is the version of the depth stream."""
    listing = house.listing(SPOT, request.text("symbol"))
    count = request.integer("limit", 100, most=5000)
    snapshot = house.hub.depth(listing)
    return {
        "lastUpdateId": snapshot.version,
        "bids": [[number(price), number(quantity)] for price, quantity in snapshot.bids[:count]],
        "asks": [[number(price), number(quantity)] for price, quantity in snapshot.asks[:count]],
        "timestamp": request.now_ms,
    }


def trades(house: House, request: Request) -> Any:
    """Return the latest trades, newest first."""
    listing = house.listing(SPOT, request.text("symbol"))
    latest = list(house.exchange.books[listing.key].trades)[-request.integer("limit", 500, most=1000) :]
    return [
        {
            "id": None,
            "price": number(trade.price),
            "qty": number(trade.quantity),
            "quoteQty": number(listing.notional(trade.price, trade.quantity)),
            "time": trade.time_ms,
            "isBuyerMaker": trade.taker == "SELL",
            "isBestMatch": True,
            "tradeType": "BID" if trade.taker == "BUY" else "ASK",
        }
        for trade in reversed(latest)
    ]


def agg_trades(house: House, request: Request) -> Any:
    """Return the latest trades in the short form, newest first, within startTime and endTime if given."""
    listing = house.listing(SPOT, request.text("symbol"))
    begin, end = request.integer("startTime", 0), request.integer("endTime", request.now_ms + 1)
    within = [t for t in house.exchange.books[listing.key].trades if begin <= t.time_ms <= end]
    return [
        {
            "a": None,
            "f": None,
            "l": None,
            "p": number(trade.price),
            "q": number(trade.quantity),
            "T": trade.time_ms,
            "m": trade.taker == "SELL",
            "M": True,
        }
        for trade in reversed(within[-request.integer("limit", 500, most=1000) :])
    ]


def klines(house: House, request: Request) -> Any:
    """Return bars, oldest first, the one that is forming included."""
    listing = house.listing(SPOT, request.text("symbol"))
    interval_ms = INTERVALS_MS.get(request.text("interval"))
    if interval_ms is None:
        raise SandboxRefusal(-1121, "Invalid interval.")
    end = request.params.get("endTime")
    bars = house.bars[listing.key].of(
        interval_ms,
        request.now_ms,
        count=request.integer("limit", 500, most=500),
        start_ms=request.integer("startTime", 0),
        end_ms=int(end) if end else None,
    )
    return [
        [
            bar.open_ms,
            number(bar.open),
            number(bar.high),
            number(bar.low),
            number(bar.close),
            number(bar.volume),
            bar.open_ms + interval_ms,
            number(bar.amount),
        ]
        for bar in bars
    ]


def average_price(house: House, request: Request) -> Any:
    """Return the mean price of the last five minutes."""
    listing = house.listing(SPOT, request.text("symbol"))
    bars = house.bars[listing.key].of(INTERVALS_MS["1m"], request.now_ms, count=5)
    volume = sum((bar.volume for bar in bars), ZERO)
    mean = divide(sum((bar.amount for bar in bars), ZERO), volume) if volume else ZERO
    return {"mins": 5, "price": number(mean)}


def _single_or_all(request: Request, rows: list[dict[str, Any]]) -> Any:
    return rows[0] if request.params.get("symbol") else rows


def price_ticker(house: House, request: Request) -> Any:
    """Return last prices."""
    rows = [
        {"symbol": listing.name, "price": number(house.exchange.books[listing.key].last or ZERO)}
        for listing in _named(house, request)
    ]
    return _single_or_all(request, rows)


def book_ticker(house: House, request: Request) -> Any:
    """Return best bids and asks."""
    rows = [{"symbol": listing.name} | _touch(house, listing) for listing in _named(house, request)]
    return _single_or_all(request, rows)


def _touch(house: House, listing: Listing) -> dict[str, Any]:
    book = house.exchange.books[listing.key]
    bid, ask = (next(iter(book.levels(side, 1)), None) for side in ("BUY", "SELL"))
    return {
        "bidPrice": number(bid.price) if bid else None,
        "bidQty": number(bid.quantity) if bid else None,
        "askPrice": number(ask.price) if ask else None,
        "askQty": number(ask.quantity) if ask else None,
    }


def ticker_day(house: House, request: Request) -> Any:
    """Return the statistics of the last 24 hours."""
    rows = [_day(house, listing, request.now_ms) for listing in _named(house, request)]
    return _single_or_all(request, rows)


def _day(house: House, listing: Listing, now_ms: int) -> dict[str, Any]:
    last = house.exchange.books[listing.key].last or ZERO
    day = house.bars[listing.key].day(now_ms) or Bar(now_ms, last, last, last, last)
    change = last - day.open
    return (
        {
            "symbol": listing.name,
            "priceChange": number(change),
            "priceChangePercent": number(divide(change, day.open, 8) if day.open else Decimal(0)),
            "prevClosePrice": number(day.open),
            "lastPrice": number(last),
        }
        | _touch(house, listing)
        | {
            "openPrice": number(day.open),
            "highPrice": number(day.high),
            "lowPrice": number(day.low),
            "volume": number(day.volume),
            "quoteVolume": number(day.amount),
            "openTime": day.open_ms,
            "closeTime": now_ms,
            "count": None,
        }
    )
