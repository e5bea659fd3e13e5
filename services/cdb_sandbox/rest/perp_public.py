"""Perpetual v1, public endpoints: contracts, book, deals, bars, ticker, index and fair price, funding."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from services.cdb_sandbox.bars import INTERVALS_MS
from services.cdb_sandbox.core.listing import Listing, decimals_of
from services.cdb_sandbox.core.perpetual import PRICE_LIMIT_RATE
from services.cdb_sandbox.house import House
from services.cdb_sandbox.perpetual_rows import FUNDING_MS, contract_id, funding_row, ticker_row
from services.cdb_sandbox.rest.request import Request
from services.cdb_sandbox.streams.intervals import STREAM_INTERVALS
from services.common.decimals import ONE, ZERO, divide
from services.common.errors import SandboxRefusal

__all__ = [
    "contract_ping",
    "deals",
    "depth",
    "depth_commits",
    "detail",
    "fair_price",
    "funding_rate",
    "funding_rate_history",
    "index_price",
    "klines",
    "risk_tiers",
    "ticker",
]

PERPETUAL: Final = "mexc_perpetual"


def contract_ping(house: House, request: Request) -> Any:
    """Return the exchange's time."""
    return request.now_ms


def _contracts(house: House) -> list[Listing]:
    return [listing for listing in house.exchange.listings.values() if listing.is_perpetual]


def _of_path(house: House, request: Request) -> Listing:
    return house.listing(PERPETUAL, request.arguments["symbol"])


def detail(house: House, request: Request) -> Any:
    """Return what a contract is, or all of them."""
    name = request.params.get("symbol")
    if name:
        return _detail(house.listing(PERPETUAL, name))
    return [_detail(listing) for listing in _contracts(house)]


def risk_tiers(listing: Listing) -> list[dict[str, Any]]:
    """Return a contract's tiers as MEXC lists them."""
    return [
        {
            "level": level,
            "maxVol": tier.max_contracts,
            "mmr": tier.maintenance_rate,
            "imr": divide(ONE, Decimal(tier.max_leverage), 6),
            "maxLeverage": tier.max_leverage,
        }
        for level, tier in enumerate(listing.spec.tiers, 1)
    ]


def _detail(listing: Listing) -> dict[str, Any]:
    spec, first, last = listing.spec, listing.spec.tiers[0], listing.spec.tiers[-1]
    return {
        "symbol": listing.name,
        "displayName": f"{listing.name}永续",
        "displayNameEn": f"{listing.name} PERPETUAL",
        "positionOpenType": 3,
        "baseCoin": spec.base,
        "quoteCoin": spec.quote,
        "futureType": 1,
        "settleCoin": spec.quote,
        "contractSize": spec.contract_size,
        "minLeverage": 1,
        "maxLeverage": first.max_leverage,
        "priceScale": decimals_of(listing.tick),
        "volScale": 0,
        "amountScale": 4,
        "priceUnit": listing.tick,
        "volUnit": 1,
        "minVol": 1,
        "maxVol": last.max_contracts,
        "limitMaxVol": last.max_contracts,
        "bidLimitPriceRate": PRICE_LIMIT_RATE,
        "askLimitPriceRate": PRICE_LIMIT_RATE,
        "takerFeeRate": Decimal("0.0004"),  # what the page shows; the API's own rates are in tiered_fee_rate
        "makerFeeRate": Decimal("0.0001"),
        "maintenanceMarginRate": first.maintenance_rate,
        "initialMarginRate": divide(ONE, Decimal(first.max_leverage), 6),
        "riskBaseVol": last.max_contracts,
        "riskIncrVol": 0,
        "riskIncrMmr": 0,
        "riskIncrImr": 0,
        "riskLevelLimit": 1,
        "riskLongShortSwitch": 0,
        "riskLimitType": "BY_VOLUME",
        "riskLimitMode": "CUSTOM",
        "riskLimitCustom": risk_tiers(listing),
        "priceCoefficientVariation": Decimal("0.004"),
        "indexOrigin": ["BINANCE", "OKX", "MEXC"],
        "state": 0 if listing.status == "1" else 4,
        "apiAllowed": listing.api_allowed,
        "maxNumOrders": [listing.max_open_orders, 50],
        "marketOrderMaxLevel": 20,
        "marketOrderPriceLimitRate1": Decimal("0.2"),
        "marketOrderPriceLimitRate2": Decimal("0.005"),
        "triggerProtect": Decimal("0.1"),
        "depthStepList": [str(listing.tick)],
        "liquidationFeeRate": spec.liquidation_fee_rate,
        "feeRateMode": "NORMAL",
        "isZeroFeeSymbol": False,
        "id": contract_id(listing),
        "createTime": 1591242684000,
        "openingTime": 0,
        "type": 1,
    }


