"""The restore drill: backed up while it trades, lost as a whole, put back, and the pipeline trades on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from claire.data_folder import DataFolder
from claire.database import open_database
from services.cdb_writer.adapters.backup_folder import backups
from tests.integration.runtime.test_up import ROOT, Up, recording, rows, undisturbed, ups

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos]

__all__ = ["recording", "undisturbed", "ups"]

PLAY = ("--turnstile", "--exit-when-done", "--json", "--quiet")
SLOWLY = ("--speed", "100")
"""Half a minute of trading: so that it is still going on when two commands have been started beside it."""


def command(*arguments: object) -> subprocess.Popen[str]:
    """Start a command as a user does."""
    return subprocess.Popen(
        [sys.executable, "-m", "claire", *(str(argument) for argument in arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def claire(*arguments: object) -> tuple[int, str]:
    """Run a command to its end; returns its exit code and what it said."""
    process = command(*arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out + err


def killed_while(pattern: str, folder: Path, *arguments: object) -> bool:
    """Kill a command with SIGKILL as soon as it has made a file of this name; False when it was quicker."""
    process = command(*arguments)
    while process.poll() is None:
        if next(folder.glob(pattern), None) is not None:
            process.kill()
            break
        time.sleep(0.001)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def lose(up: Up, data: Path) -> None:
    """The machine burns: every process at once, and the whole data folder."""
    family = psutil.Process(up.process.pid).children(recursive=True)
    for process in (psutil.Process(up.process.pid), *family):
        process.kill()
    up.finish()
    psutil.wait_procs(family)
    shutil.rmtree(data)


def test_the_drill(undisturbed: tuple[Path, str], recording: Path, short_folder: Path, ups: list[Up]) -> None:
    """Backup in full flight, after one that was killed; all lost; restores that are killed leave nothing; one holds.

    Then the pipeline goes on in a later epoch, and its tables are those of a run that nothing ever happened to.
    """
    data, shelf = short_folder / "data", short_folder / "backups"
    up = Up(data, recording, *PLAY, *SLOWLY)
    ups.append(up)
    up.await_head(70)
    backup = ("backup", "--data-dir", data, "--output", shelf, "--json")
    killed_while(".*.draft", shelf, *backup)
    assert backups(shelf) == [] or len(backups(shelf)) == 1
    up.await_head(100)
    code, said = claire(*backup, "--keep", "1")
    assert code == 0, said
    found = json.loads(said)
    assert found["events"] >= 100
    assert [str(path) for _, path in backups(shelf)] == [found["file"]]
    up.await_head(found["events"] + 10)  # what follows is lost
    lose(up, data)

    restore = ("restore", found["file"], "--data-dir", data, "--tip", found["chain_tip"])
    for pattern in ("journal.jsonl.zst", "postgres", "postgres/data"):
        killed_while(f".data.restoring/{pattern}", short_folder, *restore)
        assert not data.exists() or DataFolder(data).exists
        if data.exists():
            shutil.rmtree(data)
    code, said = claire(*restore)
    assert code == 0, said
    assert "every decision follows again" in said
    assert {path.name for path in short_folder.iterdir()} == {"data", "backups"}
    assert claire(*restore)[0] == 1  # it is not empty any more
    with open_database(data, "", {}) as database, database.cursor() as cur:
        cur.execute("SELECT seq, epoch FROM event_store.cursor")
        seq, epoch = cur.fetchone()
    assert seq == found["events"]

    again = Up(data, recording, *PLAY, "--speed", "max")
    ups.append(again)
    code, out, err = again.finish()
    assert code == 0, err
    assert json.loads(out)["finished"] is True
    assert rows(data) == rows(undisturbed[0])
    with open_database(data, "", {}) as database, database.cursor() as cur:
        cur.execute("SELECT epoch, count(*) FROM event_store.events WHERE seq > %s GROUP BY epoch", (seq,))
        epochs = dict(cur.fetchall())
    assert min(epochs) > epoch + 1_000
    code, said = claire("validate", "--data-dir", data, "--complete", "--json")
    assert code == 0, said

    code, said = claire(*restore, "--replace")
    assert code == 0, said
    assert "what was there is in" in said
    assert any(path.name.startswith("data.before-") for path in short_folder.iterdir())
