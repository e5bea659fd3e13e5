"""README and handbook are run: each command line of ours that they show, on a real run of the pipeline."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pytest

from claire.history.source import FileHistory
from services.common.events import Order, Signal
from tests.integration.runtime.test_up import free_ports
from tests.unit.house.documentation import ROOT, Shown, shown_commands
from tests.unit.house.runners import claire_line, runner

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no embedded Valkey for Windows"),
]

JOURNAL = "journal.jsonl.zst"
NEEDS_PROCESSES = {"halt", "resume", "flatten", "reset-breaker", "resolve-order", "status", "dead-letters"}
"""Commands that speak to a running pipeline."""

ENDS_WITH = {
    "resolve-order": {1},  # the order of the run has its end: risk refuses, with the reason
    "resume": {0, 1},  # 1: nothing is halted any more, or the books do not differ
    "reset-breaker": {0, 1},  # 1: the breaker has not tripped
    "flatten": {0, 4},
    "doctor": {0, 1},  # 1: it found something to tell of this machine
}
"""Exit codes that are right, by command; 0 where it is not named."""


def to_run() -> list[tuple[Shown, list[str]]]:
    """Return each command line once, on the page that shows it first."""
    found: dict[tuple[str, ...], tuple[Shown, list[str]]] = {}
    for command in shown_commands():
        words = claire_line(command)
        if words is not None and runner(command) == "desk":
            same = tuple(word.replace("claire-….backup", "DATEI") for word in words)
            found.setdefault(same, (command, words))
    return list(found.values())


COMMANDS = to_run()


class Desk:
    """A folder as a user's: a clone's data beside `data/paper`, in which a recorded day was played."""

    def __init__(self, folder: Path) -> None:
        """Work in `folder`."""
        self.folder = folder
        self.first_port = free_ports()
        for name in ("backoffice", "services", "claire"):
            (folder / name).symlink_to(ROOT / name)

    def claire(self, *words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run the command in the folder."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "140"}
        return subprocess.run(
            [sys.executable, "-m", "claire", *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run make in the repository, with the programs of this environment."""
        programs = f"BIN={Path(sys.executable).parent}"
        command = ["make", "--old-file", "setup", programs, *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    def filled(self, words: list[str]) -> list[str]:
        """Put this run's ids and files where the page has placeholders."""
        values = self.values | {"DATEI": JOURNAL if words[0] == "import" else self.backup}
        whole = {name: value for name, value in values.items() if name.isupper()}
        parts = "|".join(map(re.escape, values.keys() - whole.keys()))
        filled = [whole.get(word, re.sub(parts, lambda found: values[found[0]], word)) for word in words if word != "…"]
        return [word.replace("data/backups/DATEI", self.backup) for word in filled]

    @cached_property
    def ids(self) -> tuple[str, str]:
        """The first signal and the first order of the recorded run."""
        entries = list(FileHistory(self.folder / JOURNAL).entries())
        signal = next(entry.event for entry in entries if isinstance(entry.event, Signal))
        order = next(entry.event for entry in entries if isinstance(entry.event, Order))
        return signal.event_id, order.order_id

    @property
    def backup(self) -> str:
        """The newest backup, from the folder."""
        return max((self.folder / "data" / "backups").glob("*.backup")).relative_to(self.folder).as_posix()

    @property
    def values(self) -> dict[str, str]:
        """What each placeholder of the pages stands for in this run (in capitals: as a whole word)."""
        signal, order = self.ids
        return {
            "c813c98251": signal,
            "data/backups/claire-….backup": self.backup,
            "report.json": "data/run/report.json",
            "ORDER_ID": order,
            "NUMMER": signal,
            "SYMBOL": "BTCUSDT",
            "ZEIT": "2021-05-19T12:05",
            "ORDNER": "data/another",
            "NAME": "anna",
            "TEXT": "tried",
            "GRUND": "tried",
            "MENGE": "0.001",
            "PREIS": "40000",
            "N": "14",
        }


@pytest.fixture(scope="module")
def desk(servers_folder: Path) -> Desk:
    """A desk on which the crash day was played, its journal exported and a backup made."""
    desk = Desk(servers_folder)
    played = desk.make(
        "paper", f"PAPER_DIR={desk.folder / 'data' / 'paper'}", f"PAPER_OPTIONS=--first-port {desk.first_port}"
    )
    assert played.returncode == 0, played.stdout[-3000:] + played.stderr[-3000:]
    for made in (
        desk.claire("export", "--data-dir", "data/paper", "--output", JOURNAL),
        desk.claire("backup", "--data-dir", "data/paper", "--output", "data/backups"),
    ):
        assert made.returncode == 0, made.stdout + made.stderr
    assert desk.ids
    return desk


@pytest.fixture(scope="module")
def running(desk: Desk) -> Iterator[Desk]:
    """The same desk while `claire up` goes on in `data/paper`."""
    command = [sys.executable, "-m", "claire", "up", "--feed", "external", "--data-dir", "data/paper"]
    process = subprocess.Popen(
        [*command, "--first-port", str(desk.first_port)],
        cwd=desk.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while desk.claire("status", "--json").returncode != 0:
            assert process.poll() is None, f"claire up ended with {process.returncode}"
            assert time.monotonic() < deadline, "claire status does not answer"
        yield desk
    finally:
        process.terminate()
        process.wait(60)


def run(desk: Desk, command: Shown, words: list[str]) -> None:
    """Run one command and look at its exit code; what is there already from another page goes first."""
    for target in ("data/copy", "data/restored", "ORDNER"):
        if target in words:
            shutil.rmtree(desk.folder / desk.filled([target])[0], ignore_errors=True)
    if "--output" in words and words[0] == "export":
        (desk.folder / words[words.index("--output") + 1]).unlink(missing_ok=True)
    if words[0] == "replay":  # at the page's speed it would take hours: that it may be given is enough
        words = ["max" if word == "60" else word for word in words]
    done = desk.claire(*desk.filled(words))
    expected = ENDS_WITH.get(words[0], {0})
    assert done.returncode in expected, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("target", ["help", "paper"])
def test_a_target_that_makes_what_the_readme_says(desk: Desk, target: str) -> None:
    """`make help` lists the targets; `make paper` has played the day that the commands here look at."""
    if target == "help":
        assert "Trade the crash day" in desk.make("help").stdout
    else:
        assert (desk.folder / "data" / "paper").is_dir()


def test_there_is_something_to_run() -> None:
    """The pages show commands of each kind."""
    shown = {words[0] for _, words in COMMANDS}
    assert {"export", "validate", "explain", "backup", "halt", "status", "drill"} <= shown


@pytest.mark.parametrize(
    ("command", "words"),
    [pair for pair in COMMANDS if pair[1][0] not in NEEDS_PROCESSES],
    ids=lambda value: str(value) if isinstance(value, Shown) else "",
)
def test_a_command_on_a_run_at_rest(desk: Desk, command: Shown, words: list[str]) -> None:
    """It does what the page shows, on the run that `make paper` makes."""
    run(desk, command, words)


@pytest.mark.parametrize(
    ("command", "words"),
    [pair for pair in COMMANDS if pair[1][0] in NEEDS_PROCESSES],
    ids=lambda value: str(value) if isinstance(value, Shown) else "",
)
def test_a_command_to_a_running_pipeline(running: Desk, command: Shown, words: list[str]) -> None:
    """It does what the page shows, on a pipeline that runs."""
    run(running, command, words)
