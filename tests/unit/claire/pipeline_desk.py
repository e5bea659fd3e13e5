"""Core, risk and execution around one journal in memory, for tests; feed, trader and operator are outside."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, TypeVar

from claire.kernel import Kernel
from services.cdb_core.machine import CoreMachine
from services.cdb_core.settings import CoreSettings
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk.machine import RiskMachine
from services.cdb_risk.settings import RiskSettings
from services.common import channels
from services.common.events import Alert, Control, Event, MarketData, Order, OrderResult, RiskDecision
from services.common.journal.entry import Cause, Entry
from services.common.journal.foreign import admit
from services.common.timestamps import SECOND_US

__all__ = ["START_US", "Pipeline", "calls"]

START_US = 1_621_425_600_000_000
"""2021-05-19 12:00:00 UTC."""

EventT = TypeVar("EventT", bound=Event)


class SometimesAway:
    """Mixed into a machine that a test can send away: what comes meanwhile on some channels it never sees."""

    away_from: frozenset[str] = frozenset()

    def handle(self, entry: Entry) -> list[Event]:
        """Handle an entry unless it is of a channel that the machine is away from."""
        return [] if entry.channel in self.away_from else super().handle(entry)  # type: ignore[misc,no-any-return]


class Risk(SometimesAway, RiskMachine):
    """A risk manager that may be away."""


class Execution(SometimesAway, ExecutionMachine):
    """An execution that may be away."""


class Pipeline:
    """Core, risk and execution around one journal, fed with quotes, seconds and signals from outside."""

    def __init__(self, **risk: str) -> None:
        """Begin a run; `risk` are settings that differ from the defaults."""
        self.core, self.risk, self.execution = CoreMachine(), Risk(), Execution()
        self.kernel = Kernel((self.core, self.risk, self.execution))
        self.now = START_US
        self.number = 0
        self.journal: list[Event] = []
        self._feed(Control, action="started", service=channels.WS, run_id="run")
        settings = {
            channels.CORE: self._core_settings(),
            channels.RISK: RiskSettings.model_validate(risk),
            channels.EXECUTION: ExecutionSettings(),
        }
        self.journal += [entry.event for entry in self.kernel.announce(settings, code_version="test")]

    def _core_settings(self) -> CoreSettings:
        """Return the strategy's settings; tests of the strategy have their own."""
        return CoreSettings()

    def _step(self, producer: str, source: str, event: Event) -> list[Event]:
        follows = [entry.event for entry in self.kernel.step(producer, Cause(source, self.number), [event])]
        self.journal += follows
        return follows

    def _feed(self, model: type[Event], **fields: Any) -> list[Event]:
        self.number += 1
        event = model(event_id=f"ws-{self.number}", timestamp=self.now, producer=channels.WS, **fields)
        return self._step(channels.WS, "feed", event)

    def seconds(self, count: int, pressure: str = "none") -> None:
        """Let the clock tick on."""
        for _ in range(count):
            self.now += SECOND_US
            self._feed(Control, action="tick", details={"pressure": pressure})

    def quote(self, mid: str, *, symbol: str = "BTCUSDT", half_spread: str = "0.5", gap: bool = False) -> list[Event]:
        """Quote around `mid`, one second later."""
        self.now += SECOND_US
        price = Decimal(mid)
        return self._feed(
            MarketData,
            venue="mexc_spot",
            symbol=symbol,
            price=price,
            volume=Decimal(100),
            high=price,
            low=price,
            bid=price - Decimal(half_spread),
            ask=price + Decimal(half_spread),
            bid_size=Decimal(100),
            ask_size=Decimal(100),
            sequence=self.number + 1,
            gap=gap,
        )

    def buy(
        self, price: str, symbol: str = "BTCUSDT", *, fills: bool = True, **signal: str
    ) -> tuple[RiskDecision, list[Event]]:
        """Publish a buy signal as a trader would; returns the decision on it and all that followed from it.

        Unless `fills` is false a quote follows, on which what was ordered fills.
        """
        self.number += 1
        raw = json.dumps(
            {"type": "signal", "symbol": symbol, "signal_type": "buy", "price": float(price), **signal}
        ).encode()
        signal = admit(
            channels.SIGNALS,
            raw,
            owner=channels.RISK,
            counter=self.number,
            now=self.now,
            run_id="run",
            default_venue="mexc_spot",
        )
        follows = self._step(channels.RISK, "foreign", signal)
        if fills:
            follows += self.quote(price, symbol=symbol)
        (decision,) = [event for event in follows if isinstance(event, RiskDecision) and event.signal_id]
        return decision, follows

    def sell(self, price: str, symbol: str = "BTCUSDT") -> tuple[RiskDecision, list[Event]]:
        """Publish the exit signal of a trader, as `buy`."""
        return self.buy(price, symbol, signal_type="sell", intent="exit")

    def command(self, action: str, **fields: Any) -> list[Event]:
        """Give an operator's command."""
        self.number += 1
        given: dict[str, Any] = {"by": "ana", "reason": "test", "command_id": f"command-{self.number}"} | fields
        event = Control(
            event_id=f"operator-{self.number}",
            timestamp=self.now,
            producer=channels.OPERATOR,
            action=action,  # type: ignore[arg-type]
            **given,
        )
        return self._step(channels.OPERATOR, "command", event)

    def of(self, kind: type[EventT]) -> list[EventT]:
        """Return all events of one kind so far."""
        return [event for event in self.journal if isinstance(event, kind)]

    def alert_codes(self) -> list[str]:
        """Return the codes of all alerts so far."""
        return [alert.code for alert in self.of(Alert)]

    @property
    def filled(self) -> Decimal:
        """Base units bought so far."""
        return sum(
            (event.last_quantity or Decimal(0) for event in self.journal if isinstance(event, OrderResult)), Decimal(0)
        )


def calls(events: list[Event]) -> list[str]:
    """Return what reached execution, and what it did."""
    return [event.type for event in events if isinstance(event, Order | OrderResult)]
