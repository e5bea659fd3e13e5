"""Properties of sizing for all inputs: never negative, never over the caps, zero on the unknown."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.cdb_core.bars import BarBuilder
from services.cdb_core.momentum import Rule, Windows
from services.cdb_core.settings import CoreSettings
from services.cdb_risk.estimators import Estimate, Estimator
from services.cdb_risk.service import RiskManager
from services.cdb_risk.settings import SIZING_METHODS, RiskSettings
from services.cdb_risk.sizing import Request, atr_based, fixed_fractional, kelly_criterion, volatility_targeting
from services.cdb_risk.virtual_trips import TripStatistics
from services.common.codec import decode, encode_state
from services.common.events import MarketData
from services.common.timestamps import MINUTE_US
from tests.property.effort import examples
from tests.unit.risk.risk_desk import BTC, START_US, RiskDesk, layer

pytestmark = [pytest.mark.unit, pytest.mark.risk]

EQUITIES = st.decimals(Decimal("0.01"), Decimal(10) ** 12, places=6)
PRICES = st.decimals(Decimal("0.000001"), Decimal(10) ** 9, places=6)
SHARES = st.decimals(0, 1, places=6)
SOME = st.decimals(Decimal("0.001"), 1, places=6)
VALUES = st.decimals(0, Decimal(10) ** 9, places=12)
ANY_NUMBER = st.none() | st.decimals(allow_nan=True, allow_infinity=True) | VALUES
STEP = Decimal("0.00000001")

Method = Callable[[Decimal | None, Decimal | None, Decimal], Request]


def _estimate(value: Decimal | None) -> Estimate:
    return Estimate(value, 1, 1, "values")


@st.composite
def methods(draw: st.DrawFn, numbers: st.SearchStrategy[Any] = VALUES) -> Method:
    """Return a method whose estimates are drawn, as a function of equity, price and its share setting."""
    first, second = draw(numbers), draw(numbers)
    if draw(st.booleans()):
        rate = draw(SHARES if numbers is VALUES else ANY_NUMBER)
        return lambda equity, price, share: kelly_criterion(
            equity, price, TripStatistics(rate, first, second, 30), share
        )
    multiple = draw(st.decimals(Decimal("0.1"), 100, places=3))
    stop = draw(st.decimals(Decimal("0.0001"), Decimal("0.99"), places=4))
    return draw(
        st.sampled_from(
            [
                lambda equity, price, share: fixed_fractional(equity, price, share, stop),
                lambda equity, price, share: volatility_targeting(equity, price, _estimate(first), share),
                lambda equity, price, share: atr_based(equity, price, _estimate(first), share, multiple),
            ]
        )
    )


@given(method=methods(), equity=EQUITIES, price=PRICES, share=SHARES)
def test_a_request_is_never_negative_and_never_worth_more_than_the_equity(
    method: Method, equity: Decimal, price: Decimal, share: Decimal
) -> None:
    """Whatever the estimates: 0 <= quantity * price <= equity, but for half a step of the last digit."""
    request = method(equity, price, share)

    if request.quantity is None:
        assert request.refusal is not None
    else:
        assert request.quantity >= 0
        assert (request.quantity - STEP) * price <= equity


@given(method=methods(), equities=st.tuples(EQUITIES, EQUITIES), price=PRICES, shares=st.tuples(SHARES, SHARES))
def test_more_equity_and_more_risk_never_ask_for_less(
    method: Method, equities: tuple[Decimal, Decimal], price: Decimal, shares: tuple[Decimal, Decimal]
) -> None:
    """Monotone in both."""
    smaller = method(min(equities), price, min(shares)).quantity
    more_equity, more_risk = method(max(equities), price, min(shares)), method(min(equities), price, max(shares))

    if smaller is None:
        assert more_equity.quantity is None
        assert more_risk.quantity is None
    else:
        assert more_equity.quantity is not None
        assert more_equity.quantity >= smaller
        assert more_risk.quantity is not None
        assert more_risk.quantity >= smaller


@given(method=methods(ANY_NUMBER), equity=ANY_NUMBER, price=ANY_NUMBER, share=SHARES)
@settings(max_examples=examples(300))
def test_unknown_and_non_finite_inputs_never_raise_and_never_ask(
    method: Method, equity: Decimal | None, price: Decimal | None, share: Decimal
) -> None:
    """What comes out is a finite quantity of usable inputs, or nothing with a reason; recorded inputs are finite."""
    request = method(equity, price, share)

    assert all(value is None or value.is_finite() for value in request.inputs.values())
    if request.quantity is None:
        assert request.refusal is not None
    else:
        assert request.quantity.is_finite()
        assert equity is not None
        assert price is not None


GOOD_KEYS = st.fixed_dictionaries(
    {
        "volatility": st.floats(0, 2),
        "atr": st.floats(0.1, 2_000),
        "win_rate": st.floats(0.3, 1),
        "avg_win": st.floats(0.001, 0.1),
        "avg_loss": st.floats(0.001, 0.02),
    }
)
ANY_KEYS = st.dictionaries(
    st.sampled_from(["volatility", "atr", "win_rate", "avg_win", "avg_loss"]),
    st.floats(0, 1e9) | st.floats() | st.none() | st.text(max_size=2),
)


@given(
    method=st.sampled_from(SIZING_METHODS),
    keys=GOOD_KEYS | ANY_KEYS,
    equity=st.floats(1_000, 1e9),
    price=st.floats(1, 1e5),
    limit=st.floats(0.001, 1),
)
@settings(max_examples=examples(300))
def test_the_dict_api_holds_its_caps_with_every_method(
    method: str, keys: dict[str, Any], equity: float, price: float, limit: float
) -> None:
    """An approved size is worth at most limit * equity, and an absent or bad input of the method never approves."""
    signal = {"symbol": "BTCUSDT", "signal_type": "buy", "price": price}

    result = RiskManager().validate_signal(
        signal, {"equity": equity, **keys}, {"SIZING_METHOD": method, "MAX_POSITION_PCT": limit}
    )

    event(f"{method}: {result['approved']}")
    assert result["position_size"] >= 0
    if result["approved"]:
        assert result["sizing"]["method"] == method
        assert result["position_size"] * price <= limit * equity * (1 + 1e-12)
        needed = {"volatility_targeting": {"volatility"}, "atr_based": {"atr"}}.get(method, set())
        assert needed <= set(keys)
        assert method != "kelly_criterion" or {"win_rate", "avg_win"} <= set(keys)


@given(
    changed=st.fixed_dictionaries(
        {
            "SIZING_METHOD": st.sampled_from(["volatility_targeting", "atr_based"]),
            "TARGET_VOL_PCT": SOME, "RISK_PER_TRADE_PCT": SOME, "MAX_POSITION_PCT": SOME,
            "MAX_TOTAL_EXPOSURE_PCT": SOME, "ATR_MULTIPLE": st.decimals(Decimal("0.1"), 100, places=2),
            "ACCOUNT_EQUITY": st.decimals(100, Decimal(10) ** 9, places=2),
            "MAX_ORDER_NOTIONAL_USDT": st.sampled_from([20_000, 100_000_000]),
        }
    ),
    prices=st.lists(st.integers(49_000, 51_000), min_size=2, max_size=8, unique=True),
)  # fmt: skip
@settings(max_examples=examples(60), deadline=None)
def test_an_approved_order_stays_within_both_limits_at_its_worst_price(
    changed: dict[str, Any], prices: list[int]
) -> None:
    """Worst price * (1 + fee) * quantity <= equity * each limit, whatever the method asked for."""
    desk = RiskDesk(ATR_BAR_MIN=1, ATR_PERIOD=2, **changed)
    estimator = desk.machine.state.estimators[BTC] = Estimator()
    for minute in range(-260, 0):
        price = prices[minute % len(prices)]
        estimator.add(_event(price), Decimal(price), START_US // MINUTE_US + minute, desk.machine.settings)
    desk.quote(size=10_000)

    decision = desk.signal()

    event(f"approved: {decision.approved}, capped by {decision.sizing.capped_by}")
    assert "unknown" not in layer(decision, "position_limits").detail
    if decision.approved:
        (order,) = desk.orders
        assert order.price is not None
        worst = order.quantity * order.price * (1 + desk.machine.settings.PAPER_TAKER_FEE)
        assert (
            0 < worst <= changed["ACCOUNT_EQUITY"] * min(changed["MAX_POSITION_PCT"], changed["MAX_TOTAL_EXPOSURE_PCT"])
        )
        assert decision.sizing.approved <= decision.sizing.requested


def _event(price: int | Decimal, minute: int = 1) -> MarketData:
    fields: dict[str, Any] = {
        "event_id": "md", "timestamp": 1_621_425_600_000_000 + minute * MINUTE_US, "producer": "cdb_ws",
        "venue": "mexc_spot", "symbol": "BTCUSDT", "price": Decimal(price), "volume": Decimal(0),
        "high": Decimal(price), "low": Decimal(price), "bid": None, "ask": None, "bid_size": None, "ask_size": None,
        "sequence": minute,
    }  # fmt: skip
    return MarketData.model_validate(fields)


MINUTES = st.lists(
    st.tuples(st.integers(1, 6), st.decimals(Decimal(95), Decimal(105), places=4)), min_size=1, max_size=40
)
"""Minutes after the one before (up to five silent ones between) and the price then."""


@given(minutes=MINUTES)
def test_the_volatility_is_that_of_the_strategy(minutes: list[tuple[int, Decimal]]) -> None:
    """Over the same minutes risk and core hold the same squared returns, to the last digit."""
    estimator, limits = Estimator(), RiskSettings(PRICE_COLLAR_PCT="0.9")
    rule, windows = Rule.of(CoreSettings()), Windows()
    builder = BarBuilder.opening(minutes[0][0], minutes[0][1])
    minute = 0
    for step, price in minutes:
        minute += step
        seen = _event(price, minute)
        estimator.add(seen, price, minute, limits)
        for bar in builder.close_until(minute, rule.max_gap_min, rule.horizon_min):
            windows.push(bar, rule)
        builder.add(seen)

    assert estimator.returns.squares == windows.squares
    assert estimator.returns.square_sum == windows.square_sum


@given(minutes=MINUTES, cut=st.integers(0, 40), ticks=st.booleans())
def test_estimates_are_the_same_after_a_restart_and_with_or_without_ticks(
    minutes: list[tuple[int, Decimal]], cut: int, ticks: bool
) -> None:
    """Dumped and restored at any event, and ticked in every minute or in none: the same bytes in the end."""
    limits = RiskSettings(ATR_BAR_MIN=3, ATR_PERIOD=2)
    plain, other = Estimator(), Estimator()
    minute = 0
    for number, (step, price) in enumerate(minutes):
        if number == cut:
            other = TypeAdapter(Estimator).validate_python(decode(encode_state(other)))
        if ticks:
            for silent in range(minute + 1, minute + step + 1):
                other.close_until(silent, limits)
        minute += step
        for estimator in (plain, other):
            estimator.add(_event(price, minute), price, minute, limits)
    for estimator in (plain, other):
        estimator.close_until(minute + 1, limits)

    assert encode_state(plain) == encode_state(other)
    assert len(plain.returns.squares) <= limits.VOL_WINDOW_MIN
