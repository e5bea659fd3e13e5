"""A core machine with a journal of its own, for tests: events in, signals out."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256
from typing import Any

from services.cdb_core.evaluation import Evaluation
from services.cdb_core.machine import CoreMachine
from services.cdb_core.settings import CoreSettings
from services.common import channels
from services.common.codec import encode
from services.common.events import Control, Event, MarketData, Signal
from services.common.journal.entry import Entry, JournalId
from services.common.settings import canonical_settings
from services.common.timestamps import MINUTE_US, SECOND_US

__all__ = ["SPOT", "START_MINUTE", "Desk", "settings"]

SPOT = "mexc_spot"
START_MINUTE = 27_000_000
"""A minute in May 2021."""

_SMALL: dict[str, Any] = {
    "SYMBOLS": "BTCUSDT,ETHUSDT",
    "SIGNAL_LOOKBACK_MIN": 3,
    "SIGNAL_VOL_MULT": "0",
    "SIGNAL_THRESHOLD_PCT": "0.01",
    "SIGNAL_MIN_VOLUME": "0",
    "SIGNAL_MAX_GAP_MIN": 2,
    "SIGNAL_COOLDOWN_MIN": 5,
    "SIGNAL_STOP_COOLDOWN_MIN": 10,
    "SIGNAL_MAX_HOLD_MIN": 20,
}


def settings(**changed: Any) -> CoreSettings:
    """Return settings with L = 3 and a fixed threshold of 1 %, so that numbers can be checked by hand."""
    return CoreSettings.model_validate(_SMALL | changed)


class Desk:
    """A core machine, the entries that it was given and the signals that it gave.

    Args:
        config: settings in force; None leaves the machine unconfigured.
    """

    def __init__(self, config: CoreSettings | None, run_id: str = "run-1") -> None:
        self.machine = CoreMachine()
        self.entries: list[Entry] = []
        self.signals: list[Signal] = []
        self.run_id = run_id
        self.start(run_id)
        if config is not None:
            self.configure(config)

    def append(self, event: Event) -> list[Event]:
        """Give the machine one event, read back from its bytes as from the journal."""
        number = len(self.entries) + 1
        entry = Entry(JournalId(1, number), event.channel, event.producer, str(number), event.data)
        self.entries.append(entry)
        outputs = self.machine.handle(entry)
        self.signals.extend(output for output in outputs if isinstance(output, Signal))
        return outputs

    def start(self, run_id: str, at_us: int = START_MINUTE * MINUTE_US) -> None:
        """Let cdb_ws begin a run."""
        self.control("started", at_us, service=channels.WS, run_id=run_id)

    def configure(self, config: CoreSettings) -> None:
        """Let settings come into force."""
        canonical = canonical_settings(config)
        self.control(
            "config",
            self.machine.now,
            producer=channels.CORE,
            service=channels.CORE,
            details={"settings": canonical, "settings_hash": sha256(encode(canonical)).hexdigest()},
        )

    def control(self, action: str, at_us: int, producer: str = channels.WS, **fields: Any) -> list[Event]:
        """Append a control event."""
        return self.append(
            Control(
                event_id=f"{action}-{len(self.entries)}", timestamp=at_us, producer=producer, action=action, **fields
            )
        )

    def tick(self, minute: int, second: int = 0) -> list[Event]:
        """Append a tick of the clock, `minute` counted from START_MINUTE."""
        return self.control("tick", (START_MINUTE + minute) * MINUTE_US + second * SECOND_US, service=channels.WS)

    def trade(self, minute: int, price: str | Decimal, second: int = 30, **fields: Any) -> list[Event]:
        """Append market data of BTCUSDT, `minute` counted from START_MINUTE; 1 base unit unless told."""
        price = Decimal(price)
        values: dict[str, Any] = {
            "event_id": f"md-{len(self.entries)}",
            "timestamp": (START_MINUTE + minute) * MINUTE_US + second * SECOND_US,
            "producer": channels.WS,
            "venue": SPOT,
            "symbol": "BTCUSDT",
            "price": price,
            "high": price,
            "low": price,
            "volume": Decimal(1),
            "sequence": len(self.entries),
        }
        return self.append(MarketData.model_validate(values | fields))

    def play(self, first_minute: int, closes: Iterable[str | None], **fields: Any) -> list[Signal]:
        """Play one trade and the closing tick for each minute (None: no trade) and return the signals."""
        seen = len(self.signals)
        for minute, close in enumerate(closes, first_minute):
            if close is not None:
                self.trade(minute, close, **fields)
            self.tick(minute + 1)
        return self.signals[seen:]

    def evaluation(self, symbol: str = "BTCUSDT", venue: str = SPOT) -> Evaluation:
        """Return the last evaluated bar."""
        return self.machine.evaluations(venue, symbol)[-1]
