"""Notices that a disk runs full before PostgreSQL or Redis cannot write any more."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, Protocol

__all__ = ["DISK_LOW", "DiskAlarm", "DiskWatch", "free_share"]

DISK_LOW: Final = "DISK_LOW"
RELIEF: Final = Decimal("0.02")
"""So much more must be free before a disk counts as relieved: no alert comes twice from one that is used and freed."""

Level = Literal["WARNING", "CRITICAL"]
_RANK: Final[dict[Level | None, int]] = {None: 0, "WARNING": 1, "CRITICAL": 2}


class Usage(Protocol):
    """What `shutil.disk_usage` says, in bytes."""

    @property
    def used(self) -> int:
        """By files."""

    @property
    def free(self) -> int:
        """For us: what only root may use is not in it."""


@dataclass(frozen=True)
class DiskAlarm:
    """A disk that has become worse."""

    level: Level
    message: str
    context: dict[str, Any]


def free_share(usage: Usage) -> Decimal:
    """Return the share of a disk that can still be written; what is kept for root counts for nothing."""
    whole = usage.used + usage.free
    return Decimal(usage.free) / whole if whole else Decimal(0)


class DiskWatch:
    """The file systems of some folders.

    A container sees the disk of its volumes. In Docker these lie on one file system of the machine, so the state folder
    tells of PostgreSQL's and Redis' disk as well.
    """

    def __init__(
        self,
        folders: Iterable[Path],
        warn: Decimal,
        critical: Decimal,
        usage: Callable[[Path], Usage] = shutil.disk_usage,
    ) -> None:
        """Take what to look at, and the free shares under which a disk is low."""
        self._folders = tuple(dict.fromkeys(folders))
        self._limits: dict[Level, Decimal] = {"CRITICAL": critical, "WARNING": warn}
        self._usage = usage
        self._told: dict[Path, Level | None] = {}

    def look(self) -> list[DiskAlarm]:
        """Return what has become worse since the last look; folders of one file system are told once."""
        alarms: list[DiskAlarm] = []
        seen: set[int] = set()
        for folder in self._folders:
            try:
                device = folder.stat().st_dev
                usage = self._usage(folder)
            except OSError:
                continue  # not made yet
            if device in seen:
                continue
            seen.add(device)
            share, before = free_share(usage), self._told.get(folder)
            level = self._level(share, before)
            self._told[folder] = level
            if level is not None and _RANK[level] > _RANK[before]:
                alarms.append(_alarm(level, folder, usage.free, share))
        return alarms

    def _level(self, share: Decimal, before: Level | None) -> Level | None:
        for level, limit in self._limits.items():
            kept = _RANK[before] >= _RANK[level]  # it is at least so bad already: it takes relief to be better
            if share < limit + (RELIEF if kept else 0):
                return level
        return None


def _alarm(level: Level, folder: Path, free: int, share: Decimal) -> DiskAlarm:
    percent = f"{share * 100:.1f}"
    return DiskAlarm(
        level,
        f"the disk of {folder} has {percent} % free ({free // 1_000_000:,} MB); "
        "make room before PostgreSQL and Redis cannot write (runbook speicher.md)",
        {"folder": str(folder), "free_bytes": free, "free_pct": str(round(share, 4))},
    )
