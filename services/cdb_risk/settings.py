"""Settings of the risk manager; they decide, so they stand in the journal as a `config` event.

All `_PCT` settings are fractions: 0.05 is 5 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Final, Literal, Self, get_args

from pydantic import Field, model_validator

from services.common.instruments import PERPETUAL, InstrumentSpec, Venue
from services.common.live_settings import LIVE_ONLY, LiveSettings
from services.common.settings import Amount, Fraction, Symbols

__all__ = ["SIZING_METHODS", "RiskSettings", "SizingMethod"]

SizingMethod = Literal["fixed_fractional", "volatility_targeting", "kelly_criterion", "atr_based"]

SIZING_METHODS: Final[tuple[SizingMethod, ...]] = get_args(SizingMethod)


class RiskSettings(LiveSettings):
    """Limits, sizing and protective exits. Loss limits block at equality; caps allow equality.

    Attributes:
        VENUE: the exchange and product that orders go to.
        SYMBOLS: instruments that may be entered (auto: what the feed chooses); others are only marked and closed.
        ACCOUNT_EQUITY: paper cash at the beginning of a run, in USDT.
        MAX_POSITION_PCT: largest share of equity in one instrument, pending entries included.
        MAX_DAILY_DRAWDOWN_PCT: loss since 00:00 UTC, as a share of the equity then, at which entries end for the day.
        MAX_ROLLING_DRAWDOWN_PCT: loss from the highest equity of the last hours at which entries rest; 0: off.
        ROLLING_DRAWDOWN_HOURS: how many hours that are, and how long entries then rest.
        MAX_LOSS_STREAK: round trips lost in a row (net of fees) after which entries pause; 0: off.
        LOSS_STREAK_PAUSE_MIN: how long they pause.
        MAX_TOTAL_EXPOSURE_PCT: largest share of equity in all instruments together, pending entries included.
        CIRCUIT_BREAKER_THRESHOLD_PCT: loss from the peak equity at which trading halts until an operator resets it.
        MAX_SPREAD_PCT: widest (ask - bid) / mid for an entry.
        MAX_SLIPPAGE_PCT: largest expected slippage of an entry, and the last limit price of a protective exit.
        DATA_STALE_TIMEOUT_SEC: oldest market data and oldest signal that may be acted on.
        PRICE_COLLAR_PCT: largest jump from the last good price that one quote may make.
        RISK_PER_TRADE_PCT: share of equity lost when the stop is hit.
        STOP_LOSS_PCT: distance of the stop from the average entry price.
        TAKE_PROFIT_PCT: distance of the profit that is taken from the average entry price; 0: off.
        TRAILING_STOP_PCT: distance of the trailing stop from the best price since entry; 0: off.
        MAX_HOLD_MIN: minutes after which a position is closed, whatever the strategy says; 0: off.
        SIZING_METHOD: how the requested quantity is found; the stop stays at STOP_LOSS_PCT with each of them.
        TARGET_VOL_PCT: of volatility_targeting: yearly volatility that a position may bring into the equity.
        VOL_WINDOW_MIN: of volatility_targeting: one-minute returns that the volatility is estimated from.
        ATR_PERIOD: of atr_based: bars of the average true range.
        ATR_BAR_MIN: of atr_based: minutes of one of these bars.
        ATR_MULTIPLE: of atr_based: average true ranges that lose RISK_PER_TRADE_PCT of equity.
        KELLY_FRACTION: of kelly_criterion: share of the full Kelly fraction that is used.
        KELLY_TRIPS: of kelly_criterion: the last virtual round trips that win rate, win and loss are taken from.
        MAX_CONCURRENT_POSITIONS: instruments held or being entered at the same time.
        MAX_ENTRIES_PER_MINUTE: approved entries of one symbol within 60 seconds.
        MAX_ORDERS_PER_MINUTE: orders of all symbols within 60 seconds, exits counted, after which entries wait.
        MAX_ORDER_NOTIONAL_USDT: largest entry at its worst price; larger requests are capped.
        ENTRY_TIME_IN_FORCE: IOC takes what is offered; GTC (on paper alone) rests at the touch of its own side.
        ENTRY_SPACING_SEC: least time between entries in the same direction, over all symbols.
        PAPER_TAKER_FEE, PAPER_PERP_TAKER_FEE: fee rate of a fill at the touch, part of an order's worst price.
        SIGNAL_ALLOW_SHORT: whether perpetuals may be sold short; spot never is.
        LEVERAGE: of a perpetual entry: its isolated margin is its notional / leverage.
        MAX_LEVERAGE: highest LEVERAGE that the settings may have.
        LIQUIDATION_GUARD_PCT: distance from mark to liquidation at which the guard closes a perpetual position.
    """

    VENUE: Venue = "mexc_spot"
    SYMBOLS: Symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    ACCOUNT_EQUITY: Amount = Field(Decimal(100_000), ge=1, le=1_000_000_000)
    MAX_POSITION_PCT: Fraction = Decimal("0.10")
    MAX_DAILY_DRAWDOWN_PCT: Fraction = Field(Decimal("0.05"), gt=0)
    MAX_ROLLING_DRAWDOWN_PCT: Fraction = Decimal(0)
    ROLLING_DRAWDOWN_HOURS: int = Field(24, ge=1, le=720)
    MAX_LOSS_STREAK: int = Field(0, ge=0, le=1000)
    LOSS_STREAK_PAUSE_MIN: int = Field(60, ge=1, le=10_080)
    MAX_TOTAL_EXPOSURE_PCT: Fraction = Decimal("0.30")
    CIRCUIT_BREAKER_THRESHOLD_PCT: Fraction = Field(Decimal("0.10"), gt=0)
    MAX_SPREAD_PCT: Fraction = Decimal("0.005")
    MAX_SLIPPAGE_PCT: Fraction = Field(Decimal("0.02"), gt=0, le=Decimal("0.5"))
    DATA_STALE_TIMEOUT_SEC: int = Field(60, ge=1, le=3600)
    PRICE_COLLAR_PCT: Fraction = Field(Decimal("0.05"), gt=0)
    RISK_PER_TRADE_PCT: Fraction = Decimal("0.0015")
    STOP_LOSS_PCT: Fraction = Field(Decimal("0.02"), ge=Decimal("0.0001"), lt=1)
    TAKE_PROFIT_PCT: Fraction = Decimal(0)
    TRAILING_STOP_PCT: Fraction = Field(Decimal(0), lt=1)
    MAX_HOLD_MIN: int = Field(0, ge=0, le=525_600)
    SIZING_METHOD: SizingMethod = "fixed_fractional"
    TARGET_VOL_PCT: Fraction = Decimal("0.04")
    VOL_WINDOW_MIN: int = Field(720, ge=240, le=10_080)
    ATR_PERIOD: int = Field(14, ge=2, le=200)
    ATR_BAR_MIN: int = Field(60, ge=1, le=1_440)
    ATR_MULTIPLE: Amount = Field(Decimal(2), ge=Decimal("0.1"), le=100)
    KELLY_FRACTION: Fraction = Decimal("0.25")
    KELLY_TRIPS: int = Field(100, ge=30, le=1_000)
    MAX_CONCURRENT_POSITIONS: int = Field(3, ge=0, le=200)
    MAX_ENTRIES_PER_MINUTE: int = Field(6, ge=0, le=1000)
    MAX_ORDERS_PER_MINUTE: int = Field(30, ge=0, le=10_000)
    MAX_ORDER_NOTIONAL_USDT: Amount = Field(Decimal(20_000), ge=1, le=1_000_000_000)
    ENTRY_TIME_IN_FORCE: Literal["IOC", "GTC"] = "IOC"
    ENTRY_SPACING_SEC: int = Field(60, ge=0, le=86_400)
    PAPER_TAKER_FEE: Fraction = Field(Decimal("0.0005"), le=Decimal("0.05"))
    PAPER_PERP_TAKER_FEE: Fraction = Field(Decimal("0.0008"), le=Decimal("0.05"))
    SIGNAL_ALLOW_SHORT: bool = False
    LEVERAGE: int = Field(1, ge=1, le=125)
    MAX_LEVERAGE: int = Field(5, ge=1, le=125)
    LIQUIDATION_GUARD_PCT: Fraction = Field(Decimal("0.01"), gt=0, lt=1)

    @model_validator(mode="after")
    def _leverage_and_guard_agree(self) -> Self:
        if self.LEVERAGE > self.MAX_LEVERAGE:
            raise ValueError(f"LEVERAGE={self.LEVERAGE}: must not be over MAX_LEVERAGE={self.MAX_LEVERAGE}")
        if self.VENUE == PERPETUAL and self.LIQUIDATION_GUARD_PCT >= 2 * self.STOP_LOSS_PCT:
            raise ValueError(
                f"LIQUIDATION_GUARD_PCT={self.LIQUIDATION_GUARD_PCT}: must be under twice "
                f"STOP_LOSS_PCT={self.STOP_LOSS_PCT}, or an entry could be guarded at once"
            )
        return self

    @model_validator(mode="after")
    def _rests_on_paper_alone(self) -> Self:
        if self.ENTRY_TIME_IN_FORCE == "GTC" and self.sends:
            raise ValueError(
                f"ENTRY_TIME_IN_FORCE=GTC: entries rest on paper alone; TRADING_MODE={self.TRADING_MODE} needs IOC"
            )
        return self

    def undecided(self) -> frozenset[str]:
        """Return the settings that say nothing by their value."""
        return frozenset({"ENTRY_TIME_IN_FORCE"}) if self.ENTRY_TIME_IN_FORCE == "IOC" else frozenset()

    @classmethod
    def unused_on_paper(cls) -> frozenset[str]:
        """Return the settings that decide nothing on paper."""
        return LIVE_ONLY | {"TRADING_MODE"}

    def capital(self, equity: Decimal) -> Decimal:
        """Return what sizes and limits are taken of: on live no more than LIVE_CAPITAL_USDT, however much there is."""
        return min(equity, self.LIVE_CAPITAL_USDT) if self.sends else equity

    @property
    def largest_order(self) -> Decimal:
        """Largest entry at its worst price, quote currency."""
        return (
            min(self.MAX_ORDER_NOTIONAL_USDT, self.LIVE_MAX_ORDER_USDT) if self.sends else self.MAX_ORDER_NOTIONAL_USDT
        )

    def largest_position(self, equity: Decimal) -> Decimal:
        """Largest position of one instrument, quote currency, pending entries included."""
        largest = self.MAX_POSITION_PCT * self.capital(equity)
        return min(largest, self.LIVE_MAX_POSITION_USDT) if self.sends else largest

    @cached_property
    def instruments(self) -> Mapping[str, InstrumentSpec]:
        """Grids by instrument key of what can be traded."""
        return self._facts.grids(self.VENUE)

    def daily_loss(self, start_of_day: Decimal) -> Decimal:
        """Return the loss since 00:00 UTC, quote currency, at which entries end for the day."""
        largest = self.MAX_DAILY_DRAWDOWN_PCT * start_of_day
        return min(largest, self.LIVE_MAX_DAILY_LOSS_USDT) if self.sends else largest

    def spec(self, key: str) -> InstrumentSpec | None:
        """Return the grid of an instrument (key of :func:`instrument_key`), or None when it is not known.

        Perpetuals are known only where VENUE turns them on; spot always is, so that what is held can be closed.
        """
        return self.instruments.get(key)

    def taker_fee(self, venue: str) -> Decimal:
        """Return the fee rate of a fill at the touch."""
        return self.PAPER_PERP_TAKER_FEE if venue == PERPETUAL else self.PAPER_TAKER_FEE

    def may_short(self, venue: str) -> bool:
        """Whether a position of this venue may be opened by a sale."""
        return venue == PERPETUAL and self.SIGNAL_ALLOW_SHORT

    def leverage(self, venue: str) -> int:
        """Return the leverage of an entry."""
        return self.LEVERAGE if venue == PERPETUAL else 1

    def may_enter(self, venue: str, symbol: str) -> bool:
        """Whether entries of this instrument are allowed at all."""
        return venue == self.VENUE and symbol in self.chosen(self.SYMBOLS)
