"""An auditor of risk with books of its own: what it knows it counted from the events, in exact fractions.

It is told what risk is told and sees what risk says, and never asks the product for a number. It keeps cash, positions,
marks (with the collar of trading.md), reservations and losses, and holds every order and every silence against
trading.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from services.common.events import Control, Event, MarketData, Order, OrderResult, RiskDecision

__all__ = ["GRIDS", "Auditor", "Book"]

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
TERMINAL = {"FILLED", "CANCELED", "REJECTED", "EXPIRED"}
COLLAR = Fraction(5, 100)

GRIDS: dict[str, tuple[str, str]] = {
    "mexc_spot:BTCUSDT": ("0.000001", "1"),
    "mexc_spot:ETHUSDT": ("0.00001", "1"),
    "mexc_spot:SOLUSDT": ("0.001", "1"),
    "mexc_perpetual:BTCUSDT": ("0.0001", "0.01"),
    "mexc_perpetual:ETHUSDT": ("0.01", "0.01"),
    "mexc_perpetual:SOLUSDT": ("0.1", "0.01"),
}
"""Lot (base units) and least notional (quote currency), as the exchange publishes them."""


@dataclass
class Book:
    """One instrument as the auditor knows it; prices in quote currency, quantities in base units."""

    lot: Fraction
    least: Fraction
    held: Fraction = Fraction(0)
    cost: Fraction = Fraction(0)
    mark: Fraction | None = None
    marked_at: int = 0
    bid: Fraction = Fraction(0)
    ask: Fraction = Fraction(0)
    quoted_at: int | None = None
    good: Fraction | None = None
    is_good: bool = False
    run: list[tuple[Fraction, int]] = field(default_factory=list)
    last_exit: int | None = None

    def lots(self) -> Fraction:
        """What of the position lies on the lot grid, without sign."""
        return abs(self.held) // self.lot * self.lot

    @property
    def dust(self) -> bool:
        """Whether what is held is too little for an order."""
        return self.lots() == 0 or self.lots() * self.bid < self.least

    def quote(self, event: MarketData) -> bool:
        """Fold a quote and return whether it is valid: both sides there, bid under ask."""
        if event.bid is None or event.ask is None or event.bid >= event.ask:
            self.is_good = self.is_good and (event.bid is None or event.ask is None)
            return False
        self.bid, self.ask, self.quoted_at = Fraction(event.bid), Fraction(event.ask), event.timestamp
        mid = (self.bid + self.ask) / 2
        self.is_good = self._believe(mid, event.timestamp)
        if self.is_good:
            self.good = mid
        return True

    def _believe(self, mid: Fraction, at: int) -> bool:
        """Within 5 % of the last good mid, or the third quote in agreement over at least two seconds."""
        if self.good is None or abs(mid - self.good) <= COLLAR * self.good:
            self.run = []
            return True
        if not self.run or abs(mid - self.run[0][0]) > COLLAR * self.run[0][0]:
            self.run = []
        self.run.append((mid, at))
        if len(self.run) < 3 or at - self.run[0][1] < 2 * SECOND:
            return False
        self.run = []
        return True


@dataclass
class Working:
    """An order that may still fill."""

    order: Order
    filled: Fraction = Fraction(0)

    @property
    def rest(self) -> Fraction:
        """Base units that may still fill."""
        return Fraction(self.order.quantity) - self.filled


class Auditor:
    """Watches one risk machine.

    Args:
        settings: what was configured, by name; the defaults of trading.md stand for the rest.
    """

    def __init__(self, **settings: Any) -> None:
        def share(name: str, default: str) -> Fraction:
            return Fraction(str(settings.get(name, default)))

        self.position_pct = share("MAX_POSITION_PCT", "0.10")
        self.exposure_pct = share("MAX_TOTAL_EXPOSURE_PCT", "0.30")
        self.daily_pct = share("MAX_DAILY_DRAWDOWN_PCT", "0.05")
        self.breaker_pct = share("CIRCUIT_BREAKER_THRESHOLD_PCT", "0.10")
        self.stop_pct = share("STOP_LOSS_PCT", "0.02")
        self.spread_pct = share("MAX_SPREAD_PCT", "0.005")
        self.order_cap = share("MAX_ORDER_NOTIONAL_USDT", "20000")
        self.most_positions = int(settings.get("MAX_CONCURRENT_POSITIONS", 3))
        self.spacing = int(settings.get("ENTRY_SPACING_SEC", 60)) * SECOND
        self.per_minute = int(settings.get("MAX_ENTRIES_PER_MINUTE", 6))
        self.shorts = bool(settings.get("SIGNAL_ALLOW_SHORT", False))
        self.leverage = int(settings.get("LEVERAGE", 1))
        self.cash = self.peak = Fraction(str(settings.get("ACCOUNT_EQUITY", 100_000)))
        self.start_of_day: Fraction | None = self.cash
        self.day: int | None = None
        self.books = {key: Book(Fraction(lot), Fraction(least)) for key, (lot, least) in GRIDS.items()}
        self.working: dict[str, Working] = {}
        self.approved: dict[str, RiskDecision] = {}
        self.seen: dict[str, Fraction] = {}
        self.entries: list[tuple[int, str, str]] = []
        self.causes: set[str] = set()
        self.pressed = False
        self.now = 0
        self.rounded = False
        self.must_leave: dict[str, str] = {}
        self.commands: set[str | None] = set()

    # the books

    @property
    def mode(self) -> str:
        """The trading state that follows from the causes that risk announced."""
        if "freeze" in self.causes:
            return "FROZEN"
        if self.causes & {"halt", "breaker"}:
            return "HALTED"
        return "REDUCING" if self.causes else "ACTIVE"

    @property
    def equity(self) -> Fraction | None:
        """Cash from all fills, fees, funding and liquidations, plus what is held at mark; None when unmarked."""
        total = self.cash
        for book in self.books.values():
            if book.held:
                if book.mark is None:
                    return None
                total += book.held * book.mark
        return total

    def pending(self, key: str, *, entries: bool) -> Fraction:
        """Base units that working orders of an instrument may still fill."""
        return sum(
            (
                w.rest
                for w in self.working.values()
                if key_of(w.order) == key and (w.order.purpose == "entry") == entries
            ),
            Fraction(0),
        )

    def worst(self, key: str) -> Fraction:
        """What is held and may still be entered, at mark."""
        book = self.books[key]
        units = abs(book.held) + self.pending(key, entries=True)
        assert not units or book.mark is not None, "nothing is entered that has no mark"
        return units * (book.mark or 0)

    # what risk is told

    def told(self, event: Event) -> None:
        """Fold one event before risk does."""
        self.must_leave = {}
        if event.producer == "cdb_ws":
            self.now = max(self.now, event.timestamp)
        self._turn_the_day()
        if isinstance(event, MarketData):
            self._market(event)
        elif isinstance(event, OrderResult) and event.producer == "cdb_execution":
            self._result(event)
        elif isinstance(event, Control):
            self._fact(event)
        equity = self.equity
        if equity is not None and isinstance(event, Control) and event.action == "tick":
            self.peak = max(self.peak, equity)

    def _turn_the_day(self) -> None:
        day = self.now // DAY
        if day != self.day or self.start_of_day is None:
            self.day, self.start_of_day = day, self.equity

    def _market(self, event: MarketData) -> None:
        key = key_of(event)
        book = self.books.get(key)
        if book is None:
            return
        valid = book.quote(event)
        alone = event.bid is None and event.ask is None
        price = self._mark(event, book) if event.venue == "mexc_perpetual" else None
        if event.venue == "mexc_perpetual":
            if price is not None and (book.is_good or alone):
                book.mark, book.marked_at = price, event.timestamp
        elif valid:
            price = book.bid if book.held > 0 else book.ask
            if book.is_good:
                book.mark, book.marked_at = book.good, event.timestamp
        if price is not None and self._stopped(book, price) and self.mode != "FROZEN" and self._may_leave(key):
            self.must_leave[key] = "stop"

    @staticmethod
    def _mark(event: MarketData, book: Book) -> Fraction | None:
        """Return a perpetual's mark if it is within the collar of the quote beside it, or of the last good one."""
        alone = event.bid is None and event.ask is None
        valid = event.bid is not None and event.ask is not None and event.bid < event.ask
        if event.mark_price is None or book.good is None or not (alone or valid):
            return None
        reference, mark = book.good if alone else (book.bid + book.ask) / 2, Fraction(event.mark_price)
        return mark if abs(mark - reference) <= COLLAR * reference else None

    def _stopped(self, book: Book, price: Fraction) -> bool:
        loss = book.cost - book.held * price
        return book.held != 0 and loss >= self.stop_pct * abs(book.cost)

    def _may_leave(self, key: str) -> bool:
        """Whether nothing that trading.md knows holds an exit back: a fresh quote, more than dust, none working."""
        book = self.books[key]
        fresh = book.quoted_at is not None and self.now - book.quoted_at <= MINUTE
        waited = book.last_exit is None or self.now - book.last_exit >= 2 * SECOND
        return fresh and waited and not book.dust and not self.pending(key, entries=False)

    def _result(self, result: OrderResult) -> None:
        before = self.seen.get(result.order_id, Fraction(0))
        added = Fraction(result.filled_quantity) - before
        working = self.working.get(result.order_id)
        if added > 0:
            self.seen[result.order_id] = before + added
            assert result.last_price is not None
            self._fill(key_of(result), result, added, Fraction(result.last_price))
            if working is not None:
                working.filled += added
        if result.status in TERMINAL:
            self.working.pop(result.order_id, None)

    def _fill(self, key: str, result: OrderResult, added: Fraction, price: Fraction) -> None:
        book, signed = self.books[key], added if result.side == "BUY" else -added
        after = book.held + signed
        assert book.held * after >= 0, "no order turns a position around"
        if book.held * signed >= 0:
            book.cost += signed * price
        elif after:
            book.cost *= after / book.held
            self.rounded = True
        else:
            book.cost = Fraction(0)
        book.held = after
        if book.dust:
            book.last_exit = None  # what was wanted is done; the next exit is that of another position
        self.cash -= signed * price + Fraction(result.fee or 0)

    def _fact(self, event: Control) -> None:
        if event.action == "tick":
            self.pressed = event.details.get("pressure") != "none"
        elif event.action == "funding":
            self.cash += Fraction(event.details["amount"])
        elif event.action == "liquidation":
            book = self.books[f"{event.details['venue']}:{event.details['symbol']}"]
            self.cash += book.cost - Fraction(event.details["loss"])
            book.held, book.cost, book.last_exit = Fraction(0), Fraction(0), None
        elif event.action == "reset_breaker":
            self.peak = self.equity or self.peak
        elif event.action == "flatten" and event.producer == "operator" and event.by and event.reason:
            if event.command_id in self.commands:
                return
            self.commands.add(event.command_id)
            for key, held in self.books.items():
                if held.held and self._may_leave(key):
                    self.must_leave[key] = "flatten"

    # what risk says

    def said(self, outputs: list[Event]) -> None:
        """Hold what followed from the last event against the rules."""
        for event in outputs:
            if isinstance(event, RiskDecision):
                self._decision(event)
            elif isinstance(event, Order):
                self._order(event)
            elif isinstance(event, Control) and event.action == "trading_state":
                self.causes = set(event.details["causes"])
                assert event.details["state"] == self.mode
        for key, why in self.must_leave.items():
            left = [e.purpose for e in outputs if isinstance(e, Order) and key_of(e) == key and e.purpose != "entry"]
            assert len(left) == 1, f"{key} must leave because of a {why}, but {left} left"

    def _decision(self, decision: RiskDecision) -> None:
        assert [verdict.layer for verdict in decision.layers] == [
            "data_quality",
            "position_limits",
            "daily_drawdown",
            "total_exposure",
            "circuit_breaker",
            "spread_check",
            "timeout_check",
        ]
        if decision.approved:
            self.approved[decision.event_id] = decision
            assert {verdict.status for verdict in decision.layers} <= {"pass", "bypass"}
            assert decision.purpose != "entry" or {v.status for v in decision.layers} == {"pass"}
        else:
            assert decision.sizing.approved == 0

    def _order(self, order: Order) -> None:
        decision = self.approved.pop(order.decision_id)
        assert (order.symbol, order.side, order.purpose) == (decision.symbol, decision.side, decision.purpose)
        assert order.quantity == decision.sizing.approved > 0
        key = key_of(order)
        book = self.books[key]
        assert Fraction(order.quantity) % book.lot == 0
        assert book.quoted_at is not None
        assert self.now - book.quoted_at <= MINUTE
        if order.purpose == "entry":
            self._entry(order, key, book)
            self.entries.append((self.now, key, order.side))
        else:
            self._exit(order, key, book)
            book.last_exit = self.now
        self.working[order.order_id] = Working(order)

    def _exit(self, order: Order, key: str, book: Book) -> None:
        assert order.reduce_only
        assert order.side == ("SELL" if book.held > 0 else "BUY")
        assert order.quantity <= abs(book.held) - self.pending(key, entries=False)
        assert self.mode != "FROZEN" or order.purpose == "flatten"
        assert "halt" not in self.causes or order.purpose != "exit"
        assert book.last_exit is None or self.now - book.last_exit >= 2 * SECOND

    def _entry(self, order: Order, key: str, book: Book) -> None:
        assert not order.reduce_only
        assert (self.mode, self.pressed) == ("ACTIVE", False), "no entry unless ACTIVE"
        assert order.side == "BUY" or (self.shorts and order.venue == "mexc_perpetual")
        assert order.leverage == (self.leverage if order.venue == "mexc_perpetual" else 1)
        equity = self.equity
        assert equity is not None
        assert order.price is not None
        assert book.mark is not None
        price, quantity = max(Fraction(order.price), book.mark), Fraction(order.quantity)
        assert self.worst(key) + quantity * price <= self.position_pct * equity
        assert sum(self.worst(each) for each in self.books) + quantity * price <= self.exposure_pct * equity
        assert quantity * price <= self.order_cap
        assert quantity * book.bid >= book.least
        assert not self.pending(key, entries=True), "one entry at a time"
        assert not self.pending(key, entries=False), "no entry against a working exit"
        assert book.dust if order.venue == "mexc_spot" else not book.held, "no pyramiding"
        occupied = {each for each, known in self.books.items() if known.held and not known.dust}
        occupied |= {key_of(w.order) for w in self.working.values() if w.order.purpose == "entry"}
        assert len(occupied) < self.most_positions
        recent = [at for at, other, _ in self.entries if other == key and self.now - at < MINUTE]
        assert len(recent) < self.per_minute
        assert all(self.now - at >= self.spacing for at, _, side in self.entries if side == order.side)
        assert book.is_good
        assert (book.ask - book.bid) * 2 <= self.spread_pct * (book.ask + book.bid)
        assert all(self.now - b.marked_at <= MINUTE for b in self.books.values() if b.held and not b.dust)
        assert self.start_of_day is not None
        assert self.start_of_day - equity < self.daily_pct * self.start_of_day
        assert self.peak - equity < self.breaker_pct * self.peak
        if order.venue == "mexc_perpetual":
            assert quantity * price <= self.leverage * self.free_cash(), "margin that is there"

    def free_cash(self) -> Fraction:
        """Cash that neither the margin of what is held nor a working entry claims (fees aside)."""
        free = self.cash
        for key, book in self.books.items():
            if key.startswith("mexc_perpetual"):
                free += book.cost - abs(book.cost) / self.leverage
                free -= self.pending(key, entries=True) * (book.mark or 0) / self.leverage
        return free


def key_of(event: MarketData | Order | OrderResult) -> str:
    """Return venue and symbol as one key."""
    return f"{event.venue}:{event.symbol}"


def exact(value: Decimal | None) -> Fraction | None:
    """Return a number of the product as a fraction."""
    return None if value is None else Fraction(value)
