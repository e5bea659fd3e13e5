"""Settings of the momentum strategy. They decide, so they are journalled as a `config` event."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, model_validator

from services.common.instruments import Venue
from services.common.settings import Amount, Fraction, MachineSettings, Symbols

__all__ = ["CoreSettings"]


_Share = Annotated[Fraction, Field(decimal_places=12)]
"""A fraction on the grid of 10^-12 on which momentum and threshold are compared."""


class CoreSettings(MachineSettings):
    """What the momentum strategy is tuned with. Minutes are whole bars; `_PCT` are fractions (0.004 is 0.4 %)."""

    VENUE: Venue = Field("mexc_spot", description="the venue of published market data that name none")
    SYMBOLS: Symbols = Field(
        ("BTCUSDT", "ETHUSDT", "SOLUSDT"), description="symbols that may be entered, separated by commas"
    )
    SIGNAL_LOOKBACK_MIN: int = Field(60, ge=1, le=1_440, description="L: momentum window, minutes")
    SIGNAL_VOL_WINDOW_MIN: int = Field(
        720, ge=2, le=10_080, description="W: volatility window, minutes; decisions begin after 240 (or W, if less)"
    )
    SIGNAL_VOL_MULT: Annotated[Amount, Field(le=10, decimal_places=6)] = Field(
        Decimal("1.75"), description="k: threshold in volatilities over L; 0 means the fixed threshold alone"
    )
    SIGNAL_THRESHOLD_PCT: Annotated[_Share, Field(gt=0)] = Field(
        Decimal("0.004"), description="smallest threshold, a fraction"
    )
    SIGNAL_EXIT_PCT: _Share = Field(
        Decimal(0), description="exit when momentum in the direction held falls to it, a fraction"
    )
    SIGNAL_REARM_FRACTION: Annotated[Fraction, Field(gt=0, decimal_places=6)] = Field(
        Decimal("0.5"), description="after an entry, the next needs momentum below this share of the threshold first"
    )
    SIGNAL_COOLDOWN_MIN: int = Field(30, ge=0, le=1_440, description="minutes between entries of a symbol")
    SIGNAL_STOP_COOLDOWN_MIN: int = Field(60, ge=0, le=1_440, description="minutes without entry after a stop")
    SIGNAL_STOP_PCT: Annotated[_Share, Field(gt=0, lt=1)] = Field(
        Decimal("0.02"), description="adverse move from the virtual entry that counts as a stop, a fraction"
    )
    SIGNAL_MAX_HOLD_MIN: int = Field(240, ge=1, le=10_080, description="minutes after which an entry is exited")
    SIGNAL_MIN_VOLUME: Annotated[Amount, Field(decimal_places=8)] = Field(
        Decimal(100_000), description="USDT that must have traded within L"
    )
    SIGNAL_ALLOW_SHORT: bool = Field(False, description="entries on falling momentum, perpetuals only")
    SIGNAL_MAX_GAP_MIN: int = Field(
        5, ge=0, le=60, description="minutes without market data after which an entry waits for L clean minutes"
    )

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        mistakes = []
        if self.SIGNAL_EXIT_PCT >= self.SIGNAL_THRESHOLD_PCT:
            mistakes.append(
                f"SIGNAL_EXIT_PCT={self.SIGNAL_EXIT_PCT}: must be below SIGNAL_THRESHOLD_PCT="
                f"{self.SIGNAL_THRESHOLD_PCT}, or an entry is exited at once"
            )
        if self.SIGNAL_STOP_COOLDOWN_MIN < self.SIGNAL_COOLDOWN_MIN:
            mistakes.append(
                f"SIGNAL_STOP_COOLDOWN_MIN={self.SIGNAL_STOP_COOLDOWN_MIN}: must be at least SIGNAL_COOLDOWN_MIN="
                f"{self.SIGNAL_COOLDOWN_MIN}: a stop is no reason to enter sooner"
            )
        if self.SIGNAL_VOL_MULT and self.SIGNAL_VOL_WINDOW_MIN < self.SIGNAL_LOOKBACK_MIN:
            mistakes.append(
                f"SIGNAL_VOL_WINDOW_MIN={self.SIGNAL_VOL_WINDOW_MIN}: must be at least SIGNAL_LOOKBACK_MIN="
                f"{self.SIGNAL_LOOKBACK_MIN}, or set SIGNAL_VOL_MULT=0"
            )
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self
