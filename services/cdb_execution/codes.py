"""The stable names of why an order was refused, expired or cancelled; the handbook's table is made from them.

An order result's `reason` reads `CODE: sentence with the numbers`.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Self

__all__ = ["CancelCode", "ExpiryCode", "Refusal", "RejectCode", "UnknownCode", "ValidationCode", "shown"]


class _Code(StrEnum):
    """A code that carries its meaning."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Make a member from its name on the wire and one sentence about it."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class RejectCode(_Code):
    """Why an order was not accepted (status REJECTED)."""

    ORDER_NOT_FROM_RISK = "ORDER_NOT_FROM_RISK", "the order was not produced by cdb_risk"
    DECISION_MISSING = "DECISION_MISSING", "no recent decision of cdb_risk has the id that the order names"
    DECISION_USED = "DECISION_USED", "an earlier order has already named this decision"
    DECISION_NOT_APPROVED = "DECISION_NOT_APPROVED", "the decision was a refusal"
    DECISION_MISMATCH = "DECISION_MISMATCH", "venue, symbol, side, purpose or signal differ from the decision"
    DECISION_QUANTITY = "DECISION_QUANTITY", "the order asks for more than the decision approved"
    DECISION_LAYERS = "DECISION_LAYERS", "approved although a layer fails, or a layer is missing"
    DECISION_STATE = "DECISION_STATE", "the decision's own trading state does not let this purpose through"
    DUPLICATE_CLIENT_ORDER_ID = "DUPLICATE_CLIENT_ORDER_ID", "another order already has this client order id"
    FROM_THE_FUTURE = "FROM_THE_FUTURE", "order or decision is stamped later than now"
    TOO_OLD = "TOO_OLD", "the entry or its decision is older than ORDER_MAX_AGE_MS"
    TRADING_STATE = "TRADING_STATE", "execution is halted or frozen for this purpose"
    RISK_SILENT = "RISK_SILENT", "cdb_risk has left the clock unanswered for over RISK_SILENCE_SEC: no new position"
    UNKNOWN_INSTRUMENT = "UNKNOWN_INSTRUMENT", "no grid is known for this venue and symbol"
    TIME_IN_FORCE = (
        "TIME_IN_FORCE",
        "only immediate-or-cancel orders are supported; on paper limit orders may rest (GTC)",
    )
    LEVERAGE = "LEVERAGE", "spot has none; a perpetual's is over MAX_LEVERAGE or that of the tier of the position"
    SIDE = "SIDE", "on spot an entry buys and everything else sells; an entry is never reduce-only, an exit always"
    WOULD_FLIP = "WOULD_FLIP", "an entry against what is held or being entered: no order turns a position around"
    PRICE_MISSING = "PRICE_MISSING", "a limit order or entry without protective price, or no mid at decision"
    PRICE_GRID = "PRICE_GRID", "the price is not on the tick grid, or under one tick"
    PRICE_TOO_FAR = "PRICE_TOO_FAR", "a buy whose protective price is absurdly far over mid at decision"
    LOT_GRID = "LOT_GRID", "the quantity is not on the lot grid"
    MIN_QUANTITY = "MIN_QUANTITY", "the quantity is under the instrument's minimum"
    MIN_NOTIONAL = "MIN_NOTIONAL", "the value at mid is under the instrument's minimum"
    MAX_NOTIONAL = "MAX_NOTIONAL", "the value at mid is over the instrument's maximum"
    EXCEEDS_POSITION = "EXCEEDS_POSITION", "an exit of more than is held and not yet being closed"
    NOT_RECONCILED = "NOT_RECONCILED", "live: the books were not compared with the exchange since the start or lately"
    LIVE_SYMBOL = "LIVE_SYMBOL", "live: an entry of an instrument that is not among LIVE_SYMBOLS"
    LIVE_ORDER_CAP = "LIVE_ORDER_CAP", "live: the entry is over LIVE_MAX_ORDER_USDT at its protective price"
    LIVE_POSITION_CAP = "LIVE_POSITION_CAP", "live: position and entries together would be over LIVE_MAX_POSITION_USDT"
    LIVE_DAILY_LOSS = "LIVE_DAILY_LOSS", "live: today's loss has reached LIVE_MAX_DAILY_LOSS_USDT, or is not known"
    CANARY = "CANARY", "live: the first fills cost over LIVE_CANARY_SLIPPAGE times what the paper exchange expects"
    RULES_UNKNOWN = (
        "RULES_UNKNOWN",
        "live: an entry of an instrument whose rules the exchange has not told since the start",
    )
    EXCHANGE_RULE = (
        "EXCHANGE_RULE",
        "the order breaks a rule that the exchange publishes: state, side, type, grid, size, distance of its price",
    )
    NOT_SENT = "NOT_SENT", "live: not a byte left this machine (too old, no clock, rate limit, grids changed)"
    REFUSED = "REFUSED", "the exchange has refused the order; on paper it would have, with this code of its own"
    NOT_VALIDATED = "NOT_VALIDATED", "shadow: the exchange's test endpoint gave no answer"


