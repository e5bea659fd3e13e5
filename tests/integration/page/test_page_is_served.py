"""`claire up` brings the page along; `claire page` serves it for any other pipeline, and says so when it cannot."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from claire.cli import app
from claire.page import PORT_AFTER_FIRST
from claire.stack import StackOptions
from claire.up import UpOptions, _Run

pytestmark = pytest.mark.integration


def health(port: int) -> tuple[int, str]:
    """Return what answers at a port of this machine."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/health")
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.fixture
def port() -> Iterator[int]:
    """A port that is free, far enough from the first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def run_of(folder: Path, first_port: int) -> tuple[_Run, Console]:
    """Return a `claire up` that has started nothing yet."""
    console = Console(record=True, width=200, quiet=False, file=(folder / "said").open("w", encoding="utf-8"))
    return _Run(UpOptions(StackOptions(folder, {"FEED": "external"}, first_port), "test"), console), console


def test_claire_up_serves_the_page_beside_its_services(short_folder: Path, port: int) -> None:
    """Six ports after cdb_ws, told with its address; a taken port is told, and the run goes on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    run, console = run_of(short_folder, free - PORT_AFTER_FIRST)
    try:
        run._serve_page()
        assert health(free)[0] == 200
        assert '"service":"cdb_page"' in health(free)[1].replace(" ", "")
    finally:
        assert run._page is not None
        run._page.stop()
    blocked, told = run_of(short_folder, port - PORT_AFTER_FIRST)
    blocked._serve_page()

    assert blocked._page is None
    assert f"the status page: http://127.0.0.1:{free}" in console.export_text()
    assert "no status page" in told.export_text()
    console.file.close()
    told.file.close()


@pytest.mark.parametrize("words", [("--data-dir", "DIR"), ("--dsn", "host=127.0.0.1 port=1")])
def test_claire_page_serves_until_ctrl_c(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str]
) -> None:
    """It says its address; the database need not be there."""
    monkeypatch.setattr(signal, "signal", lambda number, handler: handler(number, None))

    done = CliRunner().invoke(app, ["page", "--port", "0", words[0], words[1].replace("DIR", str(short_folder))])

    assert done.exit_code == 0, done.output
    assert done.output.startswith("http://127.0.0.1:")


def test_a_connection_string_that_is_none_is_not_repeated() -> None:
    """What cannot be read may hold a password: it is not on the screen."""
    done = CliRunner().invoke(app, ["page", "--port", "0", "--dsn", "user:made-up-word@host"])

    assert done.exit_code == 2
    assert "--dsn" in done.output
    assert "made-up-word" not in done.output


def test_a_taken_port_says_who_may_be_there(port: int) -> None:
    """Exit code 1 with the address to look at."""
    done = CliRunner().invoke(app, ["page", "--port", str(port)])

    assert done.exit_code == 1
    assert f"http://127.0.0.1:{port}" in done.output
