"""Hold each package to its own share of covered lines and branches.

One number for the whole project hides the file that matters: what risks or sends money must be covered whole, the
rest nearly so. The shares stand in `pyproject.toml`, table `[tool.claire.coverage]`, as percentages by folder; a file
belongs to the longest folder that matches it, and a file under `services/` or `claire/` that matches none is an error.

Usage: `python backoffice/scripts/check_coverage.py coverage.json`; exit code 1 when a package is under its share.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["Package", "judge", "main"]

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass
class Package:
    """What was covered of one folder.

    Attributes:
        minimum: percentage of lines and branches that must be covered.
        wanted, covered: lines plus branches.
        gaps: files that are not covered whole, with the lines and branches that were not reached.
    """

    folder: str
    minimum: float
    wanted: int = 0
    covered: int = 0
    gaps: list[str] = field(default_factory=list)

    @property
    def percentage(self) -> float:
        """Covered share in per cent; a package without a line counts as covered whole."""
        return 100.0 * self.covered / self.wanted if self.wanted else 100.0

    @property
    def enough(self) -> bool:
        """Tell whether the package reaches its minimum."""
        return self.percentage >= self.minimum


def judge(report: Mapping[str, Any], minimums: Mapping[str, float]) -> list[Package]:
    """Sum a `coverage json` report by folder.

    Raises:
        ValueError: a covered file lies in no named folder.
    """
    packages = {folder: Package(folder, minimum) for folder, minimum in minimums.items()}
    for raw, measured in sorted(report["files"].items()):
        path = raw.replace("\\", "/")
        folders = [folder for folder in packages if path.startswith(folder + "/")]
        if not folders:
            raise ValueError(f"{path}: no folder of [tool.claire.coverage] contains it; name one with its minimum")
        package = packages[max(folders, key=len)]
        summary = measured["summary"]
        package.wanted += summary["num_statements"] + summary.get("num_branches", 0)
        package.covered += summary["covered_lines"] + summary.get("covered_branches", 0)
        lines, branches = measured["missing_lines"], measured.get("missing_branches", [])
        if lines or branches:
            package.gaps.append(
                f"{path}: lines {_short(map(str, lines))}; branches {_short(f'{a}->{b}' for a, b in branches)}"
            )
    return list(packages.values())


def _short(items: Any, most: int = 20) -> str:
    texts = list(items)
    return (", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")) or "none"


def main(arguments: list[str]) -> int:
    """Print one line a package and the gaps of those that are under their minimum."""
    report = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = judge(report, settings["tool"]["claire"]["coverage"])
    for package in packages:
        verdict = "ok" if package.enough else "TOO LITTLE"
        sys.stdout.write(
            f"coverage {package.folder:<24} {package.percentage:6.2f} % of {package.wanted:>6} "
            f"(minimum {package.minimum} %) {verdict}\n"
        )
        if not package.enough:
            sys.stdout.writelines(f"    {gap}\n" for gap in package.gaps)
    return 0 if all(package.enough for package in packages) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
