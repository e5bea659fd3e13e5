"""`claire lookahead`: honest runs pass; a machine, and a feed, that know what comes later are caught and named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest

from claire.kernel import Kernel
from claire.lookahead import Cut, NothingToCut, Play, check_lookahead, play_spec
from claire.paper.scenarios import find_scenario
from claire.paper.spec import PaperSpec
from services.cdb_core.machine import CoreMachine
from services.cdb_core.settings import CoreSettings
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk.machine import RiskMachine
from services.cdb_risk.settings import RiskSettings
from services.cdb_ws.observation import Observation
from services.cdb_ws.recorded import Source
from services.common import channels
from services.common.events import Control, Event, MarketData, Signal
from services.common.journal.entry import Cause, Entry
from services.common.timestamps import MINUTE_US, SECOND_US
from tests.unit.claire.pipeline_desk import START_US
from tests.unit.explain.recorded import run, words, write
from tests.unit.explain.test_explain_why_not import QUICK, Minutes

pytestmark = pytest.mark.unit

PRICES = [50_000 + 40 * (minute % 7) - 25 * (minute % 4) for minute in range(40)]


class Peeking(CoreMachine):
    """Buys whenever the next minute's price is higher, which nobody can know."""

    def __init__(self, future: dict[int, int]) -> None:
        super().__init__()
        self._future = future

    def on_event(self, event: Event) -> None:
        """Look one bar ahead."""
        if isinstance(event, MarketData):
            later = self._future.get(event.timestamp + MINUTE_US, 0)
            if later > event.price:
                self.emit(
                    Signal, venue=event.venue, symbol=event.symbol, signal_type="buy", intent="entry",
                    price=event.price, confidence=Decimal(1), reason="it will rise",
                )  # fmt: skip


def play_with(core: type[CoreMachine], *, peeks: bool, bare: bool = False) -> Play:
    """Return a run of one quote and one tick (bare: a price alone) a minute; the strategy is given all of the input."""

    def play(cut: Cut) -> Iterator[Entry]:
        rows = {START_US + minute * MINUTE_US: price for minute, price in enumerate(PRICES)}
        rows = {at: price for at, price in rows.items() if cut.before_us is None or at < cut.before_us}
        kernel = Kernel((Peeking(rows) if peeks else core(), RiskMachine(), ExecutionMachine()))

        def say(number: int, at: int, model: type[Event], **fields: object) -> Iterator[Entry]:
            event = model(event_id=f"ws-{number}-{model.channel}", timestamp=at, producer=channels.WS, **fields)
            return kernel.step(channels.WS, Cause("feed", number), [event])

        yield from say(1, START_US, Control, action="started", service=channels.WS, run_id="run")
        settings = {
            channels.CORE: CoreSettings(),
            channels.RISK: RiskSettings(),
            channels.EXECUTION: ExecutionSettings(),
        }
        yield from kernel.announce(settings, code_version="test")
        for number, (at, price) in enumerate(rows.items(), 2):
            cut.last_us = at
            mid = Decimal(price)
            yield from say(
                2 * number, at, MarketData, venue="mexc_spot", symbol="BTCUSDT", price=mid, high=mid, low=mid,
                bid=None if bare else mid - 1, ask=None if bare else mid + 1, bid_size=Decimal(9), ask_size=Decimal(9),
                volume=Decimal(9), sequence=number,
            )  # fmt: skip
            if not bare:
                yield from say(2 * number + 1, at, Control, action="tick", details={"pressure": "none"})

    return play


def test_a_machine_that_peeks_at_the_next_bar_is_caught_and_its_signal_is_named() -> None:
    """With the input cut, the signal that needed the next bar is not there."""
    result = check_lookahead(play_with(Peeking, peeks=True), points=10)

    assert result.finding is not None
    assert result.finding.entry.event.type == "signal"
    assert result.finding.entry.event.reason == "it will rise"  # type: ignore[attr-defined]
    assert result.finding.as_dict()["event_id"] == result.finding.entry.event.event_id
    assert not result.as_dict()["ok"]


def test_a_decision_that_is_missing_at_the_very_end_of_the_cut_run_is_found() -> None:
    """Nothing comes after the quote that it was decided on, so that the cut journal is a beginning of the whole one."""
    result = check_lookahead(play_with(Peeking, peeks=True, bare=True), points=10)

    assert result.finding is not None
    assert result.finding.cut is None
    assert result.finding.entry.event.type == "signal"


