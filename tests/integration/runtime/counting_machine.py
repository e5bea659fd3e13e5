"""A small deciding machine for the tests of the shell, run as the process of cdb_core.

It counts market data per symbol and emits a signal for every third event, so each output depends on the whole fold.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from services.common import channels
from services.common.errors import IllegalTransition
from services.common.events import Event, MarketData, Signal
from services.common.instruments import Venue
from services.common.machine import StateMachine
from services.common.runtime.shell import run_machine
from services.common.settings import MachineSettings

POISON = Decimal(666)
"""A price that the machine cannot digest."""


class CountingSettings(MachineSettings):
    """How often a signal comes, and the venue of messages that name none."""

    SIGNAL_EVERY: int = 3
    VENUE: Venue = "mexc_perpetual"


@dataclass
class CountingState:
    """Events seen, by symbol."""

    seen: dict[str, int] = field(default_factory=dict)


class CountingMachine(StateMachine[CountingSettings, CountingState]):
    """Counts."""

    service: ClassVar[str] = channels.CORE
    consumes: ClassVar[frozenset[str]] = frozenset({channels.MARKET_DATA, channels.CONTROL})
    settings_type = CountingSettings
    state_type = CountingState

    def on_event(self, event: Event) -> None:
        """Count market data."""
        if not isinstance(event, MarketData):
            return
        if event.price == POISON:
            raise IllegalTransition("666 is not a price")
        count = self.state.seen[event.symbol] = self.state.seen.get(event.symbol, 0) + 1
        if count % self.settings.SIGNAL_EVERY == 0:
            self.emit(
                Signal,
                venue=event.venue,
                symbol=event.symbol,
                signal_type="buy",
                intent="entry",
                price=event.price,
                confidence=Decimal(1),
                reason=f"number {count}",
            )

    def summary(self) -> dict[str, Any]:
        """Return the counts."""
        return {"seen": dict(self.state.seen)}


class CountingExecution(CountingMachine):
    """The same as the process of cdb_execution."""

    service: ClassVar[str] = channels.EXECUTION


if __name__ == "__main__":
    sys.exit(run_machine(CountingExecution if channels.EXECUTION in sys.argv else CountingMachine))
