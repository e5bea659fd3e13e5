"""Speaks to the exchange for the live machine: sends each order once, asks and cancels what the state wants.

Nothing here decides. What comes back is put into a queue that the shell states in the journal, one message after the
other. `dispatch` runs a job somewhere: in threads of their own in the process, step by step in tests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import structlog

from services.cdb_execution.codes import ValidationCode
from services.cdb_execution.exchange import (
    Balance,
    Exchange,
    OrderRequest,
    OrderRules,
    PlaceOutcome,
    PositionReport,
    Pushed,
    StreamState,
    Trade,
)
from services.cdb_execution.live.intake import Answered, Placed
from services.cdb_execution.live.said import Said, Snapshot, Unhealed
from services.cdb_execution.order_state import TERMINAL, WorkingOrder
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_execution.state import ExecutionState
from services.common.errors import ExchangeHistoryTooLong, ExchangeRefused, ExchangeUnreachable
from services.common.events import Order
from services.common.instruments import PERPETUAL
from services.common.timestamps import MINUTE_US, MS_US, SECOND_US

__all__ = ["Dispatch", "ExchangeDesk", "Lane", "request_of"]

Lane = Literal["send", "ask"]
Dispatch = Callable[[Lane, Callable[[], None]], None]

_CLOCKS_APART_US: Final = MINUTE_US
"""So much earlier than an order its fills are asked for: how far clocks are apart is measured only now and then."""
_STRAY_US: Final = MINUTE_US
_RULES_EVERY_US: Final = 5 * MINUTE_US
_EARLY_US: Final = 5 * SECOND_US
_AHEAD_MS: Final = 5_000
_UNHEARD: Final = 5


def request_of(order: Order, max_age_ms: int, wanted: Callable[[], bool] = lambda: True) -> OrderRequest:
    """Return an order as it is sent; waiting for its turn must not make it older than it may be."""
    return OrderRequest(
        client_order_id=order.client_order_id,
        venue=order.venue,
        symbol=order.symbol,
        side=order.side,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        quantity=order.quantity,
        price=order.price,
        reduce_only=order.reduce_only,
        leverage=order.leverage,
        not_after=order.timestamp + max_age_ms * MS_US,
        wanted=wanted,
    )


def _unheard_of(state: ExecutionState) -> list[WorkingOrder]:
    """Return the last orders that ended by a rule or by hand and of which the exchange never said anything."""
    ended = (order for order in state.ended.values() if order.status in {"CANCELED", "EXPIRED"})
    return [order for order in ended if order.live is not None and order.live.exchange_order_id is None][-_UNHEARD:]


@dataclass
class _Done:
    """How far this process has caught up with what the state wants of one order; `again`: a question came too early."""

    queries: int = 0
    cancels: int = 0
    asking: bool = False
    again: bool = False


@dataclass
class ExchangeDesk:
    """One account at one exchange.

    Attributes:
        exchange: the account.
        settings: of the machine.
        wall_us: the wall clock, microseconds; the one that an order's age is taken from just before sending.
        hindrance: why nothing may be sent now (the clock stands still); None when it may.
        dispatch: runs a job; `send` and `ask` do not wait for each other.
        inbox: what came back and is not stated yet, oldest first.
    """

    exchange: Exchange
    settings: ExecutionSettings
    wall_us: Callable[[], int]
    hindrance: Callable[[], str | None]
    dispatch: Dispatch
    inbox: deque[Said] = field(default_factory=deque)
    interrupted: bool = False
    _done: dict[str, _Done] = field(default_factory=dict)
    _reconciles: int = 0
    _rules_at: int = 0
    _looking: bool = False
    _nudged: bool = False
    _moved: bool = False
    _looked_at: int | None = None
    _offset_ms: int | None = None
    _leaving: set[str] = field(default_factory=set)
    _withdrawn: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Log under the service's name."""
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("exchange_desk")

    # orders

    def send(self, order: Order, refusal: str | None = None) -> None:
        """Send an order whose SUBMITTING has just been journalled, or say why it is not; called once an order."""
        if refusal is not None:
            self._answer(order, PlaceOutcome(verdict="not_sent", detail=refusal))
            return
        self.dispatch("send", lambda: self._place(order))

    def _place(self, order: Order) -> None:
        self._leaving.add(order.order_id)
        late_ms = (self.wall_us() - order.timestamp) // MS_US
        hindrance = self.hindrance()
        if late_ms > self.settings.ORDER_MAX_AGE_MS:
            why = f"{late_ms} ms old when it was to be sent, at most {self.settings.ORDER_MAX_AGE_MS} ms"
            outcome = PlaceOutcome(verdict="not_sent", code="too_old", detail=why)
        elif late_ms < -_AHEAD_MS:
            why = f"stamped {-late_ms} ms ahead of this machine's clock: its age is not known"
            outcome = PlaceOutcome(verdict="not_sent", code="clock", detail=why)
        elif not self._is_wanted(order):
            outcome = PlaceOutcome(verdict="not_sent", code="withdrawn", detail="trading was halted before it left")
        elif hindrance is not None:
            outcome = PlaceOutcome(verdict="not_sent", detail=hindrance)
        elif self.settings.TRADING_MODE == "shadow":
            outcome = self._validate(order)
        else:
            try:
                outcome = self.exchange.place(self._request(order))
            except Exception as error:  # the edge: the order may be there, whatever went wrong here
                self._log.error("place_failed", error=f"{type(error).__name__}", exc_info=True)
                outcome = PlaceOutcome(verdict="unknown", code=type(error).__name__)
        self._answer(order, outcome)

    def _is_wanted(self, order: Order) -> bool:
        return order.order_id not in self._withdrawn

    def _request(self, order: Order) -> OrderRequest:
        return request_of(order, self.settings.ORDER_MAX_AGE_MS, lambda: self._is_wanted(order))

    def _validate(self, order: Order) -> PlaceOutcome:
        try:
            outcome = self.exchange.test(self._request(order))
        except (ExchangeUnreachable, ExchangeRefused) as error:
            return PlaceOutcome(verdict="not_sent", code="not_validated", detail=str(error))
        if outcome.verdict == "unknown":
            return PlaceOutcome(verdict="not_sent", code="not_validated", detail=outcome.detail)
        if outcome.verdict == "accepted":
            how = ValidationCode.PUBLISHED_RULES if order.venue == PERPETUAL else ValidationCode.TEST_ENDPOINT
            return replace(outcome, detail=f"{how}: {how.meaning.removeprefix('shadow: ')}")
        return outcome

    def _answer(self, order: Order, outcome: PlaceOutcome) -> None:
        self._log.info("order_placed", order_id=order.order_id, verdict=outcome.verdict, code=outcome.code)
        self.inbox.append(Placed(order.order_id, outcome))
        self._leaving.discard(order.order_id)

    # the user stream

    def deliver(self, message: Pushed) -> None:
        """Take what the user stream pushes; from any thread."""
        if isinstance(message, StreamState):
            self._log.info("user_stream", connected=message.connected, reason=message.reason)
            self.interrupted = not message.connected
            self._nudged = self._nudged or message.connected
        elif isinstance(message, Balance | PositionReport):
            self._moved = True  # whatever moved the account: it is compared early
        else:
            if isinstance(message, Trade) and message.kind != "order":
                self._nudged = True  # the exchange closed something by itself: what is left is asked for at once
            self.inbox.append(message)

    # what the state wants

    def look(self, state: ExecutionState, now: int) -> None:
        """Ask, cancel and compare what the folded state wants and this process has not done yet."""
        if self.settings.TRADING_MODE != "live":
            return
        nudged, self._nudged = self._nudged, False
        for order in list(state.sent()):
            self._look_at(order, now, nudged=nudged)
        self._done = {order.order_id: done for order in state.sent() if (done := self._done.get(order.order_id))}
        self._withdrawn &= set(self._done)
        live, early = state.live, self._moved and self._may_look_early(state, now)
        if self._looking:
            self._nudged = self._nudged or nudged  # what is being read may be of before
        elif live.reconciles > self._reconciles or nudged or early:
            self._reconciles, self._looking, self._looked_at, self._moved = live.reconciles, True, now, False
            symbols = {*self.settings.LIVE_SYMBOLS, *(key.partition(":")[2] for key in state.positions)}
            revision, since = live.revision, live.trades_since
            if not live.opened:
                since = now
            asks_rules = not live.rules or now - self._rules_at >= _RULES_EVERY_US
            for order in _unheard_of(state):
                self._ask_once_more(order)
            self.dispatch("ask", lambda: self._snapshot(revision, since, sorted(symbols), now if asks_rules else None))

    def _ask_once_more(self, order: WorkingOrder) -> None:
        """Ask for an order that has ended without ever being heard of: its fills could not be told from others'."""
        done, live = self._done[order.order_id], order.live
        assert live is not None, "orders at the exchange are followed"
        if not done.asking:
            done.asking = True
            self.dispatch("ask", lambda: self._ask(order, live.sent_at, done, cancel=False))

    def _may_look_early(self, state: ExecutionState, now: int) -> bool:
        """Whether a pushed change of the account is worth a comparison now: not while orders move it, nor too often."""
        idle = all(order.live is None for order in state.working)
        return idle and (self._looked_at is None or now - self._looked_at >= _EARLY_US)

    def _look_at(self, order: WorkingOrder, now: int, *, nudged: bool) -> None:
        live = order.live
        assert live is not None, "orders at the exchange are followed"
        done = self._done.setdefault(order.order_id, _Done())
        ended = order.status in TERMINAL
        if live.cancels > done.cancels:
            self._withdrawn.add(order.order_id)
        if order.order_id in self._leaving:
            return  # what is asked or cancelled before it has left, or not, tells nothing
        cancel = live.cancels > done.cancels and (not ended or now - (live.cancel_at or 0) <= _STRAY_US)
        nudged = (nudged or done.again) and order.status != "SUBMITTING"
        ask = not ended and (live.queries > done.queries or nudged)
        done.again = done.asking and nudged
        if (not ask and not cancel) or done.asking:
            return
        done.cancels, done.queries, done.asking = live.cancels, live.queries, True
        self.dispatch("ask", lambda: self._ask(order, live.sent_at, done, cancel=cancel))

    def _ask(self, order: WorkingOrder, sent_at: int, done: _Done, *, cancel: bool) -> None:
        symbol, name = order.symbol, order.client_order_id
        try:
            if cancel:
                self.exchange.cancel(symbol, name)  # what its answer says may be of before; the query tells
            report = self.exchange.query(symbol, name)
            trades: tuple[Trade, ...] = ()
            if report is not None and report.filled_quantity:
                all_trades = self.exchange.trades(symbol, self._there(sent_at) - _CLOCKS_APART_US)
                trades = tuple(trade for trade in all_trades if trade.exchange_order_id == report.exchange_order_id)
            self.inbox.append(Answered(order.order_id, report, trades))
        except ExchangeHistoryTooLong as error:
            self.inbox.append(Unhealed(str(error)))
        except (ExchangeUnreachable, ExchangeRefused) as error:
            self._log.warning("query_failed", order_id=order.order_id, error=str(error))
        finally:
            done.asking = False

    def _there(self, at: int) -> int:
        """Return a time of ours on the exchange's clock: the earlier one, should that have been set meanwhile.

        By ours, an exchange whose clock is far behind has done nothing since, and what it filled would never be found.
        """
        offset_ms = self.exchange.clock_offset_ms()
        return at + MS_US * (offset_ms if self._offset_ms is None else min(offset_ms, self._offset_ms))

    def _rules(self, symbols: list[str], at: int) -> list[OrderRules] | None:
        """Ask which orders are taken; without an answer the account is compared all the same."""
        try:
            rules = self.exchange.rules(symbols)
        except (ExchangeUnreachable, ExchangeRefused) as error:
            self._log.warning("rules_not_read", error=str(error))
            return None
        self._rules_at = at
        return rules

    def _snapshot(self, revision: int, since: int, symbols: list[str], rules_at: int | None) -> None:
        pays, offset_ms, since = self.settings.VENUE == PERPETUAL, self.exchange.clock_offset_ms(), self._there(since)
        rules = None if rules_at is None else self._rules(symbols, rules_at)
        try:
            trades = [trade for symbol in symbols for trade in self.exchange.trades(symbol, since)]
            paid = [paid for symbol in symbols for paid in self.exchange.funding(symbol, since)] if pays else []
            snapshot = Snapshot(
                revision,
                balances=self.exchange.balances(),
                open_orders=self.exchange.open_orders(symbols),
                positions=self.exchange.positions(),
                trades=trades,
                funding=paid,
                rules=rules,
                hedged=pays and self.exchange.hedge_mode(),
            )
            self.inbox.append(snapshot)
            self._offset_ms = offset_ms
        except ExchangeHistoryTooLong as error:
            self.inbox.append(Unhealed(str(error)))
        except (ExchangeUnreachable, ExchangeRefused) as error:
            self._log.warning("reconciliation_failed", error=str(error))
        finally:
            self._looking = False
