"""Live execution and the sandbox exchange in one thread: seeded histories of orders, faults and kills, and their truth.

The real machine, shell, publisher, desk and REST client run against the real core of the sandbox. Time is simulated;
the three threads of the process (work loop, sending, asking) and the user stream are interleaved by the seed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from contextlib import contextmanager
from decimal import Decimal
from random import Random
from typing import Any, Final
from unittest import mock

from services.cdb_execution.adapters import perpetual as perpetual_client
from services.cdb_execution.adapters import sending
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_sandbox.faults import Fault, FaultKind
from services.common import channels
from services.common.events import Control, Event, Order, OrderResult
from services.common.instruments import PERPETUAL, Venue, instrument_key
from services.common.journal.entry import Cause
from services.common.runtime.snapshots import Snapshot
from services.common.timestamps import MS_US
from tests.unit.execution.execution_desk import START_US, Desk
from tests.unit.execution.live_world import live_settings
from tests.unit.execution.stepped_process import Journal, Killed, SteppedShell
from tests.unit.execution.stepped_sandbox import SteppedSandbox

__all__ = ["ORDER_WHERE", "SandboxWorld", "simulated_time"]

_LOT: Final = Decimal("0.0001")
ORDER_WHERE: Final = {"mexc_spot": "POST /api/v3/order", PERPETUAL: "POST /api/v1/private/order/create"}
_SENDING: Final[tuple[tuple[FaultKind, dict[str, Any]], ...]] = (
    (FaultKind.TIMEOUT_BEFORE, {}),
    (FaultKind.TIMEOUT_AFTER, {}),
    (FaultKind.LATE, {"delay_ms": 2_000}),
    (FaultKind.LATE, {"delay_ms": 4_900}),
    (FaultKind.LATE, {"delay_ms": 9_800}),
    (FaultKind.LATE, {"delay_ms": 14_000}),
    (FaultKind.CUT_BEFORE, {}),
    (FaultKind.CUT_AFTER, {}),
    (FaultKind.SERVER_ERROR_BEFORE, {}),
    (FaultKind.SERVER_ERROR_AFTER, {}),
    (FaultKind.SLOW, {"delay_ms": 3_000}),
    (FaultKind.SLOW, {"delay_ms": 8_000}),
    (FaultKind.PARTIAL_FILL, {"share": Decimal("0.5")}),
    (FaultKind.PARTIAL_FILL, {"share": Decimal(0)}),
    (FaultKind.RATE_LIMIT, {"retry_after": 1}),
    (FaultKind.CLOCK_SKEW, {"skew_ms": 30_000}),
)
_ASKING: Final[tuple[tuple[FaultKind, dict[str, Any]], ...]] = (
    (FaultKind.TIMEOUT_AFTER, {}),
    (FaultKind.CUT_BEFORE, {}),
    (FaultKind.SERVER_ERROR_AFTER, {}),
    (FaultKind.SLOW, {"delay_ms": 2_000}),
    (FaultKind.RATE_LIMIT, {"retry_after": 2}),
    (FaultKind.BAN, {"retry_after": 5}),
    (FaultKind.CLOCK_SKEW, {"skew_ms": -30_000}),
)
_PUSHING: Final = (
    FaultKind.DUPLICATE,
    FaultKind.OUT_OF_ORDER,
    FaultKind.DROP,
    FaultKind.DISCONNECT,
    FaultKind.GZIP,
    FaultKind.INVALID_LISTEN_KEY,
)


class SandboxWorld:
    """The journal, the process that may be killed anywhere, and the exchange.

    Attributes:
        deaths: how often the process ended at which point.
        fault: how likely something goes wrong with a request or a push.
        kill: how likely the process ends at each point at which it can.
        calm: nothing goes wrong any more, and nothing takes time.
        doomed: the point at which the process ends when it comes there next.
    """

    def __init__(self, seed: int, venue: Venue = "mexc_spot", **changed: Any) -> None:
        self.random = random = Random(seed)
        self.venue: Venue = venue
        self.key = instrument_key(venue, "BTCUSDT")
        self.at_ms, self.calm, self.fault, self.kill = 0, True, 0.0, 0.0
        self.deaths: Counter[str] = Counter()
        self.doomed: str | None = None
        self.lanes: dict[str, deque[Callable[[], None]]] = {"send": deque(), "ask": deque()}
        self._busy: set[str] = set()
        self._ticked_ms = 0
        self.settings: ExecutionSettings = live_settings(VENUE=venue, **changed)
        self.journal = Journal()
        self.factory = Desk(configured=False)
        self.mid = Decimal(40_000)
        fee_asset = random.choice(["received", "quote", "MX"])
        skew_ms = random.choice([0, 0, 900, -900, 20_000, -20_000])
        self.sandbox = SteppedSandbox(self, venue, seed=seed, skew_ms=skew_ms, fee_asset=fee_asset)
        self.snapshots: list[Snapshot] = []
        for service in (channels.WS, channels.CORE, channels.RISK):
            self.control("started", producer=service, service=service, run_id="run-1")
        self.quote()
        self.begin()

    # what the sandbox asks of the world around it

    def wall_ms(self) -> int:
        """Return this machine's time."""
        return START_US // 1_000 + self.at_ms

    def wall_us(self) -> int:
        """Return this machine's time, microseconds."""
        return START_US + self.at_ms * MS_US

    def chance(self, probability: float) -> bool:
        """Draw lots; never in calm."""
        return not self.calm and self.random.random() < probability * min(1.0, 5 * self.fault)

    def draw(self, most: int) -> int:
        """Return a number below `most`."""
        return self.random.randrange(most)

    def point(self, name: str) -> None:
        """Be killed here, perhaps; around sending an order more often than elsewhere."""
        likely = self.kill * (4 if "order" in name or "SUBMITTING" in name else 1)
        if name == self.doomed or (likely and self.random.random() < likely):
            self.doomed = None
            self.deaths[name] += 1
            raise Killed

    def meanwhile(self, ms: int) -> None:
        """Let time pass while one thread waits; the others go on."""
        end = self.at_ms + ms
        while self.at_ms < end:
            self.advance(min(self.random.randrange(100, 1_001), end - self.at_ms))
            for _ in range(self.random.randrange(12)):
                self.others()

    def others(self) -> None:
        """Do one thing of any thread that is not waiting."""
        which = self.random.randrange(10)
        if which == 0:
            self.work("send")
        elif which <= 2:
            self.work("ask")
        elif which == 3:
            self.listen()
        else:
            self.shell.step()

    # the process

    def begin(self) -> None:
        """Start the process: it knows its snapshots and the journal, nothing else."""
        for lane in self.lanes.values():
            lane.clear()
        self._busy.clear()
        self.sandbox.begin()
        if self.snapshots and self.random.random() < 0.3:
            self.snapshots.clear()
        self.shell = SteppedShell(
            self.journal, self.sandbox.exchange, self.settings, snapshots=self.snapshots, wall_us=self.wall_us,
            dispatch=lambda lane, job: self.lanes[lane].append(job), point=self.point, chance=self.chance,
        )  # fmt: skip

    @property
    def machine(self) -> ExecutionMachine:
        """What this life of the process has folded."""
        return self.shell.machine

    def alive(self, action: Callable[[], None]) -> None:
        """Do something in the process, which may end by it; then it begins again after a while."""
        try:
            action()
        except Killed:
            self.sandbox.cut()
            for _ in range(self.random.randrange(4)):
                self.advance(self.random.randrange(4_000))
            self.begin()

    def work(self, lane: str) -> None:
        """Let a thread that waits for the exchange do its next job."""
        if self.lanes[lane] and lane not in self._busy:
            self._busy.add(lane)
            self.lanes[lane].popleft()()
            self._busy.discard(lane)

    def catch_up(self) -> None:
        """Let the work loop handle all that there is."""
        while self.shell.behind:
            self.shell.step()
        self.shell.step()

    def listen(self) -> None:
        """Let the user stream's thread do one thing."""
        if "stream" not in self._busy:
            self._busy.add("stream")
            for _ in range(self.random.randrange(1, 9)):
                self.sandbox.listen(self.shell.desk.deliver)
            self._busy.discard("stream")

    # the world

    def control(self, action: str, *, producer: str = channels.WS, **fields: Any) -> None:
        """Journal a control event."""
        number = len(self.journal.entries) + 1
        event = Control(
            event_id=f"c-{number}", timestamp=self.wall_us(), producer=producer, action=action, **fields
        )  # fmt: skip
        self.journal.append(event, f"feed:{number}")

    def advance(self, ms: int) -> None:
        """Let time pass: the exchange's and ours, with a tick each second."""
        self.at_ms += ms
        self.sandbox.advance(ms)
        if self.at_ms - self._ticked_ms >= 1_000:
            self._ticked_ms = self.at_ms
            self.control("tick")

    def quote(self, size_at_touch: str | None = None) -> None:
        """Let the market move a little; what stands at the touch may be less than an order wants."""
        random = self.random
        self.mid += random.randrange(-40, 41)
        bid, ask = self.mid - 1, self.mid + 1
        size = Decimal(size_at_touch or random.choice(["0.03", "0.08", "0.5", "20"]))
        unit = self.sandbox.listing.unit_value
        self.sandbox.quote(bid, size / unit, ask, size / unit, flat=random.random() < 0.5)
        mark = {"mark_price": self.mid} if self.venue == PERPETUAL else {}
        self.factory.quote(self.at_ms, str(bid), str(ask), size=str(size), volume="1000", venue=self.venue, **mark)
        self.journal.append(self.factory.entries[-1].event, f"feed:{len(self.journal.entries) + 1}")

    def order(self, side: str, quantity: Decimal, purpose: str = "entry", **changed: Any) -> Order:
        """Journal a decision and its order."""
        perpetual = self.venue == PERPETUAL
        buys = side == "BUY"
        self.control("tick")
        slack = Decimal(self.random.choice(["0.0001", "0.002", "0.004"]))
        price = (self.mid * (1 + slack if buys else 1 - slack)).quantize(Decimal(1))
        decided = self.factory.decision(
            self.at_ms, side=side, quantity=quantity, purpose=purpose, venue=self.venue,
            status="pass" if purpose == "entry" else "bypass",
        )  # fmt: skip
        fields: dict[str, Any] = {"price": price, "reference_price": self.mid, "leverage": 2 if perpetual else 1}
        if purpose != "entry" and self.random.random() < 0.3:
            fields |= {"order_type": "MARKET", "price": None}
        order = self.factory.order_of(decided, **fields | changed)
        self.journal.append(decided, str(len(self.journal.entries) + 1))
        self.journal.append(order, str(len(self.journal.entries) + 1))
        return order

    def trade(self) -> None:
        """Let risk want something that fits what is held: an entry, or an exit of a part or all of it."""
        state, random = self.machine.state, self.random
        now = self.machine.fold.now
        if now is None or (state.live.not_reconciled(now) and random.random() < 0.9):
            return  # has just begun, and would refuse it
        if state.live.day.lost(state.live.pnl) is None:
            self.quote()  # what is held has no mark yet
        held = state.held(self.key) + state.entering(self.key)
        side = "SELL" if held > 0 else "BUY"
        closable = state.closable(self.key, side) if held else Decimal(0)
        if closable < 5 * _LOT or random.random() < 0.5:
            sells = self.venue == PERPETUAL and (held < 0 or (held == 0 and random.random() < 0.5))
            self.order("SELL" if sells else "BUY", Decimal(random.choice(["0.05", "0.1", "0.2"])))
            return
        quantity = (closable * Decimal(random.choice(["0.5", "1", "1"]))).quantize(_LOT, "ROUND_DOWN")
        self.order(side, quantity, random.choice(["exit", "stop_loss"]))

    def close(self) -> None:
        """Want everything closed that is held, in a market that can take it, while all goes well."""
        if self.machine.state.trading_state != "ACTIVE":
            self.operator("resume")
        self.quote("20")
        held = self.machine.state.held(self.key)
        if abs(held) >= _LOT * 5:
            self.order("SELL" if held > 0 else "BUY", abs(held).quantize(_LOT, "ROUND_DOWN"), "stop_loss")

    def operator(self, action: str, **details: Any) -> None:
        """Give an operator's command."""
        number = len(self.journal.entries) + 1
        self.control(
            action, producer=channels.OPERATOR, by="ada", reason="test", command_id=f"k-{number}", details=details
        )

    def arm(self) -> None:
        """Let something go wrong soon: with an order, a question or a push."""
        random = self.random
        where = ORDER_WHERE[self.venue]
        which = random.randrange(4)
        if which <= 1:
            kind, details = random.choice(_SENDING)
            self.sandbox.house.faults.add(Fault(kind=kind, where=where, **details))
        elif which == 2:
            kind, details = random.choice(_ASKING)
            self.sandbox.house.faults.add(Fault(kind=kind, where="GET *", count=random.randrange(1, 5), **details))
        else:
            kind = random.choice(_PUSHING)
            private = (
                ("*private*", "*private.deals*") if self.venue != PERPETUAL else ("push.personal*", "*.order.deal")
            )
            where = "*" if kind is FaultKind.INVALID_LISTEN_KEY else random.choice(private)
            self.sandbox.house.faults.add(Fault(kind=kind, where=where, count=random.randrange(1, 4)))

    def burst(self) -> None:
        """Let risk want two things at once, of which the first keeps the second waiting, which then arrives late."""
        if self.fault:
            faults, where = self.sandbox.house.faults, ORDER_WHERE[self.venue]
            faults.add(Fault(kind=FaultKind.SLOW, where=where, delay_ms=self.random.choice([2_000, 4_000])))
            faults.add(Fault(kind=FaultKind.LATE, where=where, delay_ms=self.random.choice([4_900, 9_800])))
        self.trade()
        self.trade()

    def live(self, steps: int) -> None:
        """Let a history happen."""
        random = self.random
        self.calm = False
        actions: list[tuple[int, Callable[[], None]]] = [
            (6, lambda: self.advance(random.choice([200, 500, 1_000, 3_000]))),
            (5, self.quote),
            (5, self.trade),
            (4, self.arm if self.fault else self.quote),
            (1, self.burst),
            (1, lambda: self.operator("resume")),
            (1, lambda: self.alive(self.shell.snapshot)),
            (20, lambda: self.alive(self.shell.step)),
            (12, lambda: self.alive(self.catch_up)),
            (12, lambda: self.alive(lambda: self.work("send"))),
            (8, lambda: self.alive(lambda: self.work("ask"))),
            (12, lambda: self.alive(self.listen)),
        ]
        weights = [weight for weight, _ in actions]
        for _, action in random.choices(actions, weights, k=steps):
            action()

    def rest(self, most_sec: int = 150) -> None:
        """Let nothing go wrong any more and time pass until everything is known and compared."""
        self.calm, self.kill, self.fault = True, 0.0, 0.0
        self.sandbox.house.faults.clear()
        since = len(self.journal.entries)
        for _ in range(most_sec):
            self.advance(1_000)
            for _ in range(400):
                if not self.stir():
                    break
            if self._rests(since):
                return
        raise AssertionError(f"after {most_sec} s: {self.unrest()}")

    def lose_exchange(self) -> None:
        """Let every question and every new order go unanswered for long: what is not known freezes trading."""
        self.calm, self.kill = True, 0.0
        faults = self.sandbox.house.faults
        faults.clear()
        faults.add(Fault(kind=FaultKind.CUT_BEFORE, where="GET *", count=None))
        faults.add(Fault(kind=FaultKind.CUT_AFTER, where="POST *", count=None))
        faults.add(Fault(kind=FaultKind.DROP, where="*", count=None))
        self.sandbox.frames.clear()
        for _ in range(110):
            self.advance(1_000)
            self.catch_up()
            self.work("send")
            self.work("ask")
            self.catch_up()

    def stir(self) -> bool:
        """Let each thread do something; return whether there is more to do."""
        entries = len(self.journal.entries)
        self.alive(self.listen)
        self.alive(lambda: self.work("send"))
        self.alive(lambda: self.work("ask"))
        self.alive(self.catch_up)
        waiting = any(self.lanes.values()) or self.sandbox.frames or self.shell.desk.inbox
        return bool(waiting or self.shell.behind or len(self.journal.entries) > entries)

    def _rests(self, since: int) -> bool:
        state = self.machine.state
        agreed = self.verdicts(since)[-1:] == ["agreed"]
        return agreed and not state.working and not self.sandbox.travels

    def unrest(self) -> str:
        """Return what is not at rest."""
        state = self.machine.state
        working = [(order.order_id, order.status, order.live) for order in state.working]
        return f"working {working}, verdicts {self.verdicts()[-3:]}, alerts {Counter(self.alerts())}"

    # what is compared

    @property
    def results(self) -> list[OrderResult]:
        """All order results in the journal."""
        return [entry.event for entry in self.journal.entries if isinstance(entry.event, OrderResult)]

    def verdicts(self, since: int = 0) -> list[str]:
        """What reconciliation said, in order."""
        events = (entry.event for entry in self.journal.entries[since:] if entry.channel == channels.CONTROL)
        return [str(e.details["verdict"]) for e in events if isinstance(e, Control) and e.action == "reconciliation"]

    def alerts(self) -> list[str]:
        """Codes of all alerts."""
        entries = self.journal.entries
        return [str(getattr(entry.event, "code", "")) for entry in entries if entry.channel == channels.ALERTS]

    def fold_again(self) -> None:
        """Fold the whole journal with a new machine: its outputs must be those that stand in the journal."""
        machine = ExecutionMachine()
        recorded: dict[str, list[Event]] = {}
        for entry in self.journal.entries:
            if entry.producer == channels.EXECUTION and ":" not in entry.cause:
                recorded.setdefault(entry.cause, []).append(entry.event)
        for entry in self.journal.entries:
            made = machine.handle(entry)
            told = recorded.get(str(Cause.of(entry.id)), [])
            assert [event.data for event in made] == [event.data for event in told], f"outputs of {entry}"
        assert machine.dump() == self.machine.dump(), "the state is the fold of the journal"


@contextmanager
def simulated_time(world: SandboxWorld) -> Any:
    """Give the last looks at the wall clock, just before an order leaves, the world's time."""
    with (
        mock.patch.object(sending, "time_ns", side_effect=lambda: world.wall_us() * 1_000),
        mock.patch.object(perpetual_client, "monotonic", side_effect=lambda: world.at_ms / 1_000),
    ):
        yield
