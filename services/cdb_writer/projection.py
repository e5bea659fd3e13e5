"""The five tables as a fold of the journal: pure, so that the same events give the same rows, also after kills.

The projection keeps its own ledger (the books of the pipeline, counted a second time), the orders that are still
working, the start-of-day equity and the peak. Rows carry times and ids of events only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from services.cdb_writer.envelope import Envelope, read_envelope, read_quote
from services.cdb_writer.row_makers import TERMINAL, order_row, position_row, signal_row, trade_row, updated_order
from services.cdb_writer.rows import OrderRow, Row, SnapshotRow
from services.common import channels
from services.common.account_facts import book_adjustment, opening_capital
from services.common.codec import decode, encode_state
from services.common.decimals import ONE, ZERO, divide
from services.common.errors import ContractViolation, StateMismatch
from services.common.events import Control, Order, OrderResult, Signal
from services.common.instruments import PERPETUAL, instrument_key
from services.common.journal.entry import Entry
from services.common.perpetual_facts import book_fact
from services.common.portfolio import Mark, Portfolio
from services.common.timestamps import MINUTE_US, format_timestamp, parse_timestamp

__all__ = ["Projection", "ProjectionState"]

CLOSED_ORDERS_KEPT: Final = 96
"""How many closed orders that left are remembered, so that a late fill or a repetition finds its order.

