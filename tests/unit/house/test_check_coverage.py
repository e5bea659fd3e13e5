"""The coverage gate holds each package to its own minimum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backoffice.scripts import check_coverage

pytestmark = pytest.mark.unit

MINIMUMS = {"services/cdb_risk": 100, "services": 50}


def _file(
    lines: int, missing: list[int], branches: int = 0, unreached: list[list[int]] | None = None
) -> dict[str, Any]:
    unreached = unreached or []
    return {
        "summary": {
            "num_statements": lines,
            "covered_lines": lines - len(missing),
            "num_branches": branches,
            "covered_branches": branches - len(unreached),
        },
        "missing_lines": missing,
        "missing_branches": unreached,
    }


def test_one_missed_branch_of_a_whole_package_is_too_little() -> None:
    """A package with minimum 100 fails for one branch, though every line of it ran; the gap is named."""
    report = {"files": {"services/cdb_risk/layers.py": _file(10, [], 4, [[3, 7]])}}

    risk, _ = check_coverage.judge(report, MINIMUMS)

    assert not risk.enough
    assert risk.percentage == pytest.approx(100 * 13 / 14)
    assert risk.gaps == ["services/cdb_risk/layers.py: lines none; branches 3->7"]


def test_a_file_belongs_to_the_longest_folder() -> None:
    """What is missing elsewhere does not count against a package of its own, nor does its coverage help others."""
    report = {"files": {"services/cdb_risk/layers.py": _file(10, []), "services\\common\\codec.py": _file(10, [1, 2])}}

    risk, rest = check_coverage.judge(report, MINIMUMS)

    assert (risk.percentage, rest.percentage) == (100.0, 80.0)
    assert risk.enough
    assert rest.enough


def test_a_file_without_a_minimum_is_an_error() -> None:
    """A new top-level package cannot slip past the gate."""
    with pytest.raises(ValueError, match=r"elsewhere/new\.py"):
        check_coverage.judge({"files": {"elsewhere/new.py": _file(1, [])}}, MINIMUMS)


def test_the_exit_code_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A report under a minimum of pyproject.toml gives exit code 1 and prints the gap; a full one gives 0."""
    report = tmp_path / "coverage.json"
    report.write_text(json.dumps({"files": {"services/cdb_risk/layers.py": _file(10, [4])}}), encoding="utf-8")
    under = check_coverage.main([str(report)])
    told = capsys.readouterr().out
    report.write_text(json.dumps({"files": {"services/cdb_risk/layers.py": _file(10, [])}}), encoding="utf-8")

    assert under == 1
    assert "services/cdb_risk/layers.py: lines 4" in told
    assert check_coverage.main([str(report)]) == 0
