"""`claire up` as a user runs it: a recording through the real processes, a second start, stats, kills in the middle."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from claire.audit.validate import validate
from claire.data_folder import DataFolder
from claire.database import DatabaseUnreachable, open_database
from claire.embedded import EmbeddedRedis
from claire.history.source import FileHistory, open_history
from claire.history.span import WHOLE
from claire.history.transfer import export_history
from claire.kernel import Kernel, deciding_machines
from claire.paper.run import run_paper
from claire.paper.spec import PaperSpec
from claire.replay.closed_loop import ClosedLoop
from claire.replay.starting_point import find_start
from claire.stats import TABLES, DatabaseNotReady, collect
from services.common.errors import JournalClosed, StoreError
from services.common.events import Alert
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.runtime.archive_reader import ArchiveReader
from services.common.settings import Infrastructure

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
RECORDING = ROOT / "backoffice" / "data" / "crash-2021-05-19_xbtusd_1m.csv.gz"
PROFILE = {
    "SIGNAL_LOOKBACK_MIN": "5",
    "SIGNAL_VOL_WINDOW_MIN": "20",
    "SIGNAL_VOL_MULT": "1",
    "SIGNAL_THRESHOLD_PCT": "0.002",
    "SIGNAL_COOLDOWN_MIN": "1",
}
"""Signals within minutes, so that a short slice trades."""

SKIPPED, MINUTES, WARMUP = 2_900, 80, 30


def free_ports() -> int:
    """Return the first of seven ports in a row that nobody listens on."""
    for first in range(20_000 + os.getpid() % 2_000 * 7, 60_000, 7):
        try:
            for port in range(first, first + 7):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no seven free ports in a row")


@pytest.fixture(scope="module")
def recording(servers_folder: Path) -> Path:
    """The minutes around the steepest fall of the crash day."""
    path = servers_folder / "slice.csv.gz"
    with gzip.open(RECORDING, "rt") as whole, gzip.open(path, "wt") as part:
        header = whole.readline()
        part.write(header)
        part.writelines(itertools.islice(whole, SKIPPED, SKIPPED + MINUTES))
    return path


class Up:
    """One `claire up`."""

    def __init__(self, data: Path, recording: Path, *arguments: str) -> None:
        self.data = data
        settings = [part for name, value in PROFILE.items() for part in ("--set", f"{name}={value}")]
        self.first_port = free_ports()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "claire", "up", "--feed", "recorded", "--file", str(recording)),
                *("--symbol-map", "XBTUSD=BTCUSDT", "--warmup-min", str(WARMUP), "--data-dir", str(data)),
                *("--first-port", str(self.first_port), "--run-id", "test-run", *settings, *arguments),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def finish(self, timeout_sec: float = 110) -> tuple[int, str, str]:
        """Wait for the end; returns exit code, standard output and standard error."""
        out, err = self.process.communicate(timeout=timeout_sec)
        return self.process.returncode, out.decode(), err.decode()

    def child(self, name: str) -> psutil.Process | None:
        """Return the child process whose command contains a name."""
        try:
            children = psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return None
        for child in children:
            try:
                if name in " ".join(child.cmdline()):
                    return child
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return None

    def head(self) -> int:
        """Return the number of the journal's last entry, 0 while it cannot be told."""
        import redis

        try:
            with EmbeddedRedis(self.data / "redis").client() as client:
                return int(client.hget("bus", "head") or 0)  # type: ignore[arg-type]
        except redis.RedisError:
            return 0

    def await_head(self, n: int) -> None:
        """Wait until the journal has n entries."""
        deadline = time.monotonic() + 90
        while self.head() < n:
            assert self.process.poll() is None, self.finish()
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def ups() -> Iterator[list[Up]]:
    """Whatever a failing test leaves running is stopped."""
    started: list[Up] = []
    yield started
    for up in started:
        if up.process.poll() is None:
            up.process.terminate()
        up.finish()


