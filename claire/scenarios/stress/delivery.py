"""Transforms of how the market is heard of: lost, silent, doubled and late messages."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from heapq import heappop, heappush
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from claire.scenarios.stress.base import Draw, Minutes, Row, Share, Transform
from services.cdb_ws.merging import Source
from services.cdb_ws.observation import Observation
from services.common.timestamps import MS_US

__all__ = ["Duplicates", "Gap", "Late", "Outage"]


class Gap(Transform):
    """Messages are lost while the feed lives; the next one of the symbol is marked `gap`, as a feed that counts does.

    Attributes:
        share: of the messages that are lost.
    """

    name: ClassVar[str] = "gap"

    share: Share = Decimal("0.5")

    @property
    def draws(self) -> bool:
        """Whether what it does depends on its seed."""
        return self.share < 1

    def __call__(self, source: Source) -> Source:
        """Return what is left of the stream."""
        market, draw, lost = self.acts(), Draw(self), set[str]()
        for row in source:
            if row in market:
                assert isinstance(row, Observation)
                if draw.hits(row.symbol, self.share):
                    lost.add(row.symbol)
                    continue
            yield _marked(row, lost)


class Outage(Transform):
    """The feed is silent while the clock goes on; then it is back, and knows that it has missed something.

    Attributes:
        minutes: how long; it has an end.
        marked: whether the first row afterwards says `gap`; false is a feed that has not noticed.
    """

    name: ClassVar[str] = "outage"

    minutes: Minutes = Decimal(5)
    marked: bool = True

    def __call__(self, source: Source) -> Source:
        """Return the stream without what fell into the silence."""
        market, lost = self.acts(), set[str]()
        for row in source:
            if row in market:
                assert isinstance(row, Observation)
                if self.marked:
                    lost.add(row.symbol)
                continue
            yield _marked(row, lost)


def _marked(row: Row, lost: set[str]) -> Row:
    if not isinstance(row, Observation) or row.symbol not in lost:
        return row
    lost.discard(row.symbol)
    return replace(row, gap=True)


class Duplicates(Transform):
    """Messages come more than once, with the volume that they carry: a feed that does not tell copies apart.

    Attributes:
        share: of the messages that are doubled.
        copies: how many more of each there are.
    """

    name: ClassVar[str] = "duplicates"

    share: Share = Decimal(1)
    copies: Annotated[int, Field(ge=1, le=100)] = 1

    @property
    def draws(self) -> bool:
        """Whether what it does depends on its seed."""
        return self.share < 1

    def __call__(self, source: Source) -> Source:
        """Return the stream with the copies behind what they are copies of."""
        market, draw = self.acts(), Draw(self)
        for row in source:
            yield row
            if row in market:
                assert isinstance(row, Observation)
                if draw.hits(row.symbol, self.share):
                    for _ in range(self.copies):
                        yield row


class Late(Transform):
    """Messages come late, some of them after newer ones: what they say is old by then.

    Attributes:
        delay_ms: how late, at most.
        least_delay_ms: how late, at least; left out, always by `delay_ms`.
        share: of the messages that are late.
    """

    name: ClassVar[str] = "late"

    delay_ms: Annotated[int, Field(ge=1, le=3_600_000)]
    least_delay_ms: Annotated[int, Field(ge=0, le=3_600_000)] | None = None
    share: Share = Decimal(1)

    @model_validator(mode="after")
    def _check_delays(self) -> Self:
        if self.least_delay_ms is not None and self.least_delay_ms > self.delay_ms:
            raise ValueError(f"least_delay_ms={self.least_delay_ms} is over delay_ms={self.delay_ms}; exchange the two")
        return self

    @property
    def draws(self) -> bool:
        """Whether what it does depends on its seed."""
        return self.share < 1 or self.least_delay_ms is not None

    def __call__(self, source: Source) -> Source:
        """Return the stream in the order in which the messages come."""
        market, draw = self.acts(), Draw(self)
        waiting: list[tuple[int, int, Observation]] = []
        for number, row in enumerate(source):
            while waiting and waiting[0][0] <= row.timestamp_us:
                yield heappop(waiting)[2]
            if row in market:
                assert isinstance(row, Observation)
                if draw.hits(row.symbol, self.share):
                    due_us = row.timestamp_us + self._delay_ms(row.symbol, draw) * MS_US
                    heappush(waiting, (due_us, number, replace(row, timestamp_us=due_us)))
                    continue
            yield row
        while waiting:
            yield heappop(waiting)[2]

    def _delay_ms(self, symbol: str, draw: Draw) -> int:
        if self.least_delay_ms is None:
            return self.delay_ms
        return draw.of(symbol).randint(self.least_delay_ms, self.delay_ms)
