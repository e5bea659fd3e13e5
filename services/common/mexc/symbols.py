"""MEXC's own names of instruments; ours are (venue, symbol) with the symbol as on the spot market (`BTCUSDT`)."""

from __future__ import annotations

from services.common.errors import ContractViolation
from services.common.instruments import PERPETUAL, normalise_symbol

__all__ = ["exchange_symbol", "perpetual_symbol"]

_QUOTES = ("USDT", "USDC", "USD1", "EUR", "BTC", "ETH")


def perpetual_symbol(symbol: str) -> str:
    """Return the contract's name: `BTC_USDT` for `BTCUSDT`.

    Raises:
        ContractViolation: the symbol does not end with a currency that contracts are quoted in.
    """
    plain = normalise_symbol(symbol)
    for quote in _QUOTES:
        if plain.endswith(quote) and len(plain) > len(quote):
            return f"{plain.removesuffix(quote)}_{quote}"
    raise ContractViolation(f"symbol {symbol!r}: no contract of MEXC is named so; one of {', '.join(_QUOTES)} ends it")


def exchange_symbol(venue: str, symbol: str) -> str:
    """Return what MEXC calls this instrument on its venue: `BTCUSDT` on spot, `BTC_USDT` for the contract.

    Raises:
        ContractViolation: it is no symbol, or none of a contract.
    """
    return perpetual_symbol(symbol) if venue == PERPETUAL else normalise_symbol(symbol)
