"""Arithmetic of perpetual contracts with isolated margin: tiers, liquidation, margin ratio, funding.

With q signed, C = q * entry, M the isolated margin and mu = maintenance rate + liquidation fee rate, a position is
liquidated when M + q * mark - C <= mu * |q| * mark. Solved for the mark that gives (entry - M/q) / (1 - mu) for a long
and (entry + M/|q|) / (1 + mu) for a short.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from services.common.decimals import ONE, ZERO, divide, quantise
from services.common.events import MarketData
from services.common.instruments import InstrumentSpec, RiskTier
from services.common.portfolio import Position, mid_price
from services.common.timestamps import HOUR_US, MINUTE_US

__all__ = [
    "FUNDING_INTERVAL_MIN",
    "FUNDING_INTERVAL_US",
    "UNKNOWN_FUNDING_RATE",
    "believable_mark",
    "contracts",
    "funding_amount",
    "is_liquidated",
    "liquidation_distance",
    "liquidation_price",
    "maintenance_fraction",
    "margin_ratio",
    "settlements_between",
    "tier_of",
    "within_distance",
]

FUNDING_INTERVAL_US: Final = 8 * HOUR_US
FUNDING_INTERVAL_MIN: Final = FUNDING_INTERVAL_US // MINUTE_US
"""Settlements are at 00:00, 08:00 and 16:00 UTC."""

UNKNOWN_FUNDING_RATE: Final = Decimal("0.0001")
"""What a settlement whose rate is not known costs us, whatever the direction."""

_RATIO_BOUND: Final = Decimal(10) ** 15


def believable_mark(event: MarketData, collar_pct: Decimal) -> Decimal | None:
    """Return the mark price of an event; None when it has none, or one too far from the quote beside it.

    A mark decides about stops and liquidations, so one bad tick must not move it. Without a valid quote beside it it is
    believed as it is.
    """
    mark = event.mark_price
    if mark is None or event.bid is None or event.ask is None or event.bid >= event.ask:
        return mark
    mid = mid_price(event.bid, event.ask)
    return None if abs(mark - mid) > collar_pct * mid else mark


def contracts(quantity: Decimal, spec: InstrumentSpec) -> Decimal:
    """Return how many whole contracts a quantity (base units, either sign) is: floor(|q| / contract size)."""
    return abs(quantity) // spec.contract_size


def tier_of(quantity: Decimal, spec: InstrumentSpec) -> RiskTier | None:
    """Return the tier of a position; None when it is larger than the exchange allows, or the instrument has none."""
    size = contracts(quantity, spec)
    return next((tier for tier in spec.tiers if size <= tier.max_contracts), None)


def maintenance_fraction(quantity: Decimal, spec: InstrumentSpec) -> Decimal:
    """Return mu: maintenance rate of the position's tier (of the highest when beyond all) + liquidation fee rate."""
    tier = tier_of(quantity, spec) or spec.tiers[-1]
    return tier.maintenance_rate + spec.liquidation_fee_rate


def liquidation_price(position: Position, mu: Decimal) -> Decimal | None:
    """Return the mark at which a position is liquidated, 0 when a long never is; None while flat.

    Raises:
        DivisionByZero: mu is 1.
    """
    quantity = position.quantity
    if not quantity:
        return None
    keeps = ONE - mu if quantity > 0 else ONE + mu
    return max(divide(position.cost - position.margin, quantity * keeps), ZERO)


def is_liquidated(position: Position, mark: Decimal, mu: Decimal) -> bool:
    """Whether margin and unrealised PnL have reached the maintenance requirement, by products alone."""
    value = position.quantity * mark
    return position.quantity != 0 and position.margin + value - position.cost <= mu * abs(value)


def liquidation_distance(position: Position, mark: Decimal, mu: Decimal) -> Decimal | None:
    """Return by which share of the mark the price may go against the position until it is liquidated.

    1 for a long that never is, negative when it should be already; None while flat. mark > 0.
    """
    price = liquidation_price(position, mu)
    if price is None:
        return None
    left = mark - price if position.quantity > 0 else price - mark
    return divide(left, mark)


def within_distance(position: Position, mark: Decimal, mu: Decimal, limit: Decimal) -> bool:
    """Whether the distance to liquidation is at most `limit`: liquidated at mark * (1 -+ limit), by products alone."""
    moved = mark * (ONE - limit if position.quantity > 0 else ONE + limit)
    return is_liquidated(position, moved, mu)


def margin_ratio(position: Position, mark: Decimal, mu: Decimal) -> Decimal | None:
    """Return maintenance requirement / (margin + unrealised PnL); 1 and over means liquidation; None when flat.

    None, too, when nothing is left of the margin, or the ratio is absurd.
    """
    value = position.quantity * mark
    left = position.margin + value - position.cost
    needed = mu * abs(value)
    if not position.quantity or left <= 0 or needed >= left * _RATIO_BOUND:
        return None
    return divide(needed, left)


def funding_amount(quantity: Decimal, mark: Decimal, rate: Decimal) -> Decimal:
    """Return what a position receives (negative: pays) at a settlement: -q * mark * rate, q signed.

    The payment of one base unit is rounded to 12 decimals first: so the amounts of the parts of a position add up to
    that of the whole, to the last digit.
    """
    return -quantity * quantise(mark * rate, 12)


def settlements_between(after: int, until: int) -> list[int]:
    """Return the funding settlements in (after, until], oldest first; all times in microseconds."""
    first = after // FUNDING_INTERVAL_US + 1
    return [n * FUNDING_INTERVAL_US for n in range(first, until // FUNDING_INTERVAL_US + 1)]
