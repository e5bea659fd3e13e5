"""Prices of an order: the touch it meets, its protection price, and the slippage to expect."""

from __future__ import annotations

from decimal import Decimal

from services.cdb_risk.market import Quote
from services.common.decimals import ONE, ZERO, ceil_to, divide, floor_to, square_root
from services.common.events import Side
from services.common.instruments import InstrumentSpec

__all__ = [
    "ENTRY_PROTECTION_PCT",
    "EXIT_PROTECTION_PCT",
    "escalated_protection",
    "expected_slippage",
    "opposing_size",
    "protection_price",
    "resting_price",
    "touch",
    "worst_price",
    "worth_enough",
]

ENTRY_PROTECTION_PCT = Decimal("0.002")
EXIT_PROTECTION_PCT = Decimal("0.004")

_LEAST_STEP = Decimal("0.00005")
_HALF = Decimal("0.5")
_THINNEST = 1_000_000
"""An order larger than this many times what is there has no price that a model could name."""


def touch(side: Side, quote: Quote) -> Decimal:
    """Return the price that an order of this side meets first."""
    return quote.ask if side == "BUY" else quote.bid


def opposing_size(side: Side, quote: Quote) -> Decimal | None:
    """Return what stands at the touch, in base units; None when the feed does not say."""
    return quote.ask_size if side == "BUY" else quote.bid_size


def protection_price(side: Side, at: Decimal, pct: Decimal, tick: Decimal) -> Decimal:
    """Return the worst price an order may fill at: the touch `at` +- pct, rounded to the tick toward the touch."""
    if side == "BUY":
        return max(floor_to(at * (ONE + pct), tick), ceil_to(at, tick))
    return min(ceil_to(at * (ONE - pct), tick), max(floor_to(at, tick), tick))


def resting_price(side: Side, quote: Quote, tick: Decimal) -> Decimal:
    """Return the price at which an order rests at the touch of its own side, on the tick grid away from the other."""
    return max(floor_to(quote.bid, tick), tick) if side == "BUY" else ceil_to(quote.ask, tick)


def worth_enough(side: Side, price: Decimal, quantity: Decimal, quote: Quote, spec: InstrumentSpec) -> Decimal:
    """Return a sale's protective price, moved up where at it the order would be under the smallest value taken.

    The exchange measures an order's value at its limit. Where not even the touch is worth enough, nothing is moved.
    """
    if side == "BUY" or not quantity or price * quantity >= spec.min_notional:
        return price
    least = ceil_to(divide(spec.min_notional, quantity), spec.tick_size)
    return least if least <= quote.bid and least * quantity >= spec.min_notional else price


def escalated_protection(attempt: int, most: Decimal) -> Decimal | None:
    """Return the protection of a protective exit's attempt (0 is the first); None means MARKET.

    It doubles with each attempt: 0.004, 0.008, 0.016, ... until `most`, which is tried once.
    """
    step = EXIT_PROTECTION_PCT
    for _ in range(attempt):
        if step >= most:
            return None
        step += step
    return min(step, most)


def worst_price(limit: Decimal, fee: Decimal) -> Decimal:
    """Return what one base unit can cost at most: protection price * (1 + fee)."""
    return limit * (ONE + fee)


def expected_slippage(
    side: Side, quantity: Decimal, quote: Quote, *, volume_60s: Decimal, volatility_1m: Decimal, tick: Decimal
) -> Decimal | None:
    """Return the slippage to expect if the whole order fills now, as a fraction of mid; None when depth is unknown.

    The paper model of trading.md section 3, rules 4, 5 and 8: what the touch holds at the touch, the rest at
    touch * (1 + d * delta * (1 + q2 / A) / 2), the whole * (1 + d * sigma * sqrt(q / V60)); without volume A takes
    V60's place. delta = max(tick / touch, 0.00005, half-spread).
    """
    size = opposing_size(side, quote)
    if size is None or not size or quantity > size * _THINNEST:
        return None
    liquidity = volume_60s or size
    if quantity > liquidity * _THINNEST:
        return None
    direction = 1 if side == "BUY" else -1
    price, mid = touch(side, quote), quote.mid
    half_spread = divide(quote.ask - quote.bid, mid) * _HALF
    delta = max(divide(tick, price), _LEAST_STEP, half_spread)
    at_touch = min(quantity, size)
    beyond = quantity - at_touch
    deeper = price * (ONE + direction * delta * (ONE + divide(beyond, size)) * _HALF) if beyond else ZERO
    average = divide(at_touch * price + beyond * deeper, quantity)
    impacted = average * (ONE + direction * volatility_1m * square_root(divide(quantity, liquidity)))
    return direction * (divide(impacted, mid) - ONE)
