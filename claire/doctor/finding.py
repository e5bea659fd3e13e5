"""What the doctor says: one thing looked at, how it is, in words, and the command that mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level", "exit_code"]


class Level(StrEnum):
    """How something is."""

    ok = "ok"
    warning = "warning"
    problem = "problem"
    not_checked = "not checked"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: to which part of the system it belongs.
        level: how it is.
        words: what was found, for a person; never a secret.
        mend: the command, or the setting, that mends it; empty when there is nothing to mend.
    """

    topic: str
    level: Level
    words: str
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return plain values for JSON."""
        return {"topic": self.topic, "level": self.level.value, "words": self.words, "mend": self.mend}


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 2 when there is a problem, 1 when there is a warning, else 0; what was not checked counts for nothing."""
    levels = {finding.level for finding in findings}
    return 2 if Level.problem in levels else 1 if Level.warning in levels else 0
