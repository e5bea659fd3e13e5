"""The stable names of everything that a risk layer can find, and what each one means."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = ["MEANINGS", "Code"]


class Code(StrEnum):
    """What a check found; `OK` when it has nothing against the order."""

    OK = "OK"
    BAD_VALUE = "BAD_VALUE"

    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    LIVE_SYMBOL = "LIVE_SYMBOL"
    MARKET_DATA_MISSING = "MARKET_DATA_MISSING"
    IMPLAUSIBLE_DATA = "IMPLAUSIBLE_DATA"
    CROSSED_BOOK = "CROSSED_BOOK"
    FEED_GAP = "FEED_GAP"
    PRICE_COLLAR = "PRICE_COLLAR"
    SIGNAL_PRICE_COLLAR = "SIGNAL_PRICE_COLLAR"
    EQUITY_UNKNOWN = "EQUITY_UNKNOWN"
    MARKS_STALE = "MARKS_STALE"
    MARK_MISSING = "MARK_MISSING"

    SHORT_NOT_ALLOWED = "SHORT_NOT_ALLOWED"
    ALREADY_POSITIONED = "ALREADY_POSITIONED"
    ENTRY_WORKING = "ENTRY_WORKING"
    TOO_MANY_POSITIONS = "TOO_MANY_POSITIONS"
    ORDER_RATE = "ORDER_RATE"
    TOTAL_ORDER_RATE = "TOTAL_ORDER_RATE"
    ENTRY_SPACING = "ENTRY_SPACING"
    LEVERAGE_LIMIT = "LEVERAGE_LIMIT"
    LIQUIDATION_TOO_CLOSE = "LIQUIDATION_TOO_CLOSE"
    INSUFFICIENT_MARGIN = "INSUFFICIENT_MARGIN"
    SIZING_INPUT_UNKNOWN = "SIZING_INPUT_UNKNOWN"
    KELLY_NON_POSITIVE = "KELLY_NON_POSITIVE"
    POSITION_LIMIT = "POSITION_LIMIT"
    ORDER_NOTIONAL_LIMIT = "ORDER_NOTIONAL_LIMIT"
    LIVE_POSITION_CAP = "LIVE_POSITION_CAP"
    LIVE_ORDER_CAP = "LIVE_ORDER_CAP"
    BELOW_MINIMUM = "BELOW_MINIMUM"
    NO_POSITION = "NO_POSITION"
    EXIT_WORKING = "EXIT_WORKING"
    EXIT_TOO_SOON = "EXIT_TOO_SOON"
    DUST = "DUST"

    START_OF_DAY_UNKNOWN = "START_OF_DAY_UNKNOWN"
    DAILY_DRAWDOWN_LIMIT = "DAILY_DRAWDOWN_LIMIT"
    DAILY_DRAWDOWN_LATCHED = "DAILY_DRAWDOWN_LATCHED"
    LIVE_DAILY_LOSS = "LIVE_DAILY_LOSS"
    ROLLING_DRAWDOWN_LIMIT = "ROLLING_DRAWDOWN_LIMIT"
    ROLLING_DRAWDOWN_LATCHED = "ROLLING_DRAWDOWN_LATCHED"
    LOSS_STREAK = "LOSS_STREAK"

    EXPOSURE_UNKNOWN = "EXPOSURE_UNKNOWN"
    EXPOSURE_LIMIT = "EXPOSURE_LIMIT"

    PEAK_UNKNOWN = "PEAK_UNKNOWN"
    DRAWDOWN_LIMIT = "DRAWDOWN_LIMIT"
    BREAKER_LATCHED = "BREAKER_LATCHED"
    OPERATOR_HALT = "OPERATOR_HALT"
    FROZEN = "FROZEN"
    JOURNAL_MEMORY = "JOURNAL_MEMORY"

    SPREAD_LIMIT = "SPREAD_LIMIT"
    DEPTH_UNKNOWN = "DEPTH_UNKNOWN"
    SLIPPAGE_LIMIT = "SLIPPAGE_LIMIT"

    TIMESTAMP_MISSING = "TIMESTAMP_MISSING"
    TIMESTAMP_IN_FUTURE = "TIMESTAMP_IN_FUTURE"
    DATA_STALE = "DATA_STALE"
    SIGNAL_STALE = "SIGNAL_STALE"


MEANINGS: Final[dict[Code, str]] = {
    Code.OK: "nothing against the order",
    Code.BAD_VALUE: "a value is not a finite number of the kind that is meant",
    Code.UNKNOWN_SYMBOL: "the instrument is not traded here, or its grid is not known",
    Code.LIVE_SYMBOL: "shadow and live: the instrument is not among LIVE_SYMBOLS",
    Code.MARKET_DATA_MISSING: "no price or no quote of the instrument has been seen",
    Code.IMPLAUSIBLE_DATA: "a price is under a millionth or over a billion, or a size over 10^15",
    Code.CROSSED_BOOK: "the last quote's bid was not below its ask",
    Code.FEED_GAP: "the feed lost messages and has not yet shown three good quotes over two seconds",
    Code.PRICE_COLLAR: "the price is further from the last good one than PRICE_COLLAR_PCT",
    Code.SIGNAL_PRICE_COLLAR: "the signal's price is further from the market than PRICE_COLLAR_PCT",
    Code.EQUITY_UNKNOWN: "the equity is not known or not above zero",
    Code.MARKS_STALE: "a held position has had no good mark for 60 seconds",
    Code.MARK_MISSING: "the perpetual has had no mark price for 60 seconds that could be believed",
    Code.SHORT_NOT_ALLOWED: "spot sells only what is held; perpetuals are sold short only with SIGNAL_ALLOW_SHORT",
    Code.ALREADY_POSITIONED: "the instrument is held already (no pyramiding)",
    Code.ENTRY_WORKING: "an entry of the instrument is still working",
    Code.TOO_MANY_POSITIONS: "MAX_CONCURRENT_POSITIONS instruments are held or being entered",
    Code.ORDER_RATE: "MAX_ENTRIES_PER_MINUTE entries of the symbol within the last minute",
    Code.TOTAL_ORDER_RATE: "MAX_ORDERS_PER_MINUTE orders of all symbols, exits included, within the last minute",
    Code.ENTRY_SPACING: "the last entry in this direction was less than ENTRY_SPACING_SEC ago",
    Code.LEVERAGE_LIMIT: "LEVERAGE is over what the exchange allows a position of this size",
    Code.LIQUIDATION_TOO_CLOSE: "the liquidation would lie closer than twice STOP_LOSS_PCT",
    Code.INSUFFICIENT_MARGIN: "margin and fee of the order are more than the free cash",
    Code.SIZING_INPUT_UNKNOWN: "the sizing method lacks an input, so the size is zero",
    Code.KELLY_NON_POSITIVE: "kelly_criterion: the last round trips lost at least what they won, so the size is zero",
    Code.POSITION_LIMIT: "MAX_POSITION_PCT leaves no room in the instrument",
    Code.ORDER_NOTIONAL_LIMIT: "MAX_ORDER_NOTIONAL_USDT, or the exchange's largest order, leaves no order",
    Code.LIVE_POSITION_CAP: "shadow and live: LIVE_MAX_POSITION_USDT leaves no room in the instrument",
    Code.LIVE_ORDER_CAP: "shadow and live: LIVE_MAX_ORDER_USDT leaves no order",
    Code.BELOW_MINIMUM: "what is left after the caps is under the exchange's minimum order",
    Code.NO_POSITION: "an exit while nothing is held",
    Code.EXIT_WORKING: "an exit of the whole position is working already",
    Code.EXIT_TOO_SOON: "the last exit order is less than two seconds old; the latched exit asks again",
    Code.DUST: "the position is below the exchange's minimum order and cannot be sold",
    Code.START_OF_DAY_UNKNOWN: "the equity at the start of the UTC day is not known",
    Code.DAILY_DRAWDOWN_LIMIT: "today's loss has reached MAX_DAILY_DRAWDOWN_PCT of the start-of-day equity",
    Code.DAILY_DRAWDOWN_LATCHED: "the daily loss limit was reached earlier today; it ends at 00:00 UTC",
    Code.LIVE_DAILY_LOSS: "shadow and live: today's loss has reached LIVE_MAX_DAILY_LOSS_USDT, or is not known",
    Code.ROLLING_DRAWDOWN_LIMIT: "the loss from the highest equity of the last ROLLING_DRAWDOWN_HOURS has reached "
    "MAX_ROLLING_DRAWDOWN_PCT",
    Code.ROLLING_DRAWDOWN_LATCHED: "the rolling loss limit was reached; it ends ROLLING_DRAWDOWN_HOURS after that",
    Code.LOSS_STREAK: "MAX_LOSS_STREAK round trips in a row were lost; entries pause for LOSS_STREAK_PAUSE_MIN",
    Code.EXPOSURE_UNKNOWN: "the exposure cannot be valued",
    Code.EXPOSURE_LIMIT: "MAX_TOTAL_EXPOSURE_PCT leaves no room",
    Code.PEAK_UNKNOWN: "the peak equity is not known",
    Code.DRAWDOWN_LIMIT: "the loss from the peak equity has reached CIRCUIT_BREAKER_THRESHOLD_PCT",
    Code.BREAKER_LATCHED: "the circuit breaker has tripped; an operator must reset it by name and reason",
    Code.OPERATOR_HALT: "trading is halted by an operator",
    Code.FROZEN: "trading is frozen: nothing but flatten leaves",
    Code.JOURNAL_MEMORY: "the journal is short of memory",
    Code.SPREAD_LIMIT: "the spread is over MAX_SPREAD_PCT",
    Code.DEPTH_UNKNOWN: "the size at the touch is missing or too small to price the order",
    Code.SLIPPAGE_LIMIT: "the expected slippage is over MAX_SLIPPAGE_PCT",
    Code.TIMESTAMP_MISSING: "a time that is needed is missing",
    Code.TIMESTAMP_IN_FUTURE: "a timestamp is more than five seconds ahead of the clock",
    Code.DATA_STALE: "the market data are older than DATA_STALE_TIMEOUT_SEC",
    Code.SIGNAL_STALE: "the signal is older than DATA_STALE_TIMEOUT_SEC",
}
"""One readable line for every code; the handbook's table is made from it."""
