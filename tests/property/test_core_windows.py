"""Rolling sums never drift, and the threshold is exactly the comparison of squares."""

from __future__ import annotations

import itertools
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cdb_core.bars import Bar
from services.cdb_core.momentum import Rule, Windows
from services.cdb_core.settings import CoreSettings
from services.common.decimals import format_number
from services.common.errors import NumberOutOfContract
from services.common.fixed_point import CHANGE_LIMIT, change_e12, value_e8, wire_price
from tests.property.effort import examples

pytestmark = [pytest.mark.unit, pytest.mark.signal]

prices = st.one_of(
    st.decimals(min_value="95", max_value="105", places=2),
    st.decimals(min_value="0.00000001", max_value="9999999999", places=8),
)
volumes = st.integers(min_value=0, max_value=10**20)
bars = st.lists(st.tuples(prices, volumes), min_size=1, max_size=60)
multiples = st.decimals(min_value="0.1", max_value="5", places=3)


def rule(lookback: int, window: int, multiple: Decimal = Decimal("1.75")) -> Rule:
    """Return a rule with these windows and a floor that never hides the volatility."""
    return Rule.of(
        CoreSettings.model_validate(
            {
                "SIGNAL_LOOKBACK_MIN": lookback,
                "SIGNAL_VOL_WINDOW_MIN": max(lookback, window),
                "SIGNAL_VOL_MULT": multiple,
                "SIGNAL_THRESHOLD_PCT": "0.000000000001",
            }
        )
    )


def pushed(given_bars: list[tuple[Decimal, int]], *rules: Rule) -> Windows:
    """Return windows after all bars; every rule is in force for an equal share of them."""
    windows = Windows()
    for index, (close, volume) in enumerate(given_bars):
        windows.push(Bar(index, close, close, close, volume), rules[index * len(rules) // len(given_bars)])
    return windows


@given(bars, st.integers(1, 8), st.integers(2, 12))
@settings(derandomize=True, max_examples=examples(80), deadline=None)
def test_running_sums_equal_the_naive_sums(given_bars: list[tuple[Decimal, int]], lookback: int, window: int) -> None:
    """After any bars the windows hold what summing the last L and W bars from scratch gives, to the last digit."""
    in_force = rule(lookback, window)

    windows = pushed(given_bars, in_force)

    closes = [close for close, _ in given_bars]
    squares = [change_e12(now, before) ** 2 for before, now in itertools.pairwise(closes)]
    assert list(windows.closes) == closes[-lookback - 1 :]
    assert list(windows.squares) == squares[-in_force.vol_window_min :]
    assert windows.square_sum == sum(squares[-in_force.vol_window_min :])
    assert windows.volume_sum_e8 == sum(volume for _, volume in given_bars[-lookback:])


@given(bars, st.integers(1, 8), st.integers(1, 8))
@settings(derandomize=True, max_examples=examples(80), deadline=None)
def test_sums_stay_exact_when_the_windows_change(
    given_bars: list[tuple[Decimal, int]], first: int, second: int
) -> None:
    """Other settings half-way change the lengths, and the sums are still those of what the windows hold."""
    windows = pushed(given_bars, rule(first, 2 * first), rule(second, 2 * second))

    assert windows.square_sum == sum(windows.squares)
    assert windows.volume_sum_e8 == sum(windows.volumes_e8)
    assert len(windows.closes) <= max(first, second) + 1


@given(bars, st.integers(1, 8), multiples, st.integers(-2, 2))
@settings(derandomize=True, max_examples=examples(100), deadline=None)
def test_reaching_the_threshold_is_the_comparison_of_squares(
    given_bars: list[tuple[Decimal, int]], lookback: int, multiple: Decimal, offset: int
) -> None:
    """For any |m| on its grid, also next to T: |m| >= T if and only if m^2 >= k^2 s^2 L in exact fractions."""
    in_force = rule(lookback, max(2, lookback), multiple)
    windows = pushed(given_bars * 3, in_force)
    threshold = windows.threshold_e12(in_force)
    if threshold is None:
        return
    variance = Fraction(windows.square_sum, len(windows.squares))

    for momentum in {max(threshold + offset, 1), abs(windows.momentum_e12(in_force) or 1)}:
        reaches = Fraction(momentum) ** 2 >= Fraction(multiple) ** 2 * variance * lookback and momentum >= 1
        assert (momentum >= threshold) is reaches


@given(prices, prices)
@settings(derandomize=True, max_examples=examples(100), deadline=None)
def test_a_change_is_the_exact_return_on_its_grid(now: Decimal, before: Decimal) -> None:
    """The change is the exact return, rounded to 10^-12, and limited at a factor of a thousand."""
    exact = Fraction(now) / Fraction(before) - 1

    found = Fraction(change_e12(now, before), 10**12)

    assert abs(found - min(exact, CHANGE_LIMIT - 1)) <= Fraction(51, 100 * 10**12)


@given(st.decimals(min_value=0, max_value=10**13, places=12))
@settings(derandomize=True, max_examples=examples(100), deadline=None)
def test_traded_value_is_cut_to_its_grid_and_never_invented(value: Decimal) -> None:
    """The whole units are at most the value and less than one unit of 10^-8 under it, up to a trillion USDT."""
    exact = min(Fraction(value), Fraction(10) ** 12) * 10**8

    found = value_e8(value)

    assert exact - 1 < found <= exact


@given(
    st.builds(
        lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(1, 10**28 - 1), st.integers(-40, 12)
    )
)
@settings(derandomize=True, max_examples=examples(100), deadline=None)
def test_any_price_can_be_made_to_stand_on_the_wire(price: Decimal) -> None:
    """However large or fine, a price is written as a wire number, and not changed where it already was one."""
    text = format_number(wire_price(price))

    try:
        unchanged = format_number(price)
    except NumberOutOfContract:
        assert abs(Decimal(text) - min(price, Decimal(10) ** 28)) <= max(price * Decimal("1e-27"), Decimal("5e-19"))
    else:
        assert text == unchanged
