"""The `claire` command used wrongly: it says what is wrong and how to do it right, with exit code 2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from claire.cli import app
from claire.stack import check_settings, known_settings
from services.common.errors import SettingsInvalid
from services.common.runtime.build import code_version

pytestmark = pytest.mark.unit


def run(*arguments: str) -> tuple[int, str]:
    """Return exit code and everything that was written, in one line."""
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, re.sub(r"\s+", " ", result.output)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--file", "/nowhere/x.csv"], "/nowhere/x.csv: there is no such file"),
        (["--feed", "recorded"], "needs --file"),
        (["--feed", "external", "--file", __file__], "plays no files"),
        (["--set", "MAX_POSITION_PCT"], "NAME=VALUE is meant"),
        (["--set", "MAX_POSTION_PCT=0.05"], "perhaps MAX_POSITION_PCT"),
        (["--set", "MAX_POSITION_PCT=5", "--set", "BUS_MODE=pigeon"], "MAX_POSITION_PCT=5: a fraction"),
        (["--speed", "fast"], "PLAYBACK_SPEED=fast"),
    ],
)
def test_mistakes_of_up(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Each mistake is named before anything is started."""
    code, text = run("up", "--data-dir", str(tmp_path / "data"), *arguments)
    assert code == 2
    assert words in text
    assert not (tmp_path / "data" / "redis").exists()


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_is_no_data_folder(tmp_path: Path, below: str) -> None:
    """A data folder that cannot be made is named, without a traceback."""
    file = tmp_path / "file"
    file.write_text("x")
    code, text = run("up", "--data-dir", str(file / below))
    assert code == 2
    assert "cannot be used as data folder" in text


def test_all_wrong_settings_are_listed_at_once(tmp_path: Path) -> None:
    """Mistakes of several services in one go."""
    code, text = run("up", "--data-dir", str(tmp_path), "--set", "MAX_POSITION_PCT=5", "--set", "BUS_MODE=pigeon")
    assert code == 2
    assert "MAX_POSITION_PCT=5" in text
    assert "BUS_MODE=pigeon" in text


def test_stats_of_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    """No database yet: exit code 2 and the command that makes one."""
    code, text = run("stats", "--data-dir", str(tmp_path / "none"))
    assert code == 2
    assert "claire up --data-dir" in text


def test_version_and_help() -> None:
    """`--version` names the code; the commands are listed."""
    assert run("--version") == (0, f"{code_version()} ")
    code, text = run("--help")
    assert code == 0
    assert "up" in text
    assert "stats" in text


def test_settings_of_all_services_are_known() -> None:
    """One name of each model, so that none was forgotten."""
    assert known_settings() >= {
        "REDIS_HOST", "FEED", "PLAYBACK_SPEED", "SIGNAL_LOOKBACK_MIN", "MAX_POSITION_PCT", "PAPER_LATENCY_MS",
        "WRITER_BATCH_EVENTS",
    }  # fmt: skip


def test_good_settings_pass() -> None:
    """The defaults with the external feed are fine; one bad value is not."""
    check_settings({"FEED": "external"})
    with pytest.raises(SettingsInvalid, match="MAX_POSITION_PCT"):
        check_settings({"FEED": "external", "MAX_POSITION_PCT": "NaN"})


@pytest.mark.parametrize("command", ["", "up", "drill", "run-paper", "explain"])
def test_the_help_shows_options_as_they_are_typed(command: str) -> None:
    """No value behind a switch, one of a list; a text has no line ends of its own but between paragraphs."""
    done = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "80"})

    assert done.exit_code == 0
    for wrong in ("<bool>", "list[", "Without any  "):
        assert wrong not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
