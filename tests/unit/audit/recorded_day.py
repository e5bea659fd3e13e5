"""A free-running day in memory: three processes at their own pace around one journal, with restarts and new settings.

Whoever is behind says what follows from an entry only when it gets there, so outputs stand anywhere after their cause.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

from claire.kernel import deciding_machines
from services.cdb_core.settings import CoreSettings
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk.settings import RiskSettings
from services.common import channels
from services.common.events import Alert, Control, Event, MarketData
from services.common.identity import derive_id
from services.common.journal.entry import Entry, JournalId
from services.common.journal.foreign import admit
from services.common.machine import StateMachine
from services.common.runtime.announcement import announcement
from services.common.settings import MachineSettings
from services.common.timestamps import SECOND_US, parse_timestamp

__all__ = ["Day", "busy_day"]

START_US = parse_timestamp("2024-08-08T23:58:00Z")
QUICK = {
    "SIGNAL_LOOKBACK_MIN": "1",
    "SIGNAL_VOL_MULT": "0",
    "SIGNAL_THRESHOLD_PCT": "0.0005",
    "SIGNAL_COOLDOWN_MIN": "0",
}
CODE = "test+1"


class Day:
    """The journal and the processes around it."""

    def __init__(self, seed: int, *, lockstep: bool = False, run_id: str = "day-1", start_us: int = START_US) -> None:
        """Begin a run: everybody starts; in lockstep all handle what is said before anything else is."""
        self.lockstep = lockstep
        self.random = Random(seed)
        self.entries: list[Entry] = []
        self.epoch = 1
        self.run_id, self.now = run_id, start_us
        self.machines: dict[str, StateMachine[Any, Any]] = {m.service: m for m in deciding_machines()}
        self.handled = dict.fromkeys(self.machines, 0)
        self.settings: dict[str, MachineSettings] = {
            channels.CORE: CoreSettings.model_validate(QUICK),
            channels.RISK: RiskSettings.model_validate({"ENTRY_SPACING_SEC": "0"}),
            channels.EXECUTION: ExecutionSettings(),
        }
        self.numbers: dict[tuple[str, str], int] = {}
        self.price = Decimal(60_000)
        self.begin(run_id)

    # the journal

    def publish(self, producer: str, cause: str, events: list[Event]) -> None:
        """Append a batch."""
        for event in events:
            place = JournalId(self.epoch, len(self.entries) + 1)
            self.entries.append(Entry(place, event.channel, producer, cause, event.data))

    def say(self, producer: str, source: str, make: Callable[[int], list[Event]]) -> None:
        """Publish under the next number of a source."""
        number = self.numbers[producer, source] = self.numbers.get((producer, source), 0) + 1
        self.publish(producer, f"{source}:{number}", make(number))
        if self.lockstep:
            self.settle()

    # processes

    def begin(self, run_id: str) -> None:
        """Begin a run and let everybody join it."""
        self.run_id = run_id
        common = {"timestamp": self.now, "producer": channels.WS, "service": channels.WS, "run_id": run_id}
        self.say(
            channels.WS,
            "announce",
            lambda number: [
                Control(event_id=derive_id(run_id, channels.WS, "announce", number, 0), action="started", **common)
            ],
        )
        self.settle()
        for service in self.machines:
            self.join(service)
        self.settle()

    def join(self, service: str) -> None:
        """Announce a start, and the settings if they are not in force."""
        in_force = self.machines[service].fold.settings_hash
        self.say(
            service,
            "announce",
            lambda number: announcement(
                service,
                self.settings[service],
                run_id=self.run_id,
                now=self.now,
                number=number,
                in_force=in_force,
                code_version=CODE,
            ),
        )

    def handle(self, service: str, count: int) -> None:
        """Let a process handle so many entries, and publish what follows from each."""
        machine = self.machines[service]
        for _ in range(count):
            place = self.handled[service]
            if place >= len(self.entries):
                return
            self.handled[service] += 1
            entry = self.entries[place]
            outputs = machine.handle(entry)
            if outputs:
                self.publish(service, str(entry.id.n), outputs)

    def settle(self) -> None:
        """Let everybody handle everything."""
        while any(place < len(self.entries) for place in self.handled.values()):
            for service in self.machines:
                self.handle(service, 1)

    def some(self) -> None:
        """Let each process get on by a few entries, or by none."""
        for service in self.random.sample(sorted(self.machines), 3):
            self.handle(service, self.random.choice([0, 1, 1, 2, 5, 40]))

    def restart(self, service: str, **settings: str) -> None:
        """Kill a process; the next one begins with its snapshot, catches up, and takes changed settings into force."""
        state = self.machines[service].dump()
        fresh = next(machine for machine in deciding_machines() if machine.service == service)
        fresh.restore(state)
        self.machines[service] = fresh
        model = self.settings[service]
        self.settings[service] = model.model_validate({**model.model_dump(), **settings})
        while self.handled[service] < len(self.entries):
            self.handle(service, 1)
        self.join(service)

    # the world outside

    def feed(self, events: Callable[[int], list[Event]]) -> None:
        """Let cdb_ws publish a batch."""
        self.say(channels.WS, "feed", events)

    def second(self, move: str | None = None) -> None:
        """Let a second pass: a tick, and a quote of each of two symbols."""
        self.now += SECOND_US
        step = Decimal(self.random.randint(-2_000, 2_000)) / 100 if move is None else Decimal(move)
        self.price += step
        self.feed(lambda _: [self.tick()])
        self.feed(
            lambda number: [self.quote("BTCUSDT", self.price, number), self.quote("ETHUSDT", self.price / 20, number)]
        )

    def tick(self) -> Control:
        """Return a tick of the clock."""
        return Control(
            event_id=derive_id(self.run_id, channels.WS, "tick", self.now),
            timestamp=self.now,
            producer=channels.WS,
            action="tick",
            service=channels.WS,
            details={"pressure": "none"},
        )

    def quote(self, symbol: str, price: Decimal, number: int) -> MarketData:
        """Return market data."""
        price = price.quantize(Decimal("0.01")).normalize() + Decimal(0)
        return MarketData(
            event_id=derive_id(self.run_id, channels.WS, symbol, number),
            timestamp=self.now,
            producer=channels.WS,
            venue="mexc_spot",
            symbol=symbol,
            price=price,
            volume=Decimal(9),
            high=price,
            low=price,
            bid=price - Decimal("0.05"),
            ask=price + Decimal("0.05"),
            bid_size=Decimal(50),
            ask_size=Decimal(50),
            sequence=number,
        )

    def foreign_signal(self, symbol: str = "BTCUSDT") -> None:
        """A trader publishes a buy signal by hand, which risk admits."""
        raw = json.dumps({"symbol": symbol, "signal_type": "buy", "price": float(self.price)}).encode()
        self.say(
            channels.RISK,
            "foreign",
            lambda number: [
                admit(
                    channels.SIGNALS,
                    raw,
                    owner=channels.RISK,
                    counter=number,
                    now=self.now,
                    run_id=self.run_id,
                    default_venue="mexc_spot",
                )
            ],
        )

    def process_alert(self, service: str) -> None:
        """A process says something of its own."""
        self.say(
            service,
            "alert",
            lambda number: [
                Alert(
                    event_id=derive_id(self.run_id, service, "alert", number),
                    timestamp=self.now,
                    producer=service,
                    level="WARNING",
                    code="JOURNAL_MEMORY",
                    message=f"{service} waits",
                )
            ],
        )

    def command(self, action: str) -> None:
        """An operator gives a command."""
        number = len(self.entries)
        event = Control(
            event_id=f"command-{number}", timestamp=self.now, producer=channels.OPERATOR, action=action,
            by="ana", reason="a test", command_id=f"command-{number}",
        )  # fmt: skip
        self.publish(channels.OPERATOR, "", [event])
        if self.lockstep:
            self.settle()


def busy_day(seed: int = 1, seconds: int = 240, *, lockstep: bool = False) -> Day:
    """Return a day past midnight with everything in it: trades, a stop, restarts, new limits, foreign and operator."""
    day = Day(seed, lockstep=lockstep)
    for second in range(seconds):
        crash = 0.45 < second / seconds < 0.5
        day.second("-180" if crash else None)
        day.some()
        if second % 20 == 5:
            day.foreign_signal(day.random.choice(["BTCUSDT", "ETHUSDT"]))
        if second == seconds // 4:
            day.restart(channels.RISK, MAX_POSITION_PCT="0.05")
        if second == seconds // 3:
            day.restart(channels.EXECUTION)
            day.process_alert(channels.EXECUTION)
        if second == seconds // 2:
            day.command("halt")
        if second == seconds * 5 // 8:
            day.command("resume")
            day.epoch = 2
        if second == seconds * 3 // 4:
            day.restart(channels.CORE, SIGNAL_THRESHOLD_PCT="0.0003")
            day.restart(channels.RISK, MAX_POSITION_PCT="0.08", STOP_LOSS_PCT="0.01")
        if second == seconds * 7 // 8:
            day.settle()
            day.begin("day-2")
    return day
