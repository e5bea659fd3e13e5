"""A trading floor for the proof: risk and an exchange around one journal, an auditor beside risk, everything hostile.

The exchange is either cdb_execution itself (the closed loop) or a hostile one played by the test: partial fills,
rejects, silence, UNKNOWN, repetitions, answers out of order and late.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from claire.kernel import Kernel
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk.machine import RiskMachine
from services.cdb_risk.settings import RiskSettings
from services.common import channels
from services.common.decimals import floor_to, use_fixed_context
from services.common.events import Control, Event, MarketData, Order, OrderResult, Signal
from services.common.instruments import PERPETUAL
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.timestamps import MINUTE_US, MS_US, SECOND_US
from tests.property.risk_auditor import GRIDS, Auditor, key_of

__all__ = ["MIDS", "START_US", "TradingFloor"]

START_US = 1_621_425_600_000_000
"""2021-05-19 12:00:00 UTC."""

MIDS = {"BTCUSDT": Decimal(50_000), "ETHUSDT": Decimal(3_000), "SOLUSDT": Decimal(30)}


class AuditedRisk(RiskMachine):
    """Risk with an auditor that is told what risk is told, just before, and hears what it says, just after."""

    auditor: Auditor

    def handle(self, entry: Entry) -> list[Event]:
        """Handle an entry under the auditor's eyes."""
        consumed = entry.channel in self.consumes
        if consumed:
            self.auditor.told(entry.event)
        outputs = super().handle(entry)
        if consumed:
            self.auditor.said(outputs)
            self._same_equity()
        return outputs

    def plainly(self, entry: Entry) -> list[Event]:
        """Handle an entry without the auditor."""
        return super().handle(entry)

    def _same_equity(self) -> None:
        known, theirs = self.auditor.equity, self.state.account.equity
        if not self.state.opened:
            return
        if known is None or theirs is None:
            assert (known is None) == (theirs is None)
        elif self.auditor.rounded:
            assert abs(Fraction(theirs) - known) < Fraction(1, 10**9)
        else:
            assert Fraction(theirs) == known, "equity = cash + marked positions, to the last digit"


