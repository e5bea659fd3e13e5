"""The drills themselves: trip a state, then look at each thing that trading.md promises of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from claire.drill.desk import Desk
from services.common.decimals import ONE, divide
from services.common.events import Alert, Event, Order, RiskDecision
from services.common.timestamps import HOUR_US

__all__ = ["DRILLS", "Check", "Drill", "drill_breaker", "drill_daily_loss", "drill_halt"]

LARGEST_STEP: Final = Decimal("0.04")
"""Under the price collar of 5 %, so that each quote is believed."""
BIG_SHARE, SMALL_SHARE = Decimal("0.5"), Decimal("0.05")
MOST_STEPS: Final = 200
SETTLE_QUOTES: Final = 30
"""In which orders that work and exits that are latched in the copy come to their end before the drill begins."""
PLACE_ENTRY_AT: Final = Decimal("0.7")
"""Share of the limit at which the entry is placed that must be cancelled: soon enough, and not older than its life."""
PROTECTIVE: Final = frozenset({"stop_loss", "trailing_stop", "liquidation_guard"})
OPERATOR: Final = "drill"
OUT_OF_THE_WAY: Final = {
    "MAX_TOTAL_EXPOSURE_PCT": ONE,
    "MAX_CONCURRENT_POSITIONS": 200,
    "ENTRY_SPACING_SEC": 0,
    "MAX_ENTRIES_PER_MINUTE": 1000,
    "MAX_ORDERS_PER_MINUTE": 10_000,
    "MAX_ROLLING_DRAWDOWN_PCT": 0,
    "MAX_LOSS_STREAK": 0,
    "ROLLING_DRAWDOWN_HOURS": 1,
    "LOSS_STREAK_PAUSE_MIN": 1,
    "SIZING_METHOD": "fixed_fractional",
    "LEVERAGE": 1,
}
"""Limits that would refuse the drill's entries before the state that is tested does."""


@dataclass(frozen=True)
class Check:
    """One promise: what it says, whether it held, and what was seen."""

    promise: str
    held: bool
    seen: str