@pytest.fixture(scope="module")
def undisturbed(servers_folder: Path, recording: Path, request: pytest.FixtureRequest) -> tuple[Path, str]:
    """A turnstile run from start to end: its data folder and its JSON summary; each module has its own."""
    data = servers_folder / f"undisturbed-{request.module.__name__.rpartition('.')[2]}"
    arguments = ("--speed", "max", "--turnstile", "--exit-when-done", "--json", "--quiet")
    code, out, err = Up(data, recording, *arguments).finish()
    assert code == 0, err
    return data, out


KEYS = {
    "signals": "signal_id",
    "orders": "order_id",
    "trades": "trade_id",
    "positions": "run_id, venue, symbol",
    "portfolio_snapshots": "run_id, timestamp",
}


def rows(data: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the content of the five tables in the order of their keys."""
    with open_database(data, "", {}) as connection, connection.cursor() as cursor:
        content = {}
        for table in TABLES:
            cursor.execute(f"SELECT * FROM public.{table} ORDER BY {KEYS[table]}")
            content[table] = cursor.fetchall()
        return content


def journal(data: Path) -> list[Entry]:
    """Return all events of a finished run."""
    with open_database(data, "", {}) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT epoch, seq, channel, producer, cause, data FROM event_store.events ORDER BY seq")
        return [Entry(JournalId(row[0], row[1]), row[2], row[3], row[4], bytes(row[5])) for row in cursor.fetchall()]


def test_a_recording_runs_through_and_its_summary_balances(undisturbed: tuple[Path, str]) -> None:
    """One input file, and at the end signals, decisions, fills and money that adds up, in PostgreSQL."""
    summary = json.loads(undisturbed[1])
    assert summary["finished"] is True
    assert summary["events"]["market_data"] == (MINUTES - WARMUP) * 4
    assert summary["tables"]["signals"] == sum(summary["signals"].values()) > 2
    assert len(summary["trades"]) == summary["tables"]["trades"] >= 2
    decided = sum(decision["count"] for decision in summary["decisions"])
    assert decided == summary["events"]["risk_decision"] >= summary["events"]["signal"]
    money = summary["portfolio"]
    assert money["fees"] > 0
    books = 100_000 + money["realized_pnl"] + money["unrealized_pnl"] - money["fees"]
    assert money["equity"] == pytest.approx(books, abs=1e-9)


@pytest.mark.slow  # make test keeps to three minutes
def test_stats_starts_the_database_of_a_folder_at_rest(undisturbed: tuple[Path, str]) -> None:
    """`claire stats --json` shows the same tables and portfolio as the summary did, and statistics that agree."""
    summary = json.loads(undisturbed[1])
    done = subprocess.run(
        [sys.executable, "-m", "claire", "stats", "--data-dir", str(undisturbed[0]), "--statistics", "--json"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    stats = json.loads(done.stdout)
    for part in ("tables", "portfolio", "events"):
        assert stats[part] == summary[part]
    assert stats["statistics"]["net_pnl"] == pytest.approx(summary["portfolio"]["equity"] - 100_000, abs=1e-9)
    assert stats["statistics"]["fills"] == len(summary["trades"])


def test_the_kernel_gives_the_same_journal_byte_for_byte(undisturbed: tuple[Path, str]) -> None:
    """The processes in turnstile mode and the kernel, on the same inputs, write the same entries in the same order."""
    entries = journal(undisturbed[0])
    kernel = Kernel(deciding_machines())
    made: list[Entry] = []
    outside = [entry for entry in entries if Cause.parse(entry.cause).source]
    for (producer, cause), batch in itertools.groupby(outside, key=lambda entry: (entry.producer, entry.cause)):
        made += kernel.step(producer, Cause.parse(cause), [entry.event for entry in batch])
    assert len(made) == len(entries)
    for ours, theirs in zip(made, entries, strict=True):
        assert (ours.id.n, ours.channel, ours.producer, ours.cause, ours.data) == (
            theirs.id.n, theirs.channel, theirs.producer, theirs.cause, theirs.data,
        )  # fmt: skip


def test_a_paper_run_is_the_same_journal_byte_for_byte(undisturbed: tuple[Path, str], recording: Path) -> None:
    """Under the same run id `run-paper` writes what feed, services and writer wrote in the turnstile."""
    made: list[Entry] = []
    settings = {**PROFILE, "RECORDED_SYMBOL_MAP": "XBTUSD=BTCUSDT"}
    run_paper(PaperSpec((recording,), settings, warmup_min=WARMUP, run_id="test-run"), sinks=[made.append])
    entries = journal(undisturbed[0])
    assert len(made) == len(entries)
    for ours, theirs in zip(made, entries, strict=True):
        assert (ours.id.n, ours.channel, ours.producer, ours.cause, ours.data) == (
            theirs.id.n, theirs.channel, theirs.producer, theirs.cause, theirs.data,
        )  # fmt: skip


@pytest.mark.slow
def test_perpetuals_run_through_the_processes(servers_folder: Path, recording: Path) -> None:
    """`--set VENUE=mexc_perpetual` is enough: shorts with margin, the kernel's bytes, balanced tables."""
    data = servers_folder / "perpetual"
    settings = {"VENUE": "mexc_perpetual", "SIGNAL_ALLOW_SHORT": "true", "LEVERAGE": "5"}
    changed = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    arguments = ("--speed", "max", "--turnstile", "--exit-when-done", "--json", "--quiet", *changed)
    code, out, err = Up(data, recording, *arguments).finish()
    assert code == 0, err
    assert json.loads(out)["finished"] is True
    made: list[Entry] = []
    played = {**PROFILE, **settings, "RECORDED_SYMBOL_MAP": "XBTUSD=BTCUSDT"}
    run_paper(PaperSpec((recording,), played, warmup_min=WARMUP, run_id="test-run"), sinks=[made.append])
    assert [entry.data for entry in journal(data)] == [entry.data for entry in made]
    with open_database(data, "", {}) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT side FROM orders WHERE purpose = 'entry' AND venue = 'mexc_perpetual'")
        assert ("sell",) in cursor.fetchall()
        cursor.execute(
            "SELECT count(*), max(total_margin) FROM portfolio_snapshots "
            "WHERE total_equity = cash + total_margin + total_unrealized_pnl AND total_equity = "
            "100000 + total_realized_pnl + total_unrealized_pnl + total_funding - total_fees"
        )
        balanced, margin = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM portfolio_snapshots")
        assert cursor.fetchone() == (balanced,)
        assert margin > 1_000


def test_what_the_processes_recorded_in_lockstep_is_what_the_kernel_makes_of_it(
    undisturbed: tuple[Path, str], short_folder: Path
) -> None:
    """Exported, its inputs give the same chain again, every event of it holds, and so do the tables of the database."""
    exported = short_folder / "journal.jsonl.zst"
    with open_history(None, undisturbed[0]) as history:
        footer = export_history(history, exported)
        in_database = validate(history, complete=True)
    assert in_database.differences == []
    assert all(in_database.checked["table_rows"][table] for table in TABLES)
    in_file = validate(FileHistory(exported), complete=True)
    assert in_file.differences == []
    assert in_file.head == in_database.head == footer.head
    loop = ClosedLoop(find_start(FileHistory(exported), WHOLE), WHOLE)
    assert [entry.id.n for entry in loop.play()] == list(range(1, footer.entries + 1))
    outcome = loop.outcome()
    assert outcome.difference is None
    assert outcome.head == footer.head
    assert outcome.derived > 0


def test_a_database_is_played_again_as_it_was(undisturbed: tuple[Path, str]) -> None:
    """What the processes have stored is an input as well: under the same run id it gives the same journal."""
    made: list[Entry] = []
    run_paper(PaperSpec(data_dir=undisturbed[0], run_id="test-run"), sinks=[made.append])
    assert [entry.data for entry in made] == [entry.data for entry in journal(undisturbed[0])]


@pytest.mark.slow  # a whole run of all processes
def test_a_second_start_goes_on_from_the_data(undisturbed: tuple[Path, str], recording: Path, ups: list[Up]) -> None:
    """The recording was already played: the second start adds nothing but announcements and ends by itself."""
    data, first = undisturbed
    before = rows(data)
    up = Up(data, recording, "--speed", "max", "--turnstile", "--exit-when-done", "--json", "--quiet")
    ups.append(up)
    code, out, err = up.finish()
    assert code == 0, err
    first_events, second_events = json.loads(first)["events"], json.loads(out)["events"]
    first_events.pop("control")
    second_events.pop("control")
    assert second_events == first_events
    assert rows(data) == before


@pytest.mark.slow  # a whole run of all processes
def test_a_fold_from_the_beginning_reads_what_redis_has_trimmed(
    undisturbed: tuple[Path, str], recording: Path, short_folder: Path, ups: list[Up]
) -> None:
    """Snapshots gone and the stream trimmed: the services read the event store and end in the same state."""
    data = short_folder / "copy"
    subprocess.run(["cp", "-a", str(undisturbed[0]), str(data)], check=True)
    for service in ("cdb_ws", "cdb_core", "cdb_risk", "cdb_execution"):
        for snapshot in (data / "state" / service).glob("snapshot-*"):
            snapshot.unlink()
    with DataFolder(data).redis() as server, server.client() as client:
        client.xtrim("journal", maxlen=5, approximate=False)
        assert client.xlen("journal") == 5
    up = Up(data, recording, "--speed", "max", "--turnstile", "--exit-when-done", "--json", "--quiet")
    ups.append(up)
    code, _, err = up.finish()
    assert code == 0, err
    assert rows(data) == rows(undisturbed[0])
    for service in ("cdb_core", "cdb_risk", "cdb_execution"):
        assert "folding_from_the_beginning" in (data / "logs" / f"{service}.log").read_text()


def test_the_archive_reader_sees_what_the_journal_was(undisturbed: tuple[Path, str]) -> None:
    """Head, entries, marks, last ids and run of the event store agree with the journal; it never writes."""
    entries = journal(undisturbed[0])
    server = DataFolder(undisturbed[0]).postgres()
    reader = ArchiveReader(Infrastructure.model_validate({**server.environment}))
    with pytest.raises(JournalClosed, match="cannot be reached"):
        reader.head()
    with server:
        assert reader.head() == entries[-1].id
        assert reader.read(10, 7) == entries[10:17]
        assert reader.epochs()[1] == 1
        assert reader.run_id() == "test-run"
        assert reader.last_ids()["market_data"] == [e.id for e in entries if e.channel == "market_data"][-1]
        causes = [Cause.parse(e.cause) for e in entries if e.producer == "cdb_ws"]
        assert reader.high_water()["cdb_ws/feed"] == max(c.number for c in causes if c.source == "feed")
        with pytest.raises(StoreError):
            reader.record_epoch(2, 1)
        server.create_database("blank")
        blank = ArchiveReader(Infrastructure.model_validate({**server.environment, "POSTGRES_DB": "blank"}))
        with pytest.raises(JournalClosed, match="no tables"):
            blank.head()
        blank.close()
        with pytest.raises(DatabaseNotReady), open_database(Path(), server.dsn("blank"), {}) as connection:
            collect(connection)
        with open_database(Path(), "env", server.environment) as connection:
            assert collect(connection)["tables"]["trades"] > 0
        with pytest.raises(DatabaseUnreachable), open_database(Path(), server.dsn("nothing"), {}):
            pass
        reader.close()


@pytest.mark.chaos
@pytest.mark.slow
def test_kills_in_the_middle_leave_the_same_tables(
    undisturbed: tuple[Path, str], recording: Path, short_folder: Path, ups: list[Up]
) -> None:
    """Kill -9 of each service, of Valkey and of PostgreSQL during a turnstile run: the tables are the same."""
    up = Up(short_folder, recording, "--speed", "max", "--turnstile", "--exit-when-done", "--json")
    ups.append(up)
    victims = ("cdb_core", "cdb_risk", "cdb_execution", "cdb_writer", "cdb_ws", "valkey-server", "bin/postgres")
    for place, name in enumerate(victims):
        up.await_head(40 + 30 * place)
        victim = up.child(name)
        assert victim is not None, name
        victim.kill()
    code, out, err = up.finish()
    assert code == 0, err
    assert err.count("started again") == len(victims), err
    assert json.loads(out)["finished"] is True
    assert rows(short_folder) == rows(undisturbed[0])
    entries = journal(short_folder)
    assert [entry.id.n for entry in entries] == list(range(1, len(entries) + 1))


@pytest.mark.slow
def test_free_running_balances_too(recording: Path, short_folder: Path, ups: list[Up]) -> None:
    """Without the turnstile the order of things may differ, but every event is there once and the books balance."""
    up = Up(short_folder, recording, "--speed", "max", "--exit-when-done", "--json", "--quiet")
    ups.append(up)
    code, out, err = up.finish()
    assert code == 0, err
    summary = json.loads(out)
    assert summary["events"]["market_data"] == (MINUTES - WARMUP) * 4
    money = summary["portfolio"]
    books = 100_000 + money["realized_pnl"] + money["unrealized_pnl"] - money["fees"]
    assert money["equity"] == pytest.approx(books, abs=1e-9)


@pytest.mark.slow
def test_ctrl_c_stops_everything_and_the_folder_is_free_again(
    recording: Path, short_folder: Path, ups: list[Up]
) -> None:
    """SIGINT: exit code 0, no process left; meanwhile a second start and taken ports are refused, stats works."""
    up = Up(short_folder, recording, "--speed", "60", "--no-turnstile")
    ups.append(up)
    up.await_head(15)
    assert up.process.poll() is None
    second = Up(short_folder, recording, "--speed", "60")
    ups.append(second)
    code, _, err = second.finish()
    assert code == 1
    assert "is in use by process" in err
    deadline = time.monotonic() + 60
    while True:
        try:
            with open_database(short_folder, "", {}) as connection:
                if collect(connection)["events"].get("market_data", 0) > 0:
                    break
        except psycopg2.Error:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.process.send_signal(signal.SIGINT)
    code, out, err = up.finish()
    assert code == 0, err
    assert "the same command goes on from here" in out
    _, living = psutil.wait_procs(family, timeout=30)
    assert living == []


@pytest.mark.slow  # make test keeps to three minutes
def test_a_taken_port_is_named(recording: Path, short_folder: Path, ups: list[Up]) -> None:
    """The error names port and service before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = Up(short_folder, recording, "--first-port", str(port))
        ups.append(up)
        code, _, err = up.finish()
    assert code == 1
    assert f"port {port} of cdb_ws is in use" in err.replace("\n", " ")


@pytest.mark.chaos
@pytest.mark.slow
def test_execution_notices_that_risk_hangs(recording: Path, short_folder: Path, ups: list[Up]) -> None:
    """Risk hangs for three minutes of the clock: execution tells the silence once, and that risk answers again."""
    up = Up(short_folder, recording, "--speed", "60", "--no-turnstile", "--json", "--quiet")
    ups.append(up)
    up.await_head(70)
    victim = up.child("cdb_risk")
    assert victim is not None
    victim.suspend()
    up.await_head(up.head() + 18)
    victim.resume()
    up.await_head(up.head() + 18)
    up.process.terminate()
    up.finish()

    events = [entry.event for entry in journal(short_folder) if entry.producer == "cdb_execution"]
    told = [event.code for event in events if isinstance(event, Alert) and event.code.startswith("RISK_")]
    assert told[:2] == ["RISK_SILENT", "RISK_ANSWERS"]
    assert told[-1] == "RISK_ANSWERS"
