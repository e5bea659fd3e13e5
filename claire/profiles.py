"""Risk profiles: named sets of limits, in one place for every command that takes `--profile`.

A profile is a set of settings and nothing else; what the operator sets besides goes before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["PROFILES", "PROFILES_HELP", "Profile", "profile_settings"]


class Profile(StrEnum):
    """How much may be at risk."""

    conservative = "conservative"
    balanced = "balanced"
    aggressive = "aggressive"


PROFILES_HELP: Final = f"A set of risk limits: {', '.join(Profile)}; --set goes before it."


def _limits(position: str, daily_loss: str, exposure: str, stop: str) -> Mapping[str, str]:
    return MappingProxyType(
        {
            "MAX_POSITION_PCT": position,
            "MAX_DAILY_DRAWDOWN_PCT": daily_loss,
            "MAX_TOTAL_EXPOSURE_PCT": exposure,
            "STOP_LOSS_PCT": stop,
            # the strategy's virtual position is stopped where the real one is
            "SIGNAL_STOP_PCT": stop,
        }
    )


PROFILES: Final[Mapping[Profile, Mapping[str, str]]] = MappingProxyType(
    {
        Profile.conservative: _limits("0.05", "0.03", "0.20", "0.015"),
        Profile.balanced: _limits("0.10", "0.05", "0.30", "0.02"),
        Profile.aggressive: _limits("0.15", "0.08", "0.50", "0.03"),
    }
)
"""Largest position, daily loss, exposure and stop distance; all are fractions of equity or price."""


def profile_settings(profile: Profile | None) -> dict[str, str]:
    """Return the settings of a profile; none for no profile."""
    return {} if profile is None else dict(PROFILES[profile])
