"""Properties of the foundation: exact bytes, grids, times, and books that balance whatever is filled."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.codec import decode, encode, encode_state
from services.common.decimals import ceil_to, divide, floor_to, format_number, quantise, square_root
from services.common.errors import IllegalTransition
from services.common.events import OrderResult
from services.common.identity import derive_id
from services.common.instruments import normalise_symbol
from services.common.portfolio import Mark, Portfolio
from services.common.timestamps import format_timestamp, parse_timestamp

pytestmark = pytest.mark.unit

WIRE = st.builds(
    lambda digits, places: Decimal(digits).scaleb(-places), st.integers(-(10**20), 10**20), st.integers(0, 18)
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | WIRE | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
STEPS = st.sampled_from([Decimal("0.01"), Decimal("0.000001"), Decimal("0.05"), Decimal("0.001"), Decimal(1)])


def undressed(value: Any) -> Any:
    """Return the same value with its numbers in another dress: trailing zeros, other exponents, mappings reversed."""
    if isinstance(value, Decimal):
        return value.normalize() if value else Decimal("-0.000")
    if isinstance(value, dict):
        return {key: undressed(value[key]) for key in reversed(list(value))}
    if isinstance(value, list):
        return tuple(undressed(item) for item in value)
    return value


@given(VALUES)
def test_what_is_encoded_is_decoded_to_the_same(value: Any) -> None:
    """decode(encode(x)) == x, and encoding that again gives the same bytes."""
    data = encode(value)
    assert decode(data) == value
    assert encode(decode(data)) == data


@given(VALUES)
def test_equal_values_give_equal_bytes(value: Any) -> None:
    """Trailing zeros, minus zero, key order and kinds of sequence leave no trace."""
    assert encode(undressed(value)) == encode(value)


@given(VALUES)
def test_states_are_restored_to_the_same_bytes(value: Any) -> None:
    """A dump read back and dumped again is the same, with keys in their order."""
    data = encode_state(value)
    assert encode_state(decode(data)) == data
    assert decode(data) == value


@given(WIRE)
def test_wire_numbers_lose_nothing(value: Decimal) -> None:
    """Reading what was written gives the same number; there is one form only."""
    text = format_number(value)
    assert Decimal(text) == value
    assert format_number(Decimal(text)) == text
    assert "E" not in text
    assert "." in text


@given(st.decimals("-1000000", "1000000", places=9), STEPS)
def test_grids_enclose_the_value(value: Decimal, step: Decimal) -> None:
    """Floor <= value <= ceil, less than a step apart, both on the grid."""
    low, high = floor_to(value, step), ceil_to(value, step)
    assert low <= value <= high
    assert high - low in {Decimal(0), step}
    assert floor_to(low, step) == low == ceil_to(low, step)


@given(st.decimals("-1000000", "1000000", places=6), st.decimals("0.000001", "1000000", places=6))
def test_division_is_within_half_a_unit_of_its_last_place(numerator: Decimal, denominator: Decimal) -> None:
    """The quotient times the divisor is the dividend, to half of 10^-12 of the divisor."""
    quotient = divide(numerator, denominator)
    assert abs(quotient * denominator - numerator) <= Decimal("0.5e-12") * denominator
    assert quotient == quantise(quotient, 12)


@given(st.decimals("0", "1000000", places=8))
def test_square_roots_square_back(value: Decimal) -> None:
    """To the precision of twelve places."""
    root = square_root(value)
    assert abs(root * root - value) <= Decimal("1e-12") * (2 * root + 1)


@given(st.integers(100_000_000_000_000, 253_402_300_799_999_999))
def test_times_survive_the_wire(timestamp_us: int) -> None:
    """From 1973 on microseconds, ISO 8601 and back."""
    assert parse_timestamp(format_timestamp(timestamp_us)) == timestamp_us
    assert parse_timestamp(timestamp_us) == timestamp_us


@given(st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=4))
def test_ids_differ_when_their_parts_do(one: list[str], two: list[str]) -> None:
    """Parts are length-prefixed: no two different lists meet."""
    assert (derive_id(*one) == derive_id(*two)) is (one == two)


@given(st.text(max_size=25))
def test_symbols_are_canonical_or_refused(raw: str) -> None:
    """What comes out is its own canonical form."""
    try:
        symbol = normalise_symbol(raw)
    except ValueError:
        return
    assert normalise_symbol(symbol) == symbol
    assert 5 <= len(symbol) <= 20
    assert symbol.isascii()


FILLS = st.lists(
    st.tuples(
        st.sampled_from(["BUY", "BUY", "SELL"]),
        st.decimals("0.000001", "2", places=6),
        st.decimals("0.01", "100000", places=2),
        st.sampled_from(["USDT", "BTC", None]),
        st.booleans(),
    ),
    max_size=25,
)


@given(FILLS, st.decimals("0.01", "100000", places=3))
def test_books_balance_after_any_fills(fills: list[Any], mark: Decimal) -> None:
    """Equity = cash + quantity * mark = initial + realised + unrealised - fees, to the last digit, also repeated."""
    portfolio = Portfolio.with_cash(Decimal(1_000_000))
    portfolio.marks["mexc_spot:BTCUSDT"] = Mark(mark, 1)
    for index, (side, quantity, price, fee_currency, repeated) in enumerate(fills):
        held = portfolio.position("mexc_spot", "BTCUSDT").quantity
        fee = quantity * Decimal("0.0005") * (1 if fee_currency == "BTC" else price)
        if fee_currency == "BTC" and side == "SELL":
            fee_currency = "USDT"  # noqa: PLW2901 -- the exchange takes its fee from what is received
        result = OrderResult(
            event_id="r", timestamp=10**15, producer="cdb_execution", order_id=f"o{index}", client_order_id="c",
            status="FILLED", venue="mexc_spot", symbol="BTCUSDT", side=side, quantity=quantity,
            filled_quantity=quantity, last_quantity=quantity, last_price=price, fee=fee, fee_currency=fee_currency,
        )  # fmt: skip
        if side == "SELL" and quantity > held:
            with pytest.raises(IllegalTransition):
                portfolio.book(result)
            portfolio.booked.pop(result.order_id)
            continue
        assert portfolio.book(result) == quantity
        if repeated:
            assert portfolio.book(result) == 0
    position = portfolio.position("mexc_spot", "BTCUSDT")
    assert position.quantity >= 0
    assert portfolio.equity == portfolio.cash + position.quantity * mark
    unrealized = portfolio.unrealized_pnl
    assert unrealized is not None
    assert portfolio.equity == 1_000_000 + portfolio.realized_pnl + unrealized - portfolio.fees
    if not position.quantity:
        assert position.cost == 0
