"""Batches into the journal: what it refuses for want of memory is owed, merged into what comes next."""

from __future__ import annotations

from collections.abc import Sequence

from services.cdb_ws.adapters.feed_journal import FeedJournal
from services.cdb_ws.adapters.feed_metrics import FeedMetrics
from services.cdb_ws.mint import Mint, Pressure
from services.cdb_ws.observation import Observation
from services.cdb_ws.recorded import Batch, carry
from services.common.runtime.lifecycle import Lifecycle

__all__ = ["Publishing"]


class Publishing:
    """Publishes batch after batch.

    Attributes:
        pressure: what the journal refuses now.
    """

    def __init__(self, life: Lifecycle, journal: FeedJournal, metrics: FeedMetrics) -> None:
        self._life = life
        self._journal = journal
        self._metrics = metrics
        self._withheld: dict[str, Observation] = {}
        self.pressure: Pressure = "none"

    def start_over(self) -> None:
        """Forget what is owed: the batches are played again."""
        self._withheld = {}

    def pass_over(self, batch: Batch, number: int) -> None:
        """Pass over a batch that the journal has; market data that it refused before the restart are still owed."""
        if batch.kind == "market_data" and number > self._journal.fold.last_market:
            self._withhold(carry(self._withheld, batch.observations))
        if batch.number % 1_000 == 0:
            self._life.beat()

    def _withhold(self, observations: Sequence[Observation]) -> None:
        self._withheld = {observation.symbol: observation for observation in observations}

    def publish(self, batch: Batch, mint: Mint) -> None:
        """Publish a batch, and with it what is owed."""
        number, observations = mint.number(batch), batch.observations
        events = mint.events(batch, pressure=self.pressure)
        if self._withheld and batch.kind in {"market_data", "finished"}:
            observations = carry(self._withheld, observations)
            owed = mint.market_data(observations, number)
            events = owed if batch.kind == "market_data" else [*owed, *events]
        result = self._journal.publish(number, events, withholdable=batch.kind == "market_data")
        if result is None:
            self._withhold(observations)
            if self.pressure == "none":
                self.pressure = "market_data"
            self._metrics.withheld.inc()
            self._journal.alert(
                "MARKET_DATA_WITHHELD",
                "the journal is short of memory: market data are merged and marked as a gap until it takes them",
                {"batch": number, "symbols": sorted(self._withheld)},
            )
        else:
            self.pressure = result.pressure
            if batch.kind in {"market_data", "finished"}:
                self._withheld = {}
            self._metrics.published(batch, events)
        for rejected in batch.rejected:
            self._life.log.warning("row_rejected", reason=rejected.reason)
        if batch.rejected:
            self._journal.reject(batch.rejected)
