"""Plays cdb_ws for the tests of the shell: takes its lease and publishes ticks and market data, each batch once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.common import channels
from services.common.events import Control, Event, MarketData
from services.common.identity import derive_id
from services.common.journal.client import JournalClient, PublishResult
from services.common.journal.entry import Cause
from services.common.journal.lease import Lease
from services.common.settings import Infrastructure
from services.common.timestamps import SECOND_US

START_US = 1_621_382_400 * SECOND_US


class Feeder:
    """The feed of one test."""

    def __init__(self, infra: Infrastructure, run_id: str = "run-1") -> None:
        """Take the lease of cdb_ws and begin the run."""
        self.infra = infra
        self.client = JournalClient(infra, name="feeder")
        self._lease = Lease(infra)
        self.fence = self._lease.acquire(channels.WS, "feeder")
        self.run_id = run_id
        self.now = START_US
        self.batch = self.client.high_water("cdb_ws/feed")

    def begin(self) -> None:
        """Publish `started` of cdb_ws."""
        number = self.client.high_water("cdb_ws/announce") + 1
        event = self._control("started", number, service=channels.WS, run_id=self.run_id)
        self.client.publish(channels.WS, self.fence, Cause("announce", number), [event])

    def _control(self, action: str, number: int, **fields: Any) -> Control:
        return Control(
            event_id=derive_id(self.run_id, channels.WS, action, number, self.now),
            timestamp=self.now,
            producer=channels.WS,
            action=action,
            **fields,
        )

    def _publish(self, events: list[Event]) -> PublishResult:
        self.batch += 1
        return self.client.publish(channels.WS, self.fence, Cause("feed", self.batch), events)

    def tick(self) -> PublishResult:
        """Publish the clock, one second later."""
        self.now += SECOND_US
        return self._publish([self._control("tick", self.batch + 1, details={"pressure": "none"})])

    def finish(self) -> PublishResult:
        """Say that the recording has ended."""
        return self._publish([self._control("finished", self.batch + 1)])

    def price(self, *prices: Decimal | int, symbol: str = "BTCUSDT") -> PublishResult:
        """Publish one batch of market data, each a second later."""
        events: list[Event] = []
        for price in prices:
            self.now += SECOND_US
            events.append(
                MarketData(
                    event_id=derive_id(self.run_id, channels.WS, symbol, self.now),
                    timestamp=self.now,
                    producer=channels.WS,
                    venue="mexc_spot",
                    symbol=symbol,
                    price=Decimal(price),
                    volume=Decimal(1),
                    high=Decimal(price),
                    low=Decimal(price),
                    sequence=self.now // SECOND_US,
                )
            )
        return self._publish(events)

    def again(self) -> Feeder:
        """Return a feeder that goes on after Redis was restarted."""
        self._lease.close()
        self.client.close()
        successor = Feeder(self.infra, self.run_id)
        successor.now = self.now
        return successor

    def close(self) -> None:
        """Give everything back."""
        self._lease.release()
        self._lease.close()
        self.client.close()
