"""`claire replay`: the recorded inputs give the recorded journal again, from any place; what differs is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from claire.cli import app
from claire.history.journal_file import JournalWriter
from claire.history.record import HistoryUnusable
from claire.history.source import FileHistory
from claire.history.span import Span
from claire.kernel import deciding_machines
from claire.replay.closed_loop import ClosedLoop, Outcome
from claire.replay.command import Pace, show
from claire.replay.starting_point import find_start, is_input
from claire.screen import Screen
from claire.watch import Happening
from services.common.codec import decode, encode
from services.common.events import Order, OrderResult, parse_event
from services.common.journal.entry import Entry, JournalId
from services.common.runtime.snapshots import Snapshot
from tests.unit.audit.recorded_day import Day, busy_day

pytestmark = pytest.mark.unit

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def lockstep() -> list[Entry]:
    """A day in which everybody waits for everybody."""
    return busy_day(1, 240, lockstep=True).entries


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory, lockstep: list[Entry]) -> Path:
    """The file of it."""
    return write(tmp_path_factory.mktemp("lockstep") / "journal.jsonl.zst", lockstep)


def write(path: Path, entries: Sequence[Entry]) -> Path:
    """Write a journal file with a chain of its own over whatever these entries are."""
    with JournalWriter(path) as writer:
        for entry in entries:
            writer.write(entry)
    return path


def replayed(path: Path, span: Span | None = None, snapshots: Path | None = None) -> Outcome:
    """Replay a file to its end."""
    span = span or Span()
    loop = ClosedLoop(find_start(FileHistory(path), span, snapshots), span)
    for _ in loop.play():
        pass
    return loop.outcome()


def claire(*arguments: object) -> Result:
    """Run a command in this process."""
    return RUNNER.invoke(app, [str(argument) for argument in arguments])


def test_a_day_in_lockstep_comes_out_byte_for_byte(journal: Path, lockstep: list[Entry]) -> None:
    """Trades, restarts, new settings, an operator, a new epoch, a second run: the chain's end is the recorded one."""
    outcome = replayed(journal)
    assert outcome.difference is None
    assert outcome.head == outcome.recorded
    assert (outcome.first, outcome.last, outcome.entries) == (1, len(lockstep), len(lockstep))
    assert outcome.derived == outcome.same == sum(not is_input(entry) for entry in lockstep)
    assert outcome.derived > 50
    assert outcome.whole


@pytest.mark.parametrize("begin", [2, 100, 333, 600])
def test_any_part_comes_out_as_well(journal: Path, lockstep: list[Entry], begin: int) -> None:
    """By folding what was before; it begins at the next input at which nothing is owed."""
    outcome = replayed(journal, Span(first=begin, last=begin + 150))
    assert outcome.difference is None
    assert begin <= outcome.first <= begin + 20
    assert begin + 150 <= outcome.last < begin + 200
    assert outcome.recorded.seq == outcome.last


def test_a_part_by_time(journal: Path) -> None:
    """From one time of the clock to another."""
    outcome = replayed(journal, Span.parse("2024-08-08T23:59:00", "2024-08-09T00:00:30"))
    assert outcome.difference is None
    assert outcome.entries > 100


def take_snapshots(folder: Path, lockstep: list[Entry], n: int) -> None:
    """Save what each machine knows after entry n, as its process would."""
    for machine in deciding_machines():
        for entry in lockstep[:n]:
            machine.handle(entry)
        place = folder / machine.service
        place.mkdir(parents=True, exist_ok=True)
        snapshot = Snapshot(lockstep[n - 1].id, machine.dump(), machine.fold.settings_hash, "test")
        (place / f"snapshot-{snapshot.id.epoch}-{n}.json").write_bytes(snapshot.to_bytes())


