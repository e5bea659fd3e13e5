"""What cdb_ws must know of the journal to go on where it ended: which recording is playing, and how far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Self

from services.cdb_ws.holdings import Holdings
from services.common.channels import MARKET_DATA, WS
from services.common.codec import decode, encode
from services.common.errors import ContractViolation, StateMismatch
from services.common.events import Control
from services.common.journal.entry import Cause, Entry

__all__ = ["FEED", "FeedFold"]

FEED: Final = "feed"
"""The numbered source of everything that the feed publishes."""


@dataclass
class FeedFold:
    """A fold of the journal.

    Attributes:
        runs: ids of all runs, the current one last.
        play: identity of the recording and the settings under which it plays; None before the first.
        base: number of the source `feed` before the first batch of this play.
        last: number of the last batch.
        last_market: number of the last batch with market data; what lies between the two was withheld.
        chosen, leaving: what the screener chose last in this run, and what was then still watched beside it.
        holdings: what is held in this run.
        exchange: address of the exchange that this play listens to; None of a recording.
        heard: address of the exchange that the run has market data of.
    """

    runs: list[str] = field(default_factory=list)
    play: str | None = None
    base: int = 0
    last: int = 0
    last_market: int = 0
    chosen: list[str] | None = None
    leaving: list[str] = field(default_factory=list)
    holdings: Holdings = field(default_factory=Holdings)
    exchange: str | None = None
    heard: str | None = None

    def fold(self, entry: Entry) -> None:
        """Take note of one entry; those of producers that tell nothing of the feed or of holdings are passed over."""
        self.holdings.fold(entry)
        if entry.producer != WS:
            return
        cause = Cause.parse(entry.cause)
        if cause.source == FEED:
            self.last = cause.number
            if entry.channel == MARKET_DATA:
                self.last_market = cause.number
                self.heard = self.exchange
            elif b'"action":"symbols"' in entry.data and isinstance(event := entry.event, Control):
                self.chosen = [str(symbol) for symbol in event.details.get("symbols", ())]
                self.leaving = [str(symbol) for symbol in event.details.get("leaving", ())]
        elif isinstance(event := entry.event, Control):
            self._announced(event)

    def _announced(self, event: Control) -> None:
        if event.action == "started" and event.run_id is not None and event.run_id not in self.runs[-1:]:
            self.runs.append(event.run_id)
            self.chosen, self.leaving, self.heard = None, [], None
            self.holdings = Holdings()
            self.base = self.last_market = self.last
        elif event.action == "config" and event.details.get("play") != self.play:
            live = event.details.get("live")
            self.exchange = str(live.get("MEXC_REST_URL")) if isinstance(live, dict) else None
            self.play = event.details.get("play")
            self.base = self.last_market = self.last

    def dump(self) -> bytes:
        """Return the fold as canonical bytes."""
        return encode(self)

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """Take over what `dump` returned.

        Raises:
            StateMismatch: the bytes are not such a fold.
        """
        try:
            value: dict[str, Any] = decode(data)
            holdings = Holdings.restore(value.pop("holdings", {}))
            fold = cls(**value, holdings=holdings)
            if not all(isinstance(number, int) for number in (fold.base, fold.last, fold.last_market)):
                raise TypeError("numbers are meant")
        except (ContractViolation, TypeError) as error:
            raise StateMismatch(f"not a fold of the feed: {error}") from error
        return fold
