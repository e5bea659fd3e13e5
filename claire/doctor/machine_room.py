"""Looks at this machine: Python and packages, ports, disks, the age of the last backup."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import Final

from claire.backup.archive import origin_of
from claire.doctor.finding import Finding, Level
from claire.probe import read_json
from claire.statistics.numbers import age
from services.cdb_writer.adapters.backup_folder import backups
from services.cdb_writer.adapters.disk_watch import free_share

__all__ = ["look_at_backups", "look_at_disks", "look_at_ports", "look_at_versions"]

NEWEST_TESTED: Final = (3, 13)
LOOPBACK: Final = "127.0.0.1"
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)")
BACKUP_OLD: Final = timedelta(hours=26)
BACKUP_VERY_OLD: Final = timedelta(days=7)


def look_at_versions(requirements: Path | None) -> Iterator[Finding]:
    """Say whether Python and the packages are those that the code was tested with.

    Args:
        requirements: `requirements.txt`; None: it is not here.
    """
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] > NEWEST_TESTED:
        newest = ".".join(map(str, NEWEST_TESTED))
        words = f"Python {python}; the newest that it is tested with is {newest}"
        yield Finding("versions", Level.warning, words, f"make setup PYTHON=python{newest}")
    else:
        yield Finding("versions", Level.ok, f"Python {python}")
    pins = _pins(requirements)
    if not pins:
        yield Finding("versions", Level.not_checked, "packages: no list of the pinned versions is here")
        return
    other = []
    for name, wanted in pins.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "missing"
        if found != wanted:
            other.append(f"{name} {found} ({wanted} is pinned)")
    if other:
        yield Finding("versions", Level.warning, f"packages: {', '.join(other)}", "pip install -r requirements.txt")
    else:
        yield Finding("versions", Level.ok, f"packages: all {len(pins)} as pinned")


def _pins(requirements: Path | None) -> dict[str, str]:
    lines: list[str] = []
    if requirements is not None:
        lines = requirements.read_text(encoding="utf-8").splitlines()
    else:
        try:
            lines = metadata.requires("claire-de-binare") or []
        except metadata.PackageNotFoundError:
            lines = []
    return {found[1]: found[2] for line in lines if (found := _PIN.match(line)) and "extra ==" not in line}


def look_at_ports(ports: Mapping[str, tuple[str, int]]) -> Iterator[Finding]:
    """Say whether each port is free or ours.

    Args:
        ports: what is to answer there, to host and port; hosts other than 127.0.0.1 belong to containers of ours.
    """
    free, ours = [], []
    for name, (host, port) in ports.items():
        if host != LOOPBACK:
            continue
        if not _listens(port):
            free.append(str(port))
        elif _is_ours(port):
            ours.append(str(port))
        else:
            words = f"port {port} ({name}) is taken by another program"
            if not _answers(port):
                words = f"port {port} ({name}) is held and silent: by ours, which starts or is stuck, or by another"
            yield Finding(
                "ports",
                Level.problem,
                words,
                f"lsof -nP -iTCP:{port} -sTCP:LISTEN  # stop it, or choose another: --first-port, "
                f"{name.upper()}_PORT in .env",
            )
    if free or ours:
        words = "; ".join(
            part
            for part in (f"ours: {', '.join(ours)}" if ours else "", f"free: {', '.join(free)}" if free else "")
            if part
        )
        yield Finding("ports", Level.ok, words)
    else:
        yield Finding("ports", Level.not_checked, "ports of this machine: we are inside a container")


def _listens(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _is_ours(port: int) -> bool:
    health = read_json(port, "/health") or {}
    if str(health.get("service", "")).startswith("cdb_"):
        return True
    grafana = read_json(port, "/api/health") or {}
    return "database" in grafana or "Prometheus" in _text(port, "/-/healthy")


def _answers(port: int) -> bool:
    """Return whether HTTP is spoken there at all."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2.0)
    try:
        connection.request("GET", "/")
        return bool(connection.getresponse().status)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _text(port: int, path: str) -> str:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().read(2_000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def look_at_disks(folders: Mapping[str, Path], warn: Decimal, critical: Decimal) -> Iterator[Finding]:
    """Say how much of each disk is free.

    Args:
        folders: what lies there, to the folder (or the place where it will be made).
        warn: free share under which a disk is low.
        critical: free share under which writing may soon fail.
    """
    seen: set[int] = set()
    for name, folder in folders.items():
        place = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None)
        if place is None or place.stat().st_dev in seen:
            continue
        seen.add(place.stat().st_dev)
        usage = shutil.disk_usage(place)
        share = free_share(usage)
        words = f"disk of {name} ({place}): {share * 100:.0f} % free, {usage.free // 1_000_000_000:,} GB"
        if share < critical:
            yield Finding("disk", Level.problem, words, f"du -xh --max-depth 2 {place} | sort -h | tail")
        elif share < warn:
            yield Finding("disk", Level.warning, words, f"du -xh --max-depth 2 {place} | sort -h | tail")
        else:
            yield Finding("disk", Level.ok, words)


def look_at_backups(
    folder: Path, now: datetime, command: str, *, anything_recorded: bool | None, origin: str = ""
) -> Iterator[Finding]:
    """Say how old the last backup of this history is.

    Args:
        folder: where backups are kept.
        now: UTC.
        command: what makes one.
        anything_recorded: whether there is something to lose; None: not known.
        origin: hash of the chain after the history's first event (hexadecimal), which each backup of it names too;
            empty: not known, so that a backup of any history is taken for one of this.
    """
    found = backups(folder)
    if not found:
        if anything_recorded:
            yield Finding("backup", Level.warning, f"there is no backup in {folder}", command)
        else:
            yield Finding("backup", Level.not_checked, f"there is no backup in {folder}, and nothing known to back up")
        return
    newest = next((each for each in reversed(found) if not origin or origin_of(each[1]) == origin), None)
    if newest is None:
        others = f"{len(found)} others are" if len(found) > 1 else "one of another is"
        words = f"there is no backup of this history in {folder}; {others}"
        yield Finding("backup", Level.warning, words, command)
        return
    moment, path = newest
    old = now - moment
    if origin:
        words = f"the last of this history's in {folder} is {age(old.total_seconds())} old ({path.name})"
    else:
        words = f"the last backup in {folder} is {age(old.total_seconds())} old ({path.name}); "
        words += "whether it is of this history is not known, its database was not asked"
    level = Level.problem if old > BACKUP_VERY_OLD else Level.warning if old > BACKUP_OLD else Level.ok
    yield Finding("backup", level, words, "" if level is Level.ok else command)
