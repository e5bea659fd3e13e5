"""Values as a user's plain dict has them: absent, good, or bad. Reading one never raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

from services.cdb_risk.finding import Finding, bad_value
from services.common.decimals import FIXED, ZERO
from services.common.timestamps import parse_timestamp

__all__ = ["GREATEST", "Given", "Plain", "amount", "choice", "fraction", "instant", "price", "signed", "switch"]

Plain = Mapping[Any, Any]
ValueT = TypeVar("ValueT")

GREATEST = Decimal(10) ** 12
_LEAST_PRICE = Decimal("0.000001")
_GREATEST_PRICE = Decimal(10) ** 9


@dataclass(frozen=True)
class Given(Generic[ValueT]):
    """One value of a dict.

    Attributes:
        name: the key that was found, or the one that was looked for.
        value: None when it is absent or bad.
        fault: the finding when it is there but bad.
    """

    name: str
    value: ValueT | None = None
    fault: Finding | None = None

    @property
    def present(self) -> bool:
        """Whether the key is there, good or bad."""
        return self.value is not None or self.fault is not None


def _raw(source: Plain, names: tuple[str, ...]) -> tuple[str, Any, bool]:
    for name in names:
        if name in source:
            return name, source[name], True
    return names[0], None, False


def _number(source: Plain, names: tuple[str, ...], low: Decimal, high: Decimal) -> Given[Decimal]:
    name, raw, present = _raw(source, names)
    if not present:
        return Given(name)
    if isinstance(raw, bool) or not isinstance(raw, int | float | Decimal):
        return Given(name, fault=bad_value(name, raw))
    # a float is meant as it is written: 0.05 is five hundredths, not the nearest binary fraction
    number = Decimal(float.__repr__(raw)) if isinstance(raw, float) else Decimal(raw)
    if not number.is_finite() or not low <= number <= high:
        return Given(name, fault=bad_value(name, raw))
    return Given(name, FIXED.plus(number))


def amount(source: Plain, *names: str) -> Given[Decimal]:
    """Read a number from 0 to a trillion: money or a quantity."""
    return _number(source, names, ZERO, GREATEST)


def signed(source: Plain, *names: str) -> Given[Decimal]:
    """Read a number between minus and plus a trillion: a profit or loss."""
    return _number(source, names, -GREATEST, GREATEST)


def price(source: Plain, *names: str) -> Given[Decimal]:
    """Read a price between a millionth and a billion."""
    return _number(source, names, _LEAST_PRICE, _GREATEST_PRICE)


def fraction(source: Plain, *names: str) -> Given[Decimal]:
    """Read a share between 0 and 1."""
    return _number(source, names, ZERO, Decimal(1))


def instant(source: Plain, *names: str) -> Given[int]:
    """Read a time (ISO 8601, or epoch seconds or milliseconds) as microseconds."""
    name, raw, present = _raw(source, names)
    if not present:
        return Given(name)
    if isinstance(raw, float):
        raw = Decimal(float.__repr__(raw))
    try:
        return Given(name, parse_timestamp(raw))
    except (ValueError, ArithmeticError):
        return Given(name, fault=bad_value(name, raw))


def switch(source: Plain, *names: str) -> Given[bool]:
    """Read a truth value; nothing but true and false is one."""
    name, raw, present = _raw(source, names)
    if not present:
        return Given(name)
    return Given(name, raw) if isinstance(raw, bool) else Given(name, fault=bad_value(name, raw))


def choice(source: Plain, allowed: tuple[str, ...], *names: str) -> Given[str]:
    """Read one of a few words, in any case; the word comes back as it stands in `allowed`."""
    name, raw, present = _raw(source, names)
    if not present:
        return Given(name)
    if isinstance(raw, str):
        for word in allowed:
            if word.lower() == raw.strip().lower():
                return Given(name, word)
    return Given(name, fault=bad_value(name, raw))
