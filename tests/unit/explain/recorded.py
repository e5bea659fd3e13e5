"""Journals for the tests of explain: a run of the kernel as a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from typer.testing import CliRunner

from claire.history.journal_file import JournalWriter
from services.common.events import Event
from services.common.journal.entry import Entry, JournalId
from tests.unit.claire.pipeline_desk import Pipeline

__all__ = ["RecordedPipeline", "run", "run_json", "words", "write"]

EventT = TypeVar("EventT", bound=Event)


class RecordedPipeline(Pipeline):
    """A pipeline whose journal can be written to a file, with producers and causes."""

    def __init__(self, **risk: str) -> None:
        self.entries: list[Entry] = []
        super().__init__(**risk)

    @property
    def kernel(self) -> Any:
        """The kernel, every entry of which is kept."""
        return self._kernel

    @kernel.setter
    def kernel(self, kernel: Any) -> None:
        step, self._kernel = kernel.run, kernel

        def run() -> Iterable[Entry]:
            for entry in step():
                self.entries.append(entry)
                yield entry

        kernel.run = run

    def silent_buy(self, price: str) -> None:
        """Publish a buy signal, after which no quote comes."""
        quote, self.quote = self.quote, lambda *_, **__: []  # type: ignore[method-assign]
        try:
            self.buy(price)
        finally:
            self.quote = quote  # type: ignore[method-assign]

    def the(self, kind: type[EventT], where: Callable[[EventT], bool] = lambda _: True) -> EventT:
        """Return the last event of a kind."""
        return [event for event in self.of(kind) if where(event)][-1]


def write(folder: Path, entries: Iterable[Entry]) -> Path:
    """Write entries as a journal file."""
    path = folder / "journal.jsonl.zst"
    with JournalWriter(path) as journal:
        for n, entry in enumerate(entries, 1):
            journal.write(Entry(JournalId(entry.id.epoch, n), entry.channel, entry.producer, entry.cause, entry.data))
    return path


def run(*arguments: str, columns: int = 100) -> tuple[int, str]:
    """Run `claire` and return exit code and everything it printed."""
    from claire.cli import app

    result = CliRunner(env={"COLUMNS": str(columns)}).invoke(app, list(arguments))
    return result.exit_code, result.output


def words(output: str) -> str:
    """Return what was printed, however its lines were broken."""
    return " ".join(output.split())


def run_json(*arguments: str) -> dict[str, Any]:
    """Run `claire … --json`, which must succeed, and return what it says."""
    code, output = run(*arguments, "--json")
    assert code == 0, output
    found: dict[str, Any] = json.loads(output)
    return found
