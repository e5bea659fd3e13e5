"""An execution machine with a journal of its own, for tests: events in, order results out."""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha256
from typing import Any

from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import ExecutionSettings
from services.common import channels
from services.common.codec import encode
from services.common.events import (
    LAYERS,
    Control,
    Event,
    LayerVerdict,
    MarketData,
    Order,
    OrderResult,
    PortfolioView,
    RiskDecision,
    Sizing,
)
from services.common.identity import client_order_id, order_id
from services.common.journal.entry import Entry, JournalId
from services.common.settings import canonical_settings
from services.common.timestamps import MS_US

__all__ = ["SPOT", "START_US", "Desk", "decision_id", "number"]

SPOT = "mexc_spot"
START_US = 1_621_425_600_000_000
"""2021-05-19 12:00:00 UTC; times of the desk are milliseconds after it."""


def decision_id(count: int) -> str:
    """Return the id of the desk's n-th decision."""
    return f"{count:08x}".ljust(32, "0")


def number(value: str | int | Decimal | None) -> Decimal | None:
    """Return a Decimal of what a test writes."""
    return None if value is None else Decimal(value)


class Desk:
    """An execution machine, the entries that it was given and the events that it gave.

    Args:
        configured: whether the machine has its settings.
        restarting: dump and restore the machine before every entry.
        changed: settings that differ from the defaults.
    """

    def __init__(self, *, configured: bool = True, restarting: bool = False, **changed: Any) -> None:
        self.machine, self.spare = ExecutionMachine(), ExecutionMachine()
        self.entries: list[Entry] = []
        self.outputs: list[Event] = []
        self.restarting = restarting
        self.sequence = 0
        self.decided = 0
        self.start("run-1")
        if configured:
            self.configure(ExecutionSettings.model_validate(changed))

    @property
    def results(self) -> list[OrderResult]:
        """All order results so far."""
        return [event for event in self.outputs if isinstance(event, OrderResult)]

    @property
    def alerts(self) -> list[Event]:
        """All alerts so far."""
        return [event for event in self.outputs if event.type == "alert"]

    def append(self, event: Event) -> list[Event]:
        """Journal one event as its canonical bytes and return what the machine makes of it."""
        entry = Entry(JournalId(1, len(self.entries) + 1), event.channel, event.producer, "1", event.data)
        self.entries.append(entry)
        if self.restarting:
            dumped = self.machine.dump()
            self.machine, self.spare = self.spare, self.machine
            self.machine.restore(dumped)
            assert self.machine.dump() == dumped
        outputs = self.machine.handle(entry)
        self.outputs.extend(outputs)
        return outputs

    def start(self, run_id: str, at_ms: int = 0) -> None:
        """Begin a run."""
        self.append(self._control("started", at_ms, service="cdb_ws", run_id=run_id))

    def configure(self, settings: ExecutionSettings, at_ms: int = 0) -> None:
        """Put settings into force."""
        canonical = canonical_settings(settings)
        details = {"settings": canonical, "settings_hash": sha256(encode(canonical)).hexdigest(), "code_version": "t"}
        self.append(
            self._control("config", at_ms, producer=channels.EXECUTION, service=channels.EXECUTION, details=details)
        )

    def _control(self, action: str, at_ms: int, *, producer: str = channels.WS, **fields: Any) -> Control:
        return Control(
            event_id=f"control-{len(self.entries)}",
            timestamp=START_US + at_ms * MS_US,
            producer=producer,
            action=action,
            **fields,
        )

    def control(self, action: str, at_ms: int = 0, **fields: Any) -> list[Event]:
        """Journal a control event and return the outputs."""
        return self.append(self._control(action, at_ms, **fields))

    def tick(self, at_ms: int) -> list[Event]:
        """Let the clock say that time is now `at_ms`."""
        return self.control("tick", at_ms)

    def halt(self, **details: Any) -> list[Event]:
        """Give the operator's halt."""
        return self.control("halt", producer=channels.OPERATOR, by="ada", reason="test", details=details)

    def resume(self, **fields: Any) -> list[Event]:
        """Give the operator's resume."""
        return self.control("resume", **{"producer": channels.OPERATOR, "by": "ada", "reason": "test"} | fields)

    def quote(
        self,
        at_ms: int,
        bid: str | None = "39999",
        ask: str | None = "40001",
        *,
        size: str | None = "0.5",
        bid_size: str | None = None,
        volume: str | Decimal = "0",
        price: str | None = None,
        high: str | None = None,
        low: str | None = None,
        symbol: str = "BTCUSDT",
        venue: str = SPOT,
        synthetic: bool = False,
        **fields: Any,
    ) -> list[Event]:
        """Journal market data and return the outputs; `size` stands on both sides unless `bid_size` differs."""
        self.sequence += 1
        last = Decimal(price or bid or "40000")
        return self.append(
            MarketData(
                event_id=f"md-{self.sequence}",
                timestamp=START_US + at_ms * MS_US,
                producer=channels.WS,
                venue=venue,
                symbol=symbol,
                price=last,
                volume=Decimal(volume),
                high=Decimal(high or last),
                low=Decimal(low or last),
                bid=number(bid),
                ask=number(ask),
                bid_size=number(bid_size or size),
                ask_size=number(size),
                sequence=self.sequence,
                synthetic=synthetic,
                **fields,
            )
        )

    def decision(self, at_ms: int, **changed: Any) -> RiskDecision:
        """Return an approved decision; `status` sets the layers', `state` the trading state that risk saw."""
        self.decided += 1
        layers = changed.pop("layers", LAYERS)
        status = changed.pop("status", "pass")
        state = changed.pop("state", "ACTIVE")
        quantity = Decimal(changed.pop("quantity", "0.2"))
        view = PortfolioView(
            equity=Decimal(100_000),
            cash=Decimal(100_000),
            exposure=Decimal(0),
            daily_pnl=Decimal(0),
            drawdown=Decimal(0),
            position=Decimal(0),
            position_notional=Decimal(0),
            trading_state=state,
        )
        fields: dict[str, Any] = {
            "event_id": decision_id(self.decided),
            "timestamp": START_US + at_ms * MS_US,
            "producer": channels.RISK,
            "correlation_id": f"chain-{self.decided}",
            "signal_id": f"signal-{self.decided}",
            "venue": SPOT,
            "symbol": "BTCUSDT",
            "side": "BUY",
            "purpose": "entry",
            "approved": True,
            "reason": "approved",
            "layers": tuple(LayerVerdict(layer=layer, code="OK", status=status) for layer in layers),
            "sizing": Sizing(method="fixed_fractional", requested=quantity, approved=quantity),
            "portfolio": view,
        }
        return RiskDecision(**fields | changed)

    def order_of(self, decision: RiskDecision, **changed: Any) -> Order:
        """Return the order that risk would send for a decision, with whatever a test changes in it."""
        buys = decision.side == "BUY"
        fields: dict[str, Any] = {
            "event_id": f"order-{decision.event_id}",
            "timestamp": decision.timestamp,
            "producer": channels.RISK,
            "correlation_id": decision.correlation_id,
            "causation_id": decision.event_id,
            "order_id": order_id(decision.event_id),
            "client_order_id": client_order_id(decision.event_id),
            "signal_id": decision.signal_id,
            "decision_id": decision.event_id,
            "venue": decision.venue,
            "symbol": decision.symbol,
            "side": decision.side,
            "order_type": "LIMIT",
            "quantity": decision.sizing.approved,
            "price": Decimal("40081" if buys else "39839"),
            "reduce_only": decision.purpose != "entry",
            "purpose": decision.purpose,
            "reference_price": Decimal(40_000),
        }
        return Order(**fields | changed)

    def send(self, at_ms: int, order: dict[str, Any] | None = None, **decision: Any) -> list[Event]:
        """Let it be `at_ms`, journal a decision and its order, and return what execution says to the order."""
        if self.machine.now < START_US + at_ms * MS_US:
            self.tick(at_ms)
        decided = self.decision(at_ms, **decision)
        self.append(decided)
        return self.append(self.order_of(decided, **order or {}))

    def hold(self, quantity: str, at_ms: int = 0) -> int:
        """Buy a position from deep quotes and return the time (milliseconds) after it."""
        self.send(at_ms, quantity=quantity)
        self.quote(at_ms + 250, size="1000", volume="100000")
        assert self.results[-1].status == "FILLED"
        return at_ms + 250
