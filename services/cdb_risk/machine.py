"""The risk manager as a pure fold: market data, signals, order results and control in; decisions and orders out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar, Final

from services.cdb_risk.account import Account
from services.cdb_risk.commands import COMMANDS, refusal
from services.cdb_risk.deciding import DecidingMachine
from services.cdb_risk.entry import examine_entry
from services.cdb_risk.estimators import Estimator
from services.cdb_risk.exit_due import exit_due
from services.cdb_risk.exits import examine_exit
from services.cdb_risk.finding import wire
from services.cdb_risk.losses import evaluate_losses
from services.cdb_risk.market import InstrumentMarket
from services.cdb_risk.notices import Notice
from services.cdb_risk.pauses import pauses_over
from services.cdb_risk.protective import LatchedExit, latch
from services.cdb_risk.reservations import TERMINAL
from services.cdb_risk.resolving import settlement
from services.cdb_risk.round_trips import net_result
from services.cdb_risk.state import COMMANDS_REMEMBERED
from services.cdb_risk.summary import summarise
from services.cdb_risk.triggers import held_too_long
from services.cdb_risk.watch import ANSWER_US, conditions
from services.common import channels
from services.common.account_facts import book_adjustment, opening_capital
from services.common.events import Control, Event, MarketData, OrderResult, Purpose, Side, Signal
from services.common.instruments import PERPETUAL, instrument_key
from services.common.perpetual_facts import book_fact
from services.common.timestamps import SECOND_US, format_timestamp
from services.common.warmup import read_warmup

__all__ = ["HEARTBEAT_US", "RiskMachine"]

HEARTBEAT_US: Final = 10 * SECOND_US
"""Longest stretch of ticks that risk leaves unanswered; execution's RISK_SILENCE_SEC is longer."""