@dataclass
class Drill:
    """What a drill found.

    Attributes:
        story: what was done, in order.
        set_aside: limits that were changed in the copy.
    """

    name: str
    story: list[str] = field(default_factory=list)
    set_aside: dict[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every promise held."""
        return bool(self.checks) and all(check.held for check in self.checks)

    def check(self, promise: str, held: object, seen: str) -> None:
        """Note a promise and what was seen."""
        self.checks.append(Check(promise, bool(held), seen))


class _Stage:
    """A market of three: one falls, one is calm and held, one is bought into."""

    def __init__(self, desk: Desk, drill: Drill, share: Decimal = BIG_SHARE, **set_aside: Any) -> None:
        self.desk, self.drill = desk, drill
        by_size = sorted(desk.prices, key=lambda symbol: desk.held(symbol) * desk.prices[symbol], reverse=True)
        self.falling, self.calm, self.wanted = by_size[:3]
        self.entry: RiskDecision | None = None
        drill.set_aside = {**OUT_OF_THE_WAY, "SYMBOLS": tuple(by_size), **set_aside}
        desk.configure(**drill.set_aside)
        self._become_active()
        for symbol in by_size[:3]:
            if desk.held(symbol) < 0:
                self._clear(symbol)
        self._open(self.falling, share)
        self._open(self.calm, SMALL_SHARE)
        self._clear(self.wanted)
        desk.quote(self.falling, self.calm, self.wanted)

    def _become_active(self) -> None:
        """Undo what restricts the copy, and let what works or is latched come to its end."""
        for _ in range(3):
            self._undo_latches()
            for number in range(SETTLE_QUOTES):
                self.desk.quote(*self.desk.prices)
                if number > 1 and self.desk.settled:
                    break
            if self.desk.state == "ACTIVE":
                return

    def _undo_latches(self) -> None:
        desk = self.desk
        for latch, command in (("halt", "resume"), ("freeze", "resume"), ("breaker", "reset_breaker")):
            if latch in desk.causes:
                self.drill.story.append(f"the copy is {desk.state} ({latch}): {command} in the copy")
                desk.command(command, OPERATOR, "to begin the drill ACTIVE")
        if "daily_loss" in desk.causes:
            self.drill.story.append("the copy is REDUCING since today's loss: its clock goes to the next day")
            desk.next_day()
        pauses = [name for name in desk.causes if name in {"rolling_loss", "loss_streak"}]
        if pauses:
            self.drill.story.append(f"the copy pauses ({', '.join(pauses)}): its clock goes an hour on")
            desk.skip(HOUR_US)

    def _open(self, symbol: str, share: Decimal) -> None:
        before = self.desk.held(symbol)
        added = self.desk.hold(symbol, share)
        price = self.desk.prices[symbol]
        kind = "held" if not added else "virtual" if not before else "held, topped up virtually"
        self.drill.story.append(f"{symbol}: {self.desk.held(symbol).normalize():f} at {price:,.2f} ({kind})")

    def _clear(self, symbol: str) -> None:
        """Close what is held of a symbol: it is to be entered, or it is a short and the drill is long."""
        if self.desk.held(symbol):
            self.desk.signal(symbol, "exit")
            self.desk.quote(symbol)
            self.drill.story.append(f"{symbol}: closed, so that it can be entered")

    def place_entry(self) -> None:
        """Let an entry work that nothing fills, since no further quote of its symbol comes."""
        self.desk.quote(self.wanted)
        self.entry = self.desk.signal(self.wanted, "entry")
        fate = "approved and works" if self.entry.approved else f"refused by {self.entry.reason}"
        self.drill.story.append(f"an entry of {self.wanted} is {fate}")

    def fall_until(self, tripped: Callable[[], bool], loss: Callable[[], Decimal | None], limit: Decimal) -> None:
        """Let the market fall without a buyer, until it is tripped; an entry works by then."""
        desk = self.desk
        step = min(LARGEST_STEP, divide(limit, BIG_SHARE * 6))
        first = desk.prices[self.falling]
        for _ in range(MOST_STEPS):
            if tripped():
                break
            if self.entry is None and (loss() or Decimal(0)) >= limit * PLACE_ENTRY_AT:
                self.place_entry()
            desk.prices[self.falling] *= ONE - step
            desk.quote(self.falling, liquid=False)
        fallen = ONE - divide(desk.prices[self.falling], first)
        self.drill.story.append(
            f"{self.falling} falls {_percent(fallen)}, and nobody buys: its stop cannot be filled yet"
        )

    # promises that several states make

    def check_entry_cancelled(self, state: str) -> None:
        """Whether the working entry was cancelled."""
        order = None if self.entry is None else self.desk.order_of(self.entry)
        result = self.desk.last_result(order)
        held = result is not None and result.status == "CANCELED" and "TRADING_STATE" in (result.reason or "")
        seen = "no entry worked" if result is None else f"{result.status}: {result.reason}"
        self.drill.check(f"a working entry is cancelled when trading becomes {state}", held, seen)

    def check_entry_refused(self, layer: str, code: str, when: str = "") -> None:
        """Whether an entry is refused by a layer, and execution never sees an order."""
        self.desk.quote(self.wanted)
        decision = self.desk.signal(self.wanted, "entry")
        found = next(verdict for verdict in decision.layers if verdict.layer == layer)
        held = (
            not decision.approved and found.status == "fail" and found.code == code and not self.desk.order_of(decision)
        )
        self.drill.check(f"entries are refused by {layer}{when}", held, f"{decision.reason}: {found.code}")

    def check_strategy_exit(self, *, leaves: bool) -> None:
        """Whether the strategy's own exit leaves."""
        decision = self.desk.signal(self.calm, "exit")
        self.desk.quote(self.calm)
        result = self.desk.last_result(self.desk.order_of(decision))
        status = "no order" if result is None else result.status
        held = (decision.approved and status == "FILLED") if leaves else (not decision.approved and result is None)
        promise = "the strategy's exits leave" if leaves else "the strategy's exits are kept back"
        self.drill.check(promise, held, f"{self.calm}: {decision.reason}, {status}")

    def check_protective_exit(self) -> None:
        """Whether the stop sells as soon as there is a buyer."""
        desk = self.desk
        for _ in range(MOST_STEPS):
            if not desk.held(self.falling):
                break
            if not desk.exit_latched(self.falling):
                desk.prices[self.falling] *= ONE - LARGEST_STEP
            desk.quote(self.falling)
        sold = [order for order in desk.of(Order) if order.symbol == self.falling]
        stops = [order for order in sold if order.purpose in PROTECTIVE]
        last = self.desk.last_result(stops[-1]) if stops else None
        held = last is not None and last.status == "FILLED" and not self.desk.held(self.falling)
        seen = "no order" if last is None else f"order {len(stops)} for it: {last.status} at {last.average_price}"
        self.drill.check("protective exits run while trading is restricted", held, f"{self.falling}: {seen}")

    def check_restart(self) -> None:
        """Whether the state survives a restart, byte for byte."""
        state, causes = self.desk.state, self.desk.causes
        same = self.desk.restart()
        held = same and (self.desk.state, self.desk.causes) == (state, causes)
        seen = f"{self.desk.state} ({', '.join(self.desk.causes)}), {'the same bytes' if same else 'other bytes'}"
        self.drill.check("the state is latched over a restart", held, seen)

    def check_needs_name_and_reason(self, command: str) -> None:
        """Whether a command that undoes something is refused without name or reason."""
        causes = self.desk.causes
        answers = [_refusal(self.desk.command(command, by, why)) for by, why in (("", "x"), (OPERATOR, ""))]
        held = all(answers) and self.desk.causes == causes
        self.drill.check(f"{command.replace('_', '-')} needs name and reason", held, answers[0] or "it was done")

    def check_active_again(self, how: str) -> None:
        """Whether trading goes on, and the state does not come back by itself."""
        for _ in range(3):
            self.desk.quote(self.falling, self.wanted)
        state = self.desk.state
        decision = self.desk.signal(self.wanted, "entry")
        self.desk.quote(self.wanted)
        held = state == "ACTIVE" and decision.approved and self.desk.held(self.wanted) > 0
        seen = f"{state} ({', '.join(self.desk.causes) or 'no cause'}); entry of {self.wanted}: {decision.reason}"
        self.drill.check(f"after {how} entries run and it does not trip again", held, seen)


def drill_breaker(desk: Desk) -> Drill:
    """Trip the circuit breaker."""
    drill = Drill("breaker")
    stage = _Stage(desk, drill, MAX_DAILY_DRAWDOWN_PCT=ONE)
    account, limit = desk.risk.state.account, desk.risk.settings.CIRCUIT_BREAKER_THRESHOLD_PCT
    stage.fall_until(lambda: "breaker" in desk.causes, lambda: account.drawdown, limit)
    told = next((alert for alert in desk.of(Alert) if alert.code == "CIRCUIT_BREAKER"), None)
    seen = "it did not trip" if told is None else f"{told.message}: {_percent(account.drawdown)} of {_percent(limit)}"
    drill.check("the breaker trips at its threshold", told is not None and desk.state == "HALTED", seen)
    stage.check_entry_cancelled("HALTED")
    stage.check_entry_refused("circuit_breaker", "BREAKER_LATCHED")
    stage.check_strategy_exit(leaves=True)
    stage.check_protective_exit()
    stage.check_restart()
    stage.check_entry_refused("circuit_breaker", "BREAKER_LATCHED", " after the restart too")
    stage.check_needs_name_and_reason("reset_breaker")
    desk.command("reset_breaker", OPERATOR, "the drill is over")
    account = desk.risk.state.account
    same = account.equity == account.peak_equity and desk.state == "ACTIVE"
    seen = f"{desk.state}, equity {account.equity:,.2f}, peak {account.peak_equity:,.2f}"
    drill.check("a reset sets the peak to the equity of now", same, seen)
    stage.check_active_again("the reset")
    return drill


def drill_daily_loss(desk: Desk) -> Drill:
    """Reach the daily loss limit."""
    drill = Drill("daily-loss")
    stage = _Stage(desk, drill, CIRCUIT_BREAKER_THRESHOLD_PCT=ONE)
    account, limit = desk.risk.state.account, desk.risk.settings.MAX_DAILY_DRAWDOWN_PCT

    def loss() -> Decimal | None:
        base, pnl = account.start_of_day_equity, account.daily_pnl
        return None if not base or pnl is None else divide(-pnl, base)

    stage.fall_until(lambda: "daily_loss" in desk.causes, loss, limit)
    held = desk.state == "REDUCING"
    drill.check(
        "the daily loss limit makes trading REDUCING", held, f"{desk.state} at {_percent(loss())} of {_percent(limit)}"
    )
    stage.check_entry_cancelled("REDUCING")
    stage.check_entry_refused("daily_drawdown", "DAILY_DRAWDOWN_LATCHED")
    stage.check_strategy_exit(leaves=True)
    stage.check_protective_exit()
    stage.check_restart()
    refused = _refusal(desk.command("resume", OPERATOR, "please"))
    drill.check("an operator cannot lift it", refused and desk.state == "REDUCING", refused or "it was lifted")
    desk.next_day()
    stage.check_active_again("the next 00:00 UTC")
    return drill


def drill_halt(desk: Desk) -> Drill:
    """Halt as an operator."""
    drill = Drill("halt")
    stage = _Stage(desk, drill, SMALL_SHARE)
    stage.place_entry()
    desk.command("halt")
    states = (desk.state, desk.execution.state.trading_state)
    drill.check(
        "halt needs nothing and turns both keys",
        states == ("HALTED", "HALTED"),
        f"risk {states[0]}, execution {states[1]}",
    )
    stage.check_entry_cancelled("HALTED")
    stage.check_entry_refused("circuit_breaker", "OPERATOR_HALT")
    stage.check_strategy_exit(leaves=False)
    drill.story.append(f"{stage.falling} falls through its stop")
    stage.check_protective_exit()
    stage.check_restart()
    stage.check_needs_name_and_reason("resume")
    desk.command("resume", OPERATOR, "the drill is over")
    for _ in range(3):
        desk.quote(stage.calm)
    left = desk.held(stage.calm)
    drill.check("what was kept back leaves after resume", not left, f"{stage.calm}: {left.normalize():f} held")
    stage.check_active_again("resume")
    return drill


DRILLS: Final[dict[str, Callable[[Desk], Drill]]] = {
    "breaker": drill_breaker,
    "halt": drill_halt,
    "daily-loss": drill_daily_loss,
}


def _refusal(follows: list[Event]) -> str | None:
    return next((e.message for e in follows if isinstance(e, Alert) and e.code == "COMMAND_REFUSED"), None)


def _percent(value: Decimal | None) -> str:
    return "unknown" if value is None else f"{value * 100:.2f} %"
