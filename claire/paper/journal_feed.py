"""A history as input: what cdb_ws published in its last run is played again under the recorded settings.

Played unchanged, the journal of a paper run gives the same journal again: same run id, same chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

from claire.history.source import History, open_history
from claire.paper.spec import PaperSpec
from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.recorded import Note
from services.cdb_ws.settings import FeedSettings
from services.cdb_ws.warmup import MinuteBar
from services.common import channels
from services.common.codec import encode
from services.common.errors import FeedInputInvalid
from services.common.events import Control, MarketData
from services.common.settings import canonical_settings, load_settings

__all__ = ["JOURNAL_SUFFIXES", "RecordedRun", "find_run", "is_history", "observations", "play_of"]

JOURNAL_SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_OF_THE_CONFIGURATION: Final = frozenset({"settings", "settings_hash", "code_version"})


@dataclass
class RecordedRun:
    """The last run of a history.

    Attributes:
        first: journal number of the `started` that began it.
        start_us: feed time at which it began.
        settings: in force at its end, by service.
        details: what the configuration event of cdb_ws says besides.
        bars: with which it was warmed up.
        notes: what the exchange said of its instruments, and what the screener chose.
        tip: hash of the last event, in hexadecimal digits.
        market_data: whether cdb_ws published any.
    """

    run_id: str
    first: int
    start_us: int
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    bars: list[tuple[str, MinuteBar]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    tip: str = ""
    market_data: bool = False

    def fold(self, event: Control) -> None:
        """Take note of a control event."""
        if event.action == "config" and event.service is not None and event.service == event.producer:
            self.settings[event.service] = dict(event.details["settings"])
            if event.service == channels.WS:
                self.details = {
                    name: value for name, value in event.details.items() if name not in _OF_THE_CONFIGURATION
                }
        elif event.action == "warmup" and event.producer == channels.WS:
            self.bars += [(event.details["symbol"], MinuteBar(*row)) for row in event.details["bars"]]
        elif event.action in {"instruments", "symbols"} and event.producer == channels.WS:
            action: Literal["instruments", "symbols"] = "instruments" if event.action == "instruments" else "symbols"
            self.notes.append(Note(event.timestamp, ((action, dict(event.details)),)))


def is_history(spec: PaperSpec) -> bool:
    """Whether a spec plays a journal or a database.

    Raises:
        FeedInputInvalid: a journal beside other inputs.
    """
    journals = [path for path in spec.inputs if path.name.endswith(JOURNAL_SUFFIXES)]
    database = spec.data_dir is not None or bool(spec.dsn)
    if (journals or database) and len(spec.inputs) + database > 1:
        raise FeedInputInvalid("a journal or a database is played by itself; leave the other inputs out")
    return bool(journals) or database


def _open(spec: PaperSpec) -> AbstractContextManager[History]:
    journal = spec.inputs[0] if spec.inputs else None
    return open_history(journal, spec.data_dir or Path("data/paper"), spec.dsn)


def find_run(spec: PaperSpec) -> RecordedRun:
    """Read the whole history, checking its chain, and return its last run.

    Raises:
        HistoryUnusable, ChainBroken: it cannot be read, or is not what was written.
        FeedInputInvalid: there is nothing in it that could be played.
    """
    run: RecordedRun | None = None
    with _open(spec) as history:
        for entry, head in history.links():
            if entry.channel == channels.CONTROL:
                event = entry.event
                assert isinstance(event, Control)
                begun = event.run_id if event.action == "started" and event.producer == channels.WS else None
                if begun is not None and (run is None or run.run_id != begun):
                    run = RecordedRun(begun, entry.id.n, event.timestamp)
                if run is not None:
                    run.fold(event)
            elif run is not None:
                run.market_data |= entry.producer == channels.WS and entry.channel == channels.MARKET_DATA
                run.tip = head.hash.hex()
        where = history.where
    if run is None or not run.market_data:
        raise FeedInputInvalid(f"{where}: its last run has no market data of cdb_ws, so there is nothing to play")
    return run


def observations(spec: PaperSpec, run: RecordedRun) -> Iterator[Observation | RejectedRow]:
    """Yield what cdb_ws saw in a run, each event as one observation."""
    with _open(spec) as history:
        for entry in history.entries():
            if entry.id.n > run.first and entry.producer == channels.WS and entry.channel == channels.MARKET_DATA:
                event = entry.event
                assert isinstance(event, MarketData)
                yield Observation(
                    event.timestamp,
                    event.symbol,
                    event.price,
                    event.high,
                    event.low,
                    event.volume,
                    event.bid,
                    event.ask,
                    event.bid_size,
                    event.ask_size,
                    event.gap,
                    event.synthetic,
                    event.mark_price,
                    event.funding_rate,
                    event.exchange_timestamp,
                )


def play_of(spec: PaperSpec, run: RecordedRun) -> tuple[FeedSettings, str, dict[str, Any]]:
    """Return settings, identity and details of what is played; the recorded ones where nothing was changed."""
    recorded = run.settings.get(channels.WS, {})
    settings = load_settings(FeedSettings, {**recorded, **spec.settings, "FEED": recorded.get("FEED", "recorded")})
    unchanged = canonical_settings(settings) == canonical_settings(load_settings(FeedSettings, recorded))
    if unchanged and spec.period.whole and not spec.stresses and "play" in run.details:
        return settings, str(run.details["play"]), run.details
    journal = {"run_id": run.run_id, "chain_tip": run.tip}
    play = sha256(encode({"settings": canonical_settings(settings), "journal": journal})).hexdigest()
    return settings, play, {"files": run.details.get("files", []), "journal": journal, "play": play}
