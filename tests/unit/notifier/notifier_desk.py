"""A desk for the notifier's machine: says what happens in the journal and collects what people are told."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from services.cdb_notifier.machine import NotifierMachine
from services.cdb_notifier.message import Message
from services.cdb_notifier.planner import Rules
from services.common import channels
from services.common.codec import decode, encode_state
from services.common.events import Alert, Control, Event, MarketData, OrderResult
from services.common.identity import derive_id
from services.common.journal.entry import Entry, JournalId
from services.common.timestamps import DAY_US, MINUTE_US, SECOND_US, parse_timestamp

DEFAULTS = Rules()
START = parse_timestamp("2026-03-02T12:00:00.000000Z")


def utc_minute(at: int) -> int:
    """Return the minute of the UTC day."""
    return at % DAY_US // MINUTE_US


class Desk:
    """One run, told event by event."""

    def __init__(
        self, rules: Rules = DEFAULTS, minute: Callable[[int], int] = utc_minute, *, daily: bool = True
    ) -> None:
        """Begin a run whose clock stands at START."""
        self.make = lambda: NotifierMachine(rules, minute, daily=daily)
        self.machine = self.make()
        self.now = START
        self.told: list[Message] = []
        self._n = 0
        self.control("started", producer=channels.WS, service=channels.WS, run_id="run-1")

    def put(self, model: type[Event], producer: str, **fields: Any) -> list[Message]:
        """Let something happen now; returns what people are told because of it."""
        self._n += 1
        fields.setdefault("timestamp", self.now)
        event = model(event_id=derive_id("run-1", producer, self._n), producer=producer, **fields)
        told = self.machine.handle(Entry(JournalId(1, self._n), event.channel, producer, "feed:1", event.data))
        self.told += told
        return told

    def control(self, action: str, *, producer: str, **fields: Any) -> list[Message]:
        """Put a control event."""
        return self.put(Control, producer, action=action, **fields)

    def alert(self, code: str, level: str = "CRITICAL", **context: Any) -> list[Message]:
        """Put an alert."""
        return self.put(Alert, channels.RISK, level=level, code=code, message=f"{code} happened", context=context)

    def wait(self, minutes: float, step_sec: int = 20) -> list[Message]:
        """Let the clock tick for some minutes."""
        before = len(self.told)
        end = self.now + int(minutes * MINUTE_US)
        while self.now < end:
            self.now = min(self.now + step_sec * SECOND_US, end)
            self.control("tick", producer=channels.WS)
        return self.told[before:]

    def start_day(self, equity: str, peak: str | None = None, day: str = "2026-03-02") -> list[Message]:
        """Let risk begin a day."""
        details = {"day": day, "equity": Decimal(equity), "peak_equity": Decimal(peak or equity)}
        return self.control("start_of_day", producer=channels.RISK, service=channels.RISK, details=details)

    def price(self, bid: str, ask: str, symbol: str = "BTCUSDT") -> None:
        """Put a quote."""
        mid = (Decimal(bid) + Decimal(ask)) / 2
        self.put(
            MarketData, channels.WS, venue="mexc_spot", symbol=symbol, price=mid, high=mid, low=mid,
            bid=Decimal(bid), ask=Decimal(ask), sequence=self._n,
        )  # fmt: skip

    def fill(self, side: str, quantity: str, price: str, order_id: str, **more: Any) -> None:
        """Put a whole fill."""
        amount = Decimal(quantity)
        self.put(
            OrderResult, channels.EXECUTION, order_id=order_id, client_order_id=order_id, status="FILLED",
            venue="mexc_spot", symbol="BTCUSDT", side=side, quantity=amount, filled_quantity=amount,
            average_price=Decimal(price), last_quantity=amount, last_price=Decimal(price),
            **{"fee": Decimal("0.5"), "fee_currency": "USDT", "trade_id": f"t-{order_id}", **more},
        )  # fmt: skip

    def restart(self) -> None:
        """Go on in a machine that was restored from the bytes of this one; its bytes are the same."""
        data = encode_state(self.machine.dump())
        self.machine = self.make()
        self.machine.restore(decode(data))
        assert encode_state(self.machine.dump()) == data
