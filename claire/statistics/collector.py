"""Folds journal events into everything that the statistics are computed from, in one pass and any order of channels.

The last run in a journal counts: a new `run_id` begins anew, a restart of the same run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from claire.statistics.curve import MinuteCurve
from claire.statistics.orders import OrderFlow
from claire.statistics.refusals import Refusals
from claire.statistics.result import Statistics, compute
from claire.statistics.round_trips import Fill, RoundTrips
from services.common import channels
from services.common.account_facts import book_adjustment, configured_capital, opening_capital, read_adjustment
from services.common.decimals import ZERO
from services.common.events import Control, Event, MarketData, Order, OrderResult, RiskDecision, Signal
from services.common.instruments import instrument_key
from services.common.journal.entry import Entry
from services.common.market_facts import read_instruments
from services.common.perpetual_facts import book_fact
from services.common.portfolio import Portfolio

__all__ = ["Books", "StatisticsCollector"]

_UNREAD = frozenset({channels.ALERTS})


class Books:
    """What one run has left behind, as far as statistics look at it.

    Attributes:
        run_id: of the run; None before it began.
        settings_hashes: of the configuration in force, by service.
        exposure_limit: of the configuration in force, a fraction of equity.
        portfolio: the ledger; None before cdb_risk said what the account holds.
        price_flow: cash that all fills would have moved at the mids of their decisions.
        fills: all executions, in order.
        in_market_us: time with any position.
    """

    def __init__(self, run_id: str | None = None) -> None:
        self.run_id = run_id
        self.code_version: str | None = None
        self.settings_hashes: dict[str, str] = {}
        self.mode: str | None = None
        self.exposure_limit: Decimal | None = None
        self.portfolio: Portfolio | None = None
        self.curve = MinuteCurve()
        self.trips = RoundTrips()
        self.flow = OrderFlow()
        self.refusals = Refusals()
        self.fills: list[Fill] = []
        self.price_flow = ZERO
        self.slippage = ZERO
        self.funding = ZERO
        self.in_market_us = 0

    def advance(self, timestamp: int) -> None:
        """Let the clock run on to the time of an event that is about to be booked."""
        passed = self.curve.advance(timestamp, self.portfolio)
        if self.trips.open_count:
            self.in_market_us += passed

    def on_market_data(self, event: MarketData) -> None:
        """Mark the instrument and what is open in it."""
        key = instrument_key(event.venue, event.symbol)
        self.refusals.on_market_data(key, event)
        portfolio = self.portfolio
        if portfolio is None:
            return
        portfolio.mark(event)
        if self.trips.open_count and key in portfolio.marks:
            self.trips.mark(key, portfolio.marks[key].price)

    def on_result(self, result: OrderResult) -> None:
        """Book what is new in an order result."""
        self.mode = result.mode
        if self.portfolio is not None:
            order = self.flow.orders.get(result.order_id)
            quantity = self.portfolio.book(result, 1 if order is None else order.leverage)
            if quantity:
                self._on_fill(self.flow.fill_of(result, quantity))
        self.flow.on_result(result)

    def _on_fill(self, fill: Fill) -> None:
        # a fee in base coin is a sale of that much at the fill's price, whose proceeds are the fee
        self.price_flow += fill.base_fee * fill.price - fill.signed * fill.mid
        self.slippage += fill.slippage
        number = self.trips.book(fill)
        self.fills.append(Fill(**{**fill.__dict__, "round_trip": number}))

    def on_control(self, event: Control) -> None:
        """Take over settings, open the books with the configured cash, and book funding and liquidations."""
        if event.action == "started":
            self.code_version = _text(event.details, "code_version") or self.code_version
        elif event.action == "config" and event.service is not None and event.producer == event.service:
            self.settings_hashes[event.service] = _text(event.details, "settings_hash") or ""
            settings = event.details.get("settings")
            if isinstance(settings, Mapping):
                self._on_settings(event.service, settings)
        elif event.action == "instruments" and event.producer == channels.WS:
            self.trips.know(read_instruments(event.details))
        elif event.producer == channels.EXECUTION:
            self._on_execution(event)

    def _on_execution(self, event: Control) -> None:
        if event.action in {"funding", "liquidation"}:
            self._on_exchange_fact(event)
        elif event.action == "adjustment":
            self._on_adjustment(event)
        elif self.portfolio is None:
            self._open(opening_capital(event))

    def _on_adjustment(self, event: Control) -> None:
        """Book what an operator has accepted: neither profit nor loss, so the curve goes on as if nothing had moved."""
        portfolio = self.portfolio
        if portfolio is None:
            return
        said, before = read_adjustment(event), portfolio.equity
        held = {key: position.quantity for key, position in portfolio.positions.items()}
        value = ZERO
        for part, key in zip(said.positions, book_adjustment(portfolio, event), strict=True):
            change = portfolio.positions[key].quantity - held.get(key, ZERO)
            price = portfolio.marks[key].price if key in portfolio.marks else part.price
            self.trips.move(key, change, price, event.timestamp)
            value += change * price
        if before is not None and portfolio.equity is not None:
            value = portfolio.equity - before - said.cash
        self.curve.moved += value + said.cash
        self.price_flow -= value

    def _on_exchange_fact(self, event: Control) -> None:
        if self.portfolio is None:
            return
        before = {key: (p.funding, p.cost - p.margin) for key, p in self.portfolio.positions.items()}
        key = book_fact(self.portfolio, event)
        funding, proceeds = before[key]
        if event.action == "funding":
            received = self.portfolio.positions[key].funding - funding
            self.funding += received
            self.trips.fund(key, received)
        else:
            self.price_flow += proceeds
            self.trips.liquidate(key, event.timestamp, proceeds)

    def _on_settings(self, service: str, settings: Mapping[str, Any]) -> None:
        if service == channels.RISK:
            self.refusals.stop_loss_pct = _number(settings, "STOP_LOSS_PCT")
            self.exposure_limit = _number(settings, "MAX_TOTAL_EXPOSURE_PCT")
            if self.portfolio is None:
                self._open(configured_capital(settings))
        elif service == channels.EXECUTION:
            self.refusals.taker_fee = _number(settings, "PAPER_TAKER_FEE") or ZERO

    def _open(self, cash: Decimal | None) -> None:
        if cash is None:
            return
        self.portfolio = Portfolio.with_cash(cash)
        if self.curve.now is not None:
            self.curve.sample(self.curve.now, self.portfolio)


class StatisticsCollector:
    """Observes a journal, entry by entry, and says at any time what the run has come to.

    Money is computed in the calling thread's decimal context, see `services.common.decimals.use_fixed_context`.
    """

    def __init__(self) -> None:
        self._books = Books()
        self._counts: dict[str, int] = {}

    def observe(self, observed: Entry | Event) -> None:
        """Fold one journal entry or event; the order of the journal is meant.

        Raises:
            ContractViolation: an entry's bytes are not an event of its channel.
            IllegalTransition: a fill contradicts the ledger.
        """
        if observed.channel in _UNREAD:
            self._counts["alert"] = self._counts.get("alert", 0) + 1
            return
        event = observed.event if isinstance(observed, Entry) else observed
        # of a pydantic class, `isinstance` costs as much as the rest for another event
        if type(event) is Control and event.producer == channels.WS and event.action == "started":
            self._begin(event.run_id)
        self._counts[event.type] = self._counts.get(event.type, 0) + 1
        books = self._books
        if event.producer == channels.WS:
            books.advance(event.timestamp)
        if type(event) is MarketData:
            books.on_market_data(event)
        elif type(event) is Control:
            books.on_control(event)
        elif type(event) is Signal:
            books.flow.on_signal(event)
            books.refusals.on_signal(event)
        elif type(event) is RiskDecision:
            books.refusals.on_decision(event)
        elif type(event) is Order:
            books.flow.on_order(event)
        elif type(event) is OrderResult:
            books.on_result(event)

    def _begin(self, run_id: str | None) -> None:
        if run_id != self._books.run_id:
            self._books = Books(run_id)
            self._counts = {}

    def result(self) -> Statistics:
        """Return the statistics of everything observed so far; observing may go on."""
        return compute(self._books, self._counts)


def _number(settings: Mapping[str, Any], name: str) -> Decimal | None:
    value = settings.get(name)
    return Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


def _text(details: Mapping[str, Any], name: str) -> str | None:
    value = details.get(name)
    return value if isinstance(value, str) else None
