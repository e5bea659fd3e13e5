"""A disk that runs full is told once when it becomes low and once when it becomes critical."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.cdb_writer.adapters.disk_watch import DiskWatch, free_share

pytestmark = pytest.mark.unit


def usage(free: int) -> Any:
    """Return a disk of a thousand bytes."""
    return SimpleNamespace(free=free, used=1_000 - free)


def test_levels_rise_and_relief_takes_more_than_the_limit(tmp_path: Path) -> None:
    """15 % and 5 %: told on the way down, silent while it stays, told again only after a real relief."""
    frees = iter((500, 150, 149, 140, 160, 149, 171, 149, 40, 60, 40, 71, 49, 0))
    watch = DiskWatch([tmp_path], Decimal("0.15"), Decimal("0.05"), lambda _: usage(next(frees)))

    told = [[alarm.level for alarm in watch.look()] for _ in range(14)]

    assert told == [
        [], [], ["WARNING"], [], [], [], [], ["WARNING"], ["CRITICAL"], [], [], [], ["CRITICAL"], []
    ]  # fmt: skip


def test_an_alarm_says_where_and_how_much(tmp_path: Path) -> None:
    """Folder, share and bytes; two folders of one disk are told once, a folder that is not there is passed over."""
    (tmp_path / "a").mkdir()
    folders = [tmp_path / "none", tmp_path, tmp_path / "a"]
    (alarm,) = DiskWatch(folders, Decimal("0.15"), Decimal("0.05"), lambda _: usage(20)).look()

    assert alarm.level == "CRITICAL"
    assert alarm.context == {"folder": str(tmp_path), "free_bytes": 20, "free_pct": "0.0200"}
    assert "2.0 % free" in alarm.message
    assert free_share(SimpleNamespace(free=0, used=0)) == 0
