"""Sizing through the dict API: the method and its inputs are keys, and what is absent or bad never gets a size."""

from __future__ import annotations

from typing import Any

import pytest

from services.cdb_risk.service import RiskManager

pytestmark = [pytest.mark.unit, pytest.mark.risk]

SIGNAL = {"symbol": "BTCUSDT", "signal_type": "buy", "price": 50000}


@pytest.fixture
def ask(sample_risk_state: dict[str, Any], risk_config: dict[str, Any]) -> Any:
    """Return a function that validates the signal with these keys added to state and config."""

    def validate(state: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
        return RiskManager().validate_signal(SIGNAL, {**sample_risk_state, **state}, {**risk_config, **config})

    return validate


def limits(result: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict of layer 2."""
    return next(verdict for verdict in result["layers"] if verdict["layer"] == "position_limits")


SIZED = [
    ("volatility_targeting", {"volatility": 0.8}, {}, 0.1),
    ("volatility_targeting", {"volatility": 0.8}, {"TARGET_VOL_PCT": 0.02}, 0.05),
    ("atr_based", {"atr": 500}, {}, 0.15),
    ("atr_based", {"atr": 500}, {"ATR_MULTIPLE": 3, "RISK_PER_TRADE_PCT": 0.003}, 0.2),
    ("kelly_criterion", {"win_rate": 0.45, "avg_win": 0.01, "avg_loss": 0.005}, {}, 0.0875),
    ("kelly_criterion", {"win_rate": 0.45, "avg_win": 0.01, "avg_loss": 0.005}, {"KELLY_FRACTION": 0.1}, 0.035),
    ("FIXED_FRACTIONAL", {}, {}, 0.15),
]


@pytest.mark.parametrize(("method", "inputs", "changed", "size"), SIZED)
def test_the_sizing_method_and_its_inputs_are_keys(
    ask: Any, method: str, inputs: dict[str, Any], changed: dict[str, Any], size: float
) -> None:
    """Of 100 000: 4 % / 80 % is 5 000; 0.15 % over two ranges of 500 is 0.15; a quarter of 17.5 % is 4 375."""
    result = ask(inputs, {"MAX_POSITION_PCT": 0.2, "SIZING_METHOD": method, **changed})
    assert result["approved"], result
    assert result["position_size"] == size
    assert result["sizing"]["method"] == method.lower()
    assert inputs.items() <= result["sizing"]["inputs"].items()


@pytest.mark.parametrize(
    ("method", "missing", "counted"),
    [
        ("volatility_targeting", "volatility", "0 of 1 inputs in the state"),
        ("atr_based", "atr", "0 of 1 inputs in the state"),
        ("kelly_criterion", "win_rate", "2 of 3 inputs in the state"),
        ("kelly_criterion", "avg_win", "2 of 3 inputs in the state"),
        ("kelly_criterion", "avg_loss", "2 of 3 inputs in the state"),
    ],
)
def test_an_absent_sizing_input_fails_closed(ask: Any, method: str, missing: str, counted: str) -> None:
    """The size is unknown: layer 2 fails, naming the input and how many of how many are there."""
    inputs = {"volatility": 0.8, "atr": 500, "win_rate": 0.45, "avg_win": 0.01, "avg_loss": 0.005}
    del inputs[missing]
    result = ask(inputs, {"SIZING_METHOD": method})
    assert (result["approved"], result["reason"], result["position_size"]) == (False, "position_limits", 0)
    found = limits(result)
    assert found["code"] == "SIZING_INPUT_UNKNOWN"
    assert missing in found["detail"]
    assert counted in found["detail"]


@pytest.mark.parametrize(
    ("state", "config"),
    [
        ({"volatility": float("nan")}, {"SIZING_METHOD": "volatility_targeting"}),
        ({"atr": -1}, {"SIZING_METHOD": "atr_based"}),
        ({"win_rate": 1.5, "avg_win": 1, "avg_loss": 1}, {"SIZING_METHOD": "kelly_criterion"}),
        ({}, {"SIZING_METHOD": "martingale"}),
        ({}, {"SIZING_METHOD": None}),
        ({"atr": 500}, {"SIZING_METHOD": "atr_based", "ATR_MULTIPLE": 0}),
        ({"volatility": 1}, {"SIZING_METHOD": "volatility_targeting", "TARGET_VOL_PCT": 4}),
        ({"avg_win": "much"}, {}),
    ],
)
def test_a_bad_sizing_input_fails_layer_2(ask: Any, state: dict[str, Any], config: dict[str, Any]) -> None:
    """A value that is there but no number of its kind fails, whatever the method."""
    result = ask(state, config)
    assert not result["approved"]
    assert limits(result)["code"] == "BAD_VALUE"


def test_a_record_without_an_edge_blocks(ask: Any) -> None:
    """P = 0.4 with equal wins and losses: f = 0.4 - 0.6 is negative."""
    state = {"win_rate": 0.4, "avg_win": 0.01, "avg_loss": 0.01}
    result = ask(state, {"SIZING_METHOD": "kelly_criterion"})
    assert not result["approved"]
    assert limits(result)["code"] == "KELLY_NON_POSITIVE"
    assert result["sizing"]["inputs"]["kelly"] == -0.2
