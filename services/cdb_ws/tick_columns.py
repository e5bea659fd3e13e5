"""Lines of a tick file become columns without one object a row: there are millions of them.

Whatever is not plain is left to the reader that knows each row (`ticks.py`), which reads it or says what is wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from operator import le
from typing import Final

from services.cdb_ws.numbers import plain_number
from services.common.codec import decode
from services.common.errors import ContractViolation

__all__ = ["NOT_NEGATIVE", "POSITIVE", "NotPlainError", "columns_of", "lines_by_symbol", "times_of"]

_STAMP: Final = 13
"""Digits of milliseconds since 1970 from 2001 to 2286."""
_LEAST_US: Final = 10**15
_TOO_LATE_US: Final = 10**16
_REMEMBERED: Final = 1 << 16


class NotPlainError(Exception):
    """The rows are to be read one by one."""


class _Numbers(dict[str, Decimal]):
    """Numbers by their text: prices and sizes repeat, so most are known already."""

    def __init__(self, *, above_zero: bool) -> None:
        super().__init__()
        self._above_zero = above_zero

    def __missing__(self, text: str) -> Decimal:
        value = plain_number(text)
        if value is None or (self._above_zero and not value):
            raise NotPlainError
        if len(self) >= _REMEMBERED:
            self.clear()
        self[text] = value
        return value

    def of(self, texts: Iterable[str]) -> Sequence[Decimal]:
        """Return the numbers that these texts are.

        Raises:
            NotPlainError: one of them is no plain number.
        """
        return tuple(map(self.__getitem__, texts))


NOT_NEGATIVE: Final = _Numbers(above_zero=False)
POSITIVE: Final = _Numbers(above_zero=True)


def lines_by_symbol(lines: Sequence[str]) -> dict[str, list[str]]:
    """Return lines by their second field.

    Raises:
        NotPlainError: a line has no second field, or the first fields are not plain milliseconds in ascending order.
    """
    stamps = [line[:_STAMP] for line in lines]
    if not all(map(le, stamps, stamps[1:])):
        raise NotPlainError
    by_symbol: dict[str, list[str]] = defaultdict(list)
    try:
        for line in lines:
            by_symbol[line.split(",", 2)[1]].append(line)
    except IndexError:
        raise NotPlainError from None
    return by_symbol


def columns_of(lines: Sequence[str], count: int) -> list[list[str]]:
    """Return the fields of lines by column.

    Raises:
        NotPlainError: a line has not `count` fields.
    """
    ends = ",\n,"
    fields = ends.join(lines).split(",")
    # a field "\n" stands where a line ends and nowhere else, so these two say that every line has `count` fields
    if len(fields) != (count + 1) * len(lines) - 1 or fields[count :: count + 1].count("\n") != len(lines) - 1:
        raise NotPlainError
    return [fields[place :: count + 1] for place in range(count)]


def times_of(stamps: Sequence[str]) -> list[int]:
    """Return milliseconds since 1970 as microseconds.

    A scanner of JSON reads a column of whole numbers in half the time that `int` takes for each. Of 13 characters and
    three zeros it makes a number of 16 digits only if they are 16 digits.

    Raises:
        NotPlainError: one of them is not written in 13 digits, or they are not in ascending order.
    """
    try:
        times: list[int] = decode(f"[{'000,'.join(stamps)}000]")
    except ContractViolation:
        raise NotPlainError from None
    if (
        set(map(len, stamps)) != {_STAMP}
        or times != sorted(times)
        or not _LEAST_US <= times[0] <= times[-1] < _TOO_LATE_US
    ):
        raise NotPlainError
    return times
