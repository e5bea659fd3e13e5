"""The strategy's settings: defaults of the trading rules, bounds, and mistakes named with their fix."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_core.settings import CoreSettings
from services.common.errors import SettingsInvalid
from services.common.settings import canonical_settings, load_settings

pytestmark = [pytest.mark.unit, pytest.mark.signal]


def test_defaults_are_those_of_the_trading_rules() -> None:
    """An empty environment gives L = 60, W = 720, k = 1.75, a floor of 0.4 %, and no shorts."""
    found = load_settings(CoreSettings, {})

    assert canonical_settings(found) == {
        "VENUE": "mexc_spot",
        "SYMBOLS": ("BTCUSDT", "ETHUSDT", "SOLUSDT"),
        "SIGNAL_LOOKBACK_MIN": 60,
        "SIGNAL_VOL_WINDOW_MIN": 720,
        "SIGNAL_VOL_MULT": Decimal("1.75"),
        "SIGNAL_THRESHOLD_PCT": Decimal("0.004"),
        "SIGNAL_EXIT_PCT": Decimal(0),
        "SIGNAL_REARM_FRACTION": Decimal("0.5"),
        "SIGNAL_COOLDOWN_MIN": 30,
        "SIGNAL_STOP_COOLDOWN_MIN": 60,
        "SIGNAL_STOP_PCT": Decimal("0.02"),
        "SIGNAL_MAX_HOLD_MIN": 240,
        "SIGNAL_MIN_VOLUME": Decimal(100_000),
        "SIGNAL_ALLOW_SHORT": False,
        "SIGNAL_MAX_GAP_MIN": 5,
    }


def test_symbols_are_written_as_on_the_wire() -> None:
    """`btc_usdt, ETH/USDT` in the environment is BTCUSDT and ETHUSDT."""
    found = load_settings(CoreSettings, {"SYMBOLS": "btc_usdt, ETH/USDT"})

    assert found.SYMBOLS == ("BTCUSDT", "ETHUSDT")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SYMBOLS", "BTCUSDT,btc/usdt", "BTCUSDT stands twice"),
        ("SYMBOLS", ",", "at least one symbol"),
        ("SYMBOLS", "BTCUSDT,€", "5 to 20 letters and digits"),
        ("SIGNAL_LOOKBACK_MIN", "0", "at least 1 is meant"),
        ("SIGNAL_THRESHOLD_PCT", "1.5", "a fraction between 0 and 1 is meant, perhaps 0.015"),
        ("SIGNAL_THRESHOLD_PCT", "0", "a fraction between 0 and 1 is meant"),
        ("SIGNAL_THRESHOLD_PCT", "NaN", "a fraction between 0 and 1 is meant"),
        ("SIGNAL_THRESHOLD_PCT", "0.0000000000001", "a fraction between 0 and 1 is meant"),
        ("SIGNAL_VOL_MULT", "11", "at most 10 is meant"),
        ("SIGNAL_VOL_MULT", "-1", "at least 0 is meant"),
        ("SIGNAL_STOP_PCT", "1", "a fraction between 0 and 1 is meant"),
        ("SIGNAL_MIN_VOLUME", "Infinity", "SIGNAL_MIN_VOLUME=Infinity"),
        ("SIGNAL_EXIT_PCT", "0.004", "must be below SIGNAL_THRESHOLD_PCT=0.004"),
        ("SIGNAL_STOP_COOLDOWN_MIN", "29", "must be at least SIGNAL_COOLDOWN_MIN=30"),
        ("SIGNAL_VOL_WINDOW_MIN", "59", "must be at least SIGNAL_LOOKBACK_MIN=60"),
    ],
)
def test_a_mistake_is_refused_with_its_fix(name: str, value: str, expected: str) -> None:
    """A setting out of bounds, or against another one, stops the start and says what is meant."""
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(CoreSettings, {name: value})

    assert expected in str(caught.value)
    assert name in str(caught.value)


def test_symbols_of_another_type_are_refused() -> None:
    """A config event whose SYMBOLS are no list of names cannot come into force."""
    with pytest.raises(ValueError, match="symbols separated by commas"):
        CoreSettings.model_validate({"SYMBOLS": [1]})


def test_every_contradiction_is_named_at_once() -> None:
    """Two settings that contradict others are both in the one message."""
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(CoreSettings, {"SIGNAL_EXIT_PCT": "0.5", "SIGNAL_COOLDOWN_MIN": "90"})

    assert "SIGNAL_EXIT_PCT=0.5" in str(caught.value)
    assert "SIGNAL_STOP_COOLDOWN_MIN=60" in str(caught.value)


def test_a_fixed_threshold_needs_no_volatility_window() -> None:
    """With k = 0 the volatility window may be shorter than the lookback: it is not used."""
    found = load_settings(
        CoreSettings, {"SIGNAL_VOL_MULT": "0", "SIGNAL_VOL_WINDOW_MIN": "2", "SIGNAL_LOOKBACK_MIN": "60"}
    )

    assert found.SIGNAL_VOL_WINDOW_MIN == 2


def test_a_config_event_gives_the_same_settings_back() -> None:
    """What stands in a config event is read back as equal settings."""
    given = load_settings(CoreSettings, {"SYMBOLS": "SOLUSDT", "SIGNAL_VOL_MULT": "2.5"})

    assert CoreSettings.model_validate(canonical_settings(given)) == given
