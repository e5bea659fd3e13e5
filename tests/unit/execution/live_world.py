"""Live trading in one process, stepped: a journal, execution that can be killed anywhere, and a faulty exchange."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random
from typing import Any

from services.cdb_execution.adapters.desk import ExchangeDesk
from services.cdb_execution.exchange import (
    Balance,
    FundingPayment,
    OrderReport,
    OrderRequest,
    OrderRules,
    PlaceOutcome,
    PositionReport,
    StreamState,
    Trade,
)
from services.cdb_execution.live.facts import SOURCE, state_next
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import ExecutionSettings
from services.common import channels
from services.common.errors import ExchangeUnreachable
from services.common.events import Control, Event, Order, OrderResult
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.timestamps import MS_US, SECOND_US
from tests.unit.execution.execution_desk import START_US, Desk

__all__ = ["Killed", "ModelExchange", "World", "live_settings"]

Job = Callable[[], None]


RULES = OrderRules(
    symbol="BTCUSDT", tick_size=Decimal("0.01"), lot_size=Decimal("0.000001"), min_quantity=Decimal("0.000001"),
    min_notional=Decimal(1), max_notional=Decimal(4_000_000),
)  # fmt: skip


class Killed(Exception):
    """The process ends here."""


def live_settings(**changed: Any) -> ExecutionSettings:
    """Return settings of live trading under which the desk's orders are small enough."""
    given = {"TRADING_MODE": "live", "LIVE_MAX_ORDER_USDT": 20_000, "LIVE_MAX_POSITION_USDT": 100_000}
    given |= {"LIVE_MAX_DAILY_LOSS_USDT": 100_000, "LIVE_CANARY_FILLS": 0}
    return ExecutionSettings.model_validate(given | changed)


