"""Perpetuals through the whole pipeline: a recorded file end to end, and a liquidation that every ledger agrees on."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from claire.audit.books import Books
from claire.kernel import Kernel, deciding_machines
from claire.paper.feed import open_feed
from claire.paper.run import ClosedLoop, service_settings
from claire.paper.spec import PaperSpec
from services.cdb_core.settings import CoreSettings
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk.machine import RiskMachine
from services.cdb_risk.settings import RiskSettings
from services.cdb_writer.projection import Projection
from services.cdb_writer.rows import PositionRow, SnapshotRow
from services.common import channels
from services.common.decimals import use_fixed_context
from services.common.events import Alert, Control, Event, MarketData, Order, OrderResult, RiskDecision, Signal
from services.common.instruments import PERPETUAL
from services.common.journal.entry import Cause, Entry
from services.common.timestamps import SECOND_US

pytestmark = pytest.mark.unit

KEY = "mexc_perpetual:BTCUSDT"
RECORDING = Path("backoffice/data/ticks-2024-08-08_btcusdt_perp.csv.gz")
START_US = 1_723_100_000_000_000
"""2024-08-08 06:53:20 UTC."""


@pytest.fixture(autouse=True)
def _context() -> None:
    use_fixed_context()


def balanced(projection: Projection) -> tuple[list[SnapshotRow], list[PositionRow]]:
    """Return snapshots and positions, whose books balance to the last digit."""
    rows = projection.take_rows()
    snapshots = [row for row in rows if isinstance(row, SnapshotRow)]
    for row in snapshots:
        assert row.total_equity == row.cash + row.total_margin + row.total_unrealized_pnl
        made = row.total_realized_pnl + row.total_unrealized_pnl + row.total_funding - row.total_fees
        assert row.total_equity == 100_000 + made
    return snapshots, [row for row in rows if isinstance(row, PositionRow)]


def test_a_recorded_perpetual_runs_end_to_end() -> None:
    """Six minutes of the BTC perpetual: a short with leverage 5 is sold and bought back, and every ledger balances."""
    settings = {
        "VENUE": PERPETUAL,
        "SYMBOLS": "BTCUSDT",
        "SIGNAL_ALLOW_SHORT": "true",
        "LEVERAGE": "5",
        "SIGNAL_LOOKBACK_MIN": "1",
        "SIGNAL_VOL_MULT": "0",
        "SIGNAL_THRESHOLD_PCT": "0.0005",
        "SIGNAL_EXIT_PCT": "0.0004",
        "SIGNAL_MIN_VOLUME": "0",
        "SIGNAL_COOLDOWN_MIN": "0",
        "SIGNAL_STOP_COOLDOWN_MIN": "0",
    }
    feed = open_feed(PaperSpec((RECORDING,), settings))
    loop, projection, books = ClosedLoop(feed, service_settings(settings), "run"), Projection(), Books()
    journal: list[Event] = []
    for entry in loop.entries():
        projection.fold(entry)
        assert books.check(entry, Cause.parse(entry.cause)) is None
        journal.append(entry.event)

    marked = [event for event in journal if isinstance(event, MarketData)]
    assert all(event.venue == PERPETUAL and event.mark_price is not None for event in marked)
    orders = [event for event in journal if isinstance(event, Order)]
    assert [(o.side, o.purpose, o.reduce_only, o.leverage) for o in orders] == [
        ("SELL", "entry", False, 5),
        ("BUY", "exit", True, 5),
    ]
    fills = [event for event in journal if isinstance(event, OrderResult) and event.status == "FILLED"]
    assert [fill.filled_quantity for fill in fills] == [order.quantity for order in orders]
    for fill in fills:
        assert fill.last_quantity is not None
        assert fill.last_price is not None
        assert fill.fee == fill.last_quantity * fill.last_price * Decimal("0.0008")
    snapshots, (position,) = balanced(projection)
    assert max(row.total_margin for row in snapshots) > 1_400
    assert (position.venue, position.side, position.margin) == (PERPETUAL, "none", 0)
    assert not books.held


class Pipeline:
    """Core, risk, execution and the writer's projection around one journal, on the BTC perpetual."""

    def __init__(self, **risk: Any) -> None:
        self.machines = deciding_machines()
        self.kernel = Kernel(self.machines)
        self.projection, self.books = Projection(), Books()
        self.now, self.number = START_US, 0
        self.journal: list[Event] = []
        settings = {"VENUE": PERPETUAL, "SIGNAL_ALLOW_SHORT": True, "LEVERAGE": 5} | risk
        self._feed(Control, action="started", service=channels.WS, run_id="run")
        configured = {
            channels.CORE: CoreSettings(),
            channels.RISK: RiskSettings.model_validate(settings),
            channels.EXECUTION: ExecutionSettings(VENUE=PERPETUAL, MAX_LEVERAGE=risk.get("MAX_LEVERAGE", 5)),
        }
        for entry in self.kernel.announce(configured, code_version="test"):
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        self.projection.fold(entry)
        assert self.books.check(entry, Cause.parse(entry.cause)) is None
        self.journal.append(entry.event)

    def _step(self, producer: str, event: Event) -> list[Event]:
        before = len(self.journal)
        for entry in self.kernel.step(producer, Cause("feed", self.number), [event]):
            self._take(entry)
        return self.journal[before:]

    def _feed(self, model: type[Event], **fields: Any) -> list[Event]:
        self.number += 1
        event = model(event_id=f"ws-{self.number}", timestamp=self.now, producer=channels.WS, **fields)
        return self._step(channels.WS, event)

    def tick(self, seconds: int = 1) -> list[Event]:
        """Let the clock tick on."""
        self.now += seconds * SECOND_US
        return self._feed(Control, action="tick", details={"pressure": "none"})

    def quote(self, mid: str, *, rate: str | None = None) -> list[Event]:
        """Quote around a mid that is also the mark, one second later."""
        self.now += SECOND_US
        price = Decimal(mid)
        return self._feed(
            MarketData,
            venue=PERPETUAL,
            symbol="BTCUSDT",
            price=price,
            volume=Decimal(100),
            high=price,
            low=price,
            bid=price - Decimal("0.1"),
            ask=price + Decimal("0.1"),
            bid_size=Decimal(100),
            ask_size=Decimal(100),
            sequence=self.number + 1,
            mark_price=price,
            funding_rate=None if rate is None else Decimal(rate),
        )

    def signal(self, signal_type: str, price: str, intent: str = "entry") -> list[Event]:
        """Give a signal, as the strategy would."""
        self.number += 1
        event = Signal(
            event_id=f"signal-{self.number}",
            timestamp=self.now,
            producer=channels.CORE,
            correlation_id=f"ws-{self.number - 1}",
            venue=PERPETUAL,
            symbol="BTCUSDT",
            signal_type=signal_type,
            intent=intent,
            price=Decimal(price),
            confidence=Decimal(1),
        )
        return self._step(channels.CORE, event)

    def enter(self, signal_type: str, price: str) -> None:
        """Open a position that must fill."""
        self.quote(price)
        self.signal(signal_type, price)
        self.quote(price)
        assert self.journal[-1].type == "order_result" or self.held, [e for e in self.journal if e.type == "alert"]

    @property
    def risk(self) -> RiskMachine:
        """The risk machine."""
        machine = self.machines[1]
        assert isinstance(machine, RiskMachine)
        return machine

    @property
    def execution(self) -> ExecutionMachine:
        """The execution machine."""
        machine = self.machines[2]
        assert isinstance(machine, ExecutionMachine)
        return machine

    @property
    def held(self) -> Decimal:
        """What all four ledgers say is held: risk, execution, the writer, and the audit."""
        ledger = self.projection.state.portfolio
        assert ledger is not None
        found = {
            self.risk.state.account.portfolio.position(PERPETUAL, "BTCUSDT").quantity,
            self.execution.state.positions.get(KEY, Decimal(0)),
            ledger.position(PERPETUAL, "BTCUSDT").quantity,
            Decimal(str(float(self.books.held.get(KEY, 0)))),
        }
        assert len(found) == 1, found
        theirs = self.risk.state.account.portfolio
        for name in ("cash", "margin", "realized_pnl", "funding", "fees"):
            assert getattr(ledger, name) == getattr(theirs, name), name
        return found.pop()

    def of(self, action: str) -> list[Any]:
        """Details of the control events of an action."""
        return [e.details for e in self.journal if isinstance(e, Control) and e.action == action]

    def statuses(self, events: list[Event]) -> list[str]:
        """Statuses of the order results among events."""
        return [event.status for event in events if isinstance(event, OrderResult)]


