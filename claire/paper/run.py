"""The closed loop in one process: batches of the feed into the kernel, and what comes out counted and chained.

`run_paper` prints nothing and reads no clock, so that it gives the same result in this process, in a worker process and
on another machine. Whoever wants more of the run than its result (a journal file, statistics, a chart) gives a sink.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from pydantic import BaseModel

from claire.kernel import Kernel, Machine, deciding_machines
from claire.paper.feed import PaperFeed, open_feed
from claire.paper.spec import PaperSpec
from claire.statistics import Statistics, StatisticsCollector
from services.cdb_core.settings import CoreSettings
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk.settings import RiskSettings
from services.cdb_writer.chain import GENESIS, link
from services.cdb_writer.settings import WriterSettings
from services.cdb_ws.fold import FEED
from services.cdb_ws.mint import Mint
from services.common import channels
from services.common.decimals import use_fixed_context
from services.common.events import Event
from services.common.identity import derive_id
from services.common.journal.entry import Cause, Entry
from services.common.runtime.announcement import announcement, settings_hash
from services.common.runtime.build import code_version
from services.common.settings import load_settings
from services.common.timestamps import format_timestamp

__all__ = ["ClosedLoop", "PaperRun", "Progress", "Sink", "run_paper", "seldom_collected", "service_settings"]

PROGRESS_EVERY: Final = 2_000
"""Entries between two calls of `progress`."""

COLLECT_EVERY: Final = 20_000
"""Objects more than were freed between two looks of the collector."""

Sink = Callable[[Entry], object]
"""Takes each journal entry of a run, in order, after all machines have handled it."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: feed time in microseconds (`end_us`: None when it is not known), and journal entries so far."""

    now_us: int
    start_us: int
    end_us: int | None
    entries: int


@dataclass(frozen=True)
class PaperRun:
    """What a run came to.

    Attributes:
        period: first and last feed time, ISO 8601.
        events: how many of each type.
        portfolio: equity, cash, realized_pnl, unrealized_pnl, fees, positions; money in quote currency, None: unknown.
        chain_tip: hash of the last event, chained to all before it: equal runs have equal tips.
        settings: canonical settings of each service.
        inputs: what proves which recordings were played.
        statistics: all figures of the run, its equity curve and its trades.
    """

    run_id: str
    period: tuple[str, str]
    events: dict[str, int]
    portfolio: dict[str, Any]
    chain_tip: str
    settings: dict[str, dict[str, Any]]
    inputs: dict[str, Any]
    statistics: Statistics = field(compare=False, repr=False)


def service_settings(
    settings: Mapping[str, str], recorded: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, BaseModel]:
    """Return the settings models of core, risk, execution and writer, as their processes would read them.

    Args:
        settings: environment variables by name.
        recorded: settings by service that hold where the variables say nothing.

    Raises:
        SettingsInvalid: some are wrong.
    """
    before = recorded or {}
    models: dict[str, type[BaseModel]] = {
        channels.CORE: CoreSettings,
        channels.RISK: RiskSettings,
        channels.EXECUTION: ExecutionSettings,
        channels.WRITER: WriterSettings,
    }
    return {service: load_settings(model, {**before.get(service, {}), **settings}) for service, model in models.items()}


