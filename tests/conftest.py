"""Fixtures that every test may use, under the names that users know."""

from __future__ import annotations

import os
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import HealthCheck, settings

from services.common.decimals import use_fixed_context
from tests.property.effort import PROFILES, examples

for _name in PROFILES:
    settings.register_profile(
        _name,
        derandomize=_name != "search",
        max_examples=examples(100),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def fixed_decimal_context() -> None:
    """Compute money as the services do: 28 digits, half-even, no mixture with floats."""
    use_fixed_context()


@pytest.fixture
def mock_redis() -> MagicMock:
    """Return a Redis client that answers without a server: `ping()` is True, `publish()` reaches one subscriber."""
    redis = pytest.importorskip("redis")
    client = MagicMock(spec=redis.Redis)
    client.ping.return_value = True
    client.publish.return_value = 1
    client.get.return_value = None
    client.set.return_value = True
    return client


@pytest.fixture
def mock_postgres() -> MagicMock:
    """Return a PostgreSQL connection that answers without a server: one cursor that finds nothing."""
    connection = MagicMock(name="postgres_connection")
    cursor = connection.cursor.return_value
    cursor.__enter__.return_value = cursor
    cursor.fetchone.return_value = None
    cursor.fetchall.return_value = []
    cursor.rowcount = 0
    connection.__enter__.return_value = connection
    return connection


@pytest.fixture
def sample_signal_event() -> dict[str, Any]:
    """Return a buy signal of one coin, as a user writes it."""
    return {
        "type": "signal",
        "symbol": "BTCUSDT",
        "side": "buy",
        "signal_type": "buy",
        "price": 50000.0,
        "size": 1.0,
    }


@pytest.fixture
def sample_risk_state() -> dict[str, Any]:
    """Return a healthy portfolio: 100 000 USDT, nothing lost today, 15 % invested."""
    return {"equity": 100000.0, "daily_pnl": 0.0, "total_exposure_pct": 0.15}


@pytest.fixture
def risk_config() -> dict[str, Any]:
    """Return risk limits under the names that users know."""
    return {
        "ACCOUNT_EQUITY": 100000.0,
        "MAX_DRAWDOWN_PCT": 0.05,
        "MAX_POSITION_PCT": 0.10,
        "MAX_EXPOSURE_PCT": 0.30,
        "STOP_LOSS_PCT": 0.02,
    }


@pytest.fixture
def signal_config() -> dict[str, Any]:
    """Return settings of the signal engine under their environment names."""
    return {
        "SYMBOLS": "BTCUSDT,ETHUSDT,SOLUSDT",
        "SIGNAL_LOOKBACK_MIN": 60,
        "SIGNAL_VOL_WINDOW_MIN": 720,
        "SIGNAL_VOL_MULT": 1.75,
        "SIGNAL_THRESHOLD_PCT": 0.004,
        "SIGNAL_MIN_VOLUME": 100000.0,
    }
