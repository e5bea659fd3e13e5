"""The screener: which of everything that is listed is worth trading, and why the rest is not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from services.cdb_ws.live.listing import Listing, Ticker
from services.cdb_ws.live_settings import LiveSettings
from services.common.decimals import divide
from services.common.portfolio import mid_price

__all__ = ["Ranked", "choose", "rank"]

QUOTE: Final = "USDT"
_STABLE: Final = frozenset(
    {"USDC", "USD1", "USDE", "USDD", "USDP", "USDF", "USDR", "USDS", "USDX", "TUSD", "FDUSD", "PYUSD", "BUSD", "GUSD"}
    | {"RLUSD", "SUSD", "LUSD", "DAI", "EUR", "EURI", "EURC", "EURT", "AEUR", "XUSD", "USDQ", "USDY", "UST", "USTC"}
)
_LEVERAGED: Final = re.compile(r"[A-Z0-9]+[2-5][LS]|[A-Z0-9]{2,}(BULL|BEAR)")
_PEG: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Ranked:
    """One symbol in the ranking.

    Attributes:
        turnover: of 24 hours, in quote currency.
        spread: (ask - bid) / mid; None without a quote.
        excluded: why it is not chosen; empty when it may be.
    """

    symbol: str
    turnover: Decimal
    spread: Decimal | None
    excluded: str = ""

    def as_row(self, place: int) -> dict[str, Any]:
        """Return it as `/top` shows it."""
        return {
            "rank": place,
            "symbol": self.symbol,
            "turnover_usdt": self.turnover,
            "spread_pct": self.spread,
            "excluded": self.excluded,
        }


def rank(
    tickers: Iterable[Ticker],
    listings: Mapping[str, Listing],
    old_enough: Mapping[str, bool],
    rules: LiveSettings,
) -> list[Ranked]:
    """Return everything quoted in USDT by falling turnover; equal ones by symbol.

    Args:
        tickers: a day of everything.
        listings: what is listed.
        old_enough: whether a symbol has the age that is asked for; not in it: not looked up.
        rules: what a symbol must keep.
    """
    rows = []
    for ticker in tickers:
        listing = listings.get(ticker.symbol)
        if listing is None:
            if ticker.symbol.endswith(QUOTE):
                rows.append(Ranked(ticker.symbol, ticker.turnover, None, "no usable grid"))
            continue
        if listing.spec.quote == QUOTE:
            spread = _spread(ticker)
            known_as_old = old_enough.get(ticker.symbol, True)
            young = "" if known_as_old else f"younger than {rules.SCREENER_MIN_AGE_DAYS} days"
            excluded = _excluded(ticker, listing, spread, young, rules)
            rows.append(Ranked(ticker.symbol, ticker.turnover, spread, excluded))
    return sorted(rows, key=lambda row: (-row.turnover, row.symbol))


def choose(ranking: Iterable[Ranked], top: int) -> tuple[str, ...]:
    """Return the first symbols of a ranking that are not excluded, best first."""
    return tuple(row.symbol for row in ranking if not row.excluded)[:top]


def _spread(ticker: Ticker) -> Decimal | None:
    if not ticker.bid or not ticker.ask or ticker.ask < ticker.bid:
        return None
    return divide(ticker.ask - ticker.bid, mid_price(ticker.bid, ticker.ask), 8)


def _excluded(ticker: Ticker, listing: Listing, spread: Decimal | None, young: str, rules: LiveSettings) -> str:
    base = listing.spec.base.upper()
    if listing.closed:
        return listing.closed
    if base in _STABLE or ("USD" in base and spread is not None and _pegged(ticker)):
        return "stablecoin"
    if _LEVERAGED.fullmatch(base):
        return "leveraged token"
    if ticker.turnover < rules.SCREENER_MIN_TURNOVER_USDT:
        return f"turnover under {rules.SCREENER_MIN_TURNOVER_USDT:,f} USDT"
    if spread is None:
        return "no quote"
    if spread > rules.SCREENER_MAX_SPREAD_PCT:
        return f"spread over {rules.SCREENER_MAX_SPREAD_PCT}"
    return young


def _pegged(ticker: Ticker) -> bool:
    assert ticker.bid is not None
    assert ticker.ask is not None
    return abs(mid_price(ticker.bid, ticker.ask) - 1) < _PEG
