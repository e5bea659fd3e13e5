"""The work loop of a live feed: what the exchange says becomes batches of the journal, and the clock goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from services.cdb_ws.adapters.live_metrics import LiveMetrics
from services.cdb_ws.adapters.live_session import LiveSession
from services.cdb_ws.clock import Clock
from services.cdb_ws.conflation import Conflator
from services.cdb_ws.live.words import Step
from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.recorded import Batch, BatchKind, Fact
from services.cdb_ws.warmup import MinuteBar, WarmupBars
from services.common.runtime.lifecycle import Lifecycle

__all__ = ["LivePlay"]

LOOK_SEC: Final = 0.5


class LivePlay:
    """Plays a session into the journal.

    Args:
        life: whose process it is.
        session: what the exchange says.
        metrics: shows it.
        clock: when it ticks.
        max_hz: market data events per second and instrument, at most.
        publish: takes each batch; its number is given by whoever publishes.
        tell: raises an alert: level, code, message, context.
        held: what is held now, by symbol.
    """

    def __init__(
        self,
        life: Lifecycle,
        session: LiveSession,
        metrics: LiveMetrics,
        clock: Clock,
        *,
        max_hz: int,
        publish: Callable[[Batch], None],
        tell: Callable[..., None],
        held: Callable[[], Mapping[str, Decimal | None]],
    ) -> None:
        self._life = life
        self._session = session
        self._clock = clock
        self._conflator = Conflator(max_hz)
        self._publish = publish
        self._tell = tell
        self._held = held
        self._metrics = metrics
        metrics.attach(session)
        self._looked = 0.0
        self._rejected: tuple[RejectedRow, ...] = ()

    def wait(self, missing: Callable[[], object]) -> None:
        """Let the clock go on until nobody is missing who must hear the first word of the exchange."""
        while not self._life.stop.is_set() and missing():
            self._life.beat()
            self._advance(self._session.idle())

    def run(self) -> None:
        """Play until the process shall stop."""
        try:
            self._follow(self._session.begin())
            self._follow(self._session.hold(self._held()))
            while not self._life.stop.is_set():
                self._life.beat()
                border_us = min(self._clock.next_us, max(self._conflator.border_us, 0) or self._clock.next_us)
                step = self._session.next(max(0.0, (border_us - self._session.idle()) / 1_000_000))
                if step is not None:
                    self._follow(step)
                else:
                    self._advance(self._session.idle())
                if time.monotonic() - self._looked >= LOOK_SEC:
                    self._look()
            self._flush()
        finally:
            self._session.close()

    def _look(self) -> None:
        self._looked = time.monotonic()
        self._follow(self._session.hold(self._held()))
        self._follow(self._session.tick())
        self._metrics.look()

    def _follow(self, step: Step) -> None:
        self._advance(self._session.now_us)
        for news in step.news:
            self._tell(news.level, news.code, news.message, news.context)
        if step.facts or step.warmups:
            self._flush()  # what was seen before them stands before them
        if step.facts:
            self._put("fact", self._session.now_us, facts=tuple(step.facts))
        for warmup in step.warmups:
            bars = tuple(WarmupBars((warmup.symbol, bar) for bar in warmup.bars).chunks())
            if bars:
                self._put("warmup", self._session.now_us, bars=bars)
        self._rejected += tuple(step.rejected)
        for observation in step.observations:
            self._market_data(self._conflator.add(observation))

    def _advance(self, now_us: int) -> None:
        self._market_data(self._conflator.advance(now_us))
        tick_us = self._clock.latest(now_us)
        if tick_us is not None:
            self._put("tick", tick_us)

    def _flush(self) -> None:
        self._market_data(self._conflator.flush())

    def _market_data(self, observations: tuple[Observation, ...]) -> None:
        if observations:
            self._put("market_data", observations[-1].timestamp_us, observations=observations)

    def _put(
        self,
        kind: BatchKind,
        timestamp_us: int,
        *,
        observations: tuple[Observation, ...] = (),
        bars: tuple[tuple[str, list[MinuteBar]], ...] = (),
        facts: tuple[Fact, ...] = (),
    ) -> None:
        rejected, self._rejected = self._rejected, ()
        self._publish(Batch(0, timestamp_us, kind, observations, bars, rejected, facts))