More than cdb_execution's ENDED_REMEMBERED: what it reports late is always known here.
"""


@dataclass
class ProjectionState:
    """What the projection remembers between batches.

    Attributes:
        run_id: of the last `started` of cdb_ws.
        now: greatest timestamp of cdb_ws in this run, microseconds; None before the first.
        account_equity: initial cash of risk's last configuration, quote currency; None before it.
        stop_loss_pct: distance of the stop from the entry price, a fraction; None while unknown.
        portfolio: the ledger; None before risk is configured.
        working: rows of the orders that are not closed yet, by order id.
        closed: rows of the orders closed last, oldest first.
        start_of_day_equity: as cdb_risk journalled it; None before the first.
        peak_equity, max_drawdown: over the snapshots of this run.
    """

    run_id: str | None = None
    now: int | None = None
    account_equity: Decimal | None = None
    stop_loss_pct: Decimal | None = None
    portfolio: Portfolio | None = None
    working: dict[str, OrderRow] = field(default_factory=dict)
    closed: dict[str, OrderRow] = field(default_factory=dict)
    start_of_day_equity: Decimal | None = None
    peak_equity: Decimal | None = None
    max_drawdown: Decimal = ZERO


_STATE: Final = TypeAdapter(ProjectionState)


class Projection:
    """Folds journal entries and collects the rows that follow from them until they are taken."""

    def __init__(self) -> None:
        """Start with nothing folded."""
        self.state = ProjectionState()
        self._rows: dict[tuple[str, tuple[Any, ...]], Row] = {}
        self._minute = -1

    def fold(self, entry: Entry, envelope: Envelope | None = None) -> None:
        """Fold one journal entry (`envelope`: when it has been read already).

        Raises:
            ContractViolation: the entry is not a valid event, or contradicts what was folded before.
            IllegalTransition: a fill that cannot be booked.
        """
        if envelope is None:
            envelope = read_envelope(entry.channel, entry.data)
        if entry.channel == channels.MARKET_DATA:
            self._on_market_data(entry, envelope)
        elif envelope.action == "tick":
            if envelope.producer == channels.WS:
                self._advance_clock(_instant(envelope.timestamp))
        elif entry.channel in _READ_FROM_THE_STORE:
            return
        elif isinstance(event := entry.event, Control):
            self._on_control(event)
        elif self.state.run_id is None:
            return
        elif isinstance(event, Signal):
            self._put(signal_row(event, self.state.run_id))
        elif isinstance(event, Order):
            self._on_order(event, self.state.run_id)
        elif isinstance(event, OrderResult):
            self._on_result(event, self.state.run_id)

    def take_rows(self) -> list[Row]:
        """Return the rows since the last call, one for each key, parents before children."""
        rows, self._rows = list(self._rows.values()), {}
        return rows

    def dump(self) -> bytes:
        """Return the state as bytes, to be stored with the rows."""
        return encode_state(self.state)

    def restore(self, data: bytes) -> None:
        """Take over what `dump` returned.

        Raises:
            StateMismatch: the bytes are not a state of this projection.
        """
        try:
            self.state = _STATE.validate_python(decode(data))
        except (ContractViolation, ValidationError) as error:
            raise StateMismatch(f"not a state of the projection: {error}") from error
        self._rows = {}
        self._minute = -1 if self.state.now is None else self.state.now // MINUTE_US

    def _put(self, row: Row) -> None:
        self._rows[row.table, row.identity] = row

    # the clock and the life of services

    def _on_market_data(self, entry: Entry, envelope: Envelope) -> None:
        timestamp = _instant(envelope.timestamp)
        if envelope.producer == channels.WS:
            self._advance_clock(timestamp)
        if self.state.portfolio is not None:
            quote = read_quote(entry.data)
            if quote.price is not None:
                self.state.portfolio.marks[quote.key] = Mark(quote.price, timestamp)

    def _on_control(self, event: Control) -> None:
        if event.producer == channels.WS:
            if event.action == "started" and event.run_id is not None and event.run_id != self.state.run_id:
                self._begin_run(event.run_id)
            self._advance_clock(event.timestamp)
        elif event.producer == channels.RISK and event.action == "config" and event.service == channels.RISK:
            self._on_risk_config(event)
        elif event.producer == channels.RISK and event.action == "start_of_day":
            self.state.start_of_day_equity = _number(event.details, "equity", event)
        elif event.producer == channels.EXECUTION and event.action in {"funding", "liquidation"}:
            self._on_exchange_fact(event)
        elif event.producer == channels.EXECUTION and event.action == "adjustment":
            self._on_adjustment(event)
        elif event.producer == channels.EXECUTION and (capital := opening_capital(event)) is not None:
            self._on_opening(capital, event.timestamp)

    def _begin_run(self, run_id: str) -> None:
        old = self.state
        self.state = ProjectionState(run_id=run_id, account_equity=old.account_equity, stop_loss_pct=old.stop_loss_pct)
        self._minute = -1

    def _on_risk_config(self, event: Control) -> None:
        settings = event.details.get("settings")
        if not isinstance(settings, Mapping):
            raise ContractViolation(f"event {event.event_id}: the config of cdb_risk has no settings")
        self.state.account_equity = _opening_cash(settings, event)
        self.state.stop_loss_pct = _number(settings, "STOP_LOSS_PCT", event) if "STOP_LOSS_PCT" in settings else None
        if self.state.now is not None:
            self._open_books(self.state.now)

    def _on_opening(self, capital: Decimal, timestamp: int) -> None:
        """Begin with what the exchange holds."""
        if self.state.portfolio is None:
            self.state.portfolio = Portfolio.with_cash(capital)
            self._snapshot(timestamp)

    def _on_adjustment(self, event: Control) -> None:
        """Book what an operator has accepted."""
        if self.state.portfolio is None or self.state.run_id is None:
            raise ContractViolation(f"event {event.event_id}: {event.action} before any books were opened")
        for key in book_adjustment(self.state.portfolio, event):
            self._put_position(self.state.run_id, key, event.timestamp)
        self._snapshot(event.timestamp)

    def _open_books(self, now: int) -> None:
        """Begin with the configured cash; a changed ACCOUNT_EQUITY within a run counts from the next run on."""
        if self.state.portfolio is None and self.state.account_equity is not None:
            self.state.portfolio = Portfolio.with_cash(self.state.account_equity)
            self._snapshot(now)

    def _advance_clock(self, timestamp: int) -> None:
        state = self.state
        if state.run_id is None or (state.now is not None and timestamp <= state.now):
            return
        state.now = timestamp
        minute = timestamp // MINUTE_US
        if minute == self._minute:
            return
        begun, self._minute = self._minute >= 0, minute
        if state.portfolio is None:
            self._open_books(timestamp)
        elif begun:
            self._snapshot(minute * MINUTE_US)

    # orders and fills

    def _on_order(self, event: Order, run_id: str) -> None:
        if event.order_id not in self.state.working and event.order_id not in self.state.closed:
            row = order_row(event, run_id)
            self.state.working[row.order_id] = row
            self._put(row)

    def _on_result(self, result: OrderResult, run_id: str) -> None:
        order = self.state.working.get(result.order_id) or self.state.closed.get(result.order_id)
        if order is None:
            if result.filled_quantity:
                raise ContractViolation(f"event {result.event_id}: a fill of order {result.order_id}, which is unknown")
            return
        if result.filled_quantity < order.filled_size:
            return  # older than what is known
        new_fill = result.filled_quantity > order.filled_size
        if order.status in TERMINAL and not new_fill:
            return
        before = self._realized(result)
        if new_fill:
            self._book(result, order.leverage)
        self._update_order(order, result, new_fill=new_fill)
        if new_fill:
            self._put(trade_row(result, order, run_id, self._realized(result) - before))
            self._put_position(run_id, instrument_key(result.venue, result.symbol), result.timestamp)
            self._snapshot(result.timestamp)

    def _realized(self, result: OrderResult) -> Decimal:
        portfolio = self.state.portfolio
        return ZERO if portfolio is None else portfolio.position(result.venue, result.symbol).realized_pnl

    def _book(self, result: OrderResult, leverage: int) -> None:
        if self.state.portfolio is None:
            raise ContractViolation(f"event {result.event_id}: a fill before cdb_risk said what the account holds")
        self.state.portfolio.book(result, leverage)

    def _update_order(self, order: OrderRow, result: OrderResult, *, new_fill: bool) -> None:
        changed = updated_order(order, result, new_fill=new_fill)
        self._put(changed)
        self.state.working.pop(changed.order_id, None)
        self.state.closed.pop(changed.order_id, None)
        if changed.status in TERMINAL:
            if changed.submitted_at is not None:
                self._close(changed)
        else:
            self.state.working[changed.order_id] = changed

    def _close(self, order: OrderRow) -> None:
        self.state.closed[order.order_id] = order
        while len(self.state.closed) > CLOSED_ORDERS_KEPT:
            oldest = next(iter(self.state.closed))
            del self.state.closed[oldest]
            if self.state.portfolio is not None:
                self.state.portfolio.booked.pop(oldest, None)

    def _on_exchange_fact(self, event: Control) -> None:
        """Book funding or a liquidation: it changes a position and the portfolio, but is no trade of an order."""
        if self.state.portfolio is None or self.state.run_id is None:
            raise ContractViolation(f"event {event.event_id}: {event.action} before any books were opened")
        key = book_fact(self.state.portfolio, event)
        self._put_position(self.state.run_id, key, event.timestamp)
        self._snapshot(event.timestamp)

    # positions and the portfolio

    def _put_position(self, run_id: str, key: str, timestamp: int) -> None:
        assert self.state.portfolio is not None
        self._put(position_row(self.state.portfolio, key, run_id, timestamp, self.state.stop_loss_pct))

    def _snapshot(self, timestamp: int) -> None:
        """Write the portfolio down; while a held position has no value nothing is known, and nothing is written."""
        state = self.state
        portfolio, run_id = state.portfolio, state.run_id
        if portfolio is None or run_id is None:
            return
        equity, unrealized = portfolio.equity, portfolio.unrealized_pnl
        if equity is None or unrealized is None:
            return
        held = [key for key, position in portfolio.positions.items() if position.quantity]
        for key in held:
            self._put_position(run_id, key, timestamp)
        if state.peak_equity is None or equity > state.peak_equity:
            state.peak_equity = equity
        drawdown = ONE - divide(equity, state.peak_equity) if state.peak_equity > 0 else ZERO
        state.max_drawdown = max(state.max_drawdown, drawdown)
        exposure = sum((abs(portfolio.value_of(key) or ZERO) for key in held), ZERO)
        day_start = portfolio.initial_cash if state.start_of_day_equity is None else state.start_of_day_equity
        self._put(
            SnapshotRow(
                run_id=run_id,
                timestamp=format_timestamp(timestamp),
                total_equity=equity,
                cash=portfolio.cash,
                available_balance=portfolio.cash - _reserved(state.working),
                daily_pnl=equity - day_start,
                total_unrealized_pnl=unrealized,
                total_realized_pnl=portfolio.realized_pnl,
                total_fees=portfolio.fees,
                total_exposure=exposure,
                total_exposure_pct=divide(exposure, equity) if equity > 0 else None,
                drawdown_pct=drawdown,
                max_drawdown_pct=state.max_drawdown,
                open_positions=len(held),
                total_margin=portfolio.margin,
                total_funding=portfolio.funding,
            )
        )


_READ_FROM_THE_STORE: Final = frozenset({channels.ALERTS, channels.RISK_DECISIONS})


def _instant(canonical: str) -> int:
    """Read a canonical timestamp; events of one second share the costly part."""
    return _second(canonical[:19]) + int(canonical[20:26])


@lru_cache(maxsize=1024)
def _second(text: str) -> int:
    return parse_timestamp(text + "Z")


def _opening_cash(settings: Mapping[str, Any], event: Control) -> Decimal | None:
    """Return the cash that a run begins with by risk's settings; None on live, where the exchange says it."""
    mode = settings.get("TRADING_MODE", "paper")
    if mode == "live":
        return None
    equity = _number(settings, "ACCOUNT_EQUITY", event)
    return equity if mode == "paper" else min(equity, _number(settings, "LIVE_CAPITAL_USDT", event))


def _number(details: Mapping[str, Any], name: str, event: Control) -> Decimal:
    value = details.get(name)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ContractViolation(f"event {event.event_id}: {name}={value!r} is no number")
    return Decimal(value)


def _reserved(working: Mapping[str, OrderRow]) -> Decimal:
    """Return what the working entries may still spend or lock as margin, at their price (fees not included)."""
    return sum((_may_spend(order) for order in working.values() if not order.reduce_only), ZERO)


def _may_spend(order: OrderRow) -> Decimal:
    notional = (order.size - order.filled_size) * (order.price or order.reference_price or ZERO)
    if order.venue == PERPETUAL:
        return divide(notional, Decimal(order.leverage))
    return notional if order.side == "buy" else ZERO
