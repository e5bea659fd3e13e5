"""Money arithmetic: one division, grids, and the one wire form of a number."""

from __future__ import annotations

import threading
from decimal import Decimal, DivisionByZero, FloatOperation, InvalidOperation, getcontext, setcontext

import pytest

from services.common.decimals import (
    FIXED,
    ceil_to,
    clamp,
    divide,
    floor_to,
    format_number,
    quantise,
    square_root,
    truncate,
    use_fixed_context,
)
from services.common.errors import NumberOutOfContract

pytestmark = pytest.mark.unit


def test_division_is_rounded_half_even_to_its_places() -> None:
    """1/3 to 12 places; ties go to the even digit; other places on request."""
    assert divide(Decimal(1), Decimal(3)) == Decimal("0.333333333333")
    assert divide(Decimal(1), Decimal(8), 2) == Decimal("0.12")
    assert divide(Decimal(3), Decimal(8), 2) == Decimal("0.38")
    assert quantise(Decimal("2.5"), 0) == 2
    assert square_root(Decimal(2), 4) == Decimal("1.4142")
    assert truncate(Decimal("-1.239"), 2) == Decimal("-1.23")


def test_division_refuses_what_has_no_answer() -> None:
    """By zero, and beyond 28 digits."""
    with pytest.raises(DivisionByZero):
        divide(Decimal(1), Decimal(0))
    with pytest.raises(InvalidOperation):
        divide(Decimal(10) ** 20, Decimal("1E-10"))


def test_division_ignores_the_context_of_the_thread() -> None:
    """A sloppy context elsewhere changes no digit."""
    context = FIXED.copy()
    context.prec = 3
    setcontext(context)
    try:
        assert divide(Decimal(2), Decimal(3)) == Decimal("0.666666666667")
        assert floor_to(Decimal("1234567.89"), Decimal("0.01")) == Decimal("1234567.89")
    finally:
        use_fixed_context()


def test_floats_are_trapped_in_the_fixed_context() -> None:
    """Every thread that computes money refuses to mix it with floats."""
    caught: list[type[BaseException]] = []

    def work() -> None:
        use_fixed_context()
        assert getcontext().prec == 28
        try:
            Decimal(1) < 0.5  # noqa: B015 -- the comparison itself is what is forbidden
        except FloatOperation as error:
            caught.append(type(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert caught == [FloatOperation]


def test_grids() -> None:
    """Down and up onto a step that need not be a power of ten; what lies on it stays."""
    assert floor_to(Decimal("1.27"), Decimal("0.05")) == Decimal("1.25")
    assert floor_to(Decimal("-1.27"), Decimal("0.05")) == Decimal("-1.30")
    assert floor_to(Decimal("1.25"), Decimal("0.05")) == Decimal("1.25")
    assert ceil_to(Decimal("1.26"), Decimal("0.05")) == Decimal("1.30")
    assert ceil_to(Decimal("1.25"), Decimal("0.05")) == Decimal("1.25")


def test_clamp() -> None:
    """Limited to the closed interval."""
    assert [clamp(Decimal(x), Decimal(1), Decimal(3)) for x in (0, 1, 2, 3, 4)] == [1, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "0.0"),
        ("-0.00", "0.0"),
        ("1", "1.0"),
        ("1.10", "1.1"),
        ("-12.50", "-12.5"),
        ("1E+5", "100000.0"),
        ("1E-18", "0.000000000000000001"),
        ("9999999999999999999999999999", "9999999999999999999999999999.0"),
        ("0.1000000000000000000000000000", "0.1"),
    ],
)
def test_the_one_wire_form(value: str, text: str) -> None:
    """Plain, no exponent, no trailing zeros, `.0` if integral, no minus zero."""
    assert format_number(Decimal(value)) == text


@pytest.mark.parametrize(
    "value", ["NaN", "sNaN", "Infinity", "1E+28", "1E-19", "1E+999999", "1E-999999", "12345678901.123456789012345678"]
)
def test_what_cannot_stand_on_the_wire(value: str) -> None:
    """Not finite, over 28 digits, over 18 decimals; huge exponents are refused without writing them out."""
    with pytest.raises(NumberOutOfContract):
        format_number(Decimal(value))
