"""What the whole pipeline does about a stressed market: the layer that answers, the alert, and what is not done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from claire.paper.run import PaperRun, run_paper
from claire.paper.spec import PaperSpec
from claire.scenarios.stress import Crash, Duplicates, Funding, Gap, Late, Moment, Outage, Spread, Transform
from services.common.events import Alert, Control, Event, Order, OrderResult, RiskDecision, Signal
from services.common.journal.entry import Entry
from services.common.timestamps import MINUTE_US, SECOND_US
from tests.unit.scenarios.scenario_desk import SETTINGS, minute, write_recording

pytestmark = pytest.mark.unit


class Played:
    """A run and its events."""

    def __init__(self, recording: Path, *stresses: Transform, **settings: str) -> None:
        self.events: list[Event] = []
        spec = PaperSpec(inputs=(recording,), settings={**SETTINGS, **settings}, stresses=stresses)
        self.run: PaperRun = run_paper(spec, sinks=[self._take])

    def _take(self, entry: Entry) -> None:
        self.events.append(entry.event)

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def entries(self) -> list[RiskDecision]:
        """The verdicts on entries."""
        signals = {signal.event_id: signal for signal in self.of(Signal)}
        return [
            decision
            for decision in self.of(RiskDecision)
            if decision.signal_id in signals and signals[decision.signal_id].intent == "entry"
        ]

    def failing(self) -> set[str]:
        """The layers and codes that refused entries."""
        return {
            f"{layer.layer}:{layer.code}"
            for decision in self.entries
            for layer in decision.layers
            if layer.status == "fail"
        }

    @property
    def alerts(self) -> Counter[str]:
        """How many alerts of each code."""
        return Counter(alert.code for alert in self.of(Alert))

    @property
    def purposes(self) -> list[str]:
        """What each order was for."""
        return [order.purpose for order in self.of(Order)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market that is entered at minute 4 and held."""
    return write_recording(tmp_path_factory.mktemp("market") / "market.csv")


@pytest.fixture(scope="module")
def calm(recording: Path) -> Played:
    """The market as recorded."""
    return Played(recording)


def test_the_market_as_recorded_is_entered_once_and_held(calm: Played) -> None:
    """Without stress there is one entry, approved and filled, and no alert."""
    assert [decision.approved for decision in calm.entries] == [True]
    assert calm.purposes == ["entry"]
    assert not calm.alerts
    assert len(calm.run.portfolio["positions"]) == 1


def test_wide_spreads_are_refused_by_spread_check(recording: Path) -> None:
    """A spread of 100 bp at the entry is over MAX_SPREAD_PCT=0.005: layer 6 refuses and nothing is ordered."""
    wide = Played(recording, Spread(at=Moment(minute(3)), minutes=2, to_bps=100))
    assert "spread_check:SPREAD_LIMIT" in wide.failing()
    assert not wide.purposes


def test_an_outage_at_the_signal_is_refused_by_timeout_check(recording: Path) -> None:
    """The bar closes by the clock while the feed is silent: the entry finds data of 10 s ago, over 5 s, in layer 7."""
    silent = Played(recording, Outage(at=Moment(minute(3) + 50 * SECOND_US), minutes=1), DATA_STALE_TIMEOUT_SEC="5")
    assert "timeout_check:DATA_STALE" in silent.failing()
    assert not silent.purposes


def test_an_outage_while_positioned_is_an_alert_and_the_clock_goes_on(recording: Path, calm: Played) -> None:
    """Three minutes without quotes: BLIND_WHILE_POSITIONED, with as many ticks of the clock as ever."""
    blind = Played(recording, Outage(at=Moment(minute(6)), minutes=3))
    assert blind.alerts["BLIND_WHILE_POSITIONED"] >= 1
    ticks = [event.action for event in blind.of(Control)].count("tick")
    assert ticks == [event.action for event in calm.of(Control)].count("tick") == 600


def test_a_gap_before_the_signal_blocks_the_entry(recording: Path) -> None:
    """Lost messages in the window leave no clean minute: the strategy or layer 1 stays out; as recorded it entered."""
    lossy = Played(recording, Gap(at=Moment(minute(2)), minutes=8, share="0.4", seed=1))
    assert any(event.gap for event in lossy.events if event.type == "market_data")
    assert not lossy.purposes


