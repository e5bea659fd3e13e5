"""Each of the seven layers, tripped through the real machines: what it refuses, execution never sees."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.claire.pipeline_desk import Pipeline, calls

pytestmark = [pytest.mark.unit, pytest.mark.risk]

BIG = {
    # one entry of about 80 % of the equity, whose stop is far away
    "RISK_PER_TRADE_PCT": "0.4",
    "STOP_LOSS_PCT": "0.5",
    "MAX_POSITION_PCT": "1",
    "MAX_TOTAL_EXPOSURE_PCT": "1",
    "MAX_ORDER_NOTIONAL_USDT": "1000000",
    "MAX_SLIPPAGE_PCT": "0.02",
}


def clean() -> Pipeline:
    """Nothing stands against an entry."""
    pipeline = Pipeline()
    pipeline.quote("50000")
    return pipeline


def crossed() -> Pipeline:
    """Bid above ask."""
    pipeline = clean()
    pipeline.quote("50000", half_spread="-1")
    return pipeline


def positioned() -> Pipeline:
    """The instrument is held already."""
    pipeline = clean()
    pipeline.buy("50000")
    assert pipeline.filled > 0
    pipeline.seconds(61)
    pipeline.quote("50000")
    return pipeline


def fallen(to: tuple[str, ...], **changed: str) -> Pipeline:
    """About 80 % of the equity is in bitcoin, whose price falls; ether is quoted calmly."""
    pipeline = Pipeline(**BIG, **changed)
    pipeline.quote("50000")
    pipeline.buy("50000")
    assert pipeline.filled > 1
    pipeline.seconds(61)
    for price in to:
        pipeline.quote(price)
    pipeline.quote(to[-1])
    pipeline.quote("3000", symbol="ETHUSDT")
    return pipeline


def unsized() -> Pipeline:
    """The size comes from a volatility that one quote does not tell."""
    pipeline = Pipeline(SIZING_METHOD="volatility_targeting")
    pipeline.quote("50000")
    return pipeline


def day_lost() -> Pipeline:
    """A fall of 7 % on 80 % of the equity is over 5 % of the day's start."""
    return fallen(("48000", "46500"))


def exposed() -> Pipeline:
    """What is held has grown to more than all that may be exposed."""
    pipeline = Pipeline(
        RISK_PER_TRADE_PCT="0.05", STOP_LOSS_PCT="0.5", MAX_TOTAL_EXPOSURE_PCT="0.10", MAX_POSITION_PCT="0.10"
    )
    pipeline.quote("50000")
    pipeline.buy("50000")
    assert pipeline.filled > 0
    pipeline.seconds(61)
    pipeline.quote("51500")
    pipeline.quote("3000", symbol="ETHUSDT")
    return pipeline


def broken() -> Pipeline:
    """A fall of 14 % on 80 % of the equity is over 10 % of the peak; the day's limit is out of the way."""
    return fallen(("48000", "46000", "44500", "43000"), MAX_DAILY_DRAWDOWN_PCT="1")


def wide() -> Pipeline:
    """The spread is 1 % of the mid."""
    pipeline = clean()
    pipeline.quote("50000", half_spread="250")
    return pipeline


def silent() -> Pipeline:
    """No market data for over a minute, while the clock ticks on."""
    pipeline = clean()
    pipeline.seconds(61)
    return pipeline


def test_without_an_objection_the_signal_becomes_a_fill() -> None:
    """The same signal in a clean market is approved, ordered and filled: the refusals below have one cause each."""
    decision, follows = clean().buy("50000")

    assert decision.approved
    assert [verdict.status for verdict in decision.layers] == ["pass"] * 7
    assert calls(follows) == ["order", "order_result", "order_result"]


@pytest.mark.parametrize(
    ("situation", "symbol", "price", "layer", "code"),
    [
        (crossed, "BTCUSDT", "50000", "data_quality", "CROSSED_BOOK"),
        (positioned, "BTCUSDT", "50000", "position_limits", "ALREADY_POSITIONED"),
        (unsized, "BTCUSDT", "50000", "position_limits", "SIZING_INPUT_UNKNOWN"),
        (day_lost, "ETHUSDT", "3000", "daily_drawdown", "DAILY_DRAWDOWN_LATCHED"),
        (exposed, "ETHUSDT", "3000", "total_exposure", "EXPOSURE_LIMIT"),
        (broken, "ETHUSDT", "3000", "circuit_breaker", "BREAKER_LATCHED"),
        (wide, "BTCUSDT", "50000", "spread_check", "SPREAD_LIMIT"),
        (silent, "BTCUSDT", "50000", "timeout_check", "DATA_STALE"),
    ],
)
def test_what_a_layer_refuses_execution_never_sees(
    situation: Any, symbol: str, price: str, layer: str, code: str
) -> None:
    """The layer alone is named, with its code, all seven are recorded, and no order and no result follows."""
    pipeline = situation()
    held = pipeline.filled

    decision, follows = pipeline.buy(price, symbol)

    assert not decision.approved
    assert decision.reason == layer
    assert len(decision.layers) == 7
    assert next(verdict.code for verdict in decision.layers if verdict.layer == layer) == code
    assert calls(follows) == []
    assert pipeline.filled == held
