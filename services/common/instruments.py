"""Instruments: (venue, symbol) pairs, their grids, and the one function that writes a symbol.

Spot and perpetual contracts of the same name are different instruments and never merge.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.common.errors import ContractViolation

__all__ = ["DEFAULT_INSTRUMENTS", "InstrumentSpec", "Venue", "instrument_key", "normalise_symbol"]

SYMBOL_PATTERN = re.compile(r"^[A-Z0-9]{5,20}$")

Venue = Literal["mexc_spot", "mexc_perpetual"]


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


class InstrumentSpec(BaseModel):
    """The grids and minimums of one instrument.

    Attributes:
        tick_size: smallest price step, in quote currency.
        lot_size: smallest quantity step, in base units.
        min_quantity: smallest order, in base units.
        min_notional: smallest order value, in quote currency.
        max_notional: largest order value, in quote currency.
        contract_size: base units of one contract (1 on spot).
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


def _spot(base: str, tick: str, lot: str) -> InstrumentSpec:
    return InstrumentSpec(
        venue="mexc_spot",
        symbol=f"{base}USDT",
        base=base,
        tick_size=Decimal(tick),
        lot_size=Decimal(lot),
        min_quantity=Decimal(lot),
    )


DEFAULT_INSTRUMENTS = (
    _spot("BTC", "0.01", "0.000001"),
    _spot("ETH", "0.01", "0.00001"),
    _spot("SOL", "0.01", "0.001"),
)
"""What is known of MEXC's spot grids without asking the exchange (exchangeInfo as recorded 2025-12)."""