class TradingFloor:
    """Everything that can happen, one method each; after each of them everything has been audited."""

    def __init__(self, venue: str, *, hostile: bool, **settings: Any) -> None:
        use_fixed_context()
        self.venue, self.hostile = venue, hostile
        self.settings = {"VENUE": venue, **settings}
        self.now, self.number = START_US, 0
        self.mids = dict(MIDS)
        self.journal: list[Entry] = []
        self.outputs: dict[str, list[bytes]] = {channels.RISK: [], channels.EXECUTION: []}
        self.reported: list[OrderResult] = []
        self.auditor = Auditor(**self.settings)
        self._install(self._machines())
        self._feed(Control, action="started", service=channels.WS, run_id="run")
        configured = {
            channels.RISK: RiskSettings.model_validate(self.settings),
            channels.EXECUTION: ExecutionSettings(VENUE=venue),
        }
        self._keep(list(self.kernel.announce(configured, code_version="test")))

    def _machines(self) -> tuple[Any, ...]:
        return (AuditedRisk(),) if self.hostile else (AuditedRisk(), ExecutionMachine())

    def _install(self, machines: tuple[Any, ...]) -> None:
        self.machines = machines
        machines[0].auditor = self.auditor
        self.kernel = Kernel(machines, head=len(self.journal))

    @property
    def risk(self) -> AuditedRisk:
        """The risk machine."""
        machine = self.machines[0]
        assert isinstance(machine, AuditedRisk)
        return machine

    def _step(self, producer: str, source: str, event: Event) -> list[Event]:
        entries = list(self.kernel.step(producer, Cause(source, self.number), [event]))
        self._keep(entries)
        self._agree()
        return [entry.event for entry in entries]

    def _keep(self, entries: list[Entry]) -> None:
        self.journal += entries
        for entry in entries:
            if entry.producer in self.outputs and not Cause.parse(entry.cause).source:
                self.outputs[entry.producer].append(entry.data)

    def entry_of(self, event: Event) -> Entry:
        """Return the next entry of the journal with this event, which is not kept."""
        self.kernel.head += 1
        return Entry(JournalId(1, self.kernel.head), event.channel, event.producer, "foreign:1", event.data)

    def _agree(self) -> None:
        """What risk believes is held and reserved is what was ordered and answered."""
        reserved = {o.order_id: Fraction(o.remaining) for o in self.risk.state.reservations.orders.values()}
        assert reserved == {order_id: w.rest for order_id, w in self.auditor.working.items()}
        positions = self.risk.state.account.portfolio.positions
        for key, book in self.auditor.books.items():
            assert Fraction(positions[key].quantity if key in positions else 0) == book.held
        if not self.hostile:
            execution = self.machines[1].state
            assert {o.order_id: Fraction(o.remaining) for o in execution.working} == reserved
            for key, book in self.auditor.books.items():
                assert Fraction(execution.positions.get(key, 0)) == book.held

    def _feed(self, model: type[Event], **fields: Any) -> list[Event]:
        self.number += 1
        return self._step(
            channels.WS,
            "feed",
            model(event_id=f"ws-{self.number}", timestamp=self.now, producer=channels.WS, **fields),
        )

    # the feed

    def quote(self, symbol: str, move: int, wait_ms: int, kind: str, rate: str | None = None) -> list[Event]:
        """Quote a symbol, moved by so many per mille of its last good mid."""
        self.now += wait_ms * MS_US
        grid = Decimal("0.1") if self.venue == PERPETUAL else Decimal("0.01")
        mid = max(floor_to(self.mids[symbol] * move / 1_000, grid), grid * 10)
        shown = mid * {"jump": 7, "spike": 14}.get(kind, 10) / 10
        half = shown / 100 if kind == "wide" else grid
        bid: Decimal | None = shown - half
        ask: Decimal | None = shown + half
        if kind == "crossed":
            bid, ask = ask, bid
        elif kind == "missing":
            bid = ask = None
        if kind in {"good", "gap", "thin", "far_mark", "no_mark"}:
            self.mids[symbol] = mid
        size = None if kind == "thin" else Decimal(1_000_000)
        perpetual: dict[str, Any] = {}
        if self.venue == PERPETUAL:
            mark = None if kind == "no_mark" else mid * (2 if kind == "far_mark" else 1)
            perpetual = {"mark_price": mark, "funding_rate": None if rate is None else Decimal(rate)}
        return self._feed(
            MarketData,
            venue=self.venue,
            symbol=symbol,
            price=shown,
            volume=Decimal(1_000_000),
            high=shown,
            low=shown,
            bid=bid,
            ask=ask,
            bid_size=size,
            ask_size=size,
            sequence=self.number + 1,
            gap=kind == "gap",
            **perpetual,
        )

    def quote_all(self) -> None:
        """Quote every symbol where it stands."""
        for symbol in MIDS:
            self.quote(symbol, 1_000, 10, "good")

    def tick(self, seconds: int, pressure: str = "none") -> list[Event]:
        """Let time pass in one tick."""
        self.now += seconds * SECOND_US
        return self._feed(Control, action="tick", details={"pressure": pressure})

    def warm_up(self, minutes: int) -> None:
        """Let sizing see closed bars that swing by 2 per mille."""
        first = self.now // MINUTE_US - minutes
        for symbol, mid in MIDS.items():
            rows = []
            for number in range(minutes):
                close = mid * (1_000 + 2 * (number % 2)) / 1_000
                rows.append([(first + number) * MINUTE_US, mid, mid * 1_003 / 1_000, mid, close, Decimal(1_000)])
            self._feed(Control, action="warmup", details={"venue": self.venue, "symbol": symbol, "bars": rows})

    # the strategy and the operator

    def signal(self, symbol: str, side: str, intent: str, *, old_ms: int = 0, per_mille: int = 1_000) -> list[Event]:
        """Send a signal of the strategy."""
        self.number += 1
        event = Signal(
            event_id=f"signal-{self.number}",
            timestamp=self.now - old_ms * MS_US,
            producer=channels.CORE,
            correlation_id=f"ws-{self.number}",
            venue=self.venue,
            symbol=symbol,
            signal_type=side,
            intent=intent,
            price=self.mids.get(symbol, Decimal(1)) * per_mille / 1_000,
            confidence=Decimal(1),
        )
        return self._step(channels.CORE, "signal", event)

    def command(self, action: str, *, repeated: bool = False, **fields: Any) -> None:
        """Give an operator's command, perhaps twice."""
        for _ in range(2 if repeated else 1):
            self.number += 1
            given: dict[str, Any] = {"by": "ana", "reason": "test", "command_id": f"command-{self.number}"} | fields
            event = Control(
                event_id=f"operator-{self.number}",
                timestamp=self.now,
                producer=channels.OPERATOR,
                action=action,
                **given,
            )
            self._step(channels.OPERATOR, "command", event)
            fields = given

    def intrude(self, pick: int) -> None:
        """Let somebody who may not say so: fills from the strategy, a configuration by nobody, a clock by no feed."""
        self.number += 1
        working = list(self.auditor.working.values())
        common = {"event_id": f"foreign-{self.number}", "timestamp": self.now + 3_600 * SECOND_US}
        if working and pick % 2:
            order = working[pick % len(working)].order
            foreign = _result_of(order, "FILLED", order.quantity, order.quantity, self.mids[order.symbol])
            event: Event = OrderResult(producer=channels.CORE, **common, **foreign)
        else:
            event = Control(producer=channels.CORE, action="tick", details={"pressure": "none"}, **common)
        before = self.risk.state.account.portfolio.cash
        self._step(channels.CORE, "foreign", event)
        assert self.risk.state.account.portfolio.cash == before

    # the hostile exchange

    def answer(self, pick: int, kind: str, share: int, slip: int) -> None:
        """Answer one working order: fill it in part or in full, end it, say nothing of it, say old things again."""
        working = list(self.auditor.working.values())
        if kind == "again" and self.reported:
            self._report(self.reported[pick % len(self.reported)])
        if not working or kind == "again":
            return
        chosen = working[pick % len(working)]
        order, filled = chosen.order, Decimal(str(float(chosen.filled)))
        if kind != "fill":
            fields = _result_of(order, kind, filled, None, None)
        else:
            lot = Decimal(GRIDS[key_of(order)][0])
            rest = order.quantity - filled
            part = min(max(floor_to(rest * share / 1_000, lot), lot), rest)
            price = self._price(order, slip)
            total = filled + part
            fee = part * price * Decimal("0.0008")
            status = "FILLED" if total == order.quantity else "PARTIALLY_FILLED"
            fields = _result_of(order, status, total, part, price) | {"fee": fee, "fee_currency": "USDT"}
        if kind == "REJECTED" and filled:
            return
        self.number += 1
        event = OrderResult(event_id=f"result-{self.number}", timestamp=self.now, producer=channels.EXECUTION, **fields)
        self.reported.append(event)
        self._report(event)

    def _price(self, order: Order, slip: int) -> Decimal:
        """A fill's price: anywhere, but an entry never fills worse than its protection."""
        price = floor_to(self.mids[order.symbol] * slip / 1_000, Decimal("0.01"))
        if order.purpose == "entry" and order.price is not None:
            return min(price, order.price) if order.side == "BUY" else max(price, order.price)
        return price

    def _report(self, result: OrderResult) -> None:
        self.number += 1
        again = result.model_copy(update={"event_id": f"result-{self.number}", "timestamp": self.now})
        self._step(channels.EXECUTION, "exchange", again)

    # fate

    def restart(self) -> None:
        """Restore every machine from its dump, which must not change by that."""
        self.restore([machine.dump() for machine in self.machines])

    def restore(self, dumps: list[bytes]) -> None:
        """Replace every machine by one that has this state."""
        restored = self._machines()
        for machine, dumped in zip(restored, dumps, strict=True):
            machine.restore(dumped)
            assert machine.dump() == dumped
        self._install(restored)

    def replay(self) -> None:
        """The same events give the same bytes in machines that never stopped, and the same state."""
        again = (RiskMachine(),) if self.hostile else (RiskMachine(), ExecutionMachine())
        for machine, ours in zip(again, self.machines, strict=True):
            said = [event.data for entry in self.journal for event in machine.handle(entry)]
            assert said == self.outputs[machine.service]
            assert machine.dump() == ours.dump()


def _result_of(
    order: Order, status: str, filled: Decimal, last: Decimal | None, price: Decimal | None
) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "status": status,
        "venue": order.venue,
        "symbol": order.symbol,
        "side": order.side,
        "quantity": order.quantity,
        "filled_quantity": filled,
        "last_quantity": last,
        "last_price": price,
    }
