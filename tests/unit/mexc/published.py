"""What MEXC publishes, as its documentation shows it, for tests of both sides of the protocol."""

from __future__ import annotations

from typing import Any

from services.common.codec import decode

EXCHANGE_INFO = """{"timezone":"CST","serverTime":1765342336768,"rateLimits":[],"exchangeFilters":[],
 "symbols":[{"symbol":"BTCUSDT","status":"1","baseAsset":"BTC","baseAssetPrecision":8,"quoteAsset":"USDT",
 "quotePrecision":2,"quoteAssetPrecision":2,"baseCommissionPrecision":8,"quoteCommissionPrecision":2,
 "orderTypes":["LIMIT","MARKET","LIMIT_MAKER"],"isSpotTradingAllowed":true,"isMarginTradingAllowed":false,
 "quoteAmountPrecision":"1","baseSizePrecision":"0.000001","permissions":["SPOT"],
 "filters":[{"filterType":"PERCENT_PRICE_BY_SIDE","bidMultiplierUp":"0.005","askMultiplierDown":"0.005"}],
 "maxQuoteAmount":"4000000","makerCommission":"0","takerCommission":"0.0005","quoteAmountPrecisionMarket":"1",
 "maxQuoteAmountMarket":"4000000","fullName":"Bitcoin","tradeSideType":1,"contractAddress":"",
 "conceptPlateIds":[50,5],"st":false}]}"""

CONTRACT_DETAIL = """{"symbol":"BTC_USDT","displayNameEn":"BTC_USDT PERPETUAL","positionOpenType":3,"baseCoin":"BTC",
 "quoteCoin":"USDT","futureType":1,"settleCoin":"USDT","contractSize":0.0001,"minLeverage":1,"maxLeverage":500,
 "priceScale":1,"volScale":0,"amountScale":4,"priceUnit":0.1,"volUnit":1,"minVol":1,"maxVol":400000,
 "limitMaxVol":2500000,"bidLimitPriceRate":0.1,"askLimitPriceRate":0.1,"takerFeeRate":0.0004,"makerFeeRate":0.0001,
 "maintenanceMarginRate":0.001,"initialMarginRate":0.002,"riskBaseVol":4500000,"riskIncrVol":0,"riskIncrMmr":0,
 "riskIncrImr":0,"riskLevelLimit":1,"riskLongShortSwitch":0,"riskLimitType":"BY_VOLUME","riskLimitMode":"CUSTOM",
 "riskLimitCustom":[{"level":1,"maxVol":50000,"mmr":0.001,"imr":0.002,"maxLeverage":500},
 {"level":2,"maxVol":60000,"mmr":0.004,"imr":0.005,"maxLeverage":200},
 {"level":6,"maxVol":4500000,"mmr":0.05,"imr":0.1,"maxLeverage":10}],
 "priceCoefficientVariation":0.004,"indexOrigin":["BINANCE","OKX","MEXC"],"state":0,"apiAllowed":true,
 "maxNumOrders":[200,50],"marketOrderMaxLevel":20,"liquidationFeeRate":0.0004,"feeRateMode":"TIERED","id":10}"""


def spot_row(**changes: Any) -> dict[str, Any]:
    """Return BTCUSDT of exchangeInfo with some fields changed; a change to `...` takes the field away."""
    return _changed(decode(EXCHANGE_INFO)["symbols"][0], changes)


def contract_row(**changes: Any) -> dict[str, Any]:
    """Return BTC_USDT of contract/detail with some fields changed; a change to `...` takes the field away."""
    return _changed(decode(CONTRACT_DETAIL), changes)


def _changed(row: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**row, **changes}.items() if value is not ...}
