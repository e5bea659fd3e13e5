"""What risk says, whatever made it: decisions with their orders, exits of its own, latches, and notices.

The machine reads events and calls down into this; nothing here calls back up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from services.cdb_risk.exits import examine_exit
from services.cdb_risk.finding import shown, wire
from services.cdb_risk.notices import Level, Notice
from services.cdb_risk.protective import LatchedExit, latch
from services.cdb_risk.reservations import Reservation
from services.cdb_risk.settings import RiskSettings
from services.cdb_risk.situation import Outcome, Situation
from services.cdb_risk.state import RiskState
from services.cdb_risk.trading_state import Latch, LatchName, TradingMode
from services.common import channels
from services.common.decimals import ZERO
from services.common.events import Alert, Control, Order, Purpose, RiskDecision
from services.common.identity import client_order_id, order_id
from services.common.instruments import InstrumentSpec
from services.common.machine import StateMachine

__all__ = ["DecidingMachine"]


class DecidingMachine(StateMachine[RiskSettings, RiskState]):
    """The outputs of risk and what each of them leaves in its state."""

    service: ClassVar[str] = channels.RISK
    settings_type: ClassVar[type[RiskSettings]] = RiskSettings
    state_type: ClassVar[type[RiskState]] = RiskState

    def __init__(self) -> None:
        """Start with nothing folded."""
        super().__init__()
        self._instruments: Mapping[str, InstrumentSpec] = {}
        self._collar_pct = ZERO
        self._heartbeat: Control | None = None

    def on_settings(self) -> None:
        """Take what every event asks for."""
        self._instruments, self._collar_pct = self.settings.instruments, self.settings.PRICE_COLLAR_PCT

    def _situation(self) -> Situation:
        return Situation(self.settings, self.state, self.now)

    # decisions and orders

    def _decide(
        self,
        outcome: Outcome,
        key: str,
        purpose: Purpose,
        *,
        signal_id: str | None,
        correlation_id: str | None,
    ) -> None:
        """Record a decision and, if it is approved, order and reserve."""
        state = self.state
        venue, symbol = key.split(":")
        decision = self.emit(
            RiskDecision,
            correlation_id=correlation_id,
            signal_id=signal_id,
            venue=venue,
            symbol=symbol,
            side=outcome.side,
            purpose=purpose,
            approved=outcome.approved,
            reason=outcome.reason,
            layers=outcome.layers,
            sizing=outcome.sizing,
            portfolio=self._situation().view(key),
        )
        if not outcome.approved:
            for name in outcome.reason.split(", "):
                state.refused[name] = state.refused.get(name, 0) + 1
            return
        state.approved += 1
        leverage = self.settings.leverage(venue)
        order = self.emit(
            Order,
            correlation_id=correlation_id,
            order_id=order_id(decision.event_id),
            client_order_id=client_order_id(decision.event_id),
            signal_id=signal_id,
            decision_id=decision.event_id,
            venue=venue,
            symbol=symbol,
            side=outcome.side,
            order_type="MARKET" if outcome.price is None else "LIMIT",
            time_in_force=outcome.time_in_force,
            quantity=outcome.quantity,
            price=outcome.price,
            reduce_only=purpose != "entry",
            leverage=leverage,
            purpose=purpose,
            reference_price=outcome.reference_price,
        )
        state.reservations.add(Reservation.of(order, key, self.now))
        state.entries.count(self.now)
        if purpose == "entry":
            state.entries.add(key, order.side, self.now)

    # exits of our own

    def _protect_now(self, key: str, wanted: LatchedExit) -> None:
        """Latch an exit of our own and decide on it at once, recorded whatever the outcome."""
        current = self.state.exits.get(key)
        latched = self.state.exits[key] = latch(current, wanted)
        outcome = examine_exit(self._situation(), key, latched, too_soon=not latched.may_retry(self.now))
        self._decide_exit(key, latched, outcome, latched.signal_id)

    def _retry(self, key: str, latched: LatchedExit) -> None:
        """Send a latched exit again if it may leave now; what holds it back was recorded when it was latched."""
        if self.state.reservations.exit_working(key) or not latched.may_retry(self.now) or self._settle_exit(key):
            return
        outcome = examine_exit(self._situation(), key, latched)
        if outcome.approved:
            self._decide_exit(key, latched, outcome, latched.signal_id)

    def _decide_exit(self, key: str, latched: LatchedExit, outcome: Outcome, signal_id: str | None) -> None:
        correlation_id = latched.correlation_id
        self._decide(outcome, key, latched.purpose, signal_id=signal_id, correlation_id=correlation_id)
        if outcome.approved:
            latched.attempts += 1
            latched.last_attempt_at = self.now

    def _settle_exit(self, key: str) -> bool:
        """Drop a latched exit that has nothing left to close, and return whether it was dropped."""
        situation = self._situation()
        if self.state.reservations.working(key) or key in situation.open_positions():
            return False
        held = situation.held(key)
        if held:
            message = f"{shown(abs(held))} of {key} is left, below the exchange's minimum order"
            self._tell(Notice("INFO", "POSITION_DUST", message, {"key": key, "quantity": wire(held)}))
        del self.state.exits[key]
        return True

    # latches and notices

    def _latch(self, name: LatchName, by: str, reason: str) -> None:
        previous = self.state.trading.mode
        if self.state.trading.set(name, Latch(self.now, by, reason)):
            self._tell_state(previous, by, reason)

    def _clear(self, reason: str, by: str, *names: LatchName) -> None:
        previous = self.state.trading.mode
        if self.state.trading.clear(*names):
            self._tell_state(previous, by, reason)

    def _tell_state(self, previous: TradingMode, by: str, reason: str) -> None:
        trading = self.state.trading
        self.emit(
            Control,
            action="trading_state",
            service=self.service,
            by=by,
            reason=reason,
            details={"state": trading.mode, "previous": previous, "causes": trading.causes},
        )
        level: Level = "CRITICAL" if trading.mode == "FROZEN" else "INFO" if trading.mode == "ACTIVE" else "WARNING"
        message = f"trading is {trading.mode} (was {previous}): {reason}"
        self._tell(Notice(level, f"TRADING_{trading.mode}", message, {"by": by}))

    def _tell(self, notice: Notice) -> None:
        self.emit(Alert, level=notice.level, code=notice.code, message=notice.message, context=dict(notice.context))
