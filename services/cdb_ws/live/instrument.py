"""One instrument of a live feed: what is known of it, what was lost of it, and what one message makes of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from services.cdb_ws.live.depth import book_behind
from services.cdb_ws.live.ledger import TradeLedger
from services.cdb_ws.live.words import Deal, Mark, Quote
from services.cdb_ws.observation import NO_VOLUME, Observation, sum_volumes
from services.common.book import Book
from services.common.decimals import wire_form
from services.common.instruments import PERPETUAL, InstrumentSpec
from services.common.portfolio import mid_price
from services.common.timestamps import MS_US, SECOND_US, format_timestamp

__all__ = ["InstrumentFeed"]

FRESH_US: Final = 2 * SECOND_US
"""A quote of the first topic is newer than one of the second for so long, and the levels of the second are believed."""


class InstrumentFeed:
    """What a live feed knows of one instrument.

    Args:
        spec: its grids.
        topics: what is subscribed of it.
        resumed: the journal goes on after a pause: the first observation marks it.
        levels: of each side of the book that observations carry, at most; 0: none.

    Attributes:
        healing: messages were lost, and the answer that brings the trades back has not come.
        heal_from_ms: the exchange's time from which trades may be missing.
        heard_us: feed time of the last message of any kind; None before the first.
        deals_us: of the last trades; None before the first.
        traded_us, quoted_us, marked_us: of the last new trades, newer quote, mark price; None before the first.
        whole_from_ms: the exchange's time from which every trade shall have been counted; None before the first echo.
        gaps, healed, late: losses, trades brought back, quotes that came after newer ones.
        missed, compared: trades that were lost in a living stream, minutes compared with the exchange's bar.
    """

    def __init__(self, spec: InstrumentSpec, topics: Sequence[str], *, resumed: bool, levels: int = 0) -> None:
        self.spec = spec
        self.symbol = spec.symbol
        self.deals_topic, self._quotes_topic = topics[0], topics[1]
        self.ledger = TradeLedger()
        self.healing = False
        self.heal_from_ms: int | None = None
        self.heard_us: int | None = None
        self.deals_us: int | None = None
        self.traded_us: int | None = None
        self.quoted_us: int | None = None
        self.marked_us: int | None = None
        self.whole_from_ms: int | None = None
        self.gaps = self.healed = self.late = self.missed = 0
        self.compared: Counter[str] = Counter()
        self._unit = spec.contract_size if spec.volume_unit == "contracts" else Decimal(1)
        self._gap_owed = resumed
        self._price: Decimal | None = None
        self._price_ms = 0
        self._exchange_ms: int | None = None
        self._quote: Quote | None = None
        self._quoted_us = 0
        self._levels = levels
        self._depth: Quote | None = None
        self._depth_us = 0
        self._versions: dict[str, int] = {}
        self._mark: Decimal | None = None
        self._funding: Decimal | None = None
        self.index_price: Decimal | None = None

    # what comes

    def see_quote(self, quote: Quote, now_us: int) -> Observation | None:
        """Return what a quote shows; None for one that is older than what is known."""
        self.heard_us = now_us
        before = self._versions.get(quote.topic)
        if quote.version is not None:
            if before is not None and quote.version < before:
                self.late += 1
                return None
            self._versions[quote.topic] = quote.version
        self.quoted_us = now_us
        if quote.bids or quote.asks:
            self._depth, self._depth_us = quote, now_us
        if quote.topic != self._quotes_topic and now_us - self._quoted_us < FRESH_US and self._quote is not None:
            return None
        if quote.topic == self._quotes_topic:
            self._quoted_us = now_us
        self._quote = quote
        self._at(quote.time_ms)
        return self._observe(now_us)

    def see_deals(self, way: str, deals: Sequence[Deal], now_us: int) -> Observation | None:
        """Return what those trades show that have not been counted; None when there is none."""
        self.heard_us = self.deals_us = now_us
        fresh = [deal for deal in deals if self.ledger.count(way, deal)]
        if not fresh:
            return None
        self.traded_us = now_us
        return self._trade(fresh, now_us)

    def see_mark(self, mark: Mark, now_us: int) -> Observation | None:
        """Return what a mark price or a funding rate shows."""
        self.heard_us = now_us
        if mark.index_price is not None:
            self.index_price = mark.index_price
        if mark.mark_price is None and mark.funding_rate is None:
            return None
        if mark.mark_price is not None:
            self._mark, self.marked_us = mark.mark_price, now_us
        self._funding = self._funding if mark.funding_rate is None else mark.funding_rate
        return self._observe(now_us)

    def stuck(self, since_us: int, limit_us: int) -> str:
        """Return which part of the messages has stopped while others went on; empty when all of them go on.

        A trade changes the book and a moving book its mark price, so none of them can stand still by itself for long.

        Args:
            since_us: feed time from which everything should have come.
            limit_us: so long one part may lag behind the other.
        """
        if (self.traded_us or 0) - max(self.quoted_us or 0, since_us) > limit_us:
            return "quotes"
        is_perpetual = self.spec.venue == PERPETUAL
        if is_perpetual and (self.quoted_us or 0) - max(self.marked_us or 0, since_us) > limit_us:
            return "mark prices"
        return ""

    # what is lost, and brought back

    def lose(self, since_ms: int) -> None:
        """Take note that messages were, or may have been, lost.

        Args:
            since_ms: the exchange's time before which nothing is missing, if no trade has been counted yet.
        """
        self.gaps += 1
        self._gap_owed = True
        if not self.healing:
            self.healing = True
            self.heal_from_ms = self.ledger.last_ms or since_ms

    def cut(self) -> None:
        """Take note that the connection is gone: its quote is old, and the next one counts its versions anew."""
        self._quote = self._depth = None
        self._versions.clear()
        self.heard_us = None

    def bring_back(self, way: str, deals: Sequence[Deal], now_us: int) -> Observation | None:
        """Count the trades of an answer that are missing."""
        from_ms = self.heal_from_ms or 0
        fresh = [deal for deal in deals if deal.time_ms >= from_ms and self.ledger.count(way, deal)]
        self.healed += len(fresh)
        return self._trade(fresh, now_us) if fresh else None

    def recover(self, way: str, deals: Sequence[Deal], now_us: int) -> tuple[int, Observation | None]:
        """Count the trades that a living stream has not brought; returns how many, and what they show."""
        fresh = [deal for deal in deals if self.ledger.count(way, deal)]
        if not fresh:
            return 0, None
        self.missed += len(fresh)
        self.mark()
        return len(fresh), self._trade(fresh, now_us)

    def mark(self) -> None:
        """Take note that something of what came before is missing, and cannot be named."""
        self.gaps += 1
        self._gap_owed = True

    def traded(self, minute_ms: int) -> Decimal:
        """Return the base units counted of a minute of the exchange's time."""
        return wire_form(self.ledger.volume(minute_ms) * self._unit)

    def end_healing(self) -> None:
        """Stop waiting for what is lost."""
        self.healing, self.heal_from_ms = False, None

    # what follows

    def _trade(self, fresh: list[Deal], now_us: int) -> Observation | None:
        last = fresh[-1]
        if last.time_ms >= self._price_ms:
            self._price, self._price_ms = last.price, last.time_ms
        prices = [deal.price for deal in fresh]
        volume = sum_volumes([wire_form(deal.quantity * self._unit) for deal in fresh])
        self._at(max(deal.time_ms for deal in fresh))
        return self._observe(now_us, volume, max(prices), min(prices))

    def _observe(
        self, now_us: int, volume: Decimal = NO_VOLUME, high: Decimal | None = None, low: Decimal | None = None
    ) -> Observation | None:
        quote = self._quote
        price = self._price
        if price is None:
            if quote is None or quote.bid is None or quote.ask is None:
                return None
            price = wire_form(mid_price(quote.bid, quote.ask))
        gap = self.healing or self._gap_owed
        self._gap_owed = False
        return Observation(
            now_us,
            self.symbol,
            price,
            price if high is None else max(high, price),
            price if low is None else min(low, price),
            volume,
            None if quote is None else quote.bid,
            None if quote is None else quote.ask,
            self._size(None if quote is None else quote.bid_size),
            self._size(None if quote is None else quote.ask_size),
            gap,
            False,
            self._mark,
            self._funding,
            None if self._exchange_ms is None else self._exchange_ms * MS_US,
            self._book(quote, now_us),
        )

    def _book(self, quote: Quote | None, now_us: int) -> Book | None:
        """Return the levels behind the quote; none from a depth message that is no longer fresh."""
        if quote is None or self._depth is None or not self._levels or now_us - self._depth_us >= FRESH_US:
            return None
        return book_behind(quote, self._depth, self._levels, self._unit)

    def _size(self, size: Decimal | None) -> Decimal | None:
        return size if size is None or self._unit == 1 else wire_form(size * self._unit)

    def _at(self, time_ms: int | None) -> None:
        if time_ms is not None and (self._exchange_ms is None or time_ms > self._exchange_ms):
            self._exchange_ms = time_ms

    def status(self, now_us: int) -> dict[str, Any]:
        """Return what `/status` shows."""
        return {
            "age_sec": None if self.heard_us is None else round_sec(now_us - self.heard_us),
            "trades_age_sec": None if self.deals_us is None else round_sec(now_us - self.deals_us),
            "exchange_time": None if self._exchange_ms is None else format_timestamp(self._exchange_ms * MS_US),
            "healing": self.healing,
            "gaps": self.gaps,
            "trades_healed": self.healed,
            "trades_missed": self.missed,
            "minutes_compared": dict(self.compared),
            "trades_repeated": self.ledger.repeated,
            "quotes_late": self.late,
            "index_price": self.index_price,
        }


def round_sec(us: int) -> Decimal:
    """Return microseconds as seconds with one decimal."""
    return Decimal(us // 100_000).scaleb(-1)
