"""The folder of an embedded stack: what is where, and who may use it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO

from claire.embedded import EmbeddedPostgres, EmbeddedRedis
from services.common.errors import ClaireError, InputUnusable
from services.common.runtime.file_lock import try_lock

__all__ = ["DataFolder", "DataFolderInUse", "DataFolderUnusable"]


class DataFolderUnusable(InputUnusable):
    """The folder cannot be made or entered."""


class DataFolderInUse(ClaireError):
    """Another `claire up` is running on this folder."""


class DataFolder:
    """`DATA_DIR`: `redis/`, `postgres/`, `state/`, `logs/`; one stack at a time."""

    def __init__(self, path: Path) -> None:
        """Name the folder; it is made when first used."""
        self.path = path.expanduser().resolve()
        self._lock: IO[str] | None = None

    def make(self) -> None:
        """Make the folder and its part for logs.

        Raises:
            DataFolderUnusable: it is a file, or may not be written.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataFolderUnusable(f"{self.path} cannot be used as data folder: {error.strerror}") from error

    @property
    def logs(self) -> Path:
        """Where each process writes its log."""
        return self.path / "logs"

    @property
    def state(self) -> Path:
        """Snapshots and locks of the services."""
        return self.path / "state"

    @property
    def exists(self) -> bool:
        """Whether a stack has run here before."""
        return (self.path / "postgres" / "data" / "PG_VERSION").exists()

    def traces_of_a_run(self) -> str | None:
        """Return what services have left here besides the database; None when there is nothing."""
        if any((self.path / "redis").glob("appendonlydir/*")):
            return "a journal in Redis"
        return "snapshots" if any(self.state.glob("*/snapshot-*")) else None

    def redis(self, *, port: int | None = None, maxmemory: str = "512mb", live: bool = False) -> EmbeddedRedis:
        """Return the folder's Valkey server (not started)."""
        return EmbeddedRedis(
            self.path / "redis", port=port, maxmemory=maxmemory, appendfsync="always" if live else "everysec"
        )

    def postgres(self) -> EmbeddedPostgres:
        """Return the folder's PostgreSQL server (not started)."""
        return EmbeddedPostgres(self.path / "postgres")

    def try_acquire(self) -> bool:
        """Take the folder for this process; False when another one has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = (self.path / "claire.lock").open("a+", encoding="ascii")
        if not try_lock(file):
            file.close()
            return False
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file
        return True

    def acquire(self) -> None:
        """Take the folder for this process.

        Raises:
            DataFolderInUse: another process has it.
        """
        if not self.try_acquire():
            raise DataFolderInUse(
                f"{self.path} is in use by process {self.holder()}; stop that one (Ctrl-C) or choose another --data-dir"
            )

    def in_use(self) -> bool:
        """Whether a stack runs on the folder now; nothing is made or changed by looking."""
        try:
            with (self.path / "claire.lock").open("r+", encoding="ascii") as file:
                return not try_lock(file)
        except OSError:
            return False

    def note(self, *, first_port: int, redis_port: int | None) -> None:
        """Write down where the stack answers, for the operator's commands; `redis_port` None: on its UNIX socket."""
        noted = json.dumps({"first_port": first_port, "redis_port": redis_port or 0})
        (self.path / "ports.json").write_text(noted, encoding="ascii")

    def noted(self) -> dict[str, int]:
        """Return what `note` wrote last, empty when no stack ever ran here."""
        try:
            value = json.loads((self.path / "ports.json").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def holder(self) -> str:
        """Return the process id of whoever has the folder."""
        try:
            return (self.path / "claire.lock").read_text(encoding="ascii") or "unknown"
        except OSError:
            return "unknown"

    def release(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
