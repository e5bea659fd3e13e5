"""Which test runs a command that README or handbook shows, and which commands no test runs, and why.

| who | runs |
|---|---|
| `desk` | `claire …`, `make paper`, `make help`: tests/integration/documentation, on a recorded run of the pipeline |
| `stack` | `docker …`, `curl …`: tests/e2e/test_documented_commands.py, on real containers |
| a reason | a test of its own, the CI, or nobody: `NOT_RUN` and `ELSEWHERE` |

A word in a sentence that only names a command (`claire validate`, `docker compose`) is no command line.
"""

from __future__ import annotations

import re
from typing import Final

from tests.unit.house.documentation import Shown

__all__ = ["ELSEWHERE", "NOT_RUN", "changes_what_runs", "claire_line", "docker_line", "runner"]

ELSEWHERE: Final = {
    "up": "the run that all others look at is one",
    "record": "needs the exchange; its own tests record the sandbox",
    "sandbox": "runs until it is stopped; its own tests start it",
    "parity": "needs a recorded live run; its own tests make one",
    "page": "runs until it is stopped; its own tests start it",
    "run-scenarios": "its example is run by tests/unit/scenarios, a cluster by tests of its own",
}
"""Verbs of `claire` that are run by tests of their own, and why not here."""

NOT_RUN: Final = {
    "docker image prune": "takes images from the machine that are not ours",
    "backoffice/milestones/create_milestones.sh": "needs GitHub: tests/unit/milestones runs it with a stand-in `gh`",
    "make test": "this is the suite itself; CI runs it",
    "make test-unit": "this is the suite itself; CI runs its command on Linux and Windows",
    "make test-local": "this is the suite itself; CI runs it",
    "make test-search": "a part of `make test-local`",
    "make test-chaos": "a part of `make test-local`",
    "make test-e2e": "this is the suite itself; CI runs it",
    "make test-full-system": "the suites one after the other",
    "make lint": "CI runs it",
    "make typecheck": "CI runs it",
    "make audit": "needs the internet; CI runs it, tests/unit/house/test_check_secrets.py with a stand-in",
    "make format": "changes files; `make lint` runs the same with --check",
    "make schemas": "changes files; `make lint` runs the same with --check",
    "make mutation": "takes twenty minutes",
    "make compiled": "takes minutes: tests/integration/runtime/test_compiled_package.py runs what it calls",
    "make bench": "takes ten minutes and a quiet machine",
}
"""Beginnings of commands that no test runs."""


def claire_line(command: Shown) -> list[str] | None:
    """Return the words behind `claire` of a whole command line; None when it is none, or one with parts left open."""
    words = command.words
    if words[0].removeprefix(".venv/bin/") != "claire" or len(words) < 2:
        return None
    named_only = not command.block and len(words) == 2
    open_parts = [word for word in words[1:] if word.endswith("…") or "[" in word]
    return None if named_only or (open_parts and not command.block) else words[1:]


def docker_line(command: Shown) -> list[str] | None:
    """Return the words of a whole command line for the stack, None when it is none."""
    words = command.words
    if words[0] not in {"docker", "curl"} or "…" in words or (words[0] == "docker" and len(words) == 2):
        return None
    return words


def changes_what_runs(command: Shown) -> bool:
    """Return whether a line for the stack starts, stops or deletes: then a test gives it its place in an order."""
    return any(word in {"up", "down", "rm", "restore"} for word in command.words) and "exec" not in command.words


def runner(command: Shown) -> str | None:
    """Return who runs a command; None when nobody does and no reason is known."""
    for beginning, reason in NOT_RUN.items():
        if re.match(rf"{re.escape(beginning)}(?![\w-])", command.text):
            return reason
    words = command.words
    if docker_line(command) is not None:
        return "stack"
    line = claire_line(command)
    if line is not None:
        return ELSEWHERE.get(line[0], "desk")
    if words[0] == "make":
        return "desk" if words[1] in {"paper", "help"} else None
    return "only named"
