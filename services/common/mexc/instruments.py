"""What MEXC publishes of its instruments (exchangeInfo, contract/detail), as our grids and what else binds an order.

Source: MEXC API documentation, "Exchange Information" (spot v3) and "Get the contract information" (perpetual v1).
Spot has no filters of Binance's kind, and three names mislead: `baseSizePrecision` is the smallest quantity,
`quoteAmountPrecision` the smallest value, and the steps come from the numbers of decimals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from pydantic import ValidationError

from services.common.decimals import ONE, divide
from services.common.errors import ContractViolation, ExchangeAnswerInvalid
from services.common.instruments import PERPETUAL, InstrumentSpec, RiskTier, Venue, normalise_symbol
from services.common.mexc.rows import (
    Row,
    as_rows,
    flag,
    integer,
    number,
    optional_number,
    positive,
    text,
)

__all__ = ["Listing", "contract_listing", "spot_listing"]

_SPOT_ONLINE: Final = frozenset({"1", "ENABLED"})
_SIDES: Final = {1: frozenset({"BUY", "SELL"}), 2: frozenset({"BUY"}), 3: frozenset({"SELL"}), 4: frozenset[str]()}
_LEAST_CONTRACT_NOTIONAL: Final = Decimal("0.01")
_MANY: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One instrument as the exchange publishes it.

    Attributes:
        name: as the exchange writes it (`BTCUSDT`, `BTC_USDT`).
        spec: grids, minimums, and what else binds an order to it now.
    """

    name: str
    spec: InstrumentSpec


def spot_listing(row: Row) -> Listing:
    """Return a spot instrument from one row of `symbols` of exchangeInfo.

    Raises:
        ExchangeAnswerInvalid: a field is missing or cannot be; the text names the instrument.
    """
    name = text(row, "symbol")
    try:
        lot = _step(row, "baseAssetPrecision")
        smallest = number(row, "baseSizePrecision")
        online = text(row, "status") in _SPOT_ONLINE
        sides = _SIDES.get(integer(row, "tradeSideType") if "tradeSideType" in row else 1, frozenset())
        types = row.get("orderTypes", ())
        bands = _percent_price(row)
        closed = _closed_spot(row, online=online, sides=sides)
        spec = _spec(
            venue="mexc_spot",
            symbol=name,
            base=text(row, "baseAsset"),
            quote=text(row, "quoteAsset"),
            tick_size=_step(row, "quotePrecision" if "quotePrecision" in row else "quoteAssetPrecision"),
            lot_size=lot,
            min_quantity=max(smallest, lot),
            min_notional=positive(row, "quoteAmountPrecision"),
            max_notional=positive(row, "maxQuoteAmount"),
            buy_band=bands[0] or None,
            sell_band=bands[1] or None,
            sides=tuple(sorted(sides)),
            market_orders="MARKET" in types,
            closed=closed,
        )
        return Listing(name=name, spec=spec)
    except ExchangeAnswerInvalid as error:
        raise ExchangeAnswerInvalid(f"{name}: {error}") from None


def _closed_spot(row: Row, *, online: bool, sides: frozenset[str]) -> str | None:
    if not online:
        return f"status {row['status']}"
    if not flag(row, "isSpotTradingAllowed"):
        return "not tradable by API"
    return None if sides else "neither side is taken"


def _percent_price(row: Row) -> tuple[Decimal | None, Decimal | None]:
    # The published formula multiplies the last price by 0.005, which cannot be meant: it is read as a distance.
    for entry in as_rows(row.get("filters", ()), "filters"):
        if entry.get("filterType") == "PERCENT_PRICE_BY_SIDE":
            return optional_number(entry, "bidMultiplierUp"), optional_number(entry, "askMultiplierDown")
    return None, None


def contract_listing(row: Row) -> Listing:
    """Return a perpetual contract from the data of contract/detail.

    Raises:
        ExchangeAnswerInvalid: a field is missing or cannot be; the text names the contract.
    """
    name = text(row, "symbol")
    try:
        size = positive(row, "contractSize")
        largest = positive(row, "maxVol")
        state = integer(row, "state")
        closed = f"state {state}" if state else None if row.get("apiAllowed", True) is True else "not tradable by API"
        bands = optional_number(row, "bidLimitPriceRate"), optional_number(row, "askLimitPriceRate")
        spec = _spec(
            venue=PERPETUAL,
            symbol=name,
            base=text(row, "baseCoin"),
            quote=text(row, "quoteCoin"),
            tick_size=positive(row, "priceUnit"),
            lot_size=positive(row, "volUnit") * size,
            min_quantity=positive(row, "minVol") * size,
            min_notional=_LEAST_CONTRACT_NOTIONAL,
            contract_size=size,
            volume_unit="contracts",
            liquidation_fee_rate=number(row, "liquidationFeeRate"),
            tiers=tuple(_tiers(row, largest)),
            max_quantity=largest * size,
            buy_band=bands[0] or None,
            sell_band=bands[1] or None,
            closed=closed,
        )
        return Listing(name=name, spec=spec)
    except ExchangeAnswerInvalid as error:
        raise ExchangeAnswerInvalid(f"{name}: {error}") from None


def _tiers(row: Row, largest: Decimal) -> Iterator[RiskTier]:
    """Yield the risk tiers; where they are counted in value, one tier with the most cautious of their numbers."""
    if row.get("riskLimitMode") == "CUSTOM":
        levels = [
            (positive(level, "maxVol"), positive(level, "mmr"), integer(level, "maxLeverage"))
            for level in as_rows(row.get("riskLimitCustom"), "riskLimitCustom")
        ]
    else:
        count = min(max(integer(row, "riskLevelLimit"), 1), _MANY)
        base, more = positive(row, "riskBaseVol"), number(row, "riskIncrVol")
        maintenance, initial = positive(row, "maintenanceMarginRate"), positive(row, "initialMarginRate")
        mmr_more, imr_more = number(row, "riskIncrMmr"), number(row, "riskIncrImr")
        levels = [
            (base + n * more, maintenance + n * mmr_more, int(divide(ONE, initial + n * imr_more)))
            for n in range(count)
        ]
    if row.get("riskLimitType", "BY_VOLUME") != "BY_VOLUME":
        levels = [(largest, max(rate for _, rate, _ in levels), min(leverage for _, _, leverage in levels))]
    for most, rate, leverage in sorted(levels):
        yield RiskTier(max_contracts=most, maintenance_rate=rate, max_leverage=max(leverage, 1))


def _step(row: Row, field: str) -> Decimal:
    places = integer(row, field)
    if not 0 <= places <= 18:
        raise ExchangeAnswerInvalid(f"{field}={places}: a number of decimals up to 18 is meant")
    return Decimal((0, (1,), -places))


def _spec(*, venue: Venue, symbol: str, **fields: object) -> InstrumentSpec:
    try:
        return InstrumentSpec.model_validate({"venue": venue, "symbol": normalise_symbol(symbol), **fields})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ExchangeAnswerInvalid(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ContractViolation as error:
        raise ExchangeAnswerInvalid(str(error)) from None
