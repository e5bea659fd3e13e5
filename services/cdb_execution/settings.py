"""What decides in cdb_execution: journalled as its `config` event."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from services.common.instruments import DEFAULT_INSTRUMENTS, PERPETUAL, InstrumentSpec, Venue, instrument_key
from services.common.live_settings import LIVE_ONLY, LiveSettings
from services.common.settings import Fraction
from services.common.timestamps import MS_US

__all__ = ["INSTRUMENTS", "ExchangeAccess", "ExecutionSettings"]

INSTRUMENTS: Final = {instrument_key(spec.venue, spec.symbol): spec for spec in DEFAULT_INSTRUMENTS}
"""Grids and bounds by instrument key."""

PERPETUAL_WINDOW_MS: Final = 10_000
"""How far a perpetual request's stamp may be from the exchange's time where it names no window of its own."""


class ExecutionSettings(LiveSettings):
    """Settings of the order state machine, of the paper exchange and of live trading.

    Attributes:
        VENUE: perpetuals are traded only where it is `mexc_perpetual`; spot always may be, to close what is held.
        MAX_LEVERAGE: an entry of a perpetual with more is refused, whatever risk let through.
        PAPER_LATENCY_MS: an order fills only from quotes at least this much later than the order.
        PAPER_ORDER_LIFE_SEC: an immediate-or-cancel order that could not fill lives this long on the folded clock, a
            resting one six times as long.
        PAPER_TAKER_FEE, PAPER_MAKER_FEE: shares of a spot fill's notional, paid in quote currency.
        PAPER_PERP_TAKER_FEE, PAPER_PERP_MAKER_FEE: the same for perpetuals (the exchange's schedule for its API).
        PAPER_PARTICIPATION: largest share of the last minute's volume that our own fills may be.
        PAPER_MAX_LEVELS: largest fill in multiples of the size at the touch.
        MAX_SLIPPAGE_PCT: protection of an order without a price, measured from the touch.
        PRICE_COLLAR_PCT: a quote better for us than mid at decision by more than this is not believed.
        ORDER_MAX_AGE_MS: an entry older than this on the folded clock is refused.
        MEXC_RECV_WINDOW_MS: how long after its stamp the exchange may still accept a request; an order that it has not
            heard of counts as never arrived only ten seconds after that.
        RISK_SILENCE_SEC: entries are refused when cdb_risk has left a tick of the clock unanswered for longer.
    """

    VENUE: Venue = "mexc_spot"
    MAX_LEVERAGE: int = Field(5, ge=1, le=125)
    PAPER_LATENCY_MS: int = Field(250, ge=0, le=60_000)
    PAPER_ORDER_LIFE_SEC: int = Field(10, ge=1, le=3_600)
    PAPER_TAKER_FEE: Annotated[Fraction, Field(le=Decimal("0.05"))] = Decimal("0.0005")
    PAPER_MAKER_FEE: Annotated[Fraction, Field(le=Decimal("0.05"))] = Decimal(0)
    PAPER_PERP_TAKER_FEE: Annotated[Fraction, Field(le=Decimal("0.05"))] = Decimal("0.0008")
    PAPER_PERP_MAKER_FEE: Annotated[Fraction, Field(le=Decimal("0.05"))] = Decimal("0.0006")
    PAPER_PARTICIPATION: Annotated[Fraction, Field(gt=0)] = Decimal("0.10")
    PAPER_MAX_LEVELS: int = Field(4, ge=1, le=20)
    MAX_SLIPPAGE_PCT: Annotated[Fraction, Field(gt=0, le=Decimal("0.5"))] = Decimal("0.02")
    PRICE_COLLAR_PCT: Annotated[Fraction, Field(gt=0)] = Decimal("0.05")
    ORDER_MAX_AGE_MS: int = Field(5_000, ge=1, le=600_000)
    RISK_SILENCE_SEC: int = Field(30, ge=15, le=3_600)
    MEXC_RECV_WINDOW_MS: int = Field(5_000, ge=1_000, le=60_000)

    @cached_property
    def instruments(self) -> Mapping[str, InstrumentSpec]:
        """Grids by instrument key of what can be traded."""
        return self._facts.grids(self.VENUE)

    def spec(self, key: str) -> InstrumentSpec | None:
        """Return the grids of an instrument, or None when it is not known or VENUE does not turn it on."""
        return self.instruments.get(key)

    def arrival_window_us(self, venue: str) -> int:
        """Return how long after its stamp the exchange may still accept a request, microseconds.

        Requests of perpetuals carry no window of ours (its unit is disputed), so the exchange's own counts for them.
        """
        own_ms = PERPETUAL_WINDOW_MS if venue == PERPETUAL else 0
        return max(self.MEXC_RECV_WINDOW_MS, own_ms) * MS_US

    def taker_fee(self, venue: str) -> Decimal:
        """Return the fee rate of a fill that takes."""
        return self.PAPER_PERP_TAKER_FEE if venue == PERPETUAL else self.PAPER_TAKER_FEE

    def maker_fee(self, venue: str) -> Decimal:
        """Return the fee rate of a fill of an order that rested."""
        return self.PAPER_PERP_MAKER_FEE if venue == PERPETUAL else self.PAPER_MAKER_FEE

    @classmethod
    def unused_on_paper(cls) -> frozenset[str]:
        """Return the settings that decide nothing on paper."""
        return LIVE_ONLY | {"MEXC_RECV_WINDOW_MS"}

    @model_validator(mode="after")
    def _life_outlasts_latency(self) -> Self:
        if self.PAPER_LATENCY_MS >= self.PAPER_ORDER_LIFE_SEC * 1_000:
            raise ValueError(
                f"PAPER_LATENCY_MS={self.PAPER_LATENCY_MS} must be shorter than "
                f"PAPER_ORDER_LIFE_SEC={self.PAPER_ORDER_LIFE_SEC} s, or no order could ever fill"
            )
        return self


class ExchangeAccess(BaseModel):
    """Keys of the account, from the environment or from files (`MEXC_API_KEY_FILE`).

    Attributes:
        MEXC_API_KEY, MEXC_API_SECRET: of a key that may trade and may not withdraw.
        CONFIRM_LIVE_TRADING: `yes` is a person's word that orders with real money are meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    MEXC_API_KEY: SecretStr = SecretStr("")
    MEXC_API_SECRET: SecretStr = SecretStr("")
    CONFIRM_LIVE_TRADING: str = ""