@pytest.mark.parametrize(("side", "crash"), [("buy", "39000"), ("sell", "61000")])
def test_a_crash_through_the_liquidation_price(side: str, crash: str) -> None:
    """The exchange takes the position before the stop can leave: its order is refused, nothing stays reserved."""
    pipeline = Pipeline()
    pipeline.enter(side, "50000")
    assert abs(pipeline.held) == Decimal("0.1499" if side == "buy" else "0.15")
    margin = pipeline.risk.state.account.portfolio.margin
    events = pipeline.quote(crash)
    (fact,) = pipeline.of("liquidation")
    assert fact["loss"] == margin
    (stop,) = [event for event in events if isinstance(event, Order)]
    assert stop.purpose in {"stop_loss", "liquidation_guard"}
    (refused,) = [event for event in events if isinstance(event, OrderResult)]
    assert (refused.order_id, refused.status) == (stop.order_id, "REJECTED")
    assert refused.reason is not None
    assert refused.reason.startswith("EXCEEDS_POSITION")
    assert pipeline.held == 0
    state = pipeline.risk.state
    assert (state.reservations.orders, state.exits, state.account.portfolio.margin) == ({}, {}, 0)
    assert "POSITION_LIQUIDATED" in [event.code for event in events if isinstance(event, Alert)]
    snapshots, (position,) = balanced(pipeline.projection)
    assert (position.side, position.margin) == ("none", 0)
    assert snapshots[-1].total_realized_pnl == -margin
    assert pipeline.quote(crash)[1:] == []