class ModelExchange:
    """One account; fills what it accepts in parts, tells it late, and loses answers as often as `fault` says."""

    def __init__(self, random: Random, fault: float = 0.0) -> None:
        self.random, self.fault = random, fault
        self.posts: Counter[str] = Counter()
        self.orders: dict[str, OrderReport] = {}
        self.booked: list[Trade] = []
        self.pushes: list[OrderReport | Trade | StreamState] = []
        self.travelling: list[tuple[int, OrderRequest]] = []
        self.totals = {"USDT": Decimal(1_000_000), "BTC": Decimal(3), "MX": Decimal(1)}
        self.now = START_US

    def _cut(self) -> bool:
        return self.random.random() < self.fault

    # orders

    def place(self, request: OrderRequest) -> PlaceOutcome:
        """Accept, refuse or lose an order."""
        self.posts[request.client_order_id] += 1
        assert self.posts[request.client_order_id] == 1, "an order was sent twice"
        if self._cut():
            fate = self.random.randrange(4)
            if fate == 0:
                return PlaceOutcome(verdict="refused", code="30004", detail="insufficient balance")
            if fate == 1:
                self.travelling.append((self.now + self.random.randrange(5) * SECOND_US, request))
            if fate == 2:
                self.arrive(request)
            return PlaceOutcome(verdict="unknown", code="timeout")
        self.arrive(request)
        number = self.orders[request.client_order_id].exchange_order_id
        return PlaceOutcome(verdict="accepted", exchange_order_id=number)

    def test(self, request: OrderRequest) -> PlaceOutcome:
        """Accept everything."""
        return PlaceOutcome(verdict="accepted")

    def arrive(self, request: OrderRequest) -> None:
        """Match an order: nothing, a part or all of it fills at once, in up to three fills; the rest is cancelled."""
        name = request.client_order_id
        parts = self.random.choice([(), (1,), (2, 2), (4, 4), (3, 3, 3)])
        filled = Decimal(0)
        price = request.price or Decimal(40_000)
        number = f"C02__{len(self.orders) + 1}"
        self._report(request, number, "NEW", filled)
        for place, part in enumerate(parts):
            quantity = min((request.quantity / part).quantize(Decimal("0.000001")), request.quantity - filled)
            if place + 1 == len(parts) and self.random.random() < 0.7:
                quantity = request.quantity - filled
            filled += quantity
            self._trade(request, number, quantity, price)
            status = "FILLED" if filled == request.quantity else "PARTIALLY_FILLED"
            self._report(request, number, status, filled)
        if filled < request.quantity:
            self._report(request, number, "CANCELED", filled)
        assert self.orders[name].filled_quantity == filled

    def _report(self, request: OrderRequest, number: str, status: Any, filled: Decimal) -> None:
        report = OrderReport(
            venue=request.venue,
            symbol=request.symbol,
            side=request.side,
            client_order_id=request.client_order_id,
            exchange_order_id=number,
            status=status,
            quantity=request.quantity,
            filled_quantity=filled,
            filled_notional=None,
            time=self.now,
        )
        self.orders[request.client_order_id] = report
        self.pushes.append(report)

    def _trade(self, request: OrderRequest, number: str, quantity: Decimal, price: Decimal) -> None:
        buys = request.side == "BUY"
        coin = self.random.choice(["BTC" if buys else "USDT", "MX", "USDT"])
        fee = {"BTC": quantity, "MX": Decimal("0.01"), "USDT": quantity * price}[coin] * Decimal("0.0005")
        base, quote = (quantity, -quantity * price) if buys else (-quantity, quantity * price)
        for currency, change in (("BTC", base), ("USDT", quote), (coin, -fee)):
            self.totals[currency] = self.totals.get(currency, Decimal(1)) + change
        trade = Trade(
            venue=request.venue,
            symbol=request.symbol,
            side=request.side,
            trade_id=f"X{len(self.booked) + 1}",
            exchange_order_id=number,
            client_order_id=self.random.choice([request.client_order_id, None]),
            quantity=quantity,
            price=price,
            fee=fee,
            fee_currency=coin,
            liquidity="taker",
            time=self.now,
        )
        self.booked.append(trade)
        self.pushes.append(trade)

    # questions

    def _answerable(self) -> None:
        if self._cut():
            raise ExchangeUnreachable("no answer")

    def cancel(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """Return what there is; nothing rests here."""
        self._answerable()
        return self.orders.get(client_order_id)

    def query(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """Return an order."""
        self._answerable()
        return self.orders.get(client_order_id)

    def open_orders(self, symbols: Sequence[str]) -> list[OrderReport]:
        """Return the open orders."""
        self._answerable()
        return [order for order in self.orders.values() if order.status in {"NEW", "PARTIALLY_FILLED"}]

    def trades(self, symbol: str, since: int) -> list[Trade]:
        """Return the fills since a time."""
        self._answerable()
        return [trade for trade in self.booked if trade.time >= since]

    def balances(self) -> list[Balance]:
        """Return the balances."""
        return [
            Balance(venue="mexc_spot", currency=currency, free=total, locked=Decimal(0))
            for currency, total in self.totals.items()
        ]

    def positions(self) -> list[PositionReport]:
        """Return none."""
        return []

    def funding(self, symbol: str, since: int) -> list[FundingPayment]:
        """Return none."""
        return []

    def hedge_mode(self) -> bool:
        """Return False."""
        return False

    def clock_offset_ms(self) -> int:
        """Return none."""
        return 0

    def silent_for_sec(self) -> float:
        """Return none."""
        return 0

    def rules(self, symbols: Sequence[str]) -> list[OrderRules]:
        """Return the rules of BTCUSDT."""
        return [RULES]

    def instruments(self, symbols: Sequence[str]) -> list[Any]:
        """Return none."""
        return []

    def advance(self, now: int) -> None:
        """Let time pass: what was on its way arrives."""
        self.now = now
        arrived = [request for at, request in self.travelling if at <= now]
        self.travelling = [(at, request) for at, request in self.travelling if at > now]
        for request in arrived:
            self.arrive(request)


class World:
    """The journal, the process that may be killed, and the exchange."""

    def __init__(self, seed: int, *, fault: float = 0.0, kill: float = 0.0, **changed: Any) -> None:
        self.random = Random(seed)
        self.kill = kill
        self.exchange = ModelExchange(self.random, fault)
        self.factory = Desk(configured=False)
        self.entries: list[Entry] = []
        self.marks: Counter[str] = Counter()
        self.settings = live_settings(**changed)
        self.at_ms = 0
        self.starts = 0
        self.control("started", service="cdb_ws", run_id="run-1")
        configured = Desk(configured=False)
        configured.configure(self.settings)
        self.append(configured.entries[-1].event, "announce:1")
        self.begin()

    # the journal

    def append(self, event: Event, cause: str) -> Entry:
        """Journal an event."""
        entry = Entry(JournalId(1, len(self.entries) + 1), event.channel, event.producer, cause, event.data)
        self.entries.append(entry)
        return entry

    def publish(self, cause: Cause, events: Sequence[Event]) -> bool:
        """Journal a batch once; False when it was there."""
        if cause.number <= self.marks[cause.source]:
            return False
        self.marks[cause.source] = cause.number
        for event in events:
            self.append(event, str(cause))
        return True

    def control(self, action: str, *, producer: str = channels.WS, **fields: Any) -> None:
        """Journal a control event."""
        event = Control(
            event_id=f"c-{len(self.entries)}", timestamp=START_US + self.at_ms * MS_US, producer=producer,
            action=action, **fields,
        )  # fmt: skip
        self.append(event, f"feed:{len(self.entries) + 1}")

    # the process

    def begin(self) -> None:
        """Start the process: everything is folded anew, nothing is remembered beside the journal."""
        self.starts += 1
        self.machine, self.folded = ExecutionMachine(), 0
        self.jobs: deque[Job] = deque()
        self.desk = ExchangeDesk(
            self.exchange, self.settings, wall_us=lambda: START_US + self.at_ms * MS_US, hindrance=lambda: None,
            dispatch=lambda _lane, job: self.jobs.append(job),
        )  # fmt: skip
        self.control("started", producer=channels.EXECUTION, service=channels.EXECUTION, run_id="run-1")

    def _may_die(self) -> None:
        if self.random.random() < self.kill:
            raise Killed

    def fold(self) -> None:
        """Handle the next entry as the shell does."""
        if self.folded >= len(self.entries):
            return
        entry = self.entries[self.folded]
        outputs = self.machine.handle(entry)
        self.folded += 1
        if not outputs:
            return
        self._may_die()
        new = self.publish(Cause.of(entry.id), outputs)
        self._may_die()
        if new and any(isinstance(event, OrderResult) and event.status == "SUBMITTING" for event in outputs):
            assert isinstance(entry.event, Order)
            self.desk.send(entry.event)

    def work(self) -> None:
        """Do the next job that waits for the exchange."""
        if self.jobs:
            self.jobs.popleft()()
            self._may_die()

    def state(self) -> None:
        """Look, and state the next thing that the exchange has said."""
        if self.folded < len(self.entries):
            return
        self.desk.look(self.machine.state, self.machine.now)
        while self.desk.inbox:
            number = self.marks[SOURCE] + 1
            stated = state_next(self.machine, self.desk.inbox[0], number)
            if stated.event is not None:
                self._may_die()
                self.publish(Cause(SOURCE, number), [stated.event])
                self._may_die()
            if stated.instead is not None:
                self.desk.inbox[0] = stated.instead
            if stated.done:
                self.desk.inbox.popleft()
            if stated.event is not None:
                return

    def alive(self, action: Job) -> None:
        """Do something in the process, which may die of it and begins again."""
        try:
            action()
        except Killed:
            self.begin()

    # the world

    def tick(self, ms: int = 1_000) -> None:
        """Let time pass."""
        self.at_ms += ms
        self.exchange.advance(START_US + self.at_ms * MS_US)
        self.control("tick")

    def quote(self) -> None:
        """Journal a quote."""
        self.factory.quote(self.at_ms, size="100", volume="1000")
        self.append(self.factory.entries[-1].event, f"feed:{len(self.entries) + 1}")

    def order(self, side: str = "BUY", quantity: str = "0.2", purpose: str = "entry", **order: Any) -> Order:
        """Journal a decision and its order."""
        status = "pass" if purpose == "entry" else "bypass"
        decided = self.factory.decision(self.at_ms, side=side, quantity=quantity, purpose=purpose, status=status)
        sent = self.factory.order_of(decided, **order)
        self.append(decided, "1")
        self.append(sent, "1")
        return sent

    def push(self, *, lose: float = 0.0) -> None:
        """Let the user stream deliver one message: any of those waiting, perhaps twice, perhaps never."""
        if not self.exchange.pushes:
            return
        message = self.exchange.pushes.pop(self.random.randrange(len(self.exchange.pushes)))
        if self.random.random() >= lose:
            self.desk.deliver(message)
            if self.random.random() < 0.2:
                self.desk.deliver(message)

    def settle(self, seconds: int = 1) -> None:
        """Let time pass without faults, and everything be handled."""
        for _ in range(seconds):
            self.tick()
            for _ in range(200):
                before = (self.folded, len(self.entries), len(self.jobs), len(self.desk.inbox))
                self.alive(self.fold)
                self.alive(self.work)
                self.alive(self.state)
                if before == (self.folded, len(self.entries), len(self.jobs), len(self.desk.inbox)):
                    break

    # what is compared

    @property
    def results(self) -> list[OrderResult]:
        """All order results in the journal."""
        return [entry.event for entry in self.entries if isinstance(entry.event, OrderResult)]

    def verdicts(self) -> list[str]:
        """What reconciliation said, in order."""
        controls = [entry.event for entry in self.entries if entry.channel == channels.CONTROL]
        return [str(c.details["verdict"]) for c in controls if isinstance(c, Control) and c.action == "reconciliation"]

    def alerts(self) -> list[str]:
        """Codes of all alerts."""
        return [str(getattr(entry.event, "code", "")) for entry in self.entries if entry.channel == channels.ALERTS]
