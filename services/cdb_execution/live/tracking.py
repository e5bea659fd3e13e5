"""What is known of one order at the exchange, and when it has to be asked for again.

Nothing here is sent: the shell asks whenever `queries` (or `cancels`) is above what it has done, which may be repeated
harmlessly. The order itself is sent once, by whoever first journalled SUBMITTING.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from services.common.timestamps import SECOND_US

__all__ = ["ACKNOWLEDGED_WITHIN_US", "CANCEL_AGAIN_US", "FREEZE_AFTER_US", "NEWS_WITHIN_US", "LiveOrder"]

ACKNOWLEDGED_WITHIN_US: Final = 5 * SECOND_US
"""An order without any answer for longer is UNKNOWN."""
NEWS_WITHIN_US: Final = 30 * SECOND_US
"""So is one that works and of which nothing more was heard for longer."""
FREEZE_AFTER_US: Final = 60 * SECOND_US
"""Trading freezes when an order has been UNKNOWN for so long."""
CANCEL_AGAIN_US: Final = 5 * SECOND_US

_ASK_AFTER_US: Final = tuple(seconds * SECOND_US for seconds in (1, 2, 4, 8, 15))
_ASK_EVERY_US: Final = 15 * SECOND_US
_NOT_FOUND_GRACE_US: Final = 10 * SECOND_US
_NOT_FOUND_ANSWERS: Final = 3


@dataclass
class LiveOrder:
    """One order at the exchange; times are `now` in microseconds.

    Attributes:
        sent_at: when SUBMITTING was journalled.
        quiet_since: when it was last heard of; the queries are counted from here.
        exchange_order_id: None until the exchange has told it.
        unknown_since: None while its state is known.
        queries: how often it has to have been asked for.
        asked: of these, how many before `quiet_since`.
        cancels: how often its rest has to have been cancelled.
        cancel_at: when that was last wanted.
        not_found: how often in a row the exchange said that it does not know it.
        not_found_since: the first of these.
        frozen: whether trading was frozen because it is UNKNOWN.
        settled: an operator said how much of it had filled: fills count only where they are more than that.
        expected_bps: slippage that the paper exchange would have given it.
        trades: ids of the fills that are booked.
    """

    sent_at: int
    quiet_since: int
    exchange_order_id: str | None = None
    unknown_since: int | None = None
    queries: int = 0
    asked: int = 0
    cancels: int = 0
    cancel_at: int | None = None
    not_found: int = 0
    not_found_since: int | None = None
    frozen: bool = False
    settled: bool = False
    expected_bps: Decimal | None = None
    trades: list[str] = field(default_factory=list)

    def heard(self, now: int) -> None:
        """Begin to wait anew: something was heard of it."""
        self.quiet_since, self.asked = now, self.queries
        self.unknown_since, self.frozen = None, False
        self.not_found, self.not_found_since = 0, None

    def lost(self, now: int) -> None:
        """Begin to look for it: nobody knows what became of it."""
        if self.unknown_since is None:
            self.unknown_since, self.quiet_since, self.asked = now, now, self.queries

    def ask_in_time(self, now: int) -> None:
        """Want the queries that are due: 1, 2, 4, 8 and 15 seconds after the last news, then every 15 seconds."""
        silent = now - self.quiet_since
        due = sum(1 for after in _ASK_AFTER_US if silent >= after)
        due += max(0, silent - _ASK_AFTER_US[-1]) // _ASK_EVERY_US
        self.queries = max(self.queries, self.asked + due)

    def cancel(self, now: int) -> None:
        """Want what is left of it cancelled, again after a while."""
        if self.cancel_at is None or now - self.cancel_at >= CANCEL_AGAIN_US:
            self.cancel_at, self.cancels = now, self.cancels + 1

    def is_missing(self, now: int) -> None:
        """Count an answer that the exchange does not know it."""
        self.not_found += 1
        self.not_found_since = now if self.not_found_since is None else self.not_found_since

    def never_arrived(self, now: int, recv_window_us: int) -> bool:
        """Whether it is certain that the exchange never had it: not known for a while, and asked twice more."""
        return (
            self.not_found >= _NOT_FOUND_ANSWERS
            and self.not_found_since is not None
            and now - self.not_found_since >= recv_window_us + _NOT_FOUND_GRACE_US
        )