def run_paper(
    spec: PaperSpec,
    *,
    progress: Callable[[Progress], None] | None = None,
    sinks: Sequence[Sink] = (),
) -> PaperRun:
    """Play a spec through core, risk and execution and return what it came to.

    Args:
        spec: what to play.
        progress: called now and then.
        sinks: each takes every entry.

    Raises:
        FeedInputInvalid: the input cannot be used.
        SettingsInvalid: settings are wrong.
    """
    use_fixed_context()
    service_settings(spec.settings)  # a mistake is told before a long reading
    feed = open_feed(spec)
    configured = service_settings(spec.settings, feed.recorded)
    loop = ClosedLoop(feed, configured, spec.run_id or derive_id("run-paper", *_identity(feed, configured)))
    tally = _Tally(sinks)
    entries = loop.entries()
    with seldom_collected():
        if progress is None:
            tally.take(entries)
        else:
            while tally.take(islice(entries, PROGRESS_EVERY)):
                progress(Progress(loop.now_us, feed.start_us, feed.end_us, tally.head))
    statistics = tally.statistics.result()
    return PaperRun(
        run_id=loop.run_id,
        period=(format_timestamp(feed.start_us), format_timestamp(loop.now_us)),
        events=dict(statistics.events),
        portfolio=dict(statistics.portfolio),
        chain_tip=tally.tip.hex(),
        inputs={name: feed.details[name] for name in ("files", "period", "stresses") if name in feed.details},
        statistics=statistics,
        settings={channels.WS: feed.settings.model_dump()}
        | {service: model.model_dump() for service, model in configured.items()},
    )


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Let the collector of cycles look seldom: a run makes millions of objects, and none of them refers to itself."""
    usual = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


class ClosedLoop:
    """A feed, the deciding machines, and the journal between them.

    Args:
        feed: what is played; once.
        configured: settings of the other services.
        run_id: root of all derived ids.
        machines: core, risk and execution with nothing folded; they are made here unless given.
    """

    def __init__(
        self,
        feed: PaperFeed,
        configured: Mapping[str, BaseModel],
        run_id: str,
        machines: tuple[Machine, Machine, Machine] | None = None,
    ) -> None:
        self.run_id = run_id
        self._feed = feed
        self._configured = configured
        self._machines = machines or deciding_machines()
        self._kernel = Kernel(self._machines)

    def entries(self) -> Iterator[Entry]:
        """Yield each journal entry after all machines have handled it; the caller's thread has the fixed context."""
        yield from self._beginning()
        mint, kernel = Mint(self.run_id, self._feed.settings.VENUE, exact=True), self._kernel
        for batch in self._feed.batches:
            kernel.publish(channels.WS, f"{FEED}:{mint.number(batch)}", mint.events(batch))
            yield from kernel.run()

    def _beginning(self) -> Iterator[Entry]:
        """Let every service join the run in the order in which the processes do it."""
        feed, announce, version = self._feed, Cause("announce", 1), code_version()

        def joins(service: str, settings: BaseModel, details: dict[str, Any] | None = None) -> list[Event]:
            return announcement(
                service,
                settings,
                run_id=self.run_id,
                now=feed.start_us,
                number=1,
                in_force=None,
                code_version=version,
                details=details,
            )

        yield from self._kernel.step(channels.WS, announce, joins(channels.WS, feed.settings, feed.details))
        yield from self._kernel.announce(self._configured, code_version=version)
        yield from self._kernel.step(
            channels.WRITER, announce, joins(channels.WRITER, self._configured[channels.WRITER])
        )

    @property
    def now_us(self) -> int:
        """Feed time reached, microseconds."""
        now_us = self._machines[0].fold.now
        assert now_us is not None, "the feed begins the run"
        return now_us


def _identity(feed: PaperFeed, configured: Mapping[str, BaseModel]) -> Iterable[str]:
    yield feed.play
    yield str(feed.details.get("period"))
    yield str(feed.details.get("stresses"))
    for service in sorted(configured):
        yield settings_hash(configured[service])


class _Tally:
    """Chains and observes the entries of a run, and hands them on."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)
        self.statistics = StatisticsCollector()
        self.tip = GENESIS
        self.head = 0

    def take(self, entries: Iterable[Entry]) -> int:
        """Take entries and return how many there were."""
        before, tip, observe, sinks = self.head, self.tip, self.statistics.observe, self._sinks
        for entry in entries:
            tip = link(tip, entry)
            observe(entry)
            for sink in sinks:
                sink(entry)
            self.head = entry.id.n
        self.tip = tip
        return self.head - before