def depth(house: House, request: Request) -> Any:
    """Return the book; `version` is that of the depth stream."""
    snapshot = house.hub.depth(_of_path(house, request))
    count = request.integer("limit", 1000, most=2000)
    return {
        "asks": [[price, quantity, 1] for price, quantity in snapshot.asks[:count]],
        "bids": [[price, quantity, 1] for price, quantity in snapshot.bids[:count]],
        "version": snapshot.version,
        "timestamp": request.now_ms,
    }


def depth_commits(house: House, request: Request) -> Any:
    """Return the latest changes of the book, newest first, to heal a gap with."""
    commits = house.hub.commits(_of_path(house, request))[-int(request.arguments["limit"]) :]
    return [
        {
            "asks": [[price, quantity, 1] for price, quantity in commit.asks],
            "bids": [[price, quantity, 1] for price, quantity in commit.bids],
            "version": commit.last,
        }
        for commit in reversed(commits)
    ]


def deals(house: House, request: Request) -> Any:
    """Return the latest trades, newest first."""
    listing = _of_path(house, request)
    latest = list(house.exchange.books[listing.key].trades)[-request.integer("limit", 100, most=100) :]
    return [
        {"p": t.price, "v": t.quantity, "T": 1 if t.taker == "BUY" else 2, "O": 3, "M": 2, "t": t.time_ms}
        for t in reversed(latest)
    ]


def klines(house: House, request: Request) -> Any:
    """Return bars in columns; times in seconds."""
    name = STREAM_INTERVALS.get(request.params.get("interval") or "Min1")
    if name is None:
        raise SandboxRefusal(600, "Parameter error: interval", status=200)
    end = request.integer("end", 0)
    bars = house.bars[_of_path(house, request).key].of(
        INTERVALS_MS[name],
        request.now_ms,
        count=2000,
        start_ms=request.integer("start", 0) * 1000,
        end_ms=end * 1000 if end else None,
    )
    columns: dict[str, Any] = {
        "time": [bar.open_ms // 1000 for bar in bars],
        "open": [bar.open for bar in bars],
        "close": [bar.close for bar in bars],
        "high": [bar.high for bar in bars],
        "low": [bar.low for bar in bars],
        "vol": [bar.volume for bar in bars],
        "amount": [bar.amount for bar in bars],
    }
    return columns | {f"real{name.title()}": columns[name] for name in ("open", "close", "high", "low")}


def ticker(house: House, request: Request) -> Any:
    """Return the ticker of a contract, or of all."""
    name = request.params.get("symbol")
    if name:
        return ticker_row(house, house.listing(PERPETUAL, name), request.now_ms)
    return [ticker_row(house, listing, request.now_ms) for listing in _contracts(house)]


def index_price(house: House, request: Request) -> Any:
    """Return the index price: here it is the fair price."""
    row = fair_price(house, request)
    return {"symbol": row["symbol"], "indexPrice": row["fairPrice"], "timestamp": row["timestamp"]}


def fair_price(house: House, request: Request) -> Any:
    """Return the fair (mark) price."""
    listing = _of_path(house, request)
    mark = house.exchange.marks.get(listing.key, ZERO)
    return {"symbol": listing.name, "fairPrice": mark, "timestamp": request.now_ms}


def funding_rate(house: House, request: Request) -> Any:
    """Return the funding rate that the next settlement will have."""
    listing = _of_path(house, request)
    row = funding_row(house, listing, request.now_ms)
    mark = house.exchange.marks.get(listing.key, ZERO)
    return {
        "symbol": listing.name,
        "fundingRate": row["rate"],
        "maxFundingRate": Decimal("0.0018"),
        "minFundingRate": Decimal("-0.0018"),
        "collectCycle": 8,
        "nextSettleTime": row["nextSettleTime"],
        "timestamp": request.now_ms,
        "idxPrice": mark,
        "fairPrice": mark,
    }


def funding_rate_history(house: House, request: Request) -> Any:
    """Return the last settlements: the present rate at each of them."""
    listing = house.listing(PERPETUAL, request.params.get("symbol"))
    row = funding_row(house, listing, request.now_ms)
    size, page = request.integer("page_size", 20, most=1000), request.integer("page_num", 1)
    first = row["nextSettleTime"] - FUNDING_MS * (1 + size * (page - 1))
    rows = [
        {"symbol": listing.name, "fundingRate": row["rate"], "settleTime": first - k * FUNDING_MS} for k in range(size)
    ]
    return {
        "pageSize": size,
        "totalCount": 1000,
        "totalPage": -(-1000 // size),
        "currentPage": page,
        "resultList": rows,
    }
