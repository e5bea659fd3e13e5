"""Instruments: (venue, symbol) pairs, their grids, and the one function that writes a symbol.

Spot and perpetual contracts of the same name are different instruments and never merge.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from services.common.errors import ContractViolation

__all__ = [
    "DEFAULT_INSTRUMENTS",
    "PERPETUAL",
    "InstrumentSpec",
    "RiskTier",
    "Venue",
    "instrument_key",
    "normalise_symbol",
]

SYMBOL_PATTERN = re.compile(r"^[A-Z0-9]{5,20}$")

Venue = Literal["mexc_spot", "mexc_perpetual"]

PERPETUAL: Final = "mexc_perpetual"
"""The venue whose positions are signed, have isolated margin and leverage, and pay funding."""


def normalise_symbol(raw: str) -> str:
    """Return a symbol as it stands on the wire: `BTC_USDT`, `btc/usdt` and `BTC-USDT` are all `BTCUSDT`.

    Raises:
        ContractViolation: what is left is not 5 to 20 letters and digits.
    """
    symbol = re.sub(r"[_\-/: ]", "", raw).upper()
    if not (raw.isascii() and SYMBOL_PATTERN.fullmatch(symbol)):  # upper() makes SS of a sharp s
        raise ContractViolation(f"symbol {raw!r}: 5 to 20 letters and digits are meant, for example BTCUSDT")
    return symbol


def instrument_key(venue: str, symbol: str) -> str:
    """Return the key of an instrument in a state: `mexc_spot:BTCUSDT`."""
    return f"{venue}:{symbol}"


def _positive(value: Decimal) -> Decimal:
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{value} must be finite and above 0")
    return value


Positive = Annotated[Decimal, AfterValidator(_positive)]


class RiskTier(BaseModel):
    """What the exchange asks of a position of at most so many contracts.

    Attributes:
        max_contracts: largest position of this tier.
        maintenance_rate: share of the position's value that margin and unrealised PnL must not fall below.
        max_leverage: highest leverage of this tier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_contracts: Positive
    maintenance_rate: Positive
    max_leverage: int = Field(ge=1)


class InstrumentSpec(BaseModel):
    """The grids and minimums of one instrument.

    Attributes:
        tick_size: smallest price step, in quote currency.
        lot_size: smallest quantity step, in base units.
        min_quantity: smallest order, in base units.
        min_notional: smallest order value, in quote currency.
        max_notional: largest order value, in quote currency.
        contract_size: base units of one contract (1 on spot).
        volume_unit: in what the exchange's own feed counts sizes and volumes; ours are always base units.
        liquidation_fee_rate: share of the value that a liquidation costs beside the maintenance margin (0 on spot).
        tiers: of a perpetual, smallest first; none on spot.
        max_quantity: largest order, in base units; None where only the value is bounded.
        buy_band: how far above the reference price (spot: last, perpetual: mark) a buy's limit may be, a fraction.
        sell_band: the same for a sale, below it; None where nothing is published.
        sides: that the exchange takes now.
        market_orders: whether it takes orders without a price.
        closed: why it cannot be traded now; None when it can.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    venue: Venue
    symbol: str = Field(pattern=SYMBOL_PATTERN.pattern)
    base: str
    quote: str = "USDT"
    tick_size: Positive
    lot_size: Positive
    min_quantity: Positive
    min_notional: Positive = Decimal(1)
    max_notional: Positive = Decimal(4_000_000)
    contract_size: Positive = Decimal(1)
    volume_unit: Literal["base", "contracts"] = "base"
    liquidation_fee_rate: Annotated[Decimal, Field(ge=0, lt=1)] = Decimal(0)
    tiers: tuple[RiskTier, ...] = ()
    max_quantity: Positive | None = None
    buy_band: Positive | None = None
    sell_band: Positive | None = None
    sides: tuple[Literal["BUY", "SELL"], ...] = ("BUY", "SELL")
    market_orders: bool = True
    closed: str | None = None

    @model_serializer(mode="wrap")
    def _without_what_binds_nobody(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out rules that nothing is said of: facts of earlier journals have no such keys."""
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if _UNSAID.get(name, ...) != value}


_UNSAID: Final[dict[str, Any]] = {
    name: InstrumentSpec.model_fields[name].default
    for name in ("max_quantity", "buy_band", "sell_band", "sides", "market_orders", "closed")
}


def _spot(base: str, tick: str, lot: str) -> InstrumentSpec:
    return InstrumentSpec(
        venue="mexc_spot",
        symbol=f"{base}USDT",
        base=base,
        tick_size=Decimal(tick),
        lot_size=Decimal(lot),
        min_quantity=Decimal(lot),
    )


_TIERS = tuple(
    RiskTier(max_contracts=Decimal(contracts), maintenance_rate=Decimal(rate), max_leverage=leverage)
    for contracts, rate, leverage in (
        (50_000, "0.001", 500),
        (60_000, "0.004", 200),
        (250_000, "0.005", 100),
        (1_200_000, "0.01", 50),
        (3_000_000, "0.02", 20),
        (4_500_000, "0.05", 10),
    )
)
"""Of BTC_USDT, as the contract's public detail showed them in 2025-11."""

_CAUTIOUS_TIERS = (
    RiskTier(max_contracts=Decimal(250_000), maintenance_rate=Decimal("0.005"), max_leverage=100),
    RiskTier(max_contracts=Decimal(1_200_000), maintenance_rate=Decimal("0.02"), max_leverage=20),
)
"""Where the exchange's own tiers are not recorded: more maintenance than it asks of BTC, to be on the safe side."""


def _perpetual(base: str, tick: str, contract: str, tiers: tuple[RiskTier, ...]) -> InstrumentSpec:
    return InstrumentSpec(
        venue="mexc_perpetual",
        symbol=f"{base}USDT",
        base=base,
        tick_size=Decimal(tick),
        lot_size=Decimal(contract),
        min_quantity=Decimal(contract),
        min_notional=Decimal("0.01"),
        contract_size=Decimal(contract),
        volume_unit="contracts",
        liquidation_fee_rate=Decimal("0.0004"),
        tiers=tiers,
    )


DEFAULT_INSTRUMENTS = (
    _spot("BTC", "0.01", "0.000001"),
    _spot("ETH", "0.01", "0.00001"),
    _spot("SOL", "0.01", "0.001"),
    _perpetual("BTC", "0.1", "0.0001", _TIERS),
    _perpetual("ETH", "0.01", "0.01", _CAUTIOUS_TIERS),
    _perpetual("SOL", "0.01", "0.1", _CAUTIOUS_TIERS),
)
"""What is known of MEXC's grids without asking the exchange (exchangeInfo and contract/detail as recorded 2025)."""
