"""Where the difference in profit between two executions of the same order comes from, exactly.

An order of direction d, decided at mid m0 and valued at the end at M, earns with fills (q, p) and fees f

    d * sum(q * (M - p)) - sum(f)  =  d * Q * (M - m0)  -  sum(q * d * (p - m0))  -  sum(f)

The middle sum is the cost of execution. Each fill's d * (p - m0) is split at the quote of its moment (mid m, touch t):

    latency  d * (m - m0)     the market went on between decision and fill
    spread   d * (t - m)      half the spread then
    slippage d * (p - t)      beyond the touch

On the quantity that both executions filled, the difference of the mean costs is latency, spread, slippage and fees.
What only one of them filled (its gain to the end, less its costs) is `rejects` where the other was rejected, else
`partials`. The six add up to the difference by construction; fractions keep it exact until it is shown.
Derivation: ours, after the implementation-shortfall decomposition (A. Perold, 1988).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from fractions import Fraction

__all__ = ["PARTS", "Execution", "Parts", "as_decimal", "attribute"]

_PLACES = 12


@dataclass
class Execution:
    """What one world made of an order; amounts in quote currency, positive costs are against us.

    Attributes:
        quantity: filled, base units.
        paid: sum of quantity times price.
        latency, spread, slippage: costs by the formulas above, summed over the fills.
        fees: taken in quote currency.
        coin_fees: taken in the coin that was traded, in that coin: worth what it is worth at the end.
        rejected: it ended as REJECTED.
        status: last one told.
        reason: last one told, for people.
    """

    quantity: Fraction = field(default_factory=Fraction)
    paid: Fraction = field(default_factory=Fraction)
    latency: Fraction = field(default_factory=Fraction)
    spread: Fraction = field(default_factory=Fraction)
    slippage: Fraction = field(default_factory=Fraction)
    fees: Fraction = field(default_factory=Fraction)
    coin_fees: Fraction = field(default_factory=Fraction)
    rejected: bool = False
    status: str | None = None
    reason: str | None = field(default=None, compare=False)

    def fill(
        self, direction: int, quantity: Decimal, price: Decimal, *, decided: Decimal, mid: Decimal, touch: Decimal
    ) -> None:
        """Add one fill with the quote of its moment."""
        units, at_mid, at_touch = direction * Fraction(quantity), Fraction(mid), Fraction(touch)
        self.quantity += Fraction(quantity)
        self.paid += Fraction(quantity) * Fraction(price)
        self.latency += units * (at_mid - Fraction(decided))
        self.spread += units * (at_touch - at_mid)
        self.slippage += units * (Fraction(price) - at_touch)

    def costs(self, final: Decimal) -> dict[str, Fraction]:
        """Return all costs by their name, fees in coin at their worth in the end."""
        return {
            "latency": self.latency,
            "spread": self.spread,
            "slippage": self.slippage,
            "fees": self.fees + self.coin_fees * Fraction(final),
        }

    def profit(self, direction: int, final: Decimal) -> Fraction:
        """Return what it has earned when all is valued at the end."""
        return direction * (self.quantity * Fraction(final) - self.paid) - self.costs(final)["fees"]


@dataclass
class Parts:
    """A difference in profit (the real run's less paper's) by what made it, quote currency."""

    spread: Fraction = field(default_factory=Fraction)
    latency: Fraction = field(default_factory=Fraction)
    slippage: Fraction = field(default_factory=Fraction)
    fees: Fraction = field(default_factory=Fraction)
    partials: Fraction = field(default_factory=Fraction)
    rejects: Fraction = field(default_factory=Fraction)
    funding: Fraction = field(default_factory=Fraction)
    liquidation: Fraction = field(default_factory=Fraction)

    @property
    def total(self) -> Fraction:
        """The whole difference."""
        return sum((getattr(self, name) for name in PARTS), Fraction())

    def add(self, other: Parts) -> None:
        """Add another difference, part by part."""
        for name in PARTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def shown(self) -> dict[str, Decimal]:
        """Return decimals that add up to the rounded total: what rounding leaves is counted as slippage."""
        rounded = {name: as_decimal(getattr(self, name)) for name in PARTS}
        total = as_decimal(self.total)
        rounded["slippage"] += total - sum(rounded.values(), Decimal(0))
        return {**rounded, "total": total}


PARTS = tuple(part.name for part in fields(Parts))
"""In the order in which they are shown."""


def attribute(direction: int, decided: Decimal, final: Decimal, real: Execution, paper: Execution) -> Parts:
    """Return why one order earned what it did and not what paper says.

    Args:
        direction: +1 for a buy, -1 for a sale.
        decided: mid at the decision.
        final: price that everything is valued at in the end.
        real: what was recorded.
        paper: what the paper exchange makes of it.
    """
    parts = Parts()
    matched = min(real.quantity, paper.quantity)
    if matched:
        costs, expected = real.costs(final), paper.costs(final)
        for name, cost in costs.items():
            setattr(parts, name, matched * (expected[name] / paper.quantity - cost / real.quantity))
    gain = direction * (Fraction(final) - Fraction(decided))
    alone = _unmatched(real, matched, gain, final) - _unmatched(paper, matched, gain, final)
    if real.rejected or paper.rejected:
        parts.rejects = alone
    else:
        parts.partials = alone
    return parts


def _unmatched(execution: Execution, matched: Fraction, gain: Fraction, final: Decimal) -> Fraction:
    """Return what an execution earned with what the other one did not fill."""
    costs = sum(execution.costs(final).values(), Fraction())
    if not execution.quantity:
        return -costs
    return (execution.quantity - matched) * (gain - costs / execution.quantity)


def as_decimal(value: Fraction) -> Decimal:
    """Return an amount rounded to 12 decimals, however large it is."""
    scaled = round(value * 10**_PLACES)
    sign, digits = (1, -scaled) if scaled < 0 else (0, scaled)
    return Decimal((sign, tuple(map(int, str(digits))), -_PLACES))
