"""A server as a child process: its private folder, its log, and its life from spawn to stop."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

from services.common.errors import ClaireError

__all__ = ["EmbeddedServer", "EmbeddedServerFailed", "group_of", "identity_of", "private_folder", "socket_folder"]

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


def private_folder(folder: Path, owner: int | None) -> None:
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


class EmbeddedServer(ABC):
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
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,  # Ctrl-C reaches the whole group: we stop the services before their servers
                **identity_of(user),
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


def group_of(user: int) -> int:
    """Return the group id of a user id."""
    import pwd

    return pwd.getpwuid(user).pw_gid


def identity_of(user: int | None) -> dict[str, Any]:
    """Return the arguments with which `subprocess` runs a child as another user; None is our own."""
    return {} if user is None else {"user": user, "group": group_of(user), "extra_groups": []}
