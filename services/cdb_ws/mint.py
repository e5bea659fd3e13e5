"""Where the events of cdb_ws are made: ids are derived, equal batches of equal runs give equal bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple

from services.cdb_ws.observation import Observation
from services.cdb_ws.recorded import Batch
from services.common.canonical import construct
from services.common.channels import WS
from services.common.decimals import wire_form
from services.common.events import SCHEMA_VERSION, Control, Event, MarketData
from services.common.frozen import FrozenObject
from services.common.identity import DerivedIds, derive_id
from services.common.instruments import PERPETUAL, Venue
from services.common.portfolio import mid_price

__all__ = ["Mint", "Pressure"]

Pressure = Literal["none", "market_data", "entries"]
"""Which classes of events the journal refuses for want of memory, as its last reply said."""


class _Maker(NamedTuple):
    """What is the same in all market data of an instrument: how its ids begin, and the fields in schema order."""

    ids: DerivedIds
    fields: dict[str, Any]


class Mint:
    """Turns batches into events.

    Args:
        run_id: root of all derived ids.
        venue: the venue that the feed stands for.
        base: number of the source `feed` before the first batch; above 0 when the journal has an earlier recording.
        exact: the observations come from a reader of recordings: their numbers are in contract, and as they come back
            from the wire. Otherwise each is looked at.
    """

    def __init__(self, run_id: str, venue: Venue, base: int = 0, *, exact: bool = False) -> None:
        self._run_id = run_id
        self._venue: Venue = venue
        self._perpetual = venue == PERPETUAL
        self._base = base
        self._make: Callable[[dict[str, Any]], MarketData] = partial(construct, MarketData) if exact else _checked
        self._makers: dict[str, _Maker] = {}
        self._tick_ids = DerivedIds(run_id, WS, "tick")

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
            case "fact":
                number = self.number(batch)
                return [
                    self._control(action, batch.timestamp_us, self._venue, number, part, details=details)
                    for part, (action, details) in enumerate(batch.facts)
                ]

    def market_data(self, observations: Iterable[Observation], number: int) -> list[Event]:
        """Return one event for each observation; `number` is their sequence: it grows with every batch."""
        make, makers, perpetual = self._make, self._makers, self._perpetual
        events: list[Event] = []
        for o in observations:
            maker = makers.get(o.symbol) or self._maker(o.symbol)
            values = maker.fields.copy()  # a display of so many keys takes four times as long
            values["event_id"] = maker.ids.of_number(number)
            values["timestamp"] = o.timestamp_us
            values["price"] = o.price
            values["volume"] = o.volume
            values["high"] = o.high
            values["low"] = o.low
            values["bid"] = o.bid
            values["ask"] = o.ask
            values["bid_size"] = o.bid_size
            values["ask_size"] = o.ask_size
            values["exchange_timestamp"] = o.exchange_us
            values["sequence"] = number
            values["gap"] = o.gap
            values["synthetic"] = o.synthetic
            if perpetual:
                values["mark_price"] = self._mark(o)
                values["funding_rate"] = o.funding_rate
            if o.book is not None:
                values["bids"], values["asks"] = o.book.bids, o.book.asks
            events.append(make(values))
        return events

    def _maker(self, symbol: str) -> _Maker:
        fields = {name: field.default for name, field in MarketData.model_fields.items()}
        fields |= {"producer": WS, "venue": self._venue, "symbol": symbol}
        maker = self._makers[symbol] = _Maker(DerivedIds(self._run_id, WS, self._venue, symbol), fields)
        return maker

    def _mark(self, o: Observation) -> Decimal | None:
        """Return the mark price of a perpetual; the mid stands for it in a recording that has none."""
        if o.mark_price is None and o.bid is not None and o.ask is not None and o.bid < o.ask:
            return wire_form(mid_price(o.bid, o.ask))
        return o.mark_price

    def tick(self, timestamp_us: int, pressure: Pressure) -> Control:
        """Return a tick of the clock; its fields are known to be valid."""
        return construct(
            Control,
            {
                "type": "control",
                "event_id": self._tick_ids.of_number(timestamp_us),
                "schema_version": SCHEMA_VERSION,
                "timestamp": timestamp_us,
                "producer": WS,
                "correlation_id": None,
                "causation_id": None,
                "action": "tick",
                "service": WS,
                "run_id": None,
                "command_id": None,
                "by": None,
                "reason": None,
                "details": _PRESSURE[pressure],
            },
        )

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
        action: Literal["finished", "warmup", "instruments", "symbols"],
        timestamp_us: int,
        *identity: str | int,
        details: Mapping[str, Any] | None = None,
    ) -> Control:
        return Control.make(
            event_id=derive_id(self._run_id, WS, action, *identity),
            timestamp=timestamp_us,
            producer=WS,
            action=action,
            service=WS,
            details=dict(details or {}),
        )


_PRESSURE: Final = {pressure: FrozenObject({"pressure": pressure}) for pressure in ("none", "market_data", "entries")}
_NUMBERS: Final = ("price", "volume", "high", "low", "bid", "ask", "bid_size", "ask_size")
_RARE_NUMBERS: Final = ("mark_price", "funding_rate")
_numbers_of: Final = itemgetter(*_NUMBERS)
_WIRE: Final = r"(?:[0-9]{1,10}\.[0-9]{0,8}[1-9]|[0-9]{1,18}\.0)"
_ALL_ON_THE_WIRE: Final = re.compile(rf"{_WIRE}(?: {_WIRE}){{{len(_NUMBERS) - 1}}}")


def _checked(values: dict[str, Any]) -> MarketData:
    """Return the event of these fields, its numbers as they come back from the wire.

    Nearly always the feed's numbers are exactly so, which is seen at once for all of them.
    """
    numbers = _numbers_of(values)
    if (
        values["bids"] is values["asks"] is None
        and values["mark_price"] is None
        and values["funding_rate"] is None
        and _ALL_ON_THE_WIRE.fullmatch(" ".join(map(str, numbers)))
        and all(numbers[:1] + numbers[2:6])
    ):
        return construct(MarketData, values)
    for name in _NUMBERS + _RARE_NUMBERS:
        if values[name] is not None:
            values[name] = wire_form(values[name])
    return MarketData.make(**values)
