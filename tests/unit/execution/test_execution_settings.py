"""Settings of cdb_execution: documented defaults, bounds, and mistakes that name their fix."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_execution.settings import ExecutionSettings
from services.common.codec import decode, encode
from services.common.errors import SettingsInvalid
from services.common.settings import canonical_settings, load_settings

pytestmark = pytest.mark.unit


def test_defaults_are_those_of_the_trading_rules() -> None:
    """Without any variable the documented defaults are in force."""
    settings = load_settings(ExecutionSettings, {})

    assert canonical_settings(settings) == {
        "TRADING_MODE": "paper",
        "VENUE": "mexc_spot",
        "MAX_LEVERAGE": 5,
        "PAPER_LATENCY_MS": 250,
        "PAPER_ORDER_LIFE_SEC": 10,
        "PAPER_TAKER_FEE": Decimal("0.0005"),
        "PAPER_MAKER_FEE": Decimal(0),
        "PAPER_PERP_TAKER_FEE": Decimal("0.0008"),
        "PAPER_PERP_MAKER_FEE": Decimal("0.0006"),
        "PAPER_PARTICIPATION": Decimal("0.10"),
        "PAPER_MAX_LEVELS": 4,
        "MAX_SLIPPAGE_PCT": Decimal("0.02"),
        "PRICE_COLLAR_PCT": Decimal("0.05"),
        "ORDER_MAX_AGE_MS": 5_000,
        "RISK_SILENCE_SEC": 30,
    }


@pytest.mark.parametrize("mode", ["live", "shadow"])
@pytest.mark.security
def test_other_modes_than_paper_are_refused(mode: str) -> None:
    """Live and shadow trading cannot be switched on by accident: the message says what to set."""
    with pytest.raises(SettingsInvalid, match=rf"TRADING_MODE={mode}: .*set TRADING_MODE=paper"):
        load_settings(ExecutionSettings, {"TRADING_MODE": mode})


def test_every_mistake_is_listed_at_once() -> None:
    """Two wrong values give two lines, each with the value."""
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(ExecutionSettings, {"PAPER_LATENCY_MS": "-1", "MAX_SLIPPAGE_PCT": "2.0"})

    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("PAPER_LATENCY_MS=-1: ")
    assert "perhaps 0.02" in lines[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAPER_TAKER_FEE", "0.06"),
        ("PAPER_MAKER_FEE", "-0.1"),
        ("PAPER_PARTICIPATION", "0"),
        ("PAPER_PARTICIPATION", "NaN"),
        ("PAPER_MAX_LEVELS", "0"),
        ("PRICE_COLLAR_PCT", "0"),
        ("ORDER_MAX_AGE_MS", "0"),
        ("PAPER_ORDER_LIFE_SEC", "0"),
    ],
)
def test_values_out_of_bounds_are_refused(name: str, value: str) -> None:
    """A value that makes no sense is refused by name."""
    with pytest.raises(SettingsInvalid, match=name):
        load_settings(ExecutionSettings, {name: value})


def test_latency_must_end_before_the_order_does() -> None:
    """An order whose life ends before its latency could never fill."""
    with pytest.raises(SettingsInvalid, match="PAPER_LATENCY_MS=10000 must be shorter than PAPER_ORDER_LIFE_SEC=10 s"):
        load_settings(ExecutionSettings, {"PAPER_LATENCY_MS": "10000"})


def test_settings_survive_the_journal() -> None:
    """What a config event carries gives the same settings back."""
    settings = load_settings(ExecutionSettings, {"PAPER_PARTICIPATION": "0.25"})

    journalled = decode(encode(canonical_settings(settings)))

    assert ExecutionSettings.model_validate(journalled) == settings
