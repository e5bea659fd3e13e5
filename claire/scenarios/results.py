"""All outcomes of a plan side by side, and the files that are made of them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from claire.paper.output import OutputUnusable
from claire.scenarios.job import Outcome
from claire.scenarios.plan import Plan, Scenario
from claire.up import to_json

__all__ = ["COLUMNS", "Result", "Results", "comparison_csv", "folder_name"]

JsonObject = dict[str, Any]

COLUMNS: Final = (
    "net_pnl",
    "return_pct",
    "max_drawdown_pct",
    "round_trips",
    "wins",
    "fees",
    "funding",
    "slippage",
    "exposure_max_pct",
    "orders",
    "fills",
    "entries_decided",
    "entries_refused",
    "sharpe",
    "buy_and_hold_pct",
)
"""Statistics of the comparison table; `results.json` has all of them."""

_OF_THE_RUN: Final = ("run_id", "period", "events", "statistics", "portfolio", "chain_tip")


@dataclass(frozen=True)
class Result:
    """What is known of one scenario.

    Attributes:
        state: `ok`, `failed`, or `not run` when the work was interrupted.
        reason: why it failed.
        report: what its `report.json` says; empty if it did not run to its end.
        alerts: how many of each code.
        wall_sec: how long it took.
    """

    scenario: Scenario
    state: str = "not run"
    reason: str = ""
    report: Mapping[str, Any] | None = None
    alerts: Mapping[str, int] | None = None
    wall_sec: float = 0.0

    def value(self, name: str) -> Any:
        """Return a statistic, None where there is none."""
        return None if self.report is None else self.report["statistics"][name]

    def as_json(self) -> JsonObject:
        """Return it as it stands in `results.json`: nothing in it depends on when and where it was run."""
        said: JsonObject = {
            "number": self.scenario.number,
            "name": self.scenario.name,
            "folder": folder_name(self.scenario),
            "axes": self.scenario.axes.as_json(),
            "state": self.state,
            "reason": self.reason or None,
        }
        if self.report is not None:
            said |= {name: self.report[name] for name in _OF_THE_RUN}
            said["alerts"] = dict(self.alerts or {})
        return said


def folder_name(scenario: Scenario) -> str:
    """Return a name for the folder of a scenario that every file system takes, unlike any other of its plan."""
    plain = re.sub(r"[^A-Za-z0-9._=-]+", "_", scenario.name).strip("._")
    return f"{scenario.number:03d}-{plain[:80]}"


class Results:
    """Takes outcomes in any order and keeps them in that of the plan.

    Args:
        plan: what was to be run.
        folder: where finished scenarios are written at once; None: nowhere.
    """

    def __init__(self, plan: Plan, folder: Path | None) -> None:
        self.plan = plan
        self.folder = folder
        self._found: dict[int, Result] = {}
        self._scenarios = {scenario.number: scenario for scenario in plan.scenarios}

    def take(self, outcome: Outcome) -> Result:
        """Take an outcome in and write the folder of its scenario.

        Raises:
            OutputUnusable: the folder cannot be written.
        """
        scenario = self._scenarios[outcome.number]
        if outcome.reason:
            result = Result(scenario, "failed", outcome.reason, wall_sec=outcome.wall_sec)
        else:
            report = json.loads(outcome.files["report.json"], parse_float=Decimal)
            result = Result(scenario, "ok", "", report, outcome.alerts, outcome.wall_sec)
        self._found[outcome.number] = result
        files = dict(outcome.files)
        if outcome.trace:
            files["error.txt"] = outcome.trace.encode()
        for name, content in files.items():
            self._write(f"{folder_name(scenario)}/{name}", content)
        return result

    @property
    def all(self) -> list[Result]:
        """The results in the order of the plan; those that did not run, too."""
        return [self._found.get(scenario.number) or Result(scenario) for scenario in self.plan.scenarios]

    @property
    def failed(self) -> list[Result]:
        """Those that have failed."""
        return [result for result in self.all if result.state == "failed"]

    def as_json(self, timing: Mapping[str, Any]) -> JsonObject:
        """Return `results.json`; only `timing` differs between two runs of the same plan."""
        results = self.all
        return {
            "title": self.plan.title,
            "scenarios": [result.as_json() for result in results],
            "count": {state: sum(result.state == state for result in results) for state in ("ok", "failed", "not run")},
            "timing": {
                **timing,
                "scenarios_sec": {
                    result.scenario.name: Decimal(f"{result.wall_sec:.3f}") for result in results if result.wall_sec
                },
            },
        }

    def write(self, timing: Mapping[str, Any], page: str) -> None:
        """Write `results.json`, `comparison.csv` and `comparison.html`.

        Raises:
            OutputUnusable: the folder cannot be written.
        """
        self._write("results.json", (to_json(self.as_json(timing)) + "\n").encode())
        self._write("comparison.csv", comparison_csv(self.all).encode())
        self._write("comparison.html", page.encode())

    def _write(self, name: str, content: bytes) -> None:
        if self.folder is None:
            return
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise OutputUnusable(f"--output-dir {self.folder}: cannot be written ({error.strerror})") from error


def comparison_csv(results: Iterable[Result]) -> str:
    """Return one row for each scenario: where it stands in the matrix, and the columns of the comparison."""
    rows = list(results)
    settings = list(dict.fromkeys(name for result in rows for name in result.scenario.axes.grid))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    axes = ("period", "profile", "set", "stress")
    table.writerow(
        ["number", "name", *axes, *settings, "state", "reason", *COLUMNS, "final_equity", "alerts", "chain_tip"]
    )
    for result in rows:
        said, where = result.as_json(), result.scenario.axes
        alerts = " ".join(f"{code}:{count}" for code, count in said.get("alerts", {}).items())
        table.writerow(
            [
                said["number"],
                said["name"],
                *(said["axes"][axis] or "" for axis in axes),
                *(where.grid.get(name, "") for name in settings),
                said["state"],
                said["reason"] or "",
                *(_cell(result.value(name)) for name in COLUMNS),
                _cell(said["portfolio"]["equity"] if "portfolio" in said else None),
                alerts,
                said.get("chain_tip", ""),
            ]
        )
    return text.getvalue()


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)