def test_the_strategy_itself_does_not_peek() -> None:
    """The same input, the real machine: nothing is found, and everything before each cut was compared."""
    result = check_lookahead(play_with(CoreMachine, peeks=False), points=10)

    assert result.finding is None
    assert len(result.cuts) == 10
    assert result.compared > 10 * len(PRICES)


@pytest.fixture
def recording(tmp_path: Path) -> PaperSpec:
    """Three hours of one-minute candles, under settings that decide often."""
    (bundled,) = find_scenario("crash-2021-05-19").inputs
    part = tmp_path / "part_1m.csv"
    with gzip.open(bundled, "rt", encoding="utf-8") as lines:
        part.write_text("".join(islice(lines, 180)), encoding="utf-8")
    settings = QUICK | {"SIGNAL_THRESHOLD_PCT": "0.0005", "RECORDED_SYMBOL_MAP": "XBTUSD=BTCUSDT"}
    return PaperSpec(inputs=(part,), settings=settings)


@pytest.mark.slow
def test_a_recording_passes_with_its_decisions(recording: PaperSpec) -> None:
    """From the file's rows on: reader, conflation, strategy, risk and execution."""
    result = check_lookahead(play_spec(recording), points=6)

    assert (result.finding, len(result.cuts)) == (None, 6)
    assert result.decisions > 20


@pytest.mark.slow
def test_the_bundled_ticks_pass() -> None:
    """Two files of ticks, merged and conflated."""
    scenario = find_scenario("ticks-2024-08-08")

    result = check_lookahead(play_spec(PaperSpec(inputs=scenario.inputs, settings=scenario.settings)), points=4)

    assert (result.finding, len(result.cuts)) == (None, 4)
    assert result.decisions > 8


@dataclass(frozen=True)
class Tomorrow:
    """A recording in which each price is already that of a later row."""

    identity: str = "tomorrow"

    def __call__(self, source: Source) -> Source:
        """Read the rows ahead."""
        rows = list(source)
        observed = [row for row in rows if isinstance(row, Observation)]
        for row in rows:
            yield Observation(**{**_fields(row), "price": observed[-1].price}) if isinstance(row, Observation) else row


def _fields(row: Observation) -> dict[str, object]:
    return {name: getattr(row, name) for name in Observation.__match_args__}


def test_a_feed_that_knows_the_last_price_is_caught(recording: PaperSpec) -> None:
    """Not only machines: what the feed says early must not depend on what comes late either."""
    result = check_lookahead(play_spec(replace(recording, stresses=(Tomorrow(),))), points=2)

    assert result.finding is not None
    assert result.finding.entry.channel == channels.MARKET_DATA


def test_the_command_on_a_journal_and_its_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 when nothing looks ahead, 1 when something does, 2 when it is used wrongly."""
    pipeline = Minutes()
    pipeline.minutes("50000", "50000", "51000", "51000", "50000", "50000")
    journal = str(write(tmp_path, pipeline.entries))

    code, output = run("lookahead", "--journal", journal, "--points", "5", "--json")
    assert (code, json.loads(output)["ok"]) == (0, True)
    assert json.loads(output)["decisions"] > 3
    code, output = run("lookahead", "--input", journal, "--points", "5")
    assert (code, "No decision looks ahead." in output) == (0, True)

    monkeypatch.setattr("claire.lookahead.play_journal", lambda _: play_with(Peeking, peeks=True))
    code, output = run("lookahead", "--journal", journal)
    assert code == 1
    assert "A decision looks ahead: signal" in words(output)

    assert run("lookahead")[0] == 2
    assert run("lookahead", "--scenario", "nonsense")[0] == 2
    assert run("lookahead", "--input", str(tmp_path / "none.csv"))[0] == 2


def test_an_input_of_one_moment_cannot_be_cut() -> None:
    """That is said instead of a proof over nothing."""

    def play(cut: Cut) -> Iterator[Entry]:
        yield from (entry for entry, _ in zip(play_with(CoreMachine, peeks=False)(cut), range(9), strict=False))

    with pytest.raises(NothingToCut):
        check_lookahead(play)


def test_cuts_stand_just_after_decisions_and_evenly_between() -> None:
    """Half of the cuts come a microsecond after something was decided."""
    result = check_lookahead(play_with(Peeking, peeks=True), points=8)

    assert any(cut % SECOND_US == 1 for cut in result.cuts)
