"""Paper runs: equal specs give equal chains, the period is what is played, and the kernel's short way is exact."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard
from typer.testing import CliRunner

from claire.cli import app
from claire.history.journal_file import JournalFile, JournalWriter
from claire.history.manifest import Footer
from claire.kernel import Kernel
from claire.paper.run import Progress, run_paper
from claire.paper.scenarios import SCENARIOS
from claire.paper.spec import PaperSpec, Period
from claire.profiles import PROFILES, Profile, profile_settings
from claire.up import to_json
from services.cdb_ws.recorded import Source
from services.common.errors import ClaireError, FeedInputInvalid, SettingsInvalid
from services.common.journal.entry import Entry
from services.common.timestamps import MINUTE_US, parse_timestamp

pytestmark = pytest.mark.unit

RECORDING = SCENARIOS["crash-2021-05-19"].inputs[0]
SETTINGS = {
    "RECORDED_SYMBOL_MAP": "XBTUSD=BTCUSDT",
    "SIGNAL_LOOKBACK_MIN": "5",
    "SIGNAL_VOL_WINDOW_MIN": "20",
    "SIGNAL_VOL_MULT": "1",
    "SIGNAL_THRESHOLD_PCT": "0.002",
    "SIGNAL_COOLDOWN_MIN": "1",
}
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The minutes around the steepest fall of the crash day."""
    path = tmp_path_factory.mktemp("recording") / "slice.csv.gz"
    with gzip.open(RECORDING, "rt") as whole, gzip.open(path, "wt") as part:
        part.write(whole.readline())
        part.writelines(itertools.islice(whole, 2_900, 3_100))
    return path


def spec_of(recording: Path, **changes: Any) -> PaperSpec:
    """Return a spec that trades within minutes."""
    fields: dict[str, Any] = {"inputs": (recording,), "settings": SETTINGS, "warmup_min": 30, **changes}
    return PaperSpec(**fields)


def test_equal_specs_give_equal_chains_wherever_the_file_lies(recording: Path, tmp_path: Path) -> None:
    """Run id, chain tip and portfolio of a copy in another folder are the same, and it has traded."""
    copy = tmp_path / "elsewhere" / recording.name
    copy.parent.mkdir()
    shutil.copy(recording, copy)
    first, second = run_paper(spec_of(recording)), run_paper(spec_of(copy))
    assert first == second
    assert first.events["order_result"] > 2
    money = first.portfolio
    assert money["equity"] == 100_000 + money["realized_pnl"] + money["unrealized_pnl"] - money["fees"]


@pytest.mark.slow  # make test keeps to three minutes
def test_another_process_with_another_hash_seed_gives_the_same_chain(recording: Path) -> None:
    """Nothing depends on the order of sets or on the process."""
    code = (
        "import sys, json; from pathlib import Path; from claire.paper.run import run_paper; "
        "from claire.paper.spec import PaperSpec; "
        "print(run_paper(PaperSpec((Path(sys.argv[1]),), json.loads(sys.argv[2]), warmup_min=30)).chain_tip)"
    )
    tips = {
        subprocess.run(
            [sys.executable, "-c", code, str(recording), json.dumps(SETTINGS)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert tips == {run_paper(spec_of(recording)).chain_tip}


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {**SETTINGS, "MAX_POSITION_PCT": "0.05"}},
        {"settings": {**SETTINGS, "SIGNAL_COOLDOWN_MIN": "2"}},
        {"settings": {**SETTINGS, "MARKET_DATA_MAX_HZ": "2"}},
        {"warmup_min": 31},
        {"run_id": "another"},
        {"period": Period(end_us=parse_timestamp("2021-05-19T14:00:00Z"))},
    ],
)
def test_whatever_differs_makes_another_run(recording: Path, changes: dict[str, Any]) -> None:
    """Configuration, warm-up and period are part of the identity of a run."""
    plain, other = run_paper(spec_of(recording)), run_paper(spec_of(recording, **changes))
    assert plain.run_id != other.run_id
    assert plain.chain_tip != other.chain_tip


class Decoding(Kernel):
    """A kernel whose machines see nothing but bytes."""

    def run(self) -> Iterator[Entry]:
        """Step as the kernel does."""
        while self._pending:
            made = self._pending.popleft()
            entry = Entry(made.id, made.channel, made.producer, made.cause, made.data)
            for machine in self._machines:
                outputs = machine.handle(entry)
                self.publish(machine.service, str(entry.id.n), outputs)
            yield entry


