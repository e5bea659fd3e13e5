"""Small parts of the embedded servers that need no server."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from claire.data_folder import DataFolder
from claire.embedded import EmbeddedPostgres, EmbeddedRedis, EmbeddedServerFailed
from claire.embedded.postgres import _make_passable, _make_readable

pytestmark = pytest.mark.unit


def mode(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_passable_is_not_listable(tmp_path: Path) -> None:
    """Others may pass through the folders above the data but not look into them."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a").chmod(0o700)
    inner.chmod(0o700)
    _make_passable(inner)
    assert (mode(tmp_path / "a"), mode(inner)) == (0o701, 0o701)


def test_readable_keeps_what_is_no_program_from_running(tmp_path: Path) -> None:
    """Programs become runnable for others, data readable, links are left alone."""
    program, data, link = tmp_path / "program", tmp_path / "data", tmp_path / "link"
    program.write_text("")
    data.write_text("")
    link.symlink_to("/nowhere")
    program.chmod(0o700)
    data.chmod(0o600)
    _make_readable(tmp_path)
    assert (mode(program), mode(data)) == (0o705, 0o604)


def test_a_server_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    """Stop waits a while and then takes SIGKILL."""
    server = EmbeddedRedis(tmp_path)
    stubborn = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint(1, flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-S", "-c", stubborn], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        server.process = process
        server.stop(timeout_sec=0.1)
        assert process.returncode == -9
    server.kill()
    assert server.log_tail() == ""


def test_one_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """After the time-out it is killed and the error says so."""
    server = EmbeddedRedis(tmp_path)
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"]) as process:
        server.process = process
        with pytest.raises(EmbeddedServerFailed, match="does not answer after"):
            server._await_ready(0.1)
        assert process.returncode == -9


@pytest.mark.parametrize("content", ["", "not a number\n", "4194999\n"])
def test_a_lock_of_nobody_is_left_to_postgres(tmp_path: Path, content: str) -> None:
    """A file whose process is gone, or that cannot be read as one, is not touched."""
    server = EmbeddedPostgres(tmp_path)
    server.data.mkdir()
    lock = server.data / "postmaster.pid"
    lock.write_text(content)
    server._end_leftover(None)
    assert lock.exists()


def test_a_lock_that_names_a_stranger_is_removed_and_the_stranger_lives(tmp_path: Path) -> None:
    """After a reboot the number may belong to any process: it must never be signalled."""
    server = EmbeddedPostgres(tmp_path)
    server.data.mkdir()
    lock = server.data / "postmaster.pid"
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"]) as stranger:
        lock.write_text(f"{stranger.pid}\n{server.data}\n")
        server._end_leftover(None)
        assert not lock.exists()
        assert stranger.poll() is None
        stranger.kill()


def test_nobody_to_run_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without any of the known users says so; a plain user runs as itself; a cluster keeps its owner."""
    import pwd

    server = EmbeddedPostgres(tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert server._system_user() is None
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwall", list)
    with pytest.raises(EmbeddedServerFailed, match="run as a user"):
        server._system_user()


def test_live_trading_syncs_every_write(tmp_path: Path) -> None:
    """The embedded journal is as durable as the mode asks for."""
    assert DataFolder(tmp_path).redis(live=True).appendfsync == "always"
    assert DataFolder(tmp_path).redis().appendfsync == "everysec"