def test_a_crash_is_left_by_the_stop(recording: Path) -> None:
    """A fall of 5 % within five minutes triggers the stop at 2 %, and the position is sold."""
    crashed = Played(recording, Crash(at=Moment(minute(6)), drop_pct="0.05", minutes=1, recovery_pct=0))
    assert "stop_loss" in crashed.purposes
    assert crashed.run.statistics.values["net_pnl"] < -100
    assert not crashed.run.portfolio["positions"]


def test_a_sudden_crash_of_a_large_position_ends_entries_and_trips_the_breaker(recording: Path) -> None:
    """Half of the equity in one coin that falls by 30 %: the daily limit latches and the breaker halts."""
    large = {
        "MAX_POSITION_PCT": "0.5",
        "MAX_TOTAL_EXPOSURE_PCT": "0.5",
        "RISK_PER_TRADE_PCT": "0.01",
        "MAX_ORDER_NOTIONAL_USDT": "100000",
        "MAX_SLIPPAGE_PCT": "0.5",
    }
    fallen = Played(recording, Crash(at=Moment(minute(6)), drop_pct="0.3", minutes="0.05", recovery_pct=0), **large)
    assert fallen.alerts["DAILY_DRAWDOWN_LIMIT"] == fallen.alerts["CIRCUIT_BREAKER"] == 1
    assert fallen.alerts["TRADING_HALTED"] == 1
    assert fallen.run.statistics.values["net_pnl"] < -10_000


def test_duplicates_do_nothing_twice(recording: Path, calm: Played) -> None:
    """With every message doubled there are the same signals, one verdict for each, one order and one position."""
    doubled = Played(recording, Duplicates(copies=2))
    assert [(s.timestamp, s.signal_type) for s in doubled.of(Signal)] == [
        (s.timestamp, s.signal_type) for s in calm.of(Signal)
    ]
    assert max(Counter(d.signal_id for d in doubled.of(RiskDecision)).values()) == 1
    assert doubled.purposes == ["entry"]
    filled = [result for result in doubled.of(OrderResult) if result.status == "FILLED"]
    assert len(filled) == 1
    assert len({result.trade_id for result in filled}) == 1
    bought = {key: position["quantity"] for key, position in _positions(doubled).items()}
    assert bought == {key: position["quantity"] for key, position in _positions(calm).items()}


def test_messages_late_and_out_of_order_never_turn_the_clock_back(recording: Path) -> None:
    """Time in the journal only grows, and whatever is traded is traded once a signal."""
    late = Played(recording, Late(delay_ms=4_000, least_delay_ms=100, share="0.5", seed=3))
    times = [event.timestamp for event in late.events]
    assert times == sorted(times)
    assert max(Counter(d.signal_id for d in late.of(RiskDecision)).values(), default=0) <= 1


def test_a_market_heard_of_two_minutes_late_is_traded_two_minutes_later(recording: Path, calm: Played) -> None:
    """All messages late by the same: the same entry, so much later."""
    late = Played(recording, Late(delay_ms=120_000))
    assert [s.timestamp - 2 * MINUTE_US for s in late.of(Signal)] == [s.timestamp for s in calm.of(Signal)]


def test_a_funding_spike_is_paid_at_the_settlement(tmp_path: Path) -> None:
    """A long perpetual over 00:00 UTC pays 1 % of its value instead of next to nothing."""
    over_midnight = write_recording(tmp_path / "night.csv", begin_sec=1_704_240_000 - 7 * 60)
    perpetual = {"VENUE": "mexc_perpetual"}
    usual = Played(over_midnight, **perpetual).run.statistics.values["funding"]
    spiked = Played(over_midnight, Funding(rate="0.01"), **perpetual).run.statistics.values["funding"]
    assert spiked < 10 * usual <= 0
    assert spiked < -10


def test_stresses_come_one_after_the_other_and_are_in_the_identity_of_the_run(recording: Path, calm: Played) -> None:
    """A crash in a wide market is another run than either alone; the same stresses give the same chain."""
    crash = Crash(at=Moment(minute(6)), drop_pct="0.05", minutes=1)
    wide = Spread(at=Moment(minute(6)), factor=5)
    both, again = Played(recording, crash, wide), Played(recording, crash, wide)
    assert both.run.chain_tip == again.run.chain_tip
    assert len({calm.run.run_id, both.run.run_id, Played(recording, crash).run.run_id}) == 3
    assert both.run.inputs["stresses"] == [crash.identity, wide.identity]


def _positions(played: Played) -> dict[str, Any]:
    positions = played.run.portfolio["positions"]
    return positions if isinstance(positions, dict) else {p["symbol"]: p for p in positions}
