"""Starts the services as child processes, starts again what dies, and stops everything in good order."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.common import channels
from services.common.errors import ClaireError
from services.common.runtime.lifecycle import ExitCode

__all__ = ["START_ORDER", "Child", "ServiceFailed", "Supervisor"]

START_ORDER = (channels.WRITER, channels.WS, channels.CORE, channels.RISK, channels.EXECUTION, channels.NOTIFIER)
"""The writer first: it opens the bus."""

STOP_SEC = 10.0
SETTLED_SEC = 20.0
FIRST_DELAY_SEC = 0.1
LONGEST_DELAY_SEC = 5.0
HOPELESS_DELAY_SEC = 60.0
MOST_FAULTS = 3


class ServiceFailed(ClaireError):
    """A service ended in a way that starting it again cannot mend; the text has its last words."""


@dataclass
class Child:
    """One service process.

    Attributes:
        starts: how often it was started.
        faults: ends with exit code 3 since it last ran for a while.
    """

    service: str
    command: list[str]
    environ: Mapping[str, str] = field(repr=False)
    log_path: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    faults: int = 0
    failures: int = 0
    started_at: float = 0.0
    start_again_at: float | None = None

    def start(self) -> None:
        """Start the process; its output goes to its log."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: services stop before their servers
            )
        self.starts += 1
        self.started_at = time.monotonic()
        self.start_again_at = None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def log_tail(self, lines: int = 5) -> str:
        """Return the last lines of its log."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def last_words(self) -> str:
        """Return what it said to people at its end (else the last lines of its log, which are for machines)."""
        lines = self.log_tail().splitlines()
        return "\n".join([line for line in lines if not line.startswith("{")] or lines)


class Supervisor:
    """The services of one stack."""

    def __init__(
        self,
        environ: Callable[[str], Mapping[str, str]],
        logs: Path,
        *,
        services: tuple[str, ...] = START_ORDER,
        command: Callable[[str], list[str]] | None = None,
    ) -> None:
        """Prepare the children.

        Args:
            environ: environment of a service.
            logs: folder of the log files.
            services: in the order in which they are started.
            command: what to run for a service; `python -m services.<service>.service` by default.
        """
        logs.mkdir(parents=True, exist_ok=True)
        make = command or (lambda service: [sys.executable, "-m", f"services.{service}.service"])
        self.children = {
            service: Child(service, make(service), environ(service), logs / f"{service}.log") for service in services
        }

    def start(self) -> None:
        """Start all services; they wait for each other."""
        for child in self.children.values():
            child.start()

    def look_after(self) -> list[str]:
        """Start again what has died, after a growing delay; returns what happened, in words.

        Raises:
            ServiceFailed: settings are wrong, another instance is alive, or the same fault came again and again (an
                onlooker that fails like this is only told of: trading goes on without it).
        """
        happened = []
        now = time.monotonic()
        for child in self.children.values():
            if child.start_again_at is not None:
                if now >= child.start_again_at:
                    child.start()
                    happened.append(f"{child.service} started again")
            elif not child.alive:
                happened.append(self._note_death(child, now))
            elif child.failures and now - child.started_at > SETTLED_SEC:
                child.failures = child.faults = 0
        return happened

    @staticmethod
    def _note_death(child: Child, now: float) -> str:
        assert child.process is not None
        code = child.process.returncode
        words = f"{child.service} ended with {describe_exit(code)}"
        child.faults = child.faults + 1 if code == ExitCode.FAULT else 0
        hopeless = code in {ExitCode.SETTINGS, ExitCode.NOT_ALONE} or child.faults >= MOST_FAULTS
        if hopeless and child.service in channels.ONLOOKERS:
            child.start_again_at = now + HOPELESS_DELAY_SEC
            return f"{words}; trading goes on without it ({child.log_path}): {child.last_words()}"
        if hopeless:
            raise ServiceFailed(f"{words}; its last words ({child.log_path}):\n{child.last_words()}")
        delay = min(LONGEST_DELAY_SEC, FIRST_DELAY_SEC * 2**child.failures)
        child.failures += 1
        child.start_again_at = now + delay
        return words

    def stop(self, timeout_sec: float = STOP_SEC) -> list[str]:
        """Ask all to stop, wait, and kill who does not; returns the names of those killed."""
        living = [child for child in self.children.values() if child.alive]
        for child in living:
            assert child.process is not None
            child.process.terminate()
        deadline = time.monotonic() + timeout_sec
        killed = []
        for child in living:
            assert child.process is not None
            try:
                child.process.wait(max(0.05, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
                killed.append(child.service)
        return killed


def describe_exit(code: int) -> str:
    """Return an exit code in words."""
    if code < 0:
        return f"signal {-code}"
    names = {
        ExitCode.OK: "exit code 0 (stopped)",
        ExitCode.SETTINGS: "exit code 2 (settings)",
        ExitCode.FAULT: "exit code 3 (fault)",
        ExitCode.NOT_ALONE: "exit code 4 (another instance)",
    }
    return names.get(code, f"exit code {code}")  # type: ignore[call-overload, no-any-return]
