"""What an exchange lists: grids, whether it may be traded, and what of it was traded in a day."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.common.instruments import InstrumentSpec

__all__ = ["Listing", "Ticker", "closed_listing"]


@dataclass(frozen=True, slots=True)
class Listing:
    """One instrument of the exchange."""

    spec: InstrumentSpec

    @property
    def closed(self) -> str:
        """Why it cannot be traded now; empty when it can."""
        return self.spec.closed or ""


def closed_listing(listing: Listing, why: str) -> Listing:
    """Return a listing as it is while the instrument cannot be traded."""
    return Listing(listing.spec.model_copy(update={"closed": why}))


@dataclass(frozen=True, slots=True)
class Ticker:
    """A day of one instrument: turnover in quote currency, and the quote now."""

    symbol: str
    turnover: Decimal
    bid: Decimal | None
    ask: Decimal | None
