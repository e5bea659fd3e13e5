"""The one encoder and the one decoder: canonical bytes, exact numbers, nothing that has no place in an event."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from services.common.codec import decode, encode, encode_state
from services.common.errors import ContractViolation, NumberOutOfContract

pytestmark = pytest.mark.unit


class Colour(enum.Enum):
    """An enumeration as states use them."""

    RED = "red"


@dataclass
class Point:
    """A record as states use them; its fields are not in alphabetical order on purpose."""

    y: Decimal
    x: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (Decimal("1.50"), "1.5"),
        (Decimal(7), "7.0"),
        (Decimal("-0"), "0.0"),
        (Decimal("1E+3"), "1000.0"),
        ('a"ü\n', '"a\\"ü\\n"'),
        ([1, Decimal(1)], "[1,1.0]"),
        ((1, "x"), '[1,"x"]'),
        (deque([1]), "[1]"),
        ({"b": 1, "a": {"d": 1, "c": 2}}, '{"a":{"c":2,"d":1},"b":1}'),
        (Colour.RED, '"red"'),
        (Point(Decimal(2), 1), '{"x":1,"y":2.0}'),
    ],
)
def test_canonical_text(value: Any, text: str) -> None:
    """Keys sorted, no spaces, money with a fraction and without trailing zeros, integers as integers."""
    assert encode(value) == text.encode()


@pytest.mark.parametrize("value", [1.5, {"a": [1.0]}, Decimal("NaN"), Decimal("Infinity"), Decimal("1E-19")])
def test_floats_and_unfit_numbers_have_no_place(value: Any) -> None:
    """Money never passes through a float, and what the wire cannot carry is refused."""
    with pytest.raises(NumberOutOfContract):
        encode(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", "\ud800"])
def test_foreign_types_and_broken_text_are_refused(value: Any) -> None:
    """Objects, sets, bytes and text that is no Unicode cannot stand in an event."""
    with pytest.raises(ContractViolation):
        encode(value)


def test_numbers_keep_their_digits() -> None:
    """Fractions become Decimal with all digits, integers int."""
    assert decode(b'{"a":0.1000000000000000000000001,"b":12345678901234567890}') == {
        "a": Decimal("0.1000000000000000000000001"),
        "b": 12_345_678_901_234_567_890,
    }


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"NaN", b'{"a":Infinity}', b"[-Infinity]", b'{"a":1,"a":2}', b"\xff", b"[" * 100_000, b"1" * 5_000],
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """Broken text, NaN and Infinity, a doubled key, no UTF-8, endless nesting and endless integers."""
    with pytest.raises(ContractViolation):
        decode(data)


def test_states_keep_order_and_all_digits() -> None:
    """A state dump keeps insertion order and digits beyond the wire, without trailing zeros."""
    value = {"b": Decimal("0.12345678901234567890123"), "a": [Decimal(7), Decimal("-0.0"), Decimal("1E+2")]}
    text = encode_state({"s": value, "p": Point(Decimal("1.500"), 2), "q": deque([Colour.RED])})
    assert text == b'{"s":{"b":0.12345678901234567890123,"a":[7.0,0.0,100.0]},"p":{"y":1.5,"x":2},"q":["red"]}'


@pytest.mark.parametrize("value", [Decimal("NaN"), 1.5])
def test_states_refuse_floats_and_nan(value: Any) -> None:
    """A state that cannot be trusted is not written."""
    with pytest.raises(NumberOutOfContract):
        encode_state([value])
