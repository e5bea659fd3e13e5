"""`claire replay`: the recorded inputs of a range once more, at a chosen speed, before the operator's eyes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from claire.commands_history import (
    DEFAULT_FOLDER,
    AsJson,
    Begin,
    DataDir,
    Dsn,
    End,
    ExportDir,
    Journal,
)
from claire.options import refuse, refusing
from claire.replay.closed_loop import ClosedLoop, Outcome
from claire.replay.starting_point import StartingPoint, find_start
from claire.screen import PlainScreen, Screen, TerminalScreen
from claire.watch import RunView
from services.cdb_risk.machine import RiskMachine
from services.common import channels
from services.common.decimals import use_fixed_context
from services.common.timestamps import MINUTE_US, SECOND_US

__all__ = ["Pace", "replay", "show"]

SHOW_SEC: Final = 0.25
KEPT_EQUITY: Final = 500


class Pace:
    """Holds feed time back to a multiple of wall time.

    Args:
        speed: feed seconds a second; None is as fast as it goes.
        clock, sleep: the wall.
    """

    def __init__(
        self,
        speed: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._speed = speed
        self._clock, self._sleep = clock, sleep
        self._begun: tuple[float, int] | None = None

    def waits(self, now_us: int) -> Iterator[None]:
        """Yield now and then until it is time for this moment of the feed."""
        if self._speed is None:
            return
        if self._begun is None or now_us < self._begun[1]:  # a new run may go back in time
            self._begun = (self._clock(), now_us)
        due = self._begun[0] + (now_us - self._begun[1]) / SECOND_US / self._speed
        while (left := due - self._clock()) > 0:
            self._sleep(min(left, SHOW_SEC))
            yield


def show(loop: ClosedLoop, start: StartingPoint, screen: Screen, pace: Pace) -> None:
    """Play to the end of the range, or until the operator has seen enough (Ctrl-C)."""
    risk = next(machine for machine in start.machines if isinstance(machine, RiskMachine))
    view, curve = RunView(), list[float]()
    begun = shown = time.monotonic()
    minute = -1

    def draw(now: float) -> None:
        nonlocal shown
        shown = now
        screen.update(view, {}, curve, now - begun)

    screen.start()
    try:
        for entry in loop.play():
            event = entry.event
            if entry.producer == channels.WS:
                for _ in pace.waits(event.timestamp):
                    draw(time.monotonic())
                if event.timestamp // MINUTE_US != minute:
                    minute = event.timestamp // MINUTE_US
                    equity = risk.state.account.portfolio.equity
                    curve = [*curve[1 - KEPT_EQUITY :], *([] if equity is None else [float(equity)])]
            happening = view.fold(entry)
            if happening is not None:
                screen.tell(happening)
            if (now := time.monotonic()) - shown >= SHOW_SEC:
                draw(now)
    except KeyboardInterrupt:
        pass
    finally:
        screen.stop()


def replay(
    *,
    journal: Journal = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Dsn = "",
    export_dir: ExportDir = None,
    begin: Begin = "",
    end: End = "",
    speed: Annotated[str, typer.Option("--speed", help="Feed seconds per second, or max.")] = "max",
    snapshot: Annotated[
        Path | None,
        typer.Option("--snapshot", help="Begin with the snapshots there (STATE_DIR), not by folding all before."),
    ] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but the result and errors.")] = False,
) -> None:
    """Run the recorded inputs of a range through core, risk and execution again, and compare with the record."""
    from claire.history.source import open_history
    from claire.history.span import Span
    from claire.progress import progress_bar
    from claire.up import print_json

    console, errors = Console(stderr=as_json), Console(stderr=True)
    pace = Pace(_speed(speed))
    use_fixed_context()
    with refusing(), open_history(journal, data_dir, dsn, export_dir) as history:
        span = Span.parse(begin, end)
        with progress_bar(errors, "folding up to the beginning", span.first) as tell:
            start = find_start(history, span, snapshot, tell)
        loop = ClosedLoop(start, span)
        title = f"replay of {history.where} from event {start.before.seq + 1}"
        screen = (
            TerminalScreen(console, title) if console.is_terminal and not quiet else PlainScreen(console, quiet=quiet)
        )
        show(loop, start, screen, pace)
        outcome = loop.outcome()
    if as_json:
        print_json(outcome.as_dict())
    else:
        for line, style in describe(outcome):
            console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if outcome.ok else 1)


def describe(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Yield what stands at the end: lines and their style."""
    played = f"events {outcome.first} to {outcome.last}"
    if not outcome.whole:
        yield f"stopped; {played} were replayed", "yellow"
    difference = outcome.difference
    if difference is None:
        yield f"{played}: equal to the record byte for byte", "bold green"
        yield f"chain tip {outcome.head.hash.hex()}", "dim"
        return
    told = f"recorded {difference.recorded}, derived {difference.derived}"
    if outcome.free_running:
        yield f"{played}: equal up to event {outcome.head.seq}; from there on the processes went freely", "yellow"
        yield f"{outcome.same} of {outcome.derived} derived events are recorded with the same bytes", "yellow"
        yield "whether the record holds is for: claire validate", "yellow"
        return
    yield f"event {difference.n} ({difference.event_id}): {difference.meaning}", "red"
    yield f"{difference.field}: {told}", "red"


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        refuse(f"--speed {text}: a number above 0, or max, is meant")
    return speed
