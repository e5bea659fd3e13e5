"""Print what CHANGELOG.md says of one version: the notes of its release.

Usage: `python backoffice/scripts/release_notes.py 1.2.3`; exit code 1 when there is no such section, it is empty, or
the package has another version.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Final

__all__ = ["main", "notes"]

ROOT: Final = Path(__file__).resolve().parents[2]


def notes(changelog: str, version: str) -> str | None:
    """Return the text under the heading of a version, without the heading; None when there is none or it is empty."""
    section = re.search(
        rf"^## \[?{re.escape(version)}\]?(?: [^\n]*)?$\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    return (section[1].strip() or None) if section else None


def main(arguments: list[str]) -> int:
    """Print the notes of the version named."""
    if len(arguments) != 1 or not re.fullmatch(r"\d+\.\d+\.\d+", arguments[0]):
        sys.stderr.write(f"{' '.join(arguments) or 'nothing'}: a version is meant, for example 1.2.3\n")
        return 1
    version = arguments[0]
    with (ROOT / "pyproject.toml").open("rb") as file:
        packaged = tomllib.load(file)["project"]["version"]
    if packaged != version:
        sys.stderr.write(f"{version}: pyproject.toml says {packaged}; they must be the same\n")
        return 1
    found = notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if found is None:
        sys.stderr.write(f"CHANGELOG.md says nothing of {version}: write a section `## {version}` first\n")
        return 1
    sys.stdout.write(f"{found}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
