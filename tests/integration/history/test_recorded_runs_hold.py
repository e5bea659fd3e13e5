"""What the real processes recorded holds, in the database and as a file, also when they ran freely through kills."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claire.audit.validate import validate
from claire.history.source import FileHistory
from tests.integration.runtime.test_up import ROOT, Up, recording

pytestmark = pytest.mark.integration

__all__ = ["recording"]


def claire(*arguments: object) -> tuple[int, str, str]:
    """Run a command as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "claire", *(str(argument) for argument in arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def ups() -> Iterator[list[Up]]:
    """Whatever a failing test leaves running is stopped."""
    started: list[Up] = []
    yield started
    for up in started:
        if up.process.poll() is None:
            up.process.terminate()
        up.finish()


def holds(data: Path) -> dict[str, Any]:
    """Validate a data folder and return what was found."""
    code, out, err = claire("validate", "--data-dir", data, "--complete", "--json")
    assert code == 0, out + err
    found: dict[str, Any] = json.loads(out)
    assert found["ok"] is True
    return found


@pytest.mark.chaos
@pytest.mark.slow
def test_a_free_running_day_with_kills_and_new_settings_holds(
    recording: Path,
    short_folder: Path,
    ups: list[Up],
) -> None:
    """Services killed in the middle, the pipeline started again under another limit: every decision follows again.

    The exported file holds as well, and an import of it is the same history.
    """
    data = short_folder / "data"
    first = Up(data, recording, "--speed", "600", "--no-turnstile", "--quiet")
    ups.append(first)
    for place, name in ((60, "cdb_risk"), (80, "cdb_execution"), (100, "valkey-server"), (120, "cdb_core")):
        first.await_head(place)
        victim = first.child(name)
        assert victim is not None, name
        victim.kill()
    first.await_head(150)
    first.process.send_signal(signal.SIGINT)
    code, _, err = first.finish()
    assert code == 0, err
    second = Up(
        data, recording, "--speed", "max", "--no-turnstile", "--exit-when-done", "--json", "--quiet",
        "--set", "MAX_POSITION_PCT=0.03", "--set", "SIGNAL_THRESHOLD_PCT=0.001",
    )  # fmt: skip
    ups.append(second)
    code, out, err = second.finish()
    assert code == 0, err
    assert json.loads(out)["finished"] is True

    found = holds(data)
    checked = found["checked"]
    assert checked["configurations"]["cdb_risk"] == 2
    assert checked["configurations"]["cdb_core"] == 2
    assert checked["starts"]["cdb_risk"] >= 2
    assert checked["orders"] > 0
    assert checked["fills"] > 0
    assert all(checked["table_rows"].values())

    journal, copy, again = short_folder / "journal.jsonl.zst", short_folder / "copy", short_folder / "again.jsonl.zst"
    assert claire("export", "--data-dir", data, "--output", journal)[0] == 0
    verdict = validate(FileHistory(journal), complete=True)
    assert verdict.ok, verdict.differences
    assert verdict.head.hash.hex() == found["chain_tip"]
    assert claire("import", journal, "--data-dir", copy)[0] == 0
    assert claire("export", "--data-dir", copy, "--output", again)[0] == 0
    assert again.read_bytes() == journal.read_bytes()
    assert holds(copy)["chain_tip"] == found["chain_tip"]


@pytest.mark.slow
def test_an_imported_history_goes_on(recording: Path, short_folder: Path, ups: list[Up]) -> None:
    """`claire up` on a folder that was made of a journal file adds to it, and the whole holds."""
    data, copy, journal = short_folder / "data", short_folder / "copy", short_folder / "journal.jsonl.zst"
    first = Up(data, recording, "--speed", "600", "--no-turnstile", "--quiet")
    ups.append(first)
    first.await_head(150)
    first.process.send_signal(signal.SIGINT)
    assert first.finish()[0] == 0
    assert claire("export", "--data-dir", data, "--output", journal)[0] == 0
    assert claire("import", journal, "--data-dir", copy)[0] == 0
    second = Up(copy, recording, "--speed", "max", "--no-turnstile", "--exit-when-done", "--json", "--quiet")
    ups.append(second)
    code, out, err = second.finish()
    assert code == 0, err
    assert json.loads(out)["finished"] is True
    found = holds(copy)
    before = FileHistory(journal).manifest
    assert before is not None
    assert found["entries"] > before.entries
