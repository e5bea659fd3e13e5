"""Properties of the dict API, of sizing, of prices and of the market's state, for all inputs."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cdb_risk.given import GREATEST
from services.cdb_risk.market import Quote
from services.cdb_risk.prices import ENTRY_PROTECTION_PCT, expected_slippage, protection_price
from services.cdb_risk.protective import is_dust, sellable
from services.cdb_risk.service import RiskManager
from services.cdb_risk.sizing import fixed_fractional, headroom_quantity
from services.common.decimals import ZERO, floor_to
from services.common.events import LAYERS
from services.common.instruments import DEFAULT_INSTRUMENTS
from tests.property.effort import examples

pytestmark = [pytest.mark.unit, pytest.mark.risk]

SIGNAL_KEYS = ["type", "symbol", "signal_type", "side", "intent", "price", "size", "bid", "ask", "timestamp"]
STATE_KEYS = [
    "equity", "daily_pnl", "start_of_day_equity", "peak_equity", "total_exposure", "total_exposure_pct", "position",
    "positions", "open_positions", "entries_last_minute", "circuit_breaker", "trading_state", "last_price", "now",
    "market_timestamp", "expected_slippage_pct", "bid", "ask", "volatility", "atr", "win_rate", "avg_win", "avg_loss",
]  # fmt: skip
CONFIG_KEYS = [
    "ACCOUNT_EQUITY", "MAX_POSITION_PCT", "MAX_DRAWDOWN_PCT", "MAX_DAILY_DRAWDOWN_PCT", "MAX_EXPOSURE_PCT",
    "MAX_TOTAL_EXPOSURE_PCT", "CIRCUIT_BREAKER_THRESHOLD_PCT", "MAX_SPREAD_PCT", "MAX_SLIPPAGE_PCT", "STOP_LOSS_PCT",
    "DATA_STALE_TIMEOUT_SEC", "PRICE_COLLAR_PCT", "RISK_PER_TRADE_PCT", "MAX_CONCURRENT_POSITIONS", "SYMBOLS",
    "MAX_ENTRIES_PER_MINUTE", "MAX_ORDER_NOTIONAL_USDT", "SIZING_METHOD", "TARGET_VOL_PCT", "ATR_MULTIPLE",
    "KELLY_FRACTION",
]  # fmt: skip

NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(0, 1),
    st.floats(0, 1e6),
    st.integers(-(10**40), 10**40),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1e-320, 1e308, 10**5000, Decimal("1E-999999"), Decimal("1E+999999"), Decimal("sNaN")]),
)
ANYTHING = st.one_of(
    NUMBERS,
    st.none(),
    st.booleans(),
    st.text(max_size=8),
    st.sampled_from(["buy", "sell", "entry", "exit", "signal", "BTCUSDT", "HALTED", "2021-05-19T12:00:00Z"]),
    st.sampled_from(["volatility_targeting", "atr_based", "kelly_criterion"]),
    st.lists(NUMBERS, max_size=2),
    st.dictionaries(st.sampled_from(["BTCUSDT", "quantity"]), NUMBERS, max_size=2),
    st.just(object()),
)


def dicts(keys: list[str]) -> st.SearchStrategy[dict[Any, Any]]:
    """Return dicts with any of the keys and anything behind them."""
    return st.dictionaries(st.sampled_from(keys) | st.integers() | st.text(max_size=3), ANYTHING, max_size=8)


@given(signal=dicts(SIGNAL_KEYS) | ANYTHING, state=dicts(STATE_KEYS) | ANYTHING, config=dicts(CONFIG_KEYS) | ANYTHING)
@settings(max_examples=examples(300))
def test_garbage_never_raises_and_never_approves_without_essentials(signal: Any, state: Any, config: Any) -> None:
    """Whatever comes in, a verdict of seven layers comes out that JSON can write; approval needs the essentials."""
    result = RiskManager().validate_signal(signal, state, config)
    json.dumps(result)
    assert [verdict["layer"] for verdict in result["layers"]] == list(LAYERS)
    if result["approved"]:
        assert isinstance(signal, dict)
        assert result["position_size"] > 0
        assert 0 < signal["price"] <= 10**9
        assert signal["symbol"]
    else:
        assert result["position_size"] == 0


@given(
    base=st.just(None),
    where=st.sampled_from(["signal", "state", "config"]),
    data=st.data(),
)
@settings(max_examples=examples(300))
def test_one_bad_number_in_a_good_call_is_never_approved(base: None, where: str, data: st.DataObject) -> None:
    """A call that is approved stops being so when any known number is NaN, infinite, negative, a word or absurd."""
    call: dict[str, dict[str, Any]] = {
        "signal": {"symbol": "BTCUSDT", "side": "buy", "price": 50_000.0, "size": 0.01},
        "state": {"equity": 100_000.0, "position": 0.0},
        "config": {},
    }
    assert RiskManager().validate_signal(**call)["approved"]
    numeric = {
        "signal": ["price", "size", "bid", "ask"],
        "state": [key for key in STATE_KEYS if key not in {"positions", "circuit_breaker", "trading_state", "now",
                                                           "market_timestamp", "daily_pnl", "expected_slippage_pct"}],
        "config": [key for key in CONFIG_KEYS if key != "SYMBOLS"],
    }  # fmt: skip
    key = data.draw(st.sampled_from(numeric[where]))
    bad = data.draw(
        st.sampled_from([float("nan"), float("inf"), -float("inf"), Decimal("NaN"), "x", True, None, [], 10**400])
        | st.floats(max_value=-1e-9, allow_nan=False)
        | st.floats(min_value=float(GREATEST) * 2, allow_nan=False)
    )
    call[where][key] = bad
    assert not RiskManager().validate_signal(**call)["approved"], (key, bad)


EQUITIES = st.decimals("1", "1000000000", places=4)
PRICES = st.decimals("0.000001", "1000000", places=6)
SHARES = st.decimals("0.0001", "1", places=4)


@given(equity=EQUITIES, price=PRICES, risk=SHARES, stop=SHARES)
def test_fixed_fractional_loses_at_most_the_risk_and_never_more_than_the_equity(
    equity: Decimal, price: Decimal, risk: Decimal, stop: Decimal
) -> None:
    """The loss at the stop is the risk share (to half a step), and the order is never worth more than the equity."""
    request = fixed_fractional(equity, price, risk, stop)
    assert request.quantity is not None
    slack = price * Decimal("0.00000001") + Decimal("1e-12")
    assert request.quantity * price * stop <= equity * risk + slack
    assert request.quantity * price <= equity + slack


@given(limit=EQUITIES, used=EQUITIES, unit=PRICES)
def test_headroom_never_passes_what_is_left(limit: Decimal, used: Decimal, unit: Decimal) -> None:
    """The quantity at its cost stays within the headroom, and one more step would not."""
    quantity = headroom_quantity(limit, used, unit)
    assert quantity >= 0
    assert quantity * unit <= max(limit - used, ZERO)
    if limit > used:
        assert (quantity + Decimal("0.00000002")) * unit > limit - used


@given(
    spec=st.sampled_from(DEFAULT_INSTRUMENTS),
    bid=st.decimals("0.02", "100000", places=4),
    pct=st.decimals("0.0001", "0.5", places=4),
)
def test_protection_prices_lie_on_the_tick_and_within_the_protection(spec: Any, bid: Decimal, pct: Decimal) -> None:
    """A buy never pays more than touch + pct (or the next tick), a sale never gets less than touch - pct."""
    buy = protection_price("BUY", bid, pct, spec.tick_size)
    sell = protection_price("SELL", bid, pct, spec.tick_size)
    assert buy == floor_to(buy, spec.tick_size) >= bid
    assert buy <= max(bid * (1 + pct), bid + spec.tick_size)
    assert sell == floor_to(sell, spec.tick_size) > 0
    assert bid * (1 - pct) <= sell + spec.tick_size
    assert sell <= bid or sell == spec.tick_size


@given(
    quantity=st.decimals("0.000001", "1000000", places=6),
    size=st.decimals("0.000001", "1000000", places=6),
    volume=st.decimals("0", "1000000", places=6),
    sigma=st.decimals("0", "0.1", places=6),
)
def test_expected_slippage_grows_with_the_order_and_is_never_negative(
    quantity: Decimal, size: Decimal, volume: Decimal, sigma: Decimal
) -> None:
    """Twice the order never costs less, and a taker never gains on mid."""
    quote = Quote(Decimal("99.99"), Decimal("100.01"), size, size, 0)

    def cost(units: Decimal) -> Decimal | None:
        return expected_slippage("BUY", units, quote, volume_60s=volume, volatility_1m=sigma, tick=Decimal("0.01"))

    one, two = cost(quantity), cost(quantity * 2)
    if one is None:
        assert two is None
    else:
        assert one >= 0
        assert two is None or two >= one - Decimal("1e-11")
    assert ENTRY_PROTECTION_PCT > 0


@given(spec=st.sampled_from(DEFAULT_INSTRUMENTS), quantity=st.decimals("0", "10", places=9), price=PRICES)
def test_what_is_not_dust_is_an_order_that_the_exchange_takes(spec: Any, quantity: Decimal, price: Decimal) -> None:
    """Whole lots, at least the minimum, and never more than is held."""
    lots = sellable(quantity, spec)
    assert lots <= quantity < lots + spec.lot_size
    if not is_dust(quantity, price, spec):
        assert lots >= spec.min_quantity
        assert lots * price >= spec.min_notional