def test_a_replay_from_snapshots_is_the_same(journal: Path, lockstep: list[Entry], tmp_path: Path) -> None:
    """The newest one before the beginning is taken; without a beginning it begins behind the newest of all."""
    take_snapshots(tmp_path, lockstep, 200)
    take_snapshots(tmp_path, lockstep, 500)
    for span in (Span(first=400), Span(first=501), Span()):
        outcome = replayed(journal, span, tmp_path)
        assert outcome.difference is None
        assert outcome.first >= (span.first or 501)
        assert outcome.head == replayed(journal).head


def test_a_snapshot_that_does_not_belong_is_refused(journal: Path, lockstep: list[Entry], tmp_path: Path) -> None:
    """Of another journal, or damaged; one behind the beginning is passed over."""
    take_snapshots(tmp_path, lockstep, 500)
    assert replayed(journal, Span.parse("2024-08-08T23:58:30"), tmp_path).first < 500
    path = tmp_path / "cdb_risk" / f"snapshot-{lockstep[499].id.epoch}-500.json"
    good = Snapshot.from_bytes(path.read_bytes())
    path.write_bytes(replace(good, id=JournalId(7, 500)).to_bytes())
    with pytest.raises(HistoryUnusable, match="the snapshot of cdb_risk is at 7-500"):
        replayed(journal, Span(), tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(HistoryUnusable, match="without --snapshot"):
        replayed(journal, Span(), tmp_path)


def changed(lockstep: list[Entry], tmp_path: Path, model: type[Order | OrderResult], **fields: object) -> Path:
    """Write the journal with one derived event that says something else."""
    place = next(
        i for i, e in enumerate(lockstep) if isinstance(e.event, model) and all(hasattr(e.event, f) for f in fields)
    )
    entry = lockstep[place]
    data = parse_event(entry.channel, encode({**decode(entry.data), **fields})).data
    return write(tmp_path / "changed.zst", [*lockstep[:place], replace(entry, data=data), *lockstep[place + 1 :]])


def test_the_first_difference_is_named(lockstep: list[Entry], tmp_path: Path) -> None:
    """A changed, a missing, an added and a swapped event; with a chain of their own, so that only deriving tells."""
    order = next(e for e in lockstep if isinstance(e.event, Order))
    outcome = replayed(changed(lockstep, tmp_path, Order, reduce_only=True))
    assert outcome.difference is not None
    assert (outcome.difference.n, outcome.difference.field) == (order.id.n, "reduce_only")
    assert not outcome.ok

    last = max(e.id.n for e in lockstep if isinstance(e.event, OrderResult))
    missing = [
        replace(e, id=JournalId(e.id.epoch, n)) for n, e in enumerate([*lockstep[: last - 1], *lockstep[last:]], 1)
    ]
    outcome = replayed(write(tmp_path / "missing.zst", missing))
    assert outcome.difference is not None
    assert (outcome.difference.n, outcome.free_running) == (last, False)
    assert outcome.difference.derived.endswith(lockstep[last - 1].event.event_id)

    forged = replace(order, id=JournalId(2, len(lockstep) + 1), cause="7")
    forged = replace(forged, data=forged.data.replace(order.event.event_id.encode(), b"f" * 32))
    outcome = replayed(write(tmp_path / "added.zst", [*lockstep, forged]))
    assert outcome.difference is not None
    assert (outcome.difference.event_id, outcome.free_running) == ("f" * 32, False)

    n = order.id.n
    swapped = list(lockstep)
    swapped[n - 2], swapped[n - 1] = replace(order, id=swapped[n - 2].id), replace(swapped[n - 2], id=order.id)
    outcome = replayed(write(tmp_path / "swapped.zst", swapped))
    assert outcome.difference is not None
    assert (outcome.difference.n, outcome.ok) == (n - 1, False)

    recaused = list(lockstep)
    recaused[n - 1] = replace(order, cause="3")
    outcome = replayed(write(tmp_path / "recaused.zst", recaused))
    assert outcome.difference is not None
    assert (outcome.difference.n, outcome.difference.field) == (n, "cause")


def test_a_free_running_record_is_compared_by_its_events(tmp_path: Path) -> None:
    """Its order is not that of the loop: that is said, and how much of what was derived is the same."""
    day = busy_day(2, 120)
    day.settle()
    outcome = replayed(write(tmp_path / "free.zst", day.entries))
    assert outcome.free_running
    assert outcome.ok
    assert 0 < outcome.same <= outcome.derived


def test_a_record_may_end_before_everything_is_said(tmp_path: Path, lockstep: list[Entry]) -> None:
    """What the loop says beyond its end is nothing to compare."""
    place = next(e.id.n for e in lockstep if isinstance(e.event, Order))
    outcome = replayed(write(tmp_path / "cut.zst", lockstep[: place - 1]))
    assert outcome.difference is None
    assert outcome.last == place - 1
    assert outcome.head == outcome.recorded


def test_nothing_in_the_range_is_said(journal: Path, tmp_path: Path) -> None:
    """An empty journal, a range behind the end."""
    for path, span in ((journal, Span(first=10**6)), (write(tmp_path / "none.zst", []), Span())):
        with pytest.raises(HistoryUnusable, match="nothing is recorded in that range"):
            replayed(path, span)


class Listener(Screen):
    """Takes what is shown."""

    def __init__(self) -> None:
        self.told: list[Happening] = []
        self.drawn = 0
        self.events: list[str] = []

    def start(self) -> None:
        """Begin."""
        self.events.append("start")

    def stop(self) -> None:
        """End."""
        self.events.append("stop")

    def tell(self, happening: Happening) -> None:
        """Take a line; the operator has seen enough at the tenth."""
        self.told.append(happening)
        if len(self.told) == 10:
            raise KeyboardInterrupt

    def update(self, *_: object) -> None:
        """Count."""
        self.drawn += 1


def test_feed_time_is_held_back() -> None:
    """At speed 60 a minute takes a second; a run that begins earlier counts from there; max waits for nothing."""
    now = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(60.0, lambda: now[0], sleep)
    for second in (0, 30, 60):
        for _ in pace.waits(second * 1_000_000):
            pass
    assert sum(slept) == pytest.approx(1.0)
    assert list(pace.waits(0)) == []
    assert list(Pace(None).waits(10**15)) == []


def test_it_is_shown_and_can_be_stopped(journal: Path) -> None:
    """Lines of what happens, a picture now and then; Ctrl-C ends it with what was compared so far."""
    start = find_start(FileHistory(journal), Span())
    loop, screen = ClosedLoop(start, Span()), Listener()
    now = [0.0]
    pace = Pace(10.0, lambda: now[0], lambda seconds: now.__setitem__(0, now[0] + seconds))
    show(loop, start, screen, pace)
    assert screen.events == ["start", "stop"]
    assert len(screen.told) == 10
    assert screen.drawn > 0
    assert not loop.outcome().whole
    assert loop.outcome().difference is None


def test_the_command_says_what_came_of_it(journal: Path, lockstep: list[Entry], tmp_path: Path) -> None:
    """0 and the chain tip, 1 and the first difference, 2 for what cannot be used."""
    done = claire("replay", "--journal", journal)
    assert done.exit_code == 0, done.output
    assert "equal to the record byte for byte" in done.output
    assert "fill" in done.output
    done = claire("replay", "--journal", journal, "--json", "--quiet", "--from", "100")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["equal"] is True
    assert found["chain_tip"] == found["recorded_tip"]
    bad = changed(lockstep, tmp_path, OrderResult, client_order_id="other")
    done = claire("replay", "--journal", bad, "--quiet")
    assert done.exit_code == 1
    assert "client_order_id: recorded other" in done.output
    day = Day(3)
    for _ in range(90):
        day.second()
        day.some()
        day.foreign_signal()
    done = claire("replay", "--journal", write(tmp_path / "free.zst", day.entries), "--quiet")
    assert done.exit_code == 0, done.output
    assert "claire validate" in done.output
    for arguments in (("--speed", "0"), ("--speed", "fast"), ("--from", "soon"), ("--from", "99999999")):
        assert claire("replay", "--journal", journal, *arguments).exit_code == 2
