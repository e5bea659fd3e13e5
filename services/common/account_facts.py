"""What reconciliation with the exchange does to every ledger: the capital that trading begins with, and adjustments.

An adjustment is the operator's word on a difference (a transfer, a sale by hand): it changes the books, belongs to no
order, and is an event of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import ContractViolation
from services.common.events import Control, Number, Positive, Symbol
from services.common.instruments import Venue, instrument_key
from services.common.portfolio import Portfolio

__all__ = [
    "Adjustment",
    "PositionChange",
    "book_adjustment",
    "configured_capital",
    "opening_capital",
    "read_adjustment",
]


class PositionChange(BaseModel):
    """By how much a position is not what its fills say; `price` is its value in the books, `leverage` a perpetual's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: Symbol
    change: Number
    price: Positive
    leverage: Annotated[int, Field(ge=1)] = 1


class Adjustment(BaseModel):
    """The details of `control/adjustment`.

    Attributes:
        accepted: names of the differences.
        cash: quote currency that came (negative: went).
        positions: base units that came or went.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    venue: Venue
    accepted: Annotated[list[str], Field(min_length=1)]
    cash: Number
    positions: list[PositionChange]


def configured_capital(settings: Mapping[str, Any]) -> Decimal | None:
    """Return the capital that a run begins with by risk's settings.

    Returns:
        None on live, where the exchange says it (`opening_capital`), and where the settings do not.
    """
    mode, named = settings.get("TRADING_MODE", "paper"), ["ACCOUNT_EQUITY"]
    if mode != "paper":
        named.append("LIVE_CAPITAL_USDT")
    amounts = [settings.get(name) for name in named]
    if mode == "live" or not all(isinstance(a, Decimal | int) and not isinstance(a, bool) for a in amounts):
        return None
    return min(map(Decimal, amounts))  # type: ignore[arg-type]


def opening_capital(event: Control) -> Decimal | None:
    """Return the capital that a run begins with on live; None when this event is another one."""
    if event.action != "reconciliation" or event.details.get("verdict") != "opened":
        return None
    capital = event.details.get("capital")
    if not isinstance(capital, Decimal | int) or isinstance(capital, bool) or capital < 0:
        raise ContractViolation(f"reconciliation {event.event_id}: capital={capital!r} is no amount")
    return Decimal(capital)


def read_adjustment(event: Control) -> Adjustment:
    """Return what an adjustment says.

    Raises:
        ContractViolation: naming what is wrong.
    """
    details: dict[str, Any] = dict(event.details)
    try:
        return Adjustment.model_validate(details)
    except ValidationError as error:
        raise ContractViolation(f"adjustment {event.event_id}: {error}") from error


def book_adjustment(portfolio: Portfolio, event: Control) -> list[str]:
    """Book an adjustment and return the keys of the instruments that it changed."""
    said = read_adjustment(event)
    portfolio.cash += said.cash
    keys = []
    for moved in said.positions:
        portfolio.adjust(said.venue, moved.symbol, moved.change, moved.price, event.timestamp, leverage=moved.leverage)
        keys.append(instrument_key(said.venue, moved.symbol))
    return keys