class ValidationCode(_Code):
    """How an order was found valid in shadow mode (status NEW): nothing was placed."""

    TEST_ENDPOINT = "TEST_ENDPOINT", "shadow: the exchange's test endpoint has accepted it; it fills on paper"
    PUBLISHED_RULES = "PUBLISHED_RULES", "shadow: perpetuals have no test endpoint; rules and price limits are kept"


class ExpiryCode(_Code):
    """Why nothing of an order filled in its life (status EXPIRED)."""

    NO_QUOTE = "NO_QUOTE", "no valid quote came after the latency"
    PRICE_COLLAR = "PRICE_COLLAR", "quotes were better than mid at decision by more than PRICE_COLLAR_PCT"
    NO_SIZE = "NO_SIZE", "nothing was offered at the touch, or we had already taken it"
    PARTICIPATION_CAP = "PARTICIPATION_CAP", "our share of the last minute's volume was used up"
    PROTECTION_PRICE = "PROTECTION_PRICE", "even the smallest fill would have been worse than the protective price"
    NEVER_ARRIVED = "NEVER_ARRIVED", "the exchange has never heard of the order: it, or an operator, said so"


class CancelCode(_Code):
    """Why the rest of an order was given up (status CANCELED)."""

    REMAINDER = "REMAINDER", "the fill could not be larger; the rest of an immediate-or-cancel order is cancelled"
    TRADING_STATE = "TRADING_STATE", "trading was halted, frozen or reduced while the order worked"
    RISK_SILENT = "RISK_SILENT", "cdb_risk went silent while the entry worked"
    LIFETIME = "LIFETIME", "a resting order has not filled in its life, six times PAPER_ORDER_LIFE_SEC"
    EXIT = "EXIT", "an exit of the instrument came while the entry rested"
    RESOLVED = "RESOLVED", "an operator found that nothing more of the order fills"
    LIQUIDATED = "LIQUIDATED", "the position was liquidated; the exchange cancels what worked on it"
    BY_EXCHANGE = "BY_EXCHANGE", "the exchange ended the order; what had not filled is given up"
    FEED_FINISHED = "FEED_FINISHED", "the recorded feed has ended: no further quote can fill the order"


class UnknownCode(_Code):
    """Why nobody knows what became of an order (status UNKNOWN); the exchange is asked until it is known."""

    NO_ACKNOWLEDGEMENT = "NO_ACKNOWLEDGEMENT", "no answer came within 5 seconds, or the process ended after sending"
    NO_NEWS = "NO_NEWS", "the order worked, and nothing more was heard of it for 30 seconds"
    NO_ANSWER = "NO_ANSWER", "sending it ended without an answer that tells (time-out, cut, 5xx)"
    NOT_FOUND = "NOT_FOUND", "asked, the exchange does not know the order (yet)"


def shown(value: Decimal) -> str:
    """Return a number as it stands in a sentence: equal values read equal, whatever zeros they carry."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class Refusal(NamedTuple):
    """A refusal and the sentence with its numbers."""

    code: RejectCode
    detail: str

    def __str__(self) -> str:
        """Return the form that stands in an order result's reason."""
        return f"{self.code}: {self.detail}"
