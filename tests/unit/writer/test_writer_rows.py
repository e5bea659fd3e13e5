"""Rows as PostgreSQL gets them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

import pytest

from services.cdb_writer.rows import Row

pytestmark = pytest.mark.unit


@dataclass
class Amounts(Row):
    """A row with numbers alone."""

    table: ClassVar[str] = "amounts"
    key: ClassVar[tuple[str, ...]] = ("first",)
    replaces: ClassVar[bool] = False

    first: Decimal
    second: Decimal | None


@pytest.mark.parametrize(
    ("one", "other"),
    [("0E-8", "0E-7"), ("1.50", "1.5"), ("100", "1E+2"), ("12.000000", "12"), ("-0.00", "0")],
)
def test_equal_numbers_are_stored_in_one_form(one: str, other: str) -> None:
    """NUMERIC keeps trailing zeros, so equal numbers reach it with equal text: a dump does not tell a restart."""
    row, twin = Amounts(Decimal(one), None), Amounts(Decimal(other), None)

    assert str(row.values()) == str(twin.values())
