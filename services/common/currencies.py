"""Of which coins a symbol is made, and in which of them a fee was taken."""

from __future__ import annotations

from typing import Final, Literal

from services.common.errors import ContractViolation

__all__ = ["base_and_quote", "fee_kind"]

_QUOTES: Final = ("USDT", "USDC", "USD1", "USDE", "EUR", "BTC", "ETH")
"""Quote currencies of MEXC, as symbols end."""


def base_and_quote(symbol: str) -> tuple[str, str]:
    """Return base and quote currency of a symbol: BTCUSDT is BTC and USDT.

    Raises:
        ContractViolation: it ends with no quote currency that is known.
    """
    for quote in _QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)], quote
    raise ContractViolation(f"symbol {symbol}: ends with none of {', '.join(_QUOTES)}")


def fee_kind(symbol: str, currency: str | None) -> Literal["base", "quote", "other"]:
    """Return where a fee was taken from: what was bought, what was paid with, or another coin (MX).

    Args:
        symbol: of the instrument.
        currency: of the fee; None is quote, as on paper.
    """
    if currency is None or symbol.endswith(currency):
        return "quote"
    try:
        return "base" if base_and_quote(symbol)[0] == currency else "other"
    except ContractViolation:
        return "base" if symbol.startswith(currency) else "other"
