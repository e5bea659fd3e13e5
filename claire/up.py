"""`claire up`: the whole pipeline as local processes, shown live and stopped cleanly."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from rich.console import Console

from claire.address import LOCAL
from claire.page import PORT_AFTER_FIRST
from claire.page.serve import page_of_folder
from claire.probe import HealthProbe
from claire.screen import PlainScreen, Screen, TerminalScreen, render_summary
from claire.stack import Stack, StackOptions
from claire.stats import current_run, equity_curve, summarise
from claire.watch import Happening, JournalWatch, RunView
from services.common import channels
from services.common.codec import encode_value
from services.common.runtime.http import HttpServer, PortInUse

__all__ = ["UpOptions", "print_json", "run_up", "to_json"]

TURN_SEC = 0.05
LOOK_SEC = 0.5


@dataclass(frozen=True)
class UpOptions:
    """How `claire up` runs besides what the stack needs."""

    stack: StackOptions
    title: str
    exit_when_done: bool = False
    as_json: bool = False
    quiet: bool = False


def to_json(value: Any) -> str:
    """Return a summary as one line of JSON: money as plain numbers with all their digits, times in ISO 8601."""
    return encode_value(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


class _Signals:
    """Ctrl-C and SIGTERM ask to stop; the loop looks at `asked`."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


class _Run:
    """One `claire up` from start to end."""

    def __init__(self, options: UpOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._stack = Stack(options.stack)
        self._view = RunView()
        self._probe = HealthProbe(self._stack.ports)
        self._screen: Screen = (
            TerminalScreen(console, options.title)
            if console.is_terminal and not (options.quiet or options.as_json)
            else PlainScreen(console, quiet=options.quiet)
        )
        self._watch: JournalWatch | None = None
        self._page: HttpServer | None = None
        self._curve: list[float] = []
        self._done_at: int | None = None
        self._began = time.monotonic()

    def run(self) -> int:
        stack = self._stack
        with _Signals() as signals:
            try:
                fresh = not stack.folder.exists
                stack.start(self._tell)
                self._serve_page()
                self._begin_watching(from_beginning=fresh)
                done = self._loop(signals)
                self._end_watching()
                self._tell("stopping")
                for service in stack.stop_services():
                    self._tell(f"{service} did not stop in time and was killed")
                self._report(done=done)
            finally:
                self._end_watching()
                if self._page is not None:
                    self._page.stop()
                stack.stop()
        return 0

    def _serve_page(self) -> None:
        """Serve the status page; a run does not depend on it."""
        stack = self._stack
        port = stack.ports[channels.WS] + PORT_AFTER_FIRST
        services = {service: (LOCAL, there) for service, there in stack.ports.items()}
        try:
            self._page = HttpServer(page_of_folder(stack.folder, services), LOCAL, port).start()
        except PortInUse:
            self._tell(f"no status page: its port {port} is in use by another program; choose others with --first-port")
            return
        self._screen.page = f"http://{LOCAL}:{port}"
        self._tell(f"the status page: {self._screen.page}")

    def _tell(self, text: str) -> None:
        self._screen.tell(Happening("process", "", text))

    def _begin_watching(self, *, from_beginning: bool) -> None:
        self._screen.start()
        self._watch = JournalWatch(
            self._stack.infrastructure, self._view, self._screen.tell, from_beginning=from_beginning
        )
        self._watch.start()
        self._probe.start()

    def _end_watching(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
            self._probe.stop()
            self._screen.stop()

    def _loop(self, signals: _Signals) -> bool:
        """Look after the stack until it is done or a signal comes; returns whether it is done."""
        looked = 0.0
        while not signals.asked:
            for text in self._stack.look_after():
                self._tell(text)
            if time.monotonic() - looked >= LOOK_SEC:
                looked = time.monotonic()
                self._read_equity()
                self._screen.update(self._view, dict(self._probe.health), self._curve, looked - self._began)
                if self._options.exit_when_done and self._is_done():
                    return True
            time.sleep(TURN_SEC)
        return False

    def _is_done(self) -> bool:
        """Whether the feed has ended and everything is handled and stored, seen twice with the same head."""
        before = self._done_at
        self._done_at = self._stack.done_at()
        return self._done_at is not None and self._done_at == before

    def _read_equity(self) -> None:
        rows = self._stack.query(lambda connection: equity_curve(connection, current_run(connection)))
        if rows is not None:
            self._curve = [float(equity) for _, equity in rows]

    def _report(self, *, done: bool) -> None:
        summary = self._stack.query(summarise)
        self._read_equity()
        if summary is None:
            return
        if self._options.as_json:
            print_json({**summary, "finished": done})
        elif done or not self._options.quiet:
            self._console.print(render_summary(summary, self._curve))
        if not done and not self._options.quiet:
            self._tell(f"stopped; the same command goes on from here (data in {self._stack.folder.path})")


def print_json(value: Any) -> None:
    """Write JSON to standard output."""
    sys.stdout.write(to_json(value) + "\n")
    sys.stdout.flush()


def run_up(options: UpOptions, console: Console) -> int:
    """Run the pipeline until it is done or stopped; returns the exit code.

    Raises:
        ClaireError: it cannot start or go on; the text says why and what to do.
    """
    return _Run(options, console).run()