@pytest.mark.parametrize("scenario", [None, pytest.param("ticks-2024-08-08", marks=pytest.mark.slow)])
def test_made_events_decide_as_their_bytes_do(
    recording: Path, scenario: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel does not encode market data before handing them on; machines that decode them write the same chain."""
    spec = spec_of(recording)
    if scenario is not None:
        spec = PaperSpec(SCENARIOS[scenario].inputs, SCENARIOS[scenario].settings)
    short = run_paper(spec)
    monkeypatch.setattr("claire.paper.run.Kernel", Decoding)
    assert run_paper(spec) == short
    assert short.events["order"] > 2


def test_a_period_is_warmed_up_from_what_lies_before_it(recording: Path) -> None:
    """Play begins at `from`, ends before `to`, and the windows are full at the first minute."""
    entries: list[Entry] = []
    start, end = parse_timestamp("2021-05-19T13:00:00Z"), parse_timestamp("2021-05-19T13:10:00Z")
    run = run_paper(spec_of(recording, period=Period(start, end), warmup_min=None), sinks=[entries.append])
    market = [entry.event for entry in entries if entry.channel == "market_data"]
    assert market[0].timestamp == start
    assert end - MINUTE_US < market[-1].timestamp < end
    assert run.period[0] == "2021-05-19T13:00:00.000000Z"
    bars = sum(len(entry.event.details["bars"]) for entry in entries if getattr(entry.event, "action", "") == "warmup")
    assert bars == 5 + 20


def test_a_period_without_rows_is_refused(recording: Path) -> None:
    """Nothing is played silently."""
    with pytest.raises(FeedInputInvalid, match="no row"):
        run_paper(spec_of(recording, period=Period(parse_timestamp("2022-01-01T00:00:00Z"))))
    with pytest.raises(SettingsInvalid, match="exchange the two"):
        run_paper(spec_of(recording, period=Period(2 * MINUTE_US, MINUTE_US)))


@pytest.mark.parametrize("day", ["2011-05-19", "2031-05-19"])
def test_a_period_outside_the_recording_is_named(recording: Path, day: str) -> None:
    """The symbols are right and the time is wrong: the time stands there."""
    begins = parse_timestamp(f"{day}T00:00:00Z")
    with pytest.raises(FeedInputInvalid, match=f"in the period from {day}T00:00"):
        run_paper(spec_of(recording, period=Period(begins, begins + 60 * MINUTE_US)))


class Halved:
    """A stress: every price is halved."""

    identity = "halved"

    def __call__(self, source: Source) -> Source:
        """Change each row."""
        import dataclasses

        for row in source:
            prices = {name: getattr(row, name) / 2 for name in ("price", "high", "low", "bid", "ask")}
            yield dataclasses.replace(row, **prices)


def test_a_stress_is_played_and_part_of_the_identity(recording: Path) -> None:
    """The changed market stands in the journal, under another run id."""
    entries: list[Entry] = []
    plain = run_paper(spec_of(recording), sinks=[entries.append])
    stressed_entries: list[Entry] = []
    stressed = run_paper(spec_of(recording, stresses=(Halved(),)), sinks=[stressed_entries.append])
    price, halved = (
        next(e.event.price for e in es if e.channel == "market_data") for es in (entries, stressed_entries)
    )
    assert halved * 2 == price
    assert stressed.run_id != plain.run_id


def test_progress_is_told(recording: Path) -> None:
    """Feed time grows towards the end of the period."""
    told: list[Progress] = []
    run_paper(spec_of(recording), progress=told.append)
    assert told
    assert [at.now_us for at in told] == sorted(at.now_us for at in told)
    assert all(at.start_us <= at.now_us for at in told)


def test_profiles_are_sets_of_limits() -> None:
    """Position, daily loss, exposure and stop of the three profiles; no profile changes nothing."""
    names = ("MAX_POSITION_PCT", "MAX_DAILY_DRAWDOWN_PCT", "MAX_TOTAL_EXPOSURE_PCT", "STOP_LOSS_PCT")
    table = {profile.value: [Decimal(PROFILES[profile][name]) for name in names] for profile in Profile}
    assert table == {
        "conservative": [Decimal(text) for text in ("0.05", "0.03", "0.20", "0.015")],
        "balanced": [Decimal(text) for text in ("0.10", "0.05", "0.30", "0.02")],
        "aggressive": [Decimal(text) for text in ("0.15", "0.08", "0.50", "0.03")],
    }
    assert profile_settings(None) == {}


def test_the_command_gives_json_and_files(recording: Path, tmp_path: Path) -> None:
    """Run id, period, events, portfolio and chain tip; the folder has the result and the fills."""
    arguments = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    done = RUNNER.invoke(
        app,
        [
            *("run-paper", "--input", str(recording), "--warmup-min", "30", "--profile", "conservative", *arguments),
            *("--output-dir", str(tmp_path / "out"), "--json"),
        ],
    )
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    expected = run_paper(spec_of(recording, settings={**profile_settings(Profile.conservative), **SETTINGS}))
    assert result["chain_tip"] == expected.chain_tip
    assert result["settings"]["cdb_risk"]["MAX_POSITION_PCT"] == 0.05
    assert result["events"] == expected.events
    assert set(result["portfolio"]) >= {"equity", "cash", "realized_pnl", "unrealized_pnl", "fees", "positions"}
    assert result["statistics"] == json.loads(to_json(expected.statistics.as_json()))
    *_, footer = JournalFile(tmp_path / "out" / "journal.jsonl.zst").records()
    assert isinstance(footer, Footer)
    assert footer.head.hash.hex() == result["chain_tip"]
    assert len((tmp_path / "out" / "equity.csv").read_text().splitlines()) > 60
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {name: report[name] for name in result} == result
    assert "charts" in report
    assert "BTCUSDT, spot" in (tmp_path / "out" / "report.html").read_text()
    fills = (tmp_path / "out" / "trades.csv").read_text().splitlines()
    assert len(fills) > 2


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--scenario", "crash-2021-05-20"], "perhaps crash-2021-05-19"),
        (["--scenario", "nothing-like-it"], "ticks-2024-08-08"),
        ([], "--input"),
        (["--scenario", "crash-2021-05-19", "--input", "x.csv"], "leave --input out"),
        (["--input", "x.csv", "--strategy", "magic"], "momentum_v1"),
        (["--input", "x.csv", "--days", "3"], "--from"),
        (["--input", "x.csv", "--from", "yesterday"], "2021-05-19"),
        (["--input", "x.csv", "--set", "MAX_POSITION_PCT"], "NAME=VALUE"),
        (["--input", "x.csv", "--set", "MAX_POSTION_PCT=1"], "perhaps MAX_POSITION_PCT"),
    ],
)
def test_wrong_use_is_refused_with_the_fix(arguments: list[str], hint: str) -> None:
    """Exit code 2, and the message says what is meant."""
    done = RUNNER.invoke(app, ["run-paper", *arguments])
    assert done.exit_code == 2
    assert hint in done.stderr


def test_a_missing_file_ends_with_2() -> None:
    """The file is named."""
    done = RUNNER.invoke(app, ["run-paper", "--input", "no-such.csv"])
    assert done.exit_code == 2
    assert "no-such.csv" in done.stderr


def test_the_journal_of_a_run_played_again_is_the_same_journal(recording: Path, tmp_path: Path) -> None:
    """Run id, chain tip and figures are those of the run that wrote it: settings and warm-up are in the journal."""
    path = tmp_path / "journal.jsonl.zst"
    with JournalWriter(path) as journal:
        first = run_paper(spec_of(recording), sinks=[journal.write])
    assert run_paper(PaperSpec((path,))) == first


def test_a_journal_is_decided_anew_under_other_settings(recording: Path, tmp_path: Path) -> None:
    """What is set goes before what is recorded; the rest stays as it was, and it is another run."""
    path = tmp_path / "journal.jsonl.zst"
    with JournalWriter(path) as journal:
        first = run_paper(spec_of(recording), sinks=[journal.write])
    other = run_paper(PaperSpec((path,), {"MAX_POSITION_PCT": "0.02"}))
    assert other.run_id != first.run_id
    assert other.events["market_data"] == first.events["market_data"]
    assert other.settings["cdb_risk"]["MAX_POSITION_PCT"] == Decimal("0.02")
    assert other.settings["cdb_core"] == first.settings["cdb_core"]
    expected = run_paper(spec_of(recording, settings={**SETTINGS, "MAX_POSITION_PCT": "0.02"}))
    assert other.portfolio == expected.portfolio


def test_a_part_of_a_journal_is_warmed_up_from_what_lies_before_it(recording: Path, tmp_path: Path) -> None:
    """As for a recording: it decides as the same part of the recording does."""
    path = tmp_path / "journal.jsonl.zst"
    with JournalWriter(path) as journal:
        run_paper(spec_of(recording), sinks=[journal.write])
    period = Period(parse_timestamp("2021-05-19T13:00:00Z"), parse_timestamp("2021-05-19T14:00:00Z"))
    part = run_paper(PaperSpec((path,), period=period))
    expected = run_paper(spec_of(recording, period=period, warmup_min=None))
    assert part.portfolio == expected.portfolio
    assert part.events == expected.events


def test_a_damaged_journal_is_not_played(recording: Path, tmp_path: Path) -> None:
    """The chain is checked before anything is decided."""
    path = tmp_path / "journal.jsonl"
    lines: list[bytes] = []
    with JournalWriter(tmp_path / "whole.jsonl.zst") as journal:
        run_paper(spec_of(recording), sinks=[journal.write])
    with (tmp_path / "whole.jsonl.zst").open("rb") as packed:
        lines = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read().splitlines()
    place = next(n for n, line in enumerate(lines) if b"market_data" in line and n > 50)
    lines[place] = lines[place].replace(b'"high":3', b'"high":4')
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(ClaireError, match="hash"):
        run_paper(PaperSpec((path,)))