class RiskMachine(DecidingMachine):
    """Decides on every signal and protects every position."""

    consumes: ClassVar[frozenset[str]] = frozenset(
        {channels.MARKET_DATA, channels.SIGNALS, channels.ORDER_RESULTS, channels.CONTROL}
    )

    def on_event(self, event: Event) -> None:
        """Fold one event and emit what follows from it."""
        state = self.state
        if not state.opened:
            self._open_account(event)
        if state.opened and not state.account.in_day(self.minute):
            self._start_day()
        if type(event) is MarketData:  # of a pydantic class, `isinstance` costs as much as the rest for another event
            self._on_market_data(event)
        elif type(event) is Control:
            self._on_control(event)
        elif type(event) is Signal:
            self._on_signal(event)
        else:
            assert type(event) is OrderResult
            self._on_order_result(event)

    def summary(self) -> dict[str, Any]:
        """Return what `/status` shows: state, equity, losses and headroom, positions with stops, working orders."""
        if self._settings is None or self.fold.now is None:
            return {"trading_state": "UNCONFIGURED"}
        return summarise(self._situation())

    # the account

    def _open_account(self, event: Event) -> None:
        """Begin with the configured cash; on live with what the exchange holds, when execution has said it."""
        settings, capital = self.settings, None
        if settings.TRADING_MODE != "live":
            capital = settings.capital(settings.ACCOUNT_EQUITY)
        elif isinstance(event, Control) and event.producer == channels.EXECUTION:
            capital = opening_capital(event)
        if capital is not None:
            self.state.opened, self.state.account = True, Account.open(capital)

    def _on_reconciliation(self, event: Control) -> None:
        """Remember what an operator has to accept before trading goes on; execution has frozen it by a halt."""
        if event.details.get("verdict") in {"difference", "agreed"}:
            self.state.differences = [str(found["name"]) for found in event.details["differences"]]

    def _on_adjustment(self, event: Control) -> None:
        """Book what an operator has accepted: neither profit nor loss, so start of day and peak move with it."""
        account = self.state.account
        before = account.equity
        self.state.differences = []
        keys = book_adjustment(account.portfolio, event)
        account.shift(before)
        for key in keys:
            self._end_round_trip(key, closed=False)
            if key in self.state.exits:
                self._settle_exit(key)

    # the day and the losses

    def _start_day(self) -> None:
        account = self.state.account
        before = account.day
        if account.start_day(self.now):
            self.emit(
                Control,
                action="start_of_day",
                service=self.service,
                details={
                    "day": format_timestamp(self.now)[:10],
                    "equity": wire(account.start_of_day_equity),
                    "peak_equity": wire(account.peak_equity),
                },
            )
        if account.day != before:
            self._clear("a new UTC day has begun", self.service, "daily_loss")

    def _watch_losses(self, key: str | None) -> None:
        state = self.state
        if not state.opened:
            return
        for loss in evaluate_losses(self.settings, state.account, state.trading, self.now, key):
            self._tell(loss.notice)
            if loss.latch is not None:
                self._latch(loss.latch, self.service, loss.notice.message)

    def _end_pauses(self) -> None:
        state, settings = self.state, self.settings
        for name, reason in pauses_over(settings, state.trading, self.now).items():
            if name == "rolling_loss":
                state.account.rolling.forget_until(state.trading.latches[name].since)
            self._clear(reason, self.service, name)

    # market data and protective exits

    def _on_market_data(self, event: MarketData) -> None:
        fields, state, collar_pct = event.__dict__, self.state, self._collar_pct  # see `StateMachine.handle`
        venue: str = fields["venue"]
        key = instrument_key(venue, fields["symbol"])
        if key not in self._instruments:
            return
        market, account = state.market.get(key), state.account
        if market is None:
            market = state.market[key] = InstrumentMarket()
        quality = market.update(event, collar_pct)
        mark = None if fields["mark_price"] is None else market.mark_of(event, quality, collar_pct)
        if quality == "good":
            assert market.good is not None, "good market data have a good mid"
            estimator = state.estimators.get(key)
            if estimator is None:
                estimator = state.estimators[key] = Estimator()
            estimator.add(event, market.good, self.minute, self.settings)
        value = (market.good if quality == "good" else None) if venue != PERPETUAL else mark
        good = value is not None and quality != "valid"
        position = account.portfolio.positions.get(key)
        held = position is not None and bool(position.quantity)
        if value is not None and good:
            account.portfolio.value_at(key, value, fields["timestamp"])
            if held or account.breach is not None:
                self._watch_losses(key)
        if (held or key in state.exits) and (quality != "none" or mark is not None):
            self._protect(key, event, mark, good=good)

    def _on_warmup(self, event: Control) -> None:
        """Let sizing see closed bars; they fill nothing, mark nothing and stop nothing."""
        venue, symbol, bars = read_warmup(event)
        key = instrument_key(venue, symbol)
        if self.settings.spec(key) is None:
            return
        estimator = self.state.estimators.setdefault(key, Estimator())
        for bar in bars:
            estimator.add_bar(bar, self.settings)

    def _protect(self, key: str, event: MarketData, mark: Decimal | None, *, good: bool) -> None:
        """Trigger what quote or mark set off, or retry what is latched; the event brought a valid one."""
        latched = self.state.exits.get(key)
        trigger = exit_due(self.settings, self.state, key, event, mark, good=good, now=self.now)
        if trigger is not None and not self._situation().is_dust(key):
            wanted = LatchedExit(trigger.purpose, None, event.event_id, self.now, trigger.reason)
            self._protect_now(key, wanted)
        elif latched is not None:
            self._retry(key, latched)

    def _end_long_holds(self, event: Control) -> None:
        """Latch what has been held too long; a time limit needs no quote to be reached, only to leave."""
        if not (self.settings.MAX_HOLD_MIN and self.state.account.invested):
            return
        for key, position in self._situation().open_positions().items():
            trigger = held_too_long(self.settings, position, self.now)
            if trigger is not None and key not in self.state.exits:
                self._protect_now(key, LatchedExit(trigger.purpose, None, event.event_id, self.now, trigger.reason))

    # signals and decisions

    def _on_signal(self, signal: Signal) -> None:
        key = instrument_key(signal.venue, signal.symbol)
        if signal.producer == channels.CORE:
            self.state.virtual_trips.add(signal, self.settings.taker_fee(signal.venue), self.settings.KELLY_TRIPS)
        chain = signal.correlation_id or signal.event_id
        wanted = LatchedExit("exit", signal.event_id, chain, self.now, signal.reason)
        situation = self._situation()
        side: Side = "BUY" if signal.signal_type == "buy" else "SELL"
        purpose: Purpose = signal.intent
        if purpose == "exit" and side == (situation.closing_side(key) or "SELL"):
            self._on_exit_signal(key, signal, wanted)
            return
        outcome = (
            examine_entry(situation, signal)
            if signal.intent == "entry"
            else examine_exit(situation, key, wanted, signal)
        )
        self._decide(outcome, key, purpose, signal_id=signal.event_id, correlation_id=chain)

    def _on_exit_signal(self, key: str, signal: Signal, wanted: LatchedExit) -> None:
        """Decide on the strategy's wish to close; it stays latched while there is, or may yet be, a position."""
        situation, current = self._situation(), self.state.exits.get(key)
        latched = latch(current, wanted)
        outcome = examine_exit(situation, key, latched, signal, too_soon=not latched.may_retry(self.now))
        if key in situation.open_positions() or self.state.reservations.entry_working(key):
            self.state.exits[key] = latched
        self._decide_exit(key, latched, outcome, signal.event_id)

    # order results

    def _on_order_result(self, result: OrderResult) -> None:
        state = self.state
        if result.producer != channels.EXECUTION:
            message = f"order result of {result.order_id} comes from {result.producer}; it is not booked"
            self._tell(Notice("CRITICAL", "FOREIGN_ORDER_RESULT", message, {"order_id": result.order_id}))
            return
        key = instrument_key(result.venue, result.symbol)
        reservation = state.reservations.settle(result, self.now)
        before = net_result(state.account.portfolio.position(result.venue, result.symbol))
        if state.account.portfolio.book(result, 1 if reservation is None else reservation.leverage):
            if (
                reservation is None
                or (reservation.key, reservation.side) != (key, result.side)
                or result.filled_quantity > reservation.quantity
            ):
                message = f"order {result.order_id} reports a fill that risk did not approve"
                self._tell(Notice("CRITICAL", "UNEXPECTED_FILL", message, {"order_id": result.order_id}))
                self._latch("freeze", self.service, message)
            state.trips.begin(key, before)
            self._watch_losses(None)
        self._end_round_trip(key, closed=reservation is not None and reservation.purpose != "entry")
        if result.status in TERMINAL and key in state.exits:
            self._settle_exit(key)

    def _end_round_trip(self, key: str, *, closed: bool) -> None:
        """Judge a round trip that has ended: flat, or closed down to dust with nothing left that works.

        Args:
            key: instrument whose order result or fact has been booked.
            closed: whether that was the result of an exit; dust that an entry left is no end.
        """
        state, situation = self.state, self._situation()
        if situation.held(key) and not (
            closed and not state.reservations.working(key) and key not in situation.open_positions()
        ):
            return
        position = state.account.portfolio.positions.get(key)
        result = None if position is None else state.trips.end(key, net_result(position))
        limit = self.settings.MAX_LOSS_STREAK
        if result is None or not limit or state.trips.lost < limit:
            return
        lost, state.trips.lost = state.trips.lost, 0
        message = f"{lost} round trips in a row were lost: entries pause for {self.settings.LOSS_STREAK_PAUSE_MIN} min"
        self._tell(Notice("WARNING", "LOSS_STREAK", message, {"key": key, "last": wire(result)}))
        self._latch("loss_streak", self.service, message)

    # the clock and the operator

    def _on_control(self, event: Control) -> None:
        if event.action == "tick" and event.producer == channels.WS:
            self._on_tick(event)
        elif event.action == "warmup" and event.producer == channels.WS:
            self._on_warmup(event)
        elif event.action in COMMANDS and event.producer != self.service:
            self._on_command(event)
        elif event.producer == channels.EXECUTION:
            self._on_execution(event)

    def _on_execution(self, event: Control) -> None:
        if event.action in {"funding", "liquidation"}:
            self._on_exchange_fact(event)
        elif event.action == "reconciliation":
            self._on_reconciliation(event)
        elif event.action == "adjustment":
            self._on_adjustment(event)

    def _on_exchange_fact(self, event: Control) -> None:
        """Book funding or a liquidation; what was wanted of a position that is gone is dropped."""
        key = book_fact(self.state.account.portfolio, event)
        self._watch_losses(None)
        self._end_round_trip(key, closed=False)
        if key in self.state.exits:
            self._settle_exit(key)

    def _on_tick(self, event: Control) -> None:
        state = self.state
        state.pressure = str(event.details.get("pressure", "none"))
        for estimator in state.estimators.values():
            estimator.close_until(self.minute, self.settings)
        if state.heartbeat_at is None or self.now - state.heartbeat_at >= HEARTBEAT_US:
            state.heartbeat_at = self.now
            if self._heartbeat is None:
                self._heartbeat = self.emit(Control, action="heartbeat", service=self.service)
            else:
                self.emit_again(self._heartbeat)
        self._end_pauses()
        self._watch_losses(None)
        self._end_long_holds(event)
        found = conditions(self._situation())
        for key in state.alarms.settle(found, self.now):
            self._tell(found[key])

    def _on_command(self, command: Control) -> None:
        state = self.state
        if command.command_id is not None:
            if command.command_id in state.commands:
                return
            state.commands = [*state.commands[1 - COMMANDS_REMEMBERED :], command.command_id]
        lost = state.reservations.unknown_for(ANSWER_US, self.now)
        refused = refusal(command, state.trading, state.differences, lost)
        if refused is None and command.action == "resolve_order":
            refused = self._resolve(command)
        if refused is not None:
            context = {"action": command.action, "by": command.by}
            self._tell(Notice("WARNING", "COMMAND_REFUSED", refused, context))
            return
        by, reason = command.by or command.producer, command.reason or command.action
        if command.action == "halt":
            self._latch("freeze" if command.details.get("freeze") is True else "halt", by, reason)
        elif command.action == "resume":
            self._clear(reason, by, "halt", "freeze")
        elif command.action == "reset_breaker":
            state.account.reset_peak()
            self._clear(reason, by, "breaker")
        elif command.action == "flatten":
            self._flatten(by, reason, command.event_id)

    def _resolve(self, command: Control) -> str | None:
        """Answer a `resolve_order` with what is reserved, or return why it is refused; nothing is freed by that."""
        answer = settlement(self._situation(), command)
        if isinstance(answer, str):
            return answer
        by, reason = command.by, command.reason
        self.emit(
            Control,
            action="resolve_order",
            service=self.service,
            by=by,
            reason=reason,
            details=answer.model_dump(),
        )
        message = f"{by} resolves order {answer.order_id} as {answer.outcome}: {reason}"
        self._tell(Notice("INFO", "ORDER_RESOLVED", message, {"order_id": answer.order_id, "by": by}))
        return None

    def _flatten(self, by: str, reason: str, chain: str) -> None:
        """Close everything and stay flat: trading halts until an operator resumes it."""
        self._latch("halt", by, f"flatten: {reason}")
        for key in self._situation().occupied():
            self._protect_now(key, LatchedExit("flatten", None, chain, self.now, f"{by}: {reason}"))
