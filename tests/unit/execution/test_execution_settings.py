"""Settings of cdb_execution: documented defaults, bounds, and mistakes that name their fix."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import SecretStr

from services.cdb_execution.adapters.access import require_access
from services.cdb_execution.settings import ExchangeAccess, ExecutionSettings
from services.common.codec import decode, encode
from services.common.errors import SettingsInvalid
from services.common.live_settings import LIVE_ONLY, LiveSettings
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


@pytest.mark.security
def test_live_is_refused_with_all_that_it_lacks() -> None:
    """Live and shadow cannot be switched on by accident: every key and word that lacks is named, with the fix."""
    with pytest.raises(SettingsInvalid) as live:
        require_access("live", ExchangeAccess())
    with pytest.raises(SettingsInvalid) as shadow:
        require_access("shadow", ExchangeAccess(MEXC_API_KEY=SecretStr("k")))

    assert [line.partition(":")[0].partition("=")[0] for line in str(live.value).splitlines()] == [
        "MEXC_API_KEY",
        "MEXC_API_SECRET",
        "CONFIRM_LIVE_TRADING",
    ]
    assert str(shadow.value).startswith("MEXC_API_SECRET: ")
    assert "\n" not in str(shadow.value)


@pytest.mark.security
def test_what_lacks_nothing_passes_and_paper_needs_nothing() -> None:
    """Keys and a person's word open live; paper needs neither."""
    require_access("paper", ExchangeAccess())
    require_access(
        "live",
        ExchangeAccess(MEXC_API_KEY=SecretStr("k"), MEXC_API_SECRET=SecretStr("s"), CONFIRM_LIVE_TRADING="yes"),
    )


def test_the_ramp_is_journalled_only_where_it_decides() -> None:
    """A paper run's settings are what they were before live trading existed; a live run's carry the ramp."""
    live = canonical_settings(ExecutionSettings(TRADING_MODE="live"))

    assert live["LIVE_MAX_ORDER_USDT"] == 50
    assert live["MEXC_RECV_WINDOW_MS"] == 5_000
    assert "LIVE_MAX_ORDER_USDT" not in canonical_settings(ExecutionSettings(LIVE_MAX_ORDER_USDT=60))
    assert "TRADING_MODE" not in canonical_settings(RiskFree(LIVE_CANARY_FILLS=1))


class RiskFree(LiveSettings):
    """Settings that had no trading mode before."""

    @classmethod
    def unused_on_paper(cls) -> frozenset[str]:
        """Return all."""
        return LIVE_ONLY | {"TRADING_MODE"}


def test_the_ramp_names_its_instruments() -> None:
    """The screener does not choose what is traded with real money."""
    with pytest.raises(SettingsInvalid, match="LIVE_SYMBOLS"):
        load_settings(ExecutionSettings, {"LIVE_SYMBOLS": "auto"})


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
