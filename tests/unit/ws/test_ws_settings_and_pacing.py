"""Settings of the feed, and wall time."""

from __future__ import annotations

import time
from decimal import Decimal
from threading import Event

import pytest
import time_machine

from services.cdb_ws.adapters.pacing import Pace, WallFeedClock, wait_until
from services.cdb_ws.settings import FeedSettings, PlaybackSettings
from services.common.errors import SettingsInvalid
from services.common.settings import load_settings
from services.common.timestamps import SECOND_US

pytestmark = pytest.mark.unit


def feed_settings(**environ: str) -> FeedSettings:
    """Settings from an environment."""
    return load_settings(FeedSettings, environ)


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("a.csv", ("a.csv",)),
        ("a.csv, b.csv;c.csv", ("a.csv", "b.csv", "c.csv")),
        ("/data/a.csv:/data/b.csv.gz", ("/data/a.csv", "/data/b.csv.gz")),
        (r"C:\data\a.csv;D:/b.csv", (r"C:\data\a.csv", "D:/b.csv")),
    ],
)
def test_files_are_listed_with_commas_or_as_in_path(text: str, files: tuple[str, ...]) -> None:
    """Commas, semicolons and colons separate; a drive letter keeps its colon."""
    assert files == feed_settings(FEED_FILES=text).FEED_FILES


def test_symbols_and_their_map_are_normalised() -> None:
    """Symbols are written in any common form and stand as on the wire."""
    settings = feed_settings(
        FEED_FILES="a", SYMBOLS="btc_usdt, ETH/USDT", RECORDED_SYMBOL_MAP="XBT-USD=BTC_USDT,eth_usd=ETHUSDT"
    )
    assert settings.SYMBOLS == ("BTCUSDT", "ETHUSDT")
    assert settings.RECORDED_SYMBOL_MAP == {"XBTUSD": "BTCUSDT", "ETHUSD": "ETHUSDT"}
    assert FeedSettings.model_validate(settings.model_dump()) == settings


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "FEED=recorded needs FEED_FILES"),
        ({"FEED_FILES": "a", "SYMBOLS": "BTC"}, "SYMBOLS=BTC"),
        ({"FEED_FILES": "a", "SYMBOLS": ","}, "SYMBOLS=,"),
        ({"FEED_FILES": "a", "SYMBOLS": "BTCUSDT,DOGEUSDT"}, "no price and lot grid is known for DOGEUSDT; known are"),
        ({"FEED_FILES": "a", "SYMBOLS": "auto"}, "name the symbols"),
        ({"FEED_FILES": "a", "SYMBOLS": "BTCUSDT,BTC_USDT"}, "BTCUSDT stands twice"),
        ({"FEED_FILES": "a", "RECORDED_SYMBOL_MAP": "XBTUSD"}, "FILE_SYMBOL=OUR_SYMBOL"),
        ({"FEED_FILES": "a", "RECORDED_SYMBOL_MAP": "X=BTCUSDT"}, "symbol 'X'"),
        ({"FEED_FILES": "a", "RECORDED_SYMBOL_MAP": "XBTUSD=BTCUSDT,XBT_USD=ETHUSDT"}, "mapped twice"),
        ({"FEED_FILES": "a", "RECORDED_SYMBOL_MAP": "XBTUSD=BTCUSDT,BTCUSD=BTCUSDT"}, "both be BTCUSDT"),
        ({"FEED_FILES": "a", "MARKET_DATA_MAX_HZ": "0"}, "MARKET_DATA_MAX_HZ=0"),
        ({"FEED_FILES": "a", "CLOCK_TICK_SEC": "0"}, "CLOCK_TICK_SEC=0"),
    ],
)
def test_wrong_settings_are_refused_with_the_fix(environ: dict[str, str], message: str) -> None:
    """Each mistake is named with its value."""
    with pytest.raises(SettingsInvalid, match=message):
        feed_settings(**environ)


@pytest.mark.parametrize(("text", "speed"), [("1", Decimal(1)), ("0.5", Decimal("0.5")), ("max", None), ("MAX", None)])
def test_speeds(text: str, speed: Decimal | None) -> None:
    """A speed is a number or max."""
    assert speed == load_settings(PlaybackSettings, {"PLAYBACK_SPEED": text}).PLAYBACK_SPEED