def test_a_working_exit_of_a_liquidated_position_ends_before_it() -> None:
    """An exit that has not filled yet is cancelled by the liquidation; reservation and latch are gone with it."""
    pipeline = Pipeline()
    pipeline.enter("buy", "50000")
    pipeline.signal("sell", "50000", "exit")
    events = pipeline.quote("39000")
    kinds = [event.status if isinstance(event, OrderResult) else event.type for event in events]
    by_execution = [kind for kind, event in zip(kinds, events, strict=True) if event.producer == channels.EXECUTION]
    assert by_execution == ["CANCELED", "control", "alert"]
    state = pipeline.risk.state
    assert (pipeline.held, state.reservations.orders, state.exits) == (0, {}, {})


def test_funding_is_booked_by_every_ledger() -> None:
    """At 08:00 UTC a short of 0.15 BTC at a mark of 50000 and a rate of 0.02 % receives 1.5 USDT; once."""
    pipeline = Pipeline()
    pipeline.enter("sell", "50000")
    pipeline.quote("50000", rate="0.0002")
    pipeline.tick(3_600 * 2)
    pipeline.tick()
    (fact,) = pipeline.of("funding")
    assert (fact["settlement"], fact["amount"]) == ("2024-08-08T08:00:00.000000Z", Decimal("1.5"))
    assert pipeline.held == Decimal("-0.15")
    snapshots, (position,) = balanced(pipeline.projection)
    assert position.funding == snapshots[-1].total_funding == Decimal("1.5")


def test_a_mark_that_crosses_stop_and_guard_leaves_by_an_order() -> None:
    """Short with leverage 20: at 52000 the guard closes it on the exchange before the liquidation at 52427."""
    pipeline = Pipeline(LEVERAGE=20, MAX_LEVERAGE=20)
    pipeline.enter("sell", "50000")
    events = pipeline.quote("52000")
    (order,) = [event for event in events if isinstance(event, Order)]
    assert (order.purpose, order.side, order.reduce_only) == ("liquidation_guard", "BUY", True)
    (decision,) = [event for event in events if isinstance(event, RiskDecision)]
    assert decision.approved
    assert pipeline.statuses(pipeline.quote("52000")) == ["FILLED"]
    assert (pipeline.held, pipeline.of("liquidation")) == (0, [])
    balanced(pipeline.projection)
