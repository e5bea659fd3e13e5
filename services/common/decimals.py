"""Money arithmetic: one fixed context, one division, and rounding onto exchange grids.

All money is `decimal.Decimal`. Additions and products of wire numbers are exact within the context's 28 digits;
everything that cannot be exact (division, square root) goes through this module, so that equal inputs give equal
digits on every machine.
"""

from __future__ import annotations

from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    FloatOperation,
    InvalidOperation,
    Overflow,
    setcontext,
)
from functools import cache

from services.common.errors import NumberOutOfContract

__all__ = [
    "FIXED",
    "ONE",
    "ZERO",
    "ceil_to",
    "clamp",
    "divide",
    "floor_to",
    "format_number",
    "quantise",
    "square_root",
    "truncate",
    "use_fixed_context",
    "wire_form",
]

FIXED = Context(
    prec=28,
    rounding=ROUND_HALF_EVEN,
    Emin=-999999,
    Emax=999999,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[InvalidOperation, DivisionByZero, Overflow, FloatOperation],
)
"""The context of all money arithmetic: 28 digits, half-even, and a trap for every mixture with floats."""

ZERO = Decimal(0)
ONE = Decimal(1)

MAX_SIGNIFICANT_DIGITS = 28
MAX_DECIMALS = 18
_SHORT = 20


def use_fixed_context() -> None:
    """Make :data:`FIXED` the context of the calling thread. Every thread that computes money calls this first."""
    setcontext(FIXED.copy())


@cache
def _grid(places: int) -> Decimal:
    return Decimal((0, (1,), -places))


def divide(numerator: Decimal, denominator: Decimal, places: int = 12) -> Decimal:
    """Return numerator / denominator, rounded half-even to `places` decimals.

    Raises:
        DivisionByZero, InvalidOperation: a zero denominator, or a result beyond 28 digits.
    """
    return FIXED.quantize(FIXED.divide(numerator, denominator), _grid(places))


def square_root(value: Decimal, places: int = 12) -> Decimal:
    """Return the square root of `value`, rounded half-even to `places` decimals."""
    return FIXED.quantize(FIXED.sqrt(value), _grid(places))


def quantise(value: Decimal, places: int) -> Decimal:
    """Round `value` half-even to `places` decimals."""
    return FIXED.quantize(value, _grid(places))


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Round `value` down onto the grid of `step` (a lot size or price tick, > 0); negative values go away from zero."""
    return FIXED.multiply(FIXED.divide(value, step).to_integral_value(ROUND_FLOOR), step)


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Round `value` up onto the grid of `step` (> 0)."""
    return FIXED.multiply(FIXED.divide(value, step).to_integral_value(ROUND_CEILING), step)


def clamp(value: Decimal, low: Decimal, high: Decimal) -> Decimal:
    """Return `value` limited to the closed interval [low, high]."""
    return low if value < low else min(value, high)


def format_number(value: Decimal) -> str:
    """Return the one wire form of a money number.

    Plain JSON number: no exponent, trailing zeros stripped, `.0` if integral, minus zero is `0.0`.

    Raises:
        NumberOutOfContract: not finite, over 28 significant digits, or over 18 decimals.
    """
    if not value.is_finite():
        raise NumberOutOfContract(f"{value} is not a finite number")
    if not value:
        return "0.0"
    plain = str(value)
    if len(plain) <= _SHORT and "E" not in plain:  # at most 19 digits and 18 decimals: in contract without counting
        if "." not in plain:
            return plain + ".0"
        plain = plain.rstrip("0")
        return plain + "0" if plain[-1] == "." else plain
    if value.adjusted() >= MAX_SIGNIFICANT_DIGITS or value.adjusted() < -MAX_DECIMALS:
        raise NumberOutOfContract(f"{value} is outside the range of a wire number (28 digits, 18 decimals)")
    text = format(value, "f")
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    digits = len((whole.lstrip("-") + fraction).lstrip("0"))
    if len(fraction) > MAX_DECIMALS or digits > MAX_SIGNIFICANT_DIGITS:
        raise NumberOutOfContract(f"{value} has over {MAX_SIGNIFICANT_DIGITS} digits or {MAX_DECIMALS} decimals")
    return f"{whole}.{fraction or '0'}"


def wire_form(value: Decimal) -> Decimal:
    """Return the number as it comes back from the wire: `39095` is `39095.0` there, and `1.50` is `1.5`.

    Equal numbers with other digits are equal in every computation, but not in a text that shows them.
    """
    text = str(value)
    if text[-1] != "0" and "." in text and "E" not in text:
        return value
    return Decimal(format_number(value))


def truncate(value: Decimal, places: int) -> Decimal:
    """Cut `value` to `places` decimals, toward zero."""
    return value.quantize(_grid(places), ROUND_DOWN, FIXED)
