"""Settings of the risk manager: defaults, bounds and mistakes that are named."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import ValidationError

from services.cdb_risk.settings import RiskSettings
from services.common.codec import decode, encode
from services.common.errors import SettingsInvalid
from services.common.settings import canonical_settings, load_settings

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def test_defaults_are_those_of_the_trading_rules() -> None:
    """An empty environment gives the documented limits."""
    assert load_settings(RiskSettings, {}).model_dump() == {
        "VENUE": "mexc_spot",
        "SYMBOLS": ("BTCUSDT", "ETHUSDT", "SOLUSDT"),
        "ACCOUNT_EQUITY": 100_000,
        "MAX_POSITION_PCT": Decimal("0.10"),
        "MAX_DAILY_DRAWDOWN_PCT": Decimal("0.05"),
        "MAX_ROLLING_DRAWDOWN_PCT": Decimal(0),
        "ROLLING_DRAWDOWN_HOURS": 24,
        "MAX_LOSS_STREAK": 0,
        "LOSS_STREAK_PAUSE_MIN": 60,
        "MAX_TOTAL_EXPOSURE_PCT": Decimal("0.30"),
        "CIRCUIT_BREAKER_THRESHOLD_PCT": Decimal("0.10"),
        "MAX_SPREAD_PCT": Decimal("0.005"),
        "MAX_SLIPPAGE_PCT": Decimal("0.02"),
        "DATA_STALE_TIMEOUT_SEC": 60,
        "PRICE_COLLAR_PCT": Decimal("0.05"),
        "RISK_PER_TRADE_PCT": Decimal("0.0015"),
        "STOP_LOSS_PCT": Decimal("0.02"),
        "TAKE_PROFIT_PCT": Decimal(0),
        "TRAILING_STOP_PCT": Decimal(0),
        "MAX_HOLD_MIN": 0,
        "SIZING_METHOD": "fixed_fractional",
        "TARGET_VOL_PCT": Decimal("0.04"),
        "VOL_WINDOW_MIN": 720,
        "ATR_PERIOD": 14,
        "ATR_BAR_MIN": 60,
        "ATR_MULTIPLE": 2,
        "KELLY_FRACTION": Decimal("0.25"),
        "KELLY_TRIPS": 100,
        "MAX_CONCURRENT_POSITIONS": 3,
        "MAX_ENTRIES_PER_MINUTE": 6,
        "MAX_ORDERS_PER_MINUTE": 30,
        "MAX_ORDER_NOTIONAL_USDT": 20_000,
        "ENTRY_SPACING_SEC": 60,
        "PAPER_TAKER_FEE": Decimal("0.0005"),
        "PAPER_PERP_TAKER_FEE": Decimal("0.0008"),
        "SIGNAL_ALLOW_SHORT": False,
        "LEVERAGE": 1,
        "MAX_LEVERAGE": 5,
        "LIQUIDATION_GUARD_PCT": Decimal("0.01"),
    }


def test_settings_survive_the_journal() -> None:
    """What stands in a config event gives the same settings and the same bytes."""
    settings = load_settings(RiskSettings, {"SYMBOLS": "eth_usdt, BTC/USDT", "MAX_POSITION_PCT": "0.07"})
    written = encode(canonical_settings(settings))
    again = RiskSettings.model_validate(decode(written))
    assert again == settings
    assert again.SYMBOLS == ("ETHUSDT", "BTCUSDT")
    assert encode(canonical_settings(again)) == written


def test_all_mistakes_are_named_at_once_with_the_fix() -> None:
    """A percentage written as a whole number is named with what was perhaps meant, beside every other mistake."""
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(RiskSettings, {"MAX_POSITION_PCT": "5.0", "SIZING_METHOD": "martingale"})
    text = str(caught.value)
    assert "MAX_POSITION_PCT=5.0: a fraction between 0 and 1 is meant, perhaps 0.05" in text
    assert "SIZING_METHOD=martingale" in text


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"SYMBOLS": "BTCUSDT,btc_usdt"}, "BTCUSDT stands twice"),
        ({"SYMBOLS": "B"}, "5 to 20 letters"),
        ({"SYMBOLS": 7}, "symbols separated by commas are meant"),
        ({"SYMBOLS": " , "}, "at least one symbol"),
        ({"MAX_DAILY_DRAWDOWN_PCT": "0"}, "greater than 0"),
        ({"CIRCUIT_BREAKER_THRESHOLD_PCT": "NaN"}, "finite"),
        ({"STOP_LOSS_PCT": "1"}, "less than 1"),
        ({"ACCOUNT_EQUITY": "0.5"}, "greater than or equal to 1"),
        ({"VENUE": "mexc_margin"}, "mexc_spot"),
        ({"LEVERAGE": "6"}, "LEVERAGE=6: must not be over MAX_LEVERAGE=5"),
        ({"VENUE": "mexc_perpetual", "STOP_LOSS_PCT": "0.005"}, "LIQUIDATION_GUARD_PCT=0.01: must be under twice"),
        ({"LEVERAGE": "126", "MAX_LEVERAGE": "125"}, "LEVERAGE"),
        ({"MAX_POSITION": "0.1"}, "Extra inputs"),
    ],
)
def test_bad_settings_are_refused(changed: dict[str, object], named: str) -> None:
    """Each mistake is refused with a text that says what is meant."""
    with pytest.raises(ValidationError, match=named):
        RiskSettings.model_validate(changed)


def test_only_configured_instruments_may_be_entered() -> None:
    """Another venue or symbol may not be entered, though its grid may be known."""
    settings = RiskSettings(SYMBOLS="BTCUSDT")
    assert settings.may_enter("mexc_spot", "BTCUSDT")
    assert not settings.may_enter("mexc_spot", "ETHUSDT")
    assert not settings.may_enter("mexc_perpetual", "BTCUSDT")
    assert settings.spec("mexc_spot:ETHUSDT") is not None
    assert settings.spec("mexc_perpetual:BTCUSDT") is None


def test_leverage_fees_and_shorts_are_those_of_the_venue() -> None:
    """Spot has no leverage and no shorts, also where perpetuals are on; what is held on spot can still be closed."""
    settings = RiskSettings(VENUE="mexc_perpetual", LEVERAGE=5, SIGNAL_ALLOW_SHORT=True)
    assert [settings.leverage(venue) for venue in ("mexc_spot", "mexc_perpetual")] == [1, 5]
    assert [settings.may_short(venue) for venue in ("mexc_spot", "mexc_perpetual")] == [False, True]
    assert [settings.taker_fee(venue) for venue in ("mexc_spot", "mexc_perpetual")] == [
        Decimal("0.0005"),
        Decimal("0.0008"),
    ]
    assert settings.spec("mexc_spot:BTCUSDT") is not None
    assert not settings.may_enter("mexc_spot", "BTCUSDT")


def test_what_follows_from_settings_follows_a_changed_copy() -> None:
    """The instruments are looked up once for each settings, so a copy with another venue looks again."""
    spot = RiskSettings()
    assert spot.spec("mexc_perpetual:BTCUSDT") is None
    assert not spot.sends
    changed = spot.model_copy(update={"VENUE": "mexc_perpetual", "TRADING_MODE": "shadow"})
    assert changed.spec("mexc_perpetual:BTCUSDT") is not None
    assert changed.spec("mexc_spot:BTCUSDT") is not None
    assert changed.sends
    assert spot.spec("mexc_perpetual:BTCUSDT") is None
    assert canonical_settings(spot) == canonical_settings(RiskSettings())
