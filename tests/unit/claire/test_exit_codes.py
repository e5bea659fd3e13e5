"""What was given and cannot be used ends every command with 2; what went wrong otherwise with 1."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from claire.cli import app
from claire.data_folder import DataFolderInUse
from claire.history.source import ChainBroken
from claire.options import refusing
from services.common.errors import ClaireError, SettingsInvalid, StoreError

RUNNER = CliRunner()
NOBODY = "host=127.0.0.1 port=1 dbname=none"


@pytest.mark.parametrize(
    "command",
    [
        "up --file {none}.csv",
        "run-paper --input {none}.csv",
        "run-paper --data-dir {none}",
        "run-paper --dsn {nobody}",
        "run-paper --input README.md",
        "run-scenarios --config {none}.yaml",
        "replay --journal {none}",
        "explain some-id --journal {none}",
        "trace some-id --data-dir {none}",
        "validate --journal {none}",
        "parity --journal {none}",
        "report {none}",
        "report --data-dir {none}",
        "export --data-dir {none} --output {none}.zst",
        "import {none} --data-dir {none}",
        "rebuild --data-dir {none}",
        "stats --data-dir {none}",
        "stats --dsn {nobody}",
        "backup --data-dir {none}",
        "restore {none} --check",
        "drill breaker --journal {none}",
        "drill breaker --data-dir {none}",
        "lookahead --input {none}.csv",
        "lookahead --journal {none}",
        "sandbox --file {none}.csv",
        "mend-journal --data-dir {none}",
        "dead-letters --data-dir {none}",
        "record --output-dir {file}/folder",
    ],
)
def test_what_is_missing_or_unusable_ends_with_2(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, folder or database that is not there, a folder that cannot be made: named, and the code is 2."""
    for name in ("REDIS_HOST", "REDIS_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "file"
    file.touch()
    places = {"none": tmp_path / "none", "file": file, "nobody": NOBODY}
    words = [word.format(**places) for word in command.split()]

    done = RUNNER.invoke(app, words)

    assert done.exit_code == 2, (done.output, done.exception)
    assert done.stderr
    assert "Usage" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsInvalid("X=1: wrong"), 2),
        (DataFolderInUse("X is in use"), 1),
        (StoreError("X contradicts"), 1),
        (ChainBroken(7, "hash", "X", "b"), 1),
    ],
)
def test_one_place_turns_errors_into_codes(error: ClaireError, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """2: change the command; 1: something else is in the way, or what is recorded does not hold."""
    with pytest.raises(typer.Exit) as ended, refusing():
        raise error

    assert ended.value.exit_code == code
    assert "X" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "status", "page", "doctor"])
@pytest.mark.parametrize("port", ["0", "65530"])
def test_a_first_port_that_leaves_no_room_is_named_as_the_option_that_was_given(command: str, port: str) -> None:
    """Six services and the page follow it; nobody who typed --first-port has to know of HTTP_PORT."""
    done = RUNNER.invoke(app, [command, "--first-port", port])

    assert done.exit_code == 2
    assert "'--first-port'" in done.stderr
    assert "HTTP_PORT" not in done.stderr
