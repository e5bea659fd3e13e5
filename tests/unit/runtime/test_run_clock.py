"""The run's clock: what it folds, when it counts as dead, and that it survives a snapshot."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.common import channels
from services.common.codec import decode, encode
from services.common.events import Control, Event, MarketData, Signal
from services.common.journal.entry import Entry, JournalId
from services.common.runtime.run_clock import RunClock
from services.common.timestamps import SECOND_US

pytestmark = pytest.mark.unit


class Wall:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds

    def shift(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


T0 = 1_621_382_400 * SECOND_US
_number = iter(range(1, 1_000_000))


def entry(event: Event) -> Entry:
    """Return the event as it stands in the journal."""
    return Entry(JournalId(1, next(_number)), event.channel, event.producer, "feed:1", event.data)


def control(action: Any, at_sec: float = 0, producer: str = channels.WS, **fields: Any) -> Entry:
    """Return a control event."""
    return entry(
        Control(event_id="c", timestamp=T0 + int(at_sec * SECOND_US), producer=producer, action=action, **fields)
    )


def market_data(at_sec: float, producer: str = channels.WS) -> Entry:
    """Return a market data event."""
    one = Decimal(1)
    event = MarketData(
        event_id="m",
        timestamp=T0 + int(at_sec * SECOND_US),
        producer=producer,
        venue="mexc_spot",
        symbol="BTCUSDT",
        price=one,
        high=one,
        low=one,
        sequence=1,
    )
    return entry(event)


def test_now_is_the_greatest_time_of_the_feed_alone() -> None:
    """Older times of cdb_ws and any time of others do not move it."""
    clock = RunClock()
    clock.fold(control("started", 0, service=channels.WS, run_id="r"))
    clock.fold(market_data(10))
    clock.fold(control("tick", 5))
    clock.fold(market_data(99, producer=channels.CORE))
    signal = Signal(
        event_id="s",
        timestamp=T0 + 200 * SECOND_US,
        producer=channels.CORE,
        venue="mexc_spot",
        symbol="BTCUSDT",
        signal_type="buy",
        intent="entry",
        price=Decimal(1),
        confidence=Decimal(1),
    )
    clock.fold(entry(signal))
    assert clock.now == T0 + 10 * SECOND_US


def test_a_new_run_forgets_time_and_announcements_but_not_settings() -> None:
    """Services must join the new run; what they were configured with stays in force."""
    clock = RunClock()
    clock.fold(control("started", 100, service=channels.WS, run_id="r1"))
    clock.fold(control("started", 0, producer=channels.CORE, service=channels.CORE))
    clock.fold(control("config", 0, producer=channels.CORE, service=channels.CORE, details={"settings_hash": "abc"}))
    assert clock.announced == {channels.WS, channels.CORE}
    clock.fold(control("started", 5, service=channels.WS, run_id="r2"))
    assert (clock.run_id, clock.now) == ("r2", T0 + 5 * SECOND_US)
    assert clock.announced == {channels.WS}
    assert clock.settings_hashes == {channels.CORE: "abc"}


def test_a_restart_of_the_feed_in_the_same_run_changes_nothing() -> None:
    """`started` with the known run_id keeps time, announcements and the end of the recording."""
    clock = RunClock()
    clock.fold(control("started", 0, service=channels.WS, run_id="r"))
    clock.fold(control("started", 0, producer=channels.CORE, service=channels.CORE))
    clock.fold(control("finished", 60))
    clock.fold(control("started", 60, service=channels.WS, run_id="r"))
    assert clock.announced == {channels.WS, channels.CORE}
    assert clock.finished
    assert clock.stalled() is None


def test_an_announcement_on_behalf_of_another_does_not_count() -> None:
    """Only what a service says of itself is believed."""
    clock = RunClock()
    clock.fold(control("started", 0, producer=channels.RISK, service=channels.CORE))
    assert clock.announced == set()


def test_silence_of_the_clock_is_told_after_five_seconds() -> None:
    """Alive right after a tick, dead when nothing of cdb_ws came for over 5 s of wall time, alive with the next."""
    wall = Wall()
    clock = RunClock(wall)
    clock.fold(control("started", 0, service=channels.WS, run_id="r"))
    clock.fold(control("tick", 1))
    clock.fold(control("tick", 2))
    wall.shift(5.0)
    assert clock.stalled() is None
    wall.shift(0.5)
    assert "no event of cdb_ws for 5.5 s" in str(clock.stalled())
    clock.fold(control("tick", 3))
    assert clock.stalled() is None


def test_a_clock_of_one_tick_a_minute_may_be_silent_longer() -> None:
    """Candle files tick each minute of feed time: at their own speed 150 s of silence is the limit."""
    wall = Wall()
    clock = RunClock(wall)
    clock.fold(control("started", 0, service=channels.WS, run_id="r"))
    clock.fold(control("tick", 60))
    clock.fold(control("tick", 120))
    wall.shift(149)
    assert clock.stalled() is None
    wall.shift(2)
    assert clock.stalled() is not None


def test_a_jump_of_the_clock_is_not_its_pace() -> None:
    """After a machine slept for hours the next tick is hours later; a clock that dies then is noticed in 5 s."""
    wall = Wall()
    clock = RunClock(wall)
    clock.fold(control("started", 0, service=channels.WS, run_id="r"))
    for second in (1, 2, 3, 30_000):
        clock.fold(control("tick", second))
    wall.shift(5.5)
    assert clock.stalled() is not None


def test_before_the_first_tick_there_is_a_grace() -> None:
    """Services that wait for each other are healthy for a minute, not for ever."""
    wall = Wall()
    clock = RunClock(wall)
    wall.shift(59)
    assert clock.stalled() is None
    wall.shift(2)
    assert "no clock tick" in str(clock.stalled())


def test_another_recording_after_the_end_starts_the_clock_again() -> None:
    """A tick after `finished` means that silence is wrong again."""
    clock = RunClock()
    clock.fold(control("finished", 0))
    clock.fold(control("tick", 1, details={"pressure": "market_data"}))
    assert not clock.finished
    assert clock.pressure == "market_data"


def test_survives_a_snapshot() -> None:
    """What is folded comes back equal after canonical bytes."""
    clock = RunClock()
    clock.fold(control("started", 0, service=channels.WS, run_id="r"))
    clock.fold(control("tick", 1))
    clock.fold(control("tick", 3))
    clock.fold(control("finished", 4))
    other = RunClock()
    other.restore(decode(encode(clock.dump())))
    assert other.dump() == clock.dump()
