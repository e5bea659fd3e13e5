"""Any interleaving of signals, quotes, ticks, fills, rejects, repetitions, restarts and commands keeps invariants.

What is held and what may still fill is counted here a second time, from what was ordered and answered, so that the
machine's own count is not compared with itself.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.cdb_risk.machine import RiskMachine
from services.common.decimals import floor_to, use_fixed_context
from services.common.events import Control, Order, RiskDecision
from services.common.instruments import instrument_key
from services.common.resolution import read_settlement
from services.common.timestamps import MS_US
from tests.property.effort import examples
from tests.unit.risk.risk_desk import SPOT, START_US, RiskDesk

pytestmark = [pytest.mark.unit, pytest.mark.risk]

SYMBOLS = {"BTCUSDT": Decimal("0.000001"), "ETHUSDT": Decimal("0.00001"), "SOLUSDT": Decimal("0.001")}
PRICES = {"BTCUSDT": Decimal(50_000), "ETHUSDT": Decimal(3_000), "SOLUSDT": Decimal(30)}
POSITION_PCT = Decimal("0.10")
EXPOSURE_PCT = Decimal("0.16")
PERMILLE = st.integers(0, 1_000)


class RiskUnderFire(RuleBasedStateMachine):
    """Plays the exchange, the strategy, the feed, the operator and fate against one risk machine."""

    def __init__(self) -> None:
        super().__init__()
        use_fixed_context()
        self.desk = RiskDesk(
            MAX_TOTAL_EXPOSURE_PCT=EXPOSURE_PCT,
            RISK_PER_TRADE_PCT="0.0021",
            ENTRY_SPACING_SEC=1,
            MAX_DAILY_DRAWDOWN_PCT="0.004",
            CIRCUIT_BREAKER_THRESHOLD_PCT="0.006",
            MAX_ROLLING_DRAWDOWN_PCT="0.005",
            MAX_LOSS_STREAK=3,
            LOSS_STREAK_PAUSE_MIN=10,
            MAX_ORDERS_PER_MINUTE=20,
            TAKE_PROFIT_PCT="0.015",
            TRAILING_STOP_PCT="0.012",
            MAX_HOLD_MIN=30,
        )
        self.mids = dict(PRICES)
        self.open: dict[str, tuple[Order, Decimal]] = {}
        self.held = dict.fromkeys(SYMBOLS, Decimal(0))
        self.checked = 0

    @property
    def state(self) -> Any:
        """The state under test."""
        return self.desk.machine.state

    # what may happen

    @initialize()
    def quote_all(self) -> None:
        """Quote every symbol once."""
        for symbol in SYMBOLS:
            self.quote(symbol, 1_000, 0, "good")

    @rule(
        symbol=st.sampled_from(sorted(SYMBOLS)),
        move=st.integers(970, 1_030),
        wait_ms=st.sampled_from([0, 250, 1_000, 2_000, 5_000]),
        kind=st.sampled_from(["good", "good", "good", "wide", "crossed", "missing", "jump", "gap", "thin"]),
    )
    def quote(self, symbol: str, move: int, wait_ms: int, kind: str) -> None:
        """Send a quote of one kind, moved by so many per mille of the last."""
        mid = floor_to(self.mids[symbol] * move / 1_000, Decimal("0.01"))
        half = mid / 100 if kind == "wide" else Decimal("0.01")
        bid, ask = mid - half, mid + half
        self.desk.now_ms += wait_ms
        given: dict[str, Any] = {"symbol": symbol, "size": 1_000_000, "volume": 1_000_000}
        if kind == "crossed":
            bid, ask = ask, bid
        elif kind == "jump":
            bid, ask = bid * Decimal("0.7"), ask * Decimal("0.7")
        elif kind == "thin":
            given["size"] = None
        if kind == "missing":
            self.desk.quote(None, None, price=mid, **given)
            return
        must_leave = self._stop_must_leave(symbol, bid, ask)
        before = len(self.desk.orders)
        self.desk.quote(floor_to(bid, Decimal("0.0001")), floor_to(ask, Decimal("0.0001")), gap=kind == "gap", **given)
        if kind not in {"jump", "crossed"}:
            self.mids[symbol] = mid
        if must_leave:
            left = self.desk.orders[before:]
            purposes = [order.purpose for order in left if order.symbol == symbol]
            assert purposes in (["stop_loss"], ["trailing_stop"], ["take_profit"], ["flatten"])

    def _stop_must_leave(self, symbol: str, bid: Decimal, ask: Decimal) -> bool:
        """Whether trading.md lets the stop of this instrument leave on this quote, and nothing holds it back."""
        key = instrument_key(SPOT, symbol)
        position = self.state.account.portfolio.positions.get(key)
        if position is None or bid >= ask or self.state.trading.mode == "FROZEN":
            return False
        lots = floor_to(position.quantity, SYMBOLS[symbol])
        worth_selling = lots > 0 and lots * bid >= 2
        stopped = bid * position.quantity < position.cost * Decimal("0.97")
        busy = any(o.key == key and o.purpose != "entry" for o in self.state.reservations.orders.values())
        latched = self.state.exits.get(key)
        now = START_US + self.desk.now_ms * MS_US
        attempted = None if latched is None else latched.last_attempt_at
        waited = attempted is None or now - attempted >= 2_000_000
        return worth_selling and stopped and not busy and waited

    @rule(seconds=st.sampled_from([1, 1, 5, 10, 61]), pressure=st.sampled_from(["none"] * 5 + ["entries"]))
    def tick(self, seconds: int, pressure: str) -> None:
        """Let time pass."""
        self.desk.tick(self.desk.now_ms + 1_000 * seconds, pressure=pressure)

    @rule(hours=st.sampled_from([1, 14]))
    def sleep(self, hours: int) -> None:
        """Let much time pass, perhaps midnight, and quote everything again."""
        self.desk.tick(self.desk.now_ms + 3_600_000 * hours)
        self.quote_all()

    @rule(symbol=st.sampled_from(sorted(SYMBOLS)), at_once=st.booleans())
    def enter(self, symbol: str, at_once: bool) -> None:
        """Ask for an entry as the strategy does: on fresh quotes, and mostly not too soon after the last."""
        self.desk.now_ms += 0 if at_once else 1_000
        for quoted in SYMBOLS:
            self.quote(quoted, 1_000, 0, "good")
        self.desk.signal(symbol=symbol, price=self.mids[symbol])

    @rule(symbol=st.sampled_from(sorted(SYMBOLS)), ends=st.booleans(), share=st.sampled_from([300, 1_000]))
    def enter_and_fill(self, symbol: str, ends: bool, share: int) -> None:
        """Ask for an entry and fill it, in part or in full."""
        before = len(self.open)
        self.enter(symbol, at_once=False)
        self.every_order_was_allowed()
        if len(self.open) > before:
            self.fill(len(self.open) - 1, share, 1_000, ends)

    @rule(
        symbol=st.sampled_from([*sorted(SYMBOLS), "DOGEUSDT"]),
        side=st.sampled_from(["buy", "buy", "buy", "sell"]),
        intent=st.sampled_from(["entry", "entry", "exit"]),
        old_ms=st.sampled_from([0, 0, 0, 61_000, -6_000]),
    )
    def signal(self, symbol: str, side: str, intent: str, old_ms: int) -> None:
        """Send a signal, also foolish ones."""
        price = self.mids.get(symbol, Decimal(1))
        self.desk.signal(side, intent, symbol=symbol, price=price, at_ms=self.desk.now_ms - old_ms)

    @rule(symbol=st.sampled_from(sorted(SYMBOLS)))
    def exit_signal(self, symbol: str) -> None:
        """Ask for an exit."""
        self.desk.exit(symbol=symbol, price=self.mids[symbol])

    def _pick(self, pick: int) -> tuple[Order, Decimal]:
        """Return one of the orders that may still fill, and what of it is filled."""
        return list(self.open.values())[pick % len(self.open)]

    @precondition(lambda self: self.open)
    @rule(pick=PERMILLE, share=st.integers(1, 1_000), slip=st.integers(995, 1_005), ends=st.booleans())
    def fill(self, pick: int, share: int, slip: int, ends: bool) -> None:
        """Fill a part of an open order; perhaps cancel the rest, perhaps say it twice."""
        order, before = self._pick(pick)
        lot = SYMBOLS[order.symbol]
        remaining = order.quantity - before
        part = min(max(floor_to(remaining * share / 1_000, lot), lot), remaining)
        total = before + part
        price = floor_to(self.mids[order.symbol] * slip / 1_000, Decimal("0.01"))
        status = "FILLED" if total == order.quantity else "PARTIALLY_FILLED"
        fee = part * price * Decimal("0.0005")
        self.held[order.symbol] += part if order.side == "BUY" else -part
        self.open[order.order_id] = (order, total)
        self.desk.result(order, status, filled=total, last=part, price=price, fee=fee)
        if share % 3 == 0:  # a repetition of what was said
            self.desk.result(order, status, filled=total, last=part, price=price, fee=fee)
        if status == "FILLED":
            del self.open[order.order_id]
        elif ends:
            del self.open[order.order_id]
            self.desk.result(order, "CANCELED", filled=total, last=0)

    @precondition(lambda self: self.open)
    @rule(pick=PERMILLE, status=st.sampled_from(["NEW", "SUBMITTING", "UNKNOWN", "REJECTED", "EXPIRED", "CANCELED"]))
    def answer(self, pick: int, status: str) -> None:
        """Answer an open order without a fill."""
        order, filled = self._pick(pick)
        if status not in {"NEW", "SUBMITTING", "UNKNOWN"}:
            del self.open[order.order_id]
        self.desk.result(order, status, filled=filled, last=0)

    @precondition(lambda self: self.open)
    @rule(pick=PERMILLE, outcome=st.sampled_from(["never_arrived", "canceled", "filled"]))
    def resolve(self, pick: int, outcome: str) -> None:
        """Let the operator end an order; only when risk answers for it execution does, and until then it stays."""
        order, filled = self._pick(pick)
        told = {"price": order.reference_price} if outcome == "filled" else {}
        details = {"order_id": order.order_id, "outcome": outcome, **told}
        outputs = self.desk.command("resolve_order", by="ana", reason="looked", details=details)
        self.reservations_and_positions_are_what_was_ordered_and_answered()
        for event in outputs:
            if isinstance(event, Control) and event.action == "resolve_order":
                settled = read_settlement(event)
                added = settled.filled_quantity - filled
                self.held[order.symbol] += added if order.side == "BUY" else -added
                del self.open[order.order_id]
                status = {"never_arrived": "EXPIRED", "canceled": "CANCELED", "filled": "FILLED"}[outcome]
                self.desk.result(order, status, filled=settled.filled_quantity, last=added, price=settled.price)

    @rule(action=st.sampled_from(["halt", "freeze", "flatten", "nothing", "nothing"]))
    def command(self, action: str) -> None:
        """Let the operator restrict trading now and then."""
        if action != "nothing":
            self.desk.command("halt" if action == "freeze" else action, details={"freeze": action == "freeze"})

    @precondition(lambda self: self.state.trading.mode != "ACTIVE")
    @rule()
    def release(self) -> None:
        """Let the operator undo what can be undone."""
        for action in ("resume", "reset_breaker"):
            self.desk.command(action, by="ana", reason="because")

    @rule()
    def restart(self) -> None:
        """Restore the machine from its dump."""
        self.desk.restart()

    # what must hold

    @invariant()
    def books_balance_to_the_last_digit(self) -> None:
        """Equity is cash plus marked positions, and initial cash plus PnL less fees."""
        portfolio = self.state.account.portfolio
        equity = portfolio.cash
        for key, position in portfolio.positions.items():
            assert position.quantity >= 0
            equity += position.quantity * portfolio.marks[key].price
        assert portfolio.equity == equity
        assert equity == 100_000 + portfolio.realized_pnl + portfolio.unrealized_pnl - portfolio.fees

    @invariant()
    def reservations_and_positions_are_what_was_ordered_and_answered(self) -> None:
        """Only terminal results end a reservation; sells never pass what is held."""
        self.every_order_was_allowed()
        reserved = {order_id: o.remaining for order_id, o in self.state.reservations.orders.items()}
        assert reserved == {order_id: order.quantity - filled for order_id, (order, filled) in self.open.items()}
        for symbol, held in self.held.items():
            assert self.state.account.portfolio.position(SPOT, symbol).quantity == held
            selling = [o.quantity - f for o, f in self.open.values() if o.symbol == symbol and o.side == "SELL"]
            assert sum(selling) <= held
            assert len(selling) <= 1

    def _worst(self, symbol: str) -> Decimal:
        """Return what is held and may still be bought of a symbol, at mark."""
        buying = [o.quantity - f for o, f in self.open.values() if o.symbol == symbol and o.side == "BUY"]
        quantity = self.held[symbol] + sum(buying)
        return (
            quantity * self.state.account.portfolio.marks[instrument_key(SPOT, symbol)].price if quantity else quantity
        )

    @invariant()
    def every_order_was_allowed(self) -> None:
        """Each order follows from its approved decision and keeps every limit at that moment."""
        outputs = self.desk.outputs
        decided: dict[str, RiskDecision] = {}
        for event in outputs[self.checked :]:
            if isinstance(event, RiskDecision):
                decided[event.event_id] = event
                if not event.approved:
                    assert event.sizing.approved == 0
                else:
                    assert all(verdict.status in {"pass", "bypass"} for verdict in event.layers)
            elif isinstance(event, Order):
                self._check_order(event, decided[event.decision_id])
                self.open[event.order_id] = (event, Decimal(0))
        self.checked = len(outputs)

    def _check_order(self, order: Order, decision: RiskDecision) -> None:
        view = decision.portfolio
        assert decision.approved
        assert (order.symbol, order.side, order.purpose) == (decision.symbol, decision.side, decision.purpose)
        assert order.quantity == decision.sizing.approved > 0
        assert order.quantity == floor_to(order.quantity, SYMBOLS[order.symbol])
        assert view.position is not None
        if order.purpose != "entry":
            assert order.side == "SELL"
            assert order.reduce_only
            assert order.quantity <= view.position
            assert view.trading_state != "FROZEN" or order.purpose == "flatten"
            return
        assert (order.side, order.reduce_only, view.trading_state) == ("BUY", False, "ACTIVE")
        equity = self.state.account.equity
        assert equity is not None
        assert order.price is not None
        added = order.quantity * order.price
        assert self.held[order.symbol] * order.price < 2, "no pyramiding, but for dust"
        assert self._worst(order.symbol) + added <= POSITION_PCT * equity
        assert sum(self._worst(symbol) for symbol in SYMBOLS) + added <= EXPOSURE_PCT * equity

    def teardown(self) -> None:
        """The same entries give the same bytes in a machine that never stopped."""
        again = RiskMachine()
        replayed = [event.data for entry in self.desk.entries for event in again.handle(entry)]
        assert replayed == [event.data for event in self.desk.outputs]
        assert again.dump() == self.desk.machine.dump()


RiskUnderFire.TestCase.settings = settings(max_examples=examples(15), stateful_step_count=25, deadline=None)
TestRiskUnderFire = RiskUnderFire.TestCase

KINDS = ["good"] * 12 + ["wide", "crossed", "missing", "jump", "gap", "thin"]


def step(machine: RiskUnderFire, draw: Random) -> None:
    """Do one thing, weighted so that positions are opened, stopped, closed and halted all the time."""
    symbol = draw.choice(sorted(SYMBOLS))
    roll = draw.random()
    if machine.open and roll < 0.25:
        machine.fill(draw.randrange(1_000), draw.choice([300, 1_000]), draw.randrange(995, 1_006), draw.random() < 0.5)
    elif machine.open and roll < 0.35:
        machine.answer(draw.randrange(1_000), draw.choice(["NEW", "UNKNOWN", "REJECTED", "EXPIRED", "CANCELED"]))
    elif machine.state.trading.mode != "ACTIVE" and roll < 0.45:
        machine.release()
    elif roll < 0.55:
        machine.enter_and_fill(symbol, draw.random() < 0.5, draw.choice([300, 1_000]))
    elif roll < 0.60:
        machine.enter(symbol, at_once=draw.random() < 0.5)
    elif roll < 0.85:
        wait_ms = draw.choice([0, 250, 1_000, 2_000])
        machine.quote(symbol, draw.randrange(975, 1_020), wait_ms, draw.choice(KINDS))
    elif roll < 0.90:
        machine.exit_signal(symbol)
    elif machine.open and roll < 0.91:
        pick = draw.randrange(1_000)
        machine.answer(pick, "UNKNOWN")
        machine.tick(61, "none")
        machine.resolve(pick, draw.choice(["never_arrived", "canceled", "filled"]))
    elif roll < 0.93:
        machine.tick(draw.choice([1, 1, 5, 61]), draw.choice(["none", "none", "entries"]))
    elif roll < 0.95:
        machine.command(draw.choice(["halt", "freeze", "flatten"]))
    elif roll < 0.97:
        machine.signal(symbol, draw.choice(["buy", "sell"]), draw.choice(["entry", "exit"]), draw.choice([0, 61_000]))
    elif roll < 0.99:
        machine.restart()
    else:
        machine.sleep(draw.choice([1, 14]))


@pytest.mark.slow
@given(seed=st.integers(0, 2**32))
@settings(max_examples=examples(15))
def test_a_long_day_under_fire(seed: int) -> None:
    """150 weighted steps keep every invariant after each step, and a replay gives the same bytes."""
    machine = RiskUnderFire()
    machine.quote_all()
    draw = Random(seed)
    for _ in range(150):
        step(machine, draw)
        machine.every_order_was_allowed()
        machine.reservations_and_positions_are_what_was_ordered_and_answered()
        machine.books_balance_to_the_last_digit()
    machine.teardown()


@pytest.mark.slow
def test_a_long_day_is_eventful() -> None:
    """The walk really enters, stops, exits, flattens, latches and halts; else it would prove nothing."""
    machine = RiskUnderFire()
    machine.quote_all()
    draw = Random(1)
    for _ in range(1_000):
        step(machine, draw)
        machine.every_order_was_allowed()
    purposes = {order.purpose for order in machine.desk.orders}
    assert purposes == {"entry", "exit", "stop_loss", "take_profit", "trailing_stop", "flatten"}
    assert set(machine.desk.states) == {"ACTIVE", "REDUCING", "HALTED", "FROZEN"}
    assert len(machine.desk.orders) > 50
    told = {"CIRCUIT_BREAKER", "DAILY_DRAWDOWN_LIMIT", "ROLLING_DRAWDOWN_LIMIT", "LOSS_STREAK", "EXIT_LATCHED"}
    assert told | {"ORDER_RESOLVED"} <= set(machine.desk.alert_codes())


def test_the_rules_reach_what_they_are_meant_to_test() -> None:
    """A fixed story shows that entries, stops, limits and states really occur under these settings."""
    use_fixed_context()
    machine = RiskUnderFire()
    machine.quote_all()
    machine.signal("BTCUSDT", "buy", "entry", 0)
    machine.every_order_was_allowed()
    machine.fill(0, 1_000, 1_000, ends=False)
    machine.quote("BTCUSDT", 970, 2_000, "good")
    machine.every_order_was_allowed()
    machine.books_balance_to_the_last_digit()
    assert [order.purpose for order in machine.desk.orders] == ["entry", "stop_loss"]
    machine.teardown()
