"""Where the events of cdb_ws are made: ids are derived, equal batches of equal runs give equal bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal

from services.cdb_ws.observation import Observation
from services.cdb_ws.recorded import Batch
from services.common.channels import WS
from services.common.decimals import wire_form
from services.common.events import Control, Event, MarketData
from services.common.identity import derive_id
from services.common.instruments import PERPETUAL, Venue
from services.common.portfolio import mid_price

__all__ = ["Mint", "Pressure"]

Pressure = Literal["none", "market_data", "entries"]
"""Which classes of events the journal refuses for want of memory, as its last reply said."""


class Mint:
    """Turns batches into events.

    Args:
        run_id: root of all derived ids.
        venue: the venue that the feed stands for.
        base: number of the source `feed` before the first batch; above 0 when the journal has an earlier recording.
    """

    def __init__(self, run_id: str, venue: Venue, base: int = 0) -> None:
        self._run_id = run_id
        self._venue: Venue = venue
        self._perpetual = venue == PERPETUAL
        self._base = base

    def number(self, batch: Batch) -> int:
        """Return the batch's number of the source `feed` in this journal."""
        return self._base + batch.number

    def events(self, batch: Batch, *, pressure: Pressure = "none") -> list[Event]:
        """Return the events of one batch, in order."""
        match batch.kind:
            case "market_data":
                return self.market_data(batch.observations, self.number(batch))
            case "tick":
                return [self.tick(batch.timestamp_us, pressure)]
            case "warmup":
                return self._warmup(batch)
            case "finished":
                return [self.finished(batch.timestamp_us)]

    def market_data(self, observations: Iterable[Observation], number: int) -> list[Event]:
        """Return one event for each observation; `number` is their sequence: it grows with every batch."""
        return [
            MarketData.make(
                event_id=derive_id(self._run_id, WS, self._venue, o.symbol, number),
                timestamp=o.timestamp_us,
                producer=WS,
                venue=self._venue,
                symbol=o.symbol,
                price=wire_form(o.price),
                volume=wire_form(o.volume),
                high=wire_form(o.high),
                low=wire_form(o.low),
                bid=None if o.bid is None else wire_form(o.bid),
                ask=None if o.ask is None else wire_form(o.ask),
                bid_size=None if o.bid_size is None else wire_form(o.bid_size),
                ask_size=None if o.ask_size is None else wire_form(o.ask_size),
                mark_price=self._mark(o),
                funding_rate=wire_form(o.funding_rate) if self._perpetual and o.funding_rate is not None else None,
                sequence=number,
                gap=o.gap,
                synthetic=o.synthetic,
            )
            for o in observations
        ]

    def _mark(self, o: Observation) -> Decimal | None:
        """Return the mark price of a perpetual; the mid stands for it in a recording that has none."""
        if not self._perpetual:
            return None
        if o.mark_price is None and o.bid is not None and o.ask is not None and o.bid < o.ask:
            return wire_form(mid_price(o.bid, o.ask))
        return None if o.mark_price is None else wire_form(o.mark_price)

    def tick(self, timestamp_us: int, pressure: Pressure) -> Control:
        """Return a tick of the clock."""
        return self._control("tick", timestamp_us, timestamp_us, details={"pressure": pressure})

    def finished(self, timestamp_us: int) -> Control:
        """Return the end of a recorded feed."""
        return self._control("finished", timestamp_us, timestamp_us)

    def _warmup(self, batch: Batch) -> list[Event]:
        number = self.number(batch)
        return [
            self._control(
                "warmup",
                batch.timestamp_us,
                self._venue,
                symbol,
                number,
                part,
                details={"venue": self._venue, "symbol": symbol, "bars": [bar.as_row() for bar in bars]},
            )
            for part, (symbol, bars) in enumerate(batch.bars)
        ]

    def _control(
        self,
        action: Literal["tick", "finished", "warmup"],
        timestamp_us: int,
        *identity: str | int,
        details: Mapping[str, Any] | None = None,
    ) -> Control:
        return Control(
            event_id=derive_id(self._run_id, WS, action, *identity),
            timestamp=timestamp_us,
            producer=WS,
            action=action,
            service=WS,
            details=dict(details or {}),
        )
