"""What live trading adds to the settings of risk and execution: the mode, and the ramp that caps it in USDT.

Both check it (two keys): risk sizes within it, execution refuses what is over it. Exits are never held back by it.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from typing import Any, Final, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from services.common.settings import AUTO, Amount, MachineSettings, Symbols

__all__ = ["LIVE_ONLY", "LiveSettings", "TradingMode"]

TradingMode = Literal["paper", "shadow", "live"]


class LiveSettings(MachineSettings):
    """Mode and ramp; on paper they decide nothing, and a paper run's journal does not carry them.

    Attributes:
        TRADING_MODE: where orders go: `paper`, `shadow` (live's path, validated by the exchange, filled on paper) or
            `live`.
        LIVE_SYMBOLS: instruments that may be entered.
        LIVE_MAX_ORDER_USDT: largest entry at its protective price.
        LIVE_MAX_POSITION_USDT: largest position of one instrument, pending entries included.
        LIVE_MAX_DAILY_LOSS_USDT: loss since 00:00 UTC at which entries end for the day.
        LIVE_CAPITAL_USDT: what is traded with at most: equity is the smaller of it and what the exchange holds.
        LIVE_CANARY_FILLS: so many first fills are watched; 0: none.
        LIVE_CANARY_SLIPPAGE: entries pause when the mean slippage of those is over so many times paper's.
    """

    TRADING_MODE: TradingMode = "paper"
    LIVE_SYMBOLS: Symbols = ("BTCUSDT",)
    LIVE_MAX_ORDER_USDT: Amount = Field(Decimal(50), ge=1, le=1_000_000)
    LIVE_MAX_POSITION_USDT: Amount = Field(Decimal(150), ge=1, le=1_000_000)
    LIVE_MAX_DAILY_LOSS_USDT: Amount = Field(Decimal(25), ge=1, le=1_000_000)
    LIVE_CAPITAL_USDT: Amount = Field(Decimal(1_000), ge=1, le=1_000_000_000)
    LIVE_CANARY_FILLS: int = Field(20, ge=0, le=1_000)
    LIVE_CANARY_SLIPPAGE: Amount = Field(Decimal(3), ge=1, le=100)

    @cached_property
    def sends(self) -> bool:
        """Whether orders leave for an exchange, be it only to be validated."""
        return self.TRADING_MODE != "paper"

    @field_validator("LIVE_SYMBOLS")
    @classmethod
    def _named(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        if symbols == AUTO:
            raise ValueError("the instruments of the live ramp are named one by one, for example BTCUSDT")
        return symbols

    @model_serializer(mode="wrap")
    def _without_what_decides_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        unused = self.undecided() | (self.unused_on_paper() if self.TRADING_MODE == "paper" else frozenset())
        return {name: value for name, value in fields.items() if name not in unused}

    def undecided(self) -> frozenset[str]:
        """Return the settings that say nothing by their value, so that earlier configurations keep their hash."""
        return frozenset()

    @classmethod
    def unused_on_paper(cls) -> frozenset[str]:
        """Return the settings that decide nothing on paper."""
        return LIVE_ONLY


LIVE_ONLY: Final = frozenset(LiveSettings.model_fields) - {"TRADING_MODE"}
"""Settings that decide nothing on paper."""