@pytest.mark.parametrize("text", ["0", "-1", "fast", "NaN", "Infinity"])
def test_speeds_that_are_none(text: str) -> None:
    """Zero, negative and non-numbers are refused."""
    with pytest.raises(SettingsInvalid, match=f"PLAYBACK_SPEED={text}"):
        load_settings(PlaybackSettings, {"PLAYBACK_SPEED": text})


def test_waiting_beats_and_obeys_a_stop() -> None:
    """A wait ends at its deadline, at once when it has passed, and early when the process shall stop."""
    stop, beats = Event(), []
    assert wait_until(time.monotonic() - 1, stop, lambda: beats.append(1))
    assert not beats
    assert wait_until(time.monotonic() + 0.02, stop, lambda: beats.append(1))
    assert beats
    stop.set()
    assert not wait_until(time.monotonic() + 60, stop, lambda: None)
    assert not wait_until(time.monotonic() - 1, stop, lambda: None)


def test_a_pace_is_feed_time_over_speed() -> None:
    """At speed 1000 twenty feed seconds take 20 ms of wall time."""
    pace = Pace(Decimal(1_000), Event(), lambda: None)
    began = time.monotonic()
    assert pace.wait(0)
    assert pace.wait(20 * SECOND_US)
    assert 0.02 <= time.monotonic() - began < 10


def test_the_greatest_speed_does_not_wait() -> None:
    """`max` never waits, but obeys a stop."""
    stop = Event()
    pace = Pace(None, stop, lambda: None)
    assert pace.wait(0)
    assert pace.wait(10**15)
    stop.set()
    assert not pace.wait(10**15)


def test_after_a_hold_up_play_goes_on_at_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Being late by over a second moves the schedule: what was missed is not rushed through."""
    now = [1_000.0]
    waited: list[float] = []

    class Waiting(Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            waited.append(timeout)
            now[0] += timeout
            return False

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Pace(Decimal(1), Waiting(), lambda: None)
    pace.wait(0)
    now[0] += 10
    pace.wait(SECOND_US)
    assert not waited
    pace.wait(2 * SECOND_US)
    assert sum(waited) == pytest.approx(1.0)


def test_the_feed_clock_never_goes_back() -> None:
    """Feed time starts at the journal's newest when that is ahead, and follows a wall clock that jumps forward."""
    with time_machine.travel(1_700_000_000.0, tick=False) as traveller:
        assert WallFeedClock(Decimal(1), None).start_us == 1_700_000_000 * SECOND_US
        ahead = WallFeedClock(Decimal(1), 1_800_000_000 * SECOND_US)
        assert ahead.start_us == 1_800_000_000 * SECOND_US
        clock = WallFeedClock(Decimal(1), None)
        before = clock.now_us()
        traveller.move_to(1_600_000_000.0)
        assert clock.now_us() >= before
        traveller.move_to(1_700_003_600.0)
        assert clock.now_us() >= 1_700_003_600 * SECOND_US


def test_the_feed_clock_goes_on_when_the_wall_clock_is_set_back() -> None:
    """A wall clock that jumped ahead and was corrected does not stop feed time until it has caught up."""
    with time_machine.travel(1_700_000_000.0, tick=False) as traveller:
        clock = WallFeedClock(Decimal(1), None)
        traveller.move_to(1_700_003_600.0)
        ahead = clock.now_us()
        traveller.move_to(1_700_000_000.0)

        later = [clock.now_us() for _ in range(2)]

    assert ahead <= later[0] <= later[1] < ahead + 60 * SECOND_US
    assert clock.due(later[1] + SECOND_US) - time.monotonic() <= 1.0


def test_a_fast_clock_keeps_its_own_count() -> None:
    """At another speed than 1 only elapsed time counts, and `due` says when a feed time comes."""
    clock = WallFeedClock(Decimal(100), None)
    start = clock.now_us()
    assert 0 < clock.due(start + 100 * SECOND_US) - time.monotonic() <= 1.0
    assert clock.due(start - SECOND_US) <= time.monotonic()
