"""How backups are called and which is the newest, for the command that makes them and whoever watches their age."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

__all__ = ["backup_name", "backups", "made_at"]

_NAME: Final = re.compile(r"claire-(\d{8}T\d{6}Z)-(\d+)\.backup")


def backup_name(moment: datetime, head: int) -> str:
    """Return the file name of a backup.

    Args:
        moment: when its content was true, UTC.
        head: number of its last event.
    """
    return f"claire-{moment:%Y%m%dT%H%M%SZ}-{head}.backup"


def made_at(path: Path) -> datetime | None:
    """Return the moment whose state a backup holds, by its name; None when it is not called like one."""
    found = _NAME.fullmatch(path.name)
    return None if found is None else datetime.strptime(found[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def backups(folder: Path) -> list[tuple[datetime, Path]]:
    """Return the finished backups in a folder, oldest first; a folder that is not there has none."""
    if not folder.is_dir():
        return []
    found = ((made_at(path), path) for path in folder.iterdir() if path.is_file())
    return sorted((moment, path) for moment, path in found if moment is not None)
