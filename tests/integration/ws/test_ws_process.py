"""cdb_ws as a process on a real Valkey: what stands in the journal, whatever happens to the process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.cdb_ws.adapters.recorded_files import Reader, RecordedFile
from services.cdb_ws.fold import FeedFold
from services.cdb_ws.mint import Mint
from services.cdb_ws.recorded import RecordedFeed
from services.common.events import Control, MarketData
from services.common.journal.entry import Cause
from services.common.runtime.snapshots import Snapshot

pytestmark = pytest.mark.integration

MakeFeed = Callable[..., Any]


def undisturbed(tick_file: Path) -> list[tuple[str, str, bytes]]:
    """Return what the feed publishes when nothing happens to it, made by the pure machinery in this process."""
    reader = Reader(("BTCUSDT", "ETHUSDT", "SOLUSDT"), {})
    batches = RecordedFeed(reader.sources([RecordedFile.inspect(tick_file)]), max_hz=4, tick_us=1_000_000)
    mint = Mint("test-run", "mexc_spot")
    return [(e.channel, f"feed:{b.number}", e.data) for b in batches for e in mint.events(b)]


def test_a_recording_is_played_whole_after_everybody_has_joined(feed: MakeFeed, tick_file: Path) -> None:
    """`started` and `config` come first, then the others join, then the whole file, and at last `finished`."""
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="max").start()
    one.wait_for_control("config")
    assert [e.cause for e in one.entries()] == ["announce:1", "announce:1"]
    one.join()
    one.wait_for_control("finished")
    events = [e.event for e in one.entries()]
    assert one.played() == undisturbed(tick_file)
    market = [e for e in events if isinstance(e, MarketData)]
    ticks = [e for e in events if isinstance(e, Control) and e.action == "tick"]
    assert [e.action for e in events[:5]] == ["started", "config", "started", "started", "started"]
    assert events[0].run_id == "test-run"
    assert events[1].details["files"] == [RecordedFile.inspect(tick_file).provenance()]
    assert events[1].details["settings"]["FEED_FILES"] == ["ticks.csv"]
    assert events[1].details["settings"]["CLOCK_TICK_SEC"] == 1
    assert sum(e.volume for e in market) == sum(Decimal(f"0.{n:04d}1") for n in range(600) if n % 3)
    assert [t.timestamp for t in ticks] == [(1_700_000_000 + second) * 1_000_000 for second in range(1, 31)]
    assert all(t.details == {"pressure": "none"} for t in ticks)
    assert isinstance(events[-1], Control)
    assert events[-1].action == "finished"
    assert len({e.event_id for e in events}) == len(events)


@pytest.mark.slow  # make test keeps to three minutes
def test_status_health_and_metrics_say_what_the_feed_does(feed: MakeFeed, tick_file: Path) -> None:
    """A finished recording is healthy, and its position, rows and files are shown."""
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="max").start()
    one.wait_for_control("config")
    others = ["cdb_core", "cdb_risk", "cdb_execution"]
    one.wait_until(lambda: one.get("/status")[1]["feed"]["waiting_for"] == others, "shown whom it waits for")
    one.join()
    one.wait_for_control("finished")
    code, health = one.get("/health")
    assert (code, health["status"], health["service"]) == (200, "ok", "cdb_ws")
    _, status = one.get("/status")
    assert status["feed"]["rows"] == 600
    assert status["feed"]["files"] == ["ticks.csv"]
    assert status["feed"]["position"] == "2023-11-14T22:13:50.000000Z"
    _, metrics = one.get("/metrics")
    assert 'cdb_feed_market_data_total{symbol="BTCUSDT",venue="mexc_spot"}' in metrics
    assert "cdb_feed_ticks_total 30.0" in metrics


@pytest.mark.chaos
@pytest.mark.slow  # many starts of a process
def test_killed_at_any_moment_the_journal_ends_up_the_same(feed: MakeFeed, tick_file: Path) -> None:
    """Kill -9 while waiting, twice in the middle and after the end: what was published is byte for byte equal."""
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="30").start()
    one.wait_for_control("started")
    one.end(signal.SIGKILL)
    one.start()
    one.join()
    for entries in (40, 120):
        one.wait_for_head(entries)
        one.end(signal.SIGKILL)
        one.start()
    one.wait_for_control("finished")
    one.end(signal.SIGKILL)
    one.start()
    one.wait_for_control("started", count=5)
    code, output = one.end(signal.SIGTERM)
    assert code == 0, output
    assert one.played() == undisturbed(tick_file)


@pytest.mark.slow
@pytest.mark.chaos
def test_redis_killed_in_the_middle_loses_nothing(feed: MakeFeed, tick_file: Path, own_redis: Any) -> None:
    """Redis killed and started again, its bus opened anew: the feed goes on where it was."""
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="20", server=own_redis).start()
    one.join()
    one.wait_for_head(60)
    own_redis.kill()
    own_redis.start()
    one.reopen()
    one.wait_for_control("finished")
    assert one.played() == undisturbed(tick_file)


@pytest.mark.slow
@pytest.mark.chaos
def test_what_redis_lost_is_played_again(feed: MakeFeed, tick_file: Path, own_redis: Any) -> None:
    """Redis loses the tail of its file and no archive has it: the feed goes back to what is left and plays on."""
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="20", SNAPSHOT_EVERY="10", server=own_redis).start()
    one.join()
    one.wait_for_head(60)
    (log,) = own_redis.directory.glob("**/*.incr.aof")
    size = log.stat().st_size
    head = one.client.head()
    assert head is not None
    one.wait_for_head(head.n + 20)
    own_redis.kill()
    with log.open("r+b") as file:
        file.truncate(size)
    own_redis.start()
    one.reopen()
    assert one.client.head().n <= head.n
    one.wait_for_control("finished")
    assert one.played() == undisturbed(tick_file)
    assert one.process.poll() is None


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
def test_market_data_refused_for_memory_lose_no_volume(
    feed: MakeFeed, tick_file: Path, own_redis: Any, *, killed: bool
) -> None:
    """Short of memory the clock goes on and says so; later the volume is there to the last digit, marked as a gap.

    A kill -9 while market data are withheld changes nothing.
    """
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="10", server=own_redis).start()
    one.join()
    one.wait_for_head(60)
    with own_redis.client() as redis:
        used = redis.info("memory")["used_memory"]
        redis.config_set("maxmemory", int(used / 0.75))

        def refused_ticks() -> list[Control]:
            events = [e.event for e in one.entries() if e.channel == "control"]
            return [e for e in events if isinstance(e, Control) and e.details.get("pressure") == "market_data"][2:]

        one.wait_until(refused_ticks, "three ticks that say so")
        if killed:
            one.end(signal.SIGKILL)
            one.start()
            one.wait_for_control("started", count=2)
        redis.config_set("maxmemory", 0)
    one.wait_for_control("finished")
    market = [e.event for e in one.entries() if e.channel == "market_data"]
    for symbol, first in (("BTCUSDT", 0), ("ETHUSDT", 1)):
        mine = [e for e in market if e.symbol == symbol]
        assert sum(e.volume for e in mine) == sum(Decimal(f"0.{n:04d}1") for n in range(first, 600, 2) if n % 3)
        assert [e.gap for e in mine].count(True) >= 1
    alerts = [e.event.code for e in one.entries() if e.channel == "alerts"]
    assert "MARKET_DATA_WITHHELD" in alerts


def test_in_the_turnstile_each_batch_waits_for_everybody(feed: MakeFeed, tick_file: Path) -> None:
    """The next batch comes when core, risk and execution have done the head, not before."""
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="max", TURNSTILE="true").start()
    fences = one.join("cdb_core", "cdb_risk", "cdb_execution", "cdb_writer")
    fences.pop("cdb_writer")
    head = 6
    for _ in range(10):
        assert one.client.head().n == head
        for service, fence in list(fences.items())[:2]:
            one.client.advance(service, fence, head)
        assert one.client.head().n == head
        one.client.advance("cdb_execution", fences["cdb_execution"], head)
        one.wait_for_head(head + 1)
        batch = one.entries(after=head)
        assert len({entry.cause for entry in batch}) == 1
        head += len(batch)
    _, health = one.get("/health")
    assert health["status"] == "ok"


@pytest.mark.slow  # two starts of a process
def test_a_new_run_plays_the_same_file_again_under_new_ids(feed: MakeFeed, tick_file: Path) -> None:
    """Another RUN_ID begins again: the same content, other event ids, batch numbers that go on."""
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="max").start()
    fences = one.join()
    one.wait_for_control("finished")
    one.end(signal.SIGTERM)
    one.start(RUN_ID="second-run")
    one.wait_for_control("started", count=2)
    for service, fence in fences.items():
        started = one.entries()[0].event.model_copy(
            update={"event_id": f"again-{service}", "producer": service, "service": service, "run_id": "second-run"}
        )
        one.client.publish(service, fence, Cause("announce", 2), [started])
    one.wait_for_control("finished", count=2)
    events = [e.event for e in one.entries() if e.cause.startswith("feed:")]
    half = len(events) // 2
    first, second = events[:half], events[half:]
    assert [e.timestamp for e in first] == [e.timestamp for e in second]
    assert [e.volume for e in first if isinstance(e, MarketData)] == [
        e.volume for e in second if isinstance(e, MarketData)
    ]
    assert not {e.event_id for e in first} & {e.event_id for e in second}


@pytest.mark.slow
def test_another_file_before_the_runs_time_is_refused(feed: MakeFeed, tick_file: Path, tmp_path: Path) -> None:
    """A recording that begins before `now` of the same run ends the start with exit code 2 and a way out."""
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="max").start()
    one.join()
    one.wait_for_control("finished")
    one.end(signal.SIGTERM)
    other = tmp_path / "other.csv"
    other.write_text(tick_file.read_text().replace("60000", "60001"))
    code, output = one.start(FEED_FILES=str(other)).output()
    assert code == 2
    assert "begin a new run" in output


@pytest.mark.slow  # two starts of a process
def test_a_later_file_goes_on_in_the_same_run(feed: MakeFeed, tick_file: Path, tmp_path: Path) -> None:
    """A recording that begins after `now` is played in the same run, with a new configuration event."""
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="max").start()
    one.join()
    one.wait_for_control("finished")
    one.end(signal.SIGTERM)
    later = tmp_path / "later.csv"
    later.write_text(tick_file.read_text().replace("\n17000000", "\n17000050"))
    one.start(FEED_FILES=str(later))
    one.wait_for_control("finished", count=2)
    events = [e.event for e in one.entries() if e.producer == "cdb_ws"]
    assert [e.action for e in events if isinstance(e, Control) and e.action in {"started", "config"}] == [
        "started",
        "config",
        "started",
        "config",
    ]
    sequences = [e.sequence for e in events if isinstance(e, MarketData) and e.symbol == "BTCUSDT"]
    assert sequences == sorted(set(sequences))
    assert len(sequences) == 2 * 120


def test_a_bad_row_stops_the_service_with_its_place(feed: MakeFeed, tick_file: Path) -> None:
    """A row that cannot be used ends the service loudly: exit code 2, file, line, value, and a CRITICAL alert."""
    lines = tick_file.read_text().splitlines()
    lines[300] = lines[300].replace("60000.00", "NaN").replace("2600.00", "NaN")
    tick_file.write_text("\n".join(lines) + "\n")
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="max").start()
    one.join()
    code, output = one.output()
    assert code == 2
    assert f"{tick_file}:301: bid='NaN'" in output
    alerts = [e.event for e in one.entries() if e.channel == "alerts"]
    assert [(a.level, a.code) for a in alerts] == [("CRITICAL", "FEED_INPUT_INVALID")]


def test_a_skipped_row_is_kept_and_marks_a_gap(feed: MakeFeed, tick_file: Path) -> None:
    """With FEED_BAD_ROWS=skip the row is a dead letter, the next event of its symbol has a gap, the rest plays."""
    lines = tick_file.read_text().splitlines()
    lines[301] = lines[301].replace("60000.00", "-1").replace("2600.00", "-1")
    tick_file.write_text("\n".join(lines) + "\n")
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="max", FEED_BAD_ROWS="skip").start()
    one.join()
    one.wait_for_control("finished")
    letters = one.client.dead_letters()
    assert [letter.raw.decode() for letter in letters] == [lines[301]]
    assert "bid='-1'" in letters[0].reason
    market = [e.event for e in one.entries() if e.channel == "market_data"]
    assert [(e.symbol, e.gap) for e in market if e.gap] == [("BTCUSDT", True)]


def test_a_file_without_our_symbols_says_what_it_has(feed: MakeFeed, tick_file: Path) -> None:
    """The refusal names the symbols of the file and the setting that maps them."""
    code, output = feed(FEED_FILES=str(tick_file), SYMBOLS="SOLUSDT").start().output()
    assert code == 2
    assert "it has BTCUSDT, ETHUSDT" in output
    assert "RECORDED_SYMBOL_MAP=BTCUSDT=SOLUSDT" in output


@pytest.mark.slow  # three starts of a process
def test_a_run_id_of_an_earlier_run_is_refused(feed: MakeFeed, tick_file: Path) -> None:
    """Derived ids would repeat: a run that is over is not begun again under its name."""
    one = feed(FEED="external").start()
    one.wait_for_head(3)
    one.end(signal.SIGTERM)
    one.start(RUN_ID="second-run")
    one.wait_for_control("started", count=2)
    one.end(signal.SIGTERM)
    code, output = one.start(RUN_ID="test-run").output()
    assert code == 2
    assert "RUN_ID=test-run: this journal already has a run of that name" in output


@pytest.mark.slow  # three starts of a process
def test_without_a_run_id_the_journals_run_goes_on(feed: MakeFeed) -> None:
    """The first start draws a run id, a restart keeps it, NEW_RUN draws another."""
    one = feed(FEED="external", RUN_ID="").start()
    one.wait_for_head(3)
    one.end(signal.SIGTERM)
    one.start()
    first, second = one.wait_for_control("started").run_id, one.wait_for_control("started", count=2).run_id
    one.end(signal.SIGTERM)
    one.start(NEW_RUN="true")
    third = one.wait_for_control("started", count=3).run_id
    assert first == second
    assert len({first, third, None}) == 3


@pytest.mark.slow
def test_a_snapshot_that_contradicts_the_journal_is_discarded(feed: MakeFeed, tick_file: Path) -> None:
    """A restart folds the journal anew when its snapshot is damaged or says another number than the journal."""
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="20", SNAPSHOT_EVERY="10").start()
    one.join()
    one.wait_for_head(60)
    one.end(signal.SIGTERM)
    newest = max(one.snapshots(), key=lambda path: int(path.stem.rpartition("-")[2]))
    snapshot = Snapshot.from_bytes(newest.read_bytes())
    wrong = replace(snapshot, state=replace(FeedFold.restore(snapshot.state), last=10**6).dump())
    newest.write_bytes(wrong.to_bytes())
    for other in one.snapshots():
        if other != newest:
            other.write_bytes(b"damaged")
    one.start()
    one.wait_for_control("finished")
    code, output = one.end(signal.SIGTERM)
    assert code == 0
    assert "marks feed:" in output
    assert "not a snapshot" in output
    assert one.played() == undisturbed(tick_file)


@pytest.mark.slow
def test_a_journal_that_lacks_what_it_marks_is_not_continued(feed: MakeFeed, tick_file: Path) -> None:
    """When the mark of the feed says more than the journal has, the service halts and says why."""
    one = feed(FEED_FILES=str(tick_file), PLAYBACK_SPEED="max").start()
    one.join()
    one.wait_for_control("finished")
    one.end(signal.SIGTERM)
    for path in one.snapshots():
        path.unlink()
    with one.server.client() as redis:
        redis.hset("hw", "cdb_ws/feed", 10**6)
    code, output = one.start().output()
    assert code == 3
    assert "marks feed:1000000 as the last" in output


@pytest.mark.slow  # make test keeps to three minutes
def test_a_second_instance_ends_the_first(feed: MakeFeed) -> None:
    """A process whose lease was taken over publishes nothing more and ends with exit code 4."""
    one = feed(FEED="external", CLOCK_SPEED="10").start()
    one.wait_for_head(3)
    with one.server.client() as redis:
        redis.hset("fence", "cdb_ws", 99)
    code, output = one.output()
    assert code == 4
    assert "not_alone" in output or "fence_lost" in output


@pytest.mark.slow  # make test keeps to three minutes
def test_external_feed_is_the_clock_alone_and_never_goes_back(feed: MakeFeed) -> None:
    """`external` publishes nothing but ticks, strictly growing over a kill -9, whatever the speed."""
    one = feed(FEED="external", FEED_FILES="left-alone.csv", CLOCK_SPEED="50").start()
    one.wait_for_head(20)
    one.end(signal.SIGKILL)
    one.start()
    one.wait_for_head(40)
    code, health = one.get("/health")
    assert (code, health["status"]) == (200, "ok")
    one.end(signal.SIGTERM)
    events = [e.event for e in one.entries()]
    assert {e.action for e in events} == {"started", "config", "tick"}
    times = [e.timestamp for e in events if e.action == "tick"]
    assert times == sorted(set(times))


def test_settings_are_refused_all_at_once(feed: MakeFeed) -> None:
    """Wrong settings end the start with exit code 2 and name each mistake."""
    code, output = feed(FEED="recorded", PLAYBACK_SPEED="fast", MARKET_DATA_MAX_HZ="0").start().output()
    assert code == 2
    assert "PLAYBACK_SPEED=fast" in output
    assert "MARKET_DATA_MAX_HZ=0" in output
