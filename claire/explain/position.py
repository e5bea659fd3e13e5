"""The current or last round trip of an instrument: how it came to be, what it cost, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, get_args

from claire.explain.lookup import Hit, Lookup
from claire.explain.story import Story, plain, story_of
from claire.statistics.collector import Books
from claire.statistics.round_trips import Fill, RoundTrip
from services.common import channels
from services.common.currencies import base_and_quote
from services.common.decimals import ONE, ZERO, divide
from services.common.errors import ClaireError, ContractViolation
from services.common.events import Control, MarketData, Order, OrderResult
from services.common.instruments import Venue, instrument_key, normalise_symbol
from services.common.journal.entry import Entry
from services.common.timestamps import format_timestamp

__all__ = ["Holding", "NothingTraded", "as_instrument", "holding_of"]


class NothingTraded(ClaireError):
    """There was never a position of the instrument."""


def as_instrument(text: str) -> tuple[str | None, str] | None:
    """Return venue (None: any) and symbol if the text names an instrument; None when it is something else."""
    venue, colon, raw = text.rpartition(":")
    try:
        symbol = normalise_symbol(raw)
        base_and_quote(symbol)  # no id ends as a symbol does
    except ContractViolation:
        return None
    return None if colon and venue not in get_args(Venue) else (venue or None, symbol)


@dataclass(frozen=True)
class Holding:
    """A position from flat, until it was flat again or up to the end of the history; money in quote currency.

    Attributes:
        number: of the round trip among all of the history.
        fills: in order.
        results: the events that report them.
        closed: what it came to; None while it is open.
        mark: last valuation; None when there is none.
        stop_loss_pct: in force at the end; None when it is not known.
        entry, exit: the stories of the first fill and of the one that closed it.
    """

    venue: str
    symbol: str
    number: int
    fills: tuple[Fill, ...]
    results: tuple[OrderResult, ...]
    closed: RoundTrip | None
    mark: Decimal | None
    marked_at: int | None
    stop_loss_pct: Decimal | None
    entry: Story
    exit: Story | None

    @property
    def direction(self) -> int:
        """1 for a long, -1 for a short."""
        return 1 if self.fills[0].side == "BUY" else -1

    @property
    def held(self) -> Decimal:
        """Base units held at the end, signed."""
        return sum((fill.signed - fill.base_fee for fill in self.fills), ZERO)

    @property
    def entry_price(self) -> Decimal:
        """Average of the fills that opened it."""
        opening = [fill for fill in self.fills if fill.signed * self.direction > 0]
        quantity = sum((fill.quantity for fill in opening), ZERO)
        return divide(sum((fill.quantity * fill.price for fill in opening), ZERO), quantity)

    @property
    def fees(self) -> Decimal:
        """Of all fills."""
        return sum((fill.fee for fill in self.fills), ZERO)

    @property
    def slippage(self) -> Decimal:
        """Paid against the mids of the decisions."""
        return sum((fill.slippage for fill in self.fills), ZERO)

    @property
    def stop_price(self) -> Decimal | None:
        """Where the stop loss lies, or lay."""
        if self.stop_loss_pct is None:
            return None
        return self.entry_price * (ONE - self.direction * self.stop_loss_pct)

    @property
    def unrealized(self) -> Decimal | None:
        """What it has won or lost at the mark, fees not included."""
        if self.closed is not None or self.mark is None:
            return None
        return self.held * self.mark + sum((-fill.signed * fill.price for fill in self.fills), ZERO)

    def as_dict(self) -> dict[str, Any]:
        """Return everything for `--json`."""
        closed = self.closed
        return {
            "kind": "position",
            "instrument": instrument_key(self.venue, self.symbol),
            "state": "open" if closed is None else "closed",
            "round_trip": self.number,
            "direction": "long" if self.direction > 0 else "short",
            "opened_at": format_timestamp(self.fills[0].timestamp),
            "closed_at": None if closed is None else format_timestamp(closed.closed_at),
            "quantity": self.held,
            "entry_price": self.entry_price,
            "exit_price": None if closed is None else closed.exit_price,
            "exit_purpose": None if closed is None else closed.exit_purpose,
            "gross": None if closed is None else closed.gross,
            "fees": self.fees,
            "funding": None if closed is None else closed.funding,
            "slippage": self.slippage,
            "net": None if closed is None else closed.net,
            "mark": self.mark,
            "marked_at": None if self.marked_at is None else format_timestamp(self.marked_at),
            "unrealized_pnl": self.unrealized,
            "stop_price": self.stop_price,
            "fills": [plain(result) for result in self.results],
            "entry": self.entry.as_dict(),
            "exit": None if self.exit is None else self.exit.as_dict(),
        }


@dataclass
class _Ledger:
    """Books what was decided of one symbol, run by run."""

    symbol: str
    books: Books = field(default_factory=Books)
    results: list[Entry] = field(default_factory=list)
    earlier: _Ledger | None = None  # of the last run before that had a fill

    def take(self, entry: Entry) -> None:
        event = entry.event
        if isinstance(event, Control):
            self._control(event)
        elif isinstance(event, Order):
            self.books.flow.on_order(event)
        elif isinstance(event, OrderResult):
            before = len(self.books.fills)
            self.books.on_result(event)
            if len(self.books.fills) > before:
                self.results.append(entry)

    def _control(self, event: Control) -> None:
        if event.action == "started" and event.producer == channels.WS and event.run_id != self.books.run_id:
            if self.results:
                self.earlier = _Ledger(self.symbol, self.books, self.results)
            self.books, self.results = Books(event.run_id), []
        if event.action in {"started", "config"} or event.details.get("symbol") == self.symbol:
            self.books.on_control(event)


def holding_of(lookup: Lookup, venue: str | None, symbol: str) -> Holding:
    """Return the round trip that an instrument is in, or the last one.

    Args:
        lookup: the history.
        venue: None for that of the last fill.
        symbol: as on the wire.

    Raises:
        NothingTraded: nothing of it was filled in the last run that filled anything.
        HistoryUnusable: the history begins in the middle, so nobody knows what was held.
    """
    lookup.history.require_beginning()
    ledger = _Ledger(symbol)
    for entry in lookup.decided(symbol):
        ledger.take(entry)
    if not ledger.results and ledger.earlier is not None:
        ledger = ledger.earlier
    books = ledger.books
    traded = [place for place, fill in enumerate(books.fills)
              if fill.symbol == symbol and venue in {None, fill.venue}]  # fmt: skip
    if not traded:
        raise NothingTraded(f"{lookup.history.where}: nothing of {symbol} was filled, so there is no position")
    last = books.fills[traded[-1]]
    places = [place for place in traded if books.fills[place].round_trip == last.round_trip]
    closed = next((trip for trip in books.trips.closed if trip.number == last.round_trip), None)
    mark = lookup.last_market_data(symbol)
    price, marked_at = _valued(mark)
    first, final = ledger.results[places[0]], ledger.results[places[-1]]
    left = closed is not None or books.fills[places[-1]].side != books.fills[places[0]].side
    return Holding(
        venue=last.venue,
        symbol=symbol,
        number=last.round_trip,
        fills=tuple(books.fills[place] for place in places),
        results=tuple(_result(ledger.results[place]) for place in places),
        closed=closed,
        mark=price,
        marked_at=marked_at,
        stop_loss_pct=books.refusals.stop_loss_pct,
        entry=_story(lookup, first),
        exit=_story(lookup, final) if left else None,
    )


def _result(entry: Entry) -> OrderResult:
    assert isinstance(entry.event, OrderResult)
    return entry.event


def _story(lookup: Lookup, entry: Entry) -> Story:
    return story_of(lookup, Hit(entry.event.event_id, "fill", entry))


def _valued(entry: Entry | None) -> tuple[Decimal | None, int | None]:
    event = None if entry is None else entry.event
    if not isinstance(event, MarketData):
        return None, None
    if event.mark_price is not None:
        return event.mark_price, event.timestamp
    if event.bid is not None and event.ask is not None:
        return (event.bid + event.ask) * Decimal("0.5"), event.timestamp
    return event.price, event.timestamp
