"""The closed loop in one process: batches of the feed into the kernel, and what comes out counted and chained.

`run_paper` prints nothing and reads no clock, so that it gives the same result in this process, in a worker process and
on another machine. Whoever wants more of the run than its result (a journal file, statistics, a chart) gives a sink.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from pydantic import BaseModel

from claire.kernel import Kernel, deciding_machines
from claire.paper.feed import PaperFeed, open_feed
from claire.paper.spec import PaperSpec
from services.cdb_core.settings import CoreSettings
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk.machine import RiskMachine
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
from services.common.portfolio import Portfolio
from services.common.runtime.announcement import announcement, settings_hash
from services.common.runtime.build import code_version
from services.common.settings import load_settings
from services.common.timestamps import format_timestamp

__all__ = ["PaperRun", "Progress", "Sink", "run_paper", "service_settings"]

PROGRESS_EVERY: Final = 500
"""Batches between two calls of `progress`."""

Sink = Callable[[Entry], None]
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
    """

    run_id: str
    period: tuple[str, str]
    events: dict[str, int]
    portfolio: dict[str, Any]
    chain_tip: str
    settings: dict[str, dict[str, Any]]


def service_settings(settings: dict[str, str]) -> dict[str, BaseModel]:
    """Return the settings models of core, risk, execution and writer, as their processes would read them.

    Raises:
        SettingsInvalid: some are wrong.
    """
    return {
        channels.CORE: load_settings(CoreSettings, settings),
        channels.RISK: load_settings(RiskSettings, settings),
        channels.EXECUTION: load_settings(ExecutionSettings, settings),
        channels.WRITER: load_settings(WriterSettings, settings),
    }


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
    configured = service_settings(dict(spec.settings))
    feed = open_feed(spec)
    run_id = spec.run_id or derive_id("run-paper", *_identity(feed, configured))
    machines = deciding_machines()
    kernel, tally = Kernel(machines), _Tally(sinks)
    mint = Mint(run_id, feed.settings.VENUE)
    for entries in _beginning(kernel, feed, configured, run_id):
        tally.take(entries)
    for batch in feed.batches:
        tally.take(kernel.step(channels.WS, Cause(FEED, mint.number(batch)), mint.events(batch)))
        if progress is not None and batch.number % PROGRESS_EVERY == 0:
            progress(Progress(batch.timestamp_us, feed.start_us, feed.end_us, kernel.head))
    now_us = machines[0].fold.now
    assert now_us is not None, "the feed has begun the run"
    risk = next(machine for machine in machines if isinstance(machine, RiskMachine))
    return PaperRun(
        run_id=run_id,
        period=(format_timestamp(feed.start_us), format_timestamp(now_us)),
        events=dict(sorted(tally.events.items())),
        portfolio=_portfolio(risk.state.account.portfolio),
        chain_tip=tally.tip.hex(),
        settings={channels.WS: feed.settings.model_dump()}
        | {service: model.model_dump() for service, model in configured.items()},
    )


def _identity(feed: PaperFeed, configured: dict[str, BaseModel]) -> Iterable[str]:
    yield feed.play
    yield str(feed.details.get("period"))
    yield str(feed.details.get("stresses"))
    for service in sorted(configured):
        yield settings_hash(configured[service])


def _beginning(
    kernel: Kernel, feed: PaperFeed, configured: dict[str, BaseModel], run_id: str
) -> Iterable[Iterable[Entry]]:
    """Let every service join the run in the order in which the processes do it."""

    def joins(service: str, settings: BaseModel, details: dict[str, Any] | None = None) -> list[Event]:
        return announcement(
            service,
            settings,
            run_id=run_id,
            now=feed.start_us,
            number=1,
            in_force=None,
            code_version=code_version(),
            details=details,
        )

    announce = Cause("announce", 1)
    yield kernel.step(channels.WS, announce, joins(channels.WS, feed.settings, feed.details))
    yield kernel.announce(configured, code_version=code_version())
    yield kernel.step(channels.WRITER, announce, joins(channels.WRITER, configured[channels.WRITER]))


class _Tally:
    """Counts and chains the entries of a run, and hands them on."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)
        self.events: Counter[str] = Counter()
        self.tip = GENESIS

    def take(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.tip = link(self.tip, entry)
            self.events[entry.event.type] += 1
            for sink in self._sinks:
                sink(entry)


def _portfolio(portfolio: Portfolio) -> dict[str, Any]:
    return {
        "equity": portfolio.equity,
        "cash": portfolio.cash,
        "realized_pnl": portfolio.realized_pnl,
        "unrealized_pnl": portfolio.unrealized_pnl,
        "fees": portfolio.fees,
        "positions": {key: _position(portfolio, key) for key in sorted(portfolio.positions) if _held(portfolio, key)},
    }


def _held(portfolio: Portfolio, key: str) -> bool:
    return portfolio.positions[key].quantity != Decimal(0)


def _position(portfolio: Portfolio, key: str) -> dict[str, Any]:
    position = portfolio.positions[key]
    return {
        "quantity": position.quantity,
        "entry_price": position.entry_price,
        "value": portfolio.value_of(key),
        "realized_pnl": position.realized_pnl,
        "fees": position.fees,
    }
