"""What happened in the exchange, in order: the streams tell it to the accounts, the ledger keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from services.cdb_sandbox.core.book import PublicTrade
from services.cdb_sandbox.core.orders import Fill, Order

__all__ = [
    "AssetChanged",
    "Fact",
    "Filled",
    "OrderChanged",
    "PositionChanged",
    "PositionState",
    "Traded",
    "WalletChanged",
]

WalletReason = Literal["ENTRUST_PLACE", "ENTRUST_CANCEL", "ENTRUST", "ENTRUST_UNFROZEN", "TRADE_FEE", "DEPOSIT"]
"""MEXC's names of why a spot balance changed."""


@dataclass(frozen=True, kw_only=True)
class OrderChanged:
    """An order is new, has filled or has ended; `order` is a copy as it was then."""

    order: Order


@dataclass(frozen=True, kw_only=True)
class Filled:
    """One of the account's orders has traded."""

    fill: Fill


@dataclass(frozen=True, kw_only=True)
class Traded:
    """A trade as everybody sees it."""

    trade: PublicTrade


@dataclass(frozen=True, kw_only=True)
class WalletChanged:
    """A spot balance has changed: what it is now, and by how much it changed."""

    account: str
    asset: str
    free: Decimal
    free_change: Decimal
    locked: Decimal
    locked_change: Decimal
    reason: WalletReason
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class AssetChanged:
    """The perpetual account's cash has changed."""

    account: str
    currency: str
    available: Decimal
    frozen: Decimal
    position_margin: Decimal
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class PositionState:
    """A perpetual position with isolated margin; `quantity` is signed contracts."""

    position_id: int
    account: str
    symbol: str
    name: str
    quantity: Decimal
    entry: Decimal
    margin: Decimal
    leverage: int
    liquidation_price: Decimal
    realised: Decimal
    funding: Decimal
    fee: Decimal
    closed: Decimal
    close_average: Decimal
    opened_ms: int
    updated_ms: int
    version: int


@dataclass(frozen=True, kw_only=True)
class PositionChanged:
    """A position was opened, changed or closed."""

    position: PositionState


Fact = OrderChanged | Filled | Traded | WalletChanged | AssetChanged | PositionChanged
