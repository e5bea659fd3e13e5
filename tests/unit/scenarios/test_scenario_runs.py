"""Running scenarios: here, in processes and on a cluster with equal results, whatever becomes of one of them."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from claire.cli import app
from claire.history.journal_file import JournalFile
from claire.history.manifest import Footer
from claire.paper.run import run_paper
from claire.paper.spec import PaperSpec, Period
from claire.scenarios import local
from claire.scenarios.cluster import ClusterUnusable, run_on_cluster, task_outcome
from claire.scenarios.curves import MOST_CURVES
from claire.scenarios.job import Outcome, run_scenario
from claire.scenarios.local import default_workers, run_here, run_in_processes
from claire.scenarios.page import render_comparison
from claire.scenarios.plan import Plan, Scenario, read_plan
from claire.scenarios.results import Result, Results
from claire.scenarios.screen import render_table
from claire.scenarios.stress import Transform
from claire.up import to_json
from services.cdb_ws.merging import Source
from services.common.timestamps import MINUTE_US, parse_timestamp
from tests.unit.scenarios.scenario_desk import SETTINGS, write_recording

pytestmark = pytest.mark.unit

RUNNER = CliRunner()


class Killed(Transform):
    """A stress under which the process is killed, as by a system that is short of memory."""

    name = "killed"

    def __call__(self, source: Source) -> Source:
        """Kill this process."""
        os.kill(os.getpid(), signal.SIGKILL)
        return source


class Broken(Transform):
    """A stress with a fault that nobody foresaw."""

    name = "broken"

    def __call__(self, source: Source) -> Source:
        """Raise what no one expects."""
        raise ZeroDivisionError("nothing by nothing")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small scenarios, of which one has nothing left to play."""
    folder = tmp_path_factory.mktemp("plan")
    write_recording(folder / "market.csv", 7)
    plan = {
        "title": "a <small> plan",
        "base": {"inputs": "market.csv", "settings": dict(SETTINGS)},
        "stress": {
            "silent": [{"outage": {"at": "2024-01-01", "minutes": 6000}}],
            "fall": [{"crash": {"at": "+5", "drop_pct": 0.05, "minutes": 1}}],
        },
        "scenarios": [{"name": "nothing-left", "stress": "silent"}, {"name": "falling", "stress": ["fall"]}],
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def plan(config: Path) -> Plan:
    """A grid of two by two, and then the two scenarios."""
    grid = config.with_name("grid.yaml")
    text = {
        "base": yaml.safe_load(config.read_text())["base"],
        "grid": {"STOP_LOSS_PCT": [0.01, 0.02], "SIGNAL_THRESHOLD_PCT": [0.002, 0.02]},
    }
    grid.write_text(yaml.safe_dump(text, sort_keys=False))
    points, stressed = read_plan(grid).scenarios, read_plan(config).scenarios
    every = [replace(scenario, number=number) for number, scenario in enumerate((*points, *stressed), start=1)]
    return Plan("a <small> plan", config, tuple(every))


@pytest.fixture(scope="module")
def outcomes(plan: Plan) -> list[Outcome]:
    """All outcomes, made in this process."""
    return list(run_here(plan.scenarios, keep_journals=False))


def results_of(plan: Plan, outcomes: Sequence[Outcome], folder: Path | None = None) -> Results:
    """Return results that have taken outcomes."""
    results = Results(plan, folder)
    for outcome in outcomes:
        results.take(outcome)
    return results


def comparable(results: Results) -> str:
    """Return `results.json` without what depends on when and where it was made."""
    said = results.as_json({})
    del said["timing"]
    return to_json(said)


def stressed_by(plan: Plan, number: int, stress: Transform) -> Plan:
    """Return the plan with one scenario under a stress."""
    changed = [
        replace(scenario, stresses=(stress,)) if scenario.number == number else scenario for scenario in plan.scenarios
    ]
    return replace(plan, scenarios=tuple(changed))


def test_one_that_fails_has_its_reason_and_the_others_their_results(plan: Plan, outcomes: list[Outcome]) -> None:
    """A recording of which nothing is left fails by name; all others have traded or not, as their settings say."""
    results = results_of(plan, outcomes)
    assert [result.state for result in results.all] == ["ok"] * 4 + ["failed", "ok"]
    assert "mind what its stresses have left" in results.failed[0].reason
    assert [result.value("orders") for result in results.all] == [1, 0, 1, 0, None, 2]
    assert results.as_json({})["count"] == {"ok": 5, "failed": 1, "not run": 0}


def test_a_time_counts_from_the_beginning_of_play(plan: Plan, outcomes: list[Outcome]) -> None:
    """`+5` is five minutes after the first row, and stands so in the report of the run."""
    report = json.loads(outcomes[5].files["report.json"])
    (identity,) = report["manifest"]["stresses"]
    assert '"at":"2024-01-02T12:05:00.000000Z"' in identity


def test_an_unforeseen_error_is_a_reason_with_its_trace_in_the_folder(plan: Plan, tmp_path: Path) -> None:
    """The reason says what, the folder where; no path of this machine is in the results."""
    broken = stressed_by(plan, 1, Broken())
    results = results_of(broken, [run_scenario(broken.scenarios[0])], tmp_path)
    (failed,) = results.failed
    assert failed.reason == "ZeroDivisionError: nothing by nothing"
    (trace,) = tmp_path.glob("*/error.txt")
    assert "nothing by nothing" in trace.read_text()
    assert str(Path(__file__).parent) not in comparable(results)


@pytest.mark.slow
def test_processes_give_the_same_bytes(plan: Plan, outcomes: list[Outcome]) -> None:
    """A worker process, begun anew without anything of this one: the results of this process."""
    shares: list[float] = []
    two = replace(plan, scenarios=plan.scenarios[4:])
    found = list(run_in_processes(two.scenarios, workers=1, keep_journals=False, watch=shares.append))
    assert comparable(results_of(two, found)) == comparable(results_of(two, outcomes[4:]))
    assert shares


@pytest.mark.slow
def test_only_the_scenario_whose_process_is_killed_fails(plan: Plan, outcomes: list[Outcome]) -> None:
    """Its reason names the signal; those that ran beside it and after it have their results."""
    killed = stressed_by(plan, 2, Killed())
    found = results_of(killed, list(run_in_processes(killed.scenarios, workers=2, keep_journals=False)))
    reason = found.all[1].reason
    assert reason.startswith("its process was killed by signal 9, as the system does when memory is short")
    expected = [outcome for outcome in outcomes if outcome.number != 2]
    assert comparable(found) == comparable(results_of(killed, [*expected, Outcome(2, reason=reason)]))


@pytest.mark.slow
def test_an_interrupted_pool_leaves_no_process(plan: Plan) -> None:
    """Whoever stops taking outcomes ends the workers."""
    before = set(multiprocessing.active_children())
    found = run_in_processes(plan.scenarios, workers=2, keep_journals=False)
    next(found)
    workers = set(multiprocessing.active_children()) - before
    found.close()
    for worker in workers:
        worker.join(10)
    assert workers
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_the_same_bytes(plan: Plan, outcomes: list[Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Dask cluster by its address: the results of this process."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, host="127.0.0.1", protocol="tcp", dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tcp://127.0.0.1:")
        found = results_of(plan, list(run_on_cluster(plan.scenarios, scheduler=address, keep_journals=False)))
        assert comparable(found) == comparable(results_of(plan, outcomes))
        monkeypatch.setattr("claire.scenarios.cluster.code_version", lambda: "another")
        (other,) = run_on_cluster(plan.scenarios[:1], scheduler=address, keep_journals=False)
        assert "not another; install the same on all of them" in other.reason


@pytest.mark.filterwarnings("ignore")
def test_no_cluster_is_said_with_the_fix(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody answers, and where Dask is not installed."""
    monkeypatch.setattr("claire.scenarios.cluster.CONNECT_SEC", 0.2)
    with pytest.raises(ClusterUnusable, match="no Dask scheduler answers there"):
        list(run_on_cluster(plan.scenarios, scheduler="tcp://127.0.0.1:9", keep_journals=False))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterUnusable, match=r"claire-de-binare\[dask\]"):
        list(run_on_cluster(plan.scenarios, scheduler="tcp://127.0.0.1:9", keep_journals=False))


class Task:
    """A task of a cluster that has not come to its end."""

    def __init__(self, status: str, error: Exception | None = None) -> None:
        self.status = status
        self._error = error

    def exception(self) -> Exception | None:
        """Return what it has raised."""
        return self._error


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (Task("error", RuntimeError("killed 4 workers")), "RuntimeError: killed 4 workers"),
        (Task("cancelled"), "the cluster has cancelled it"),
    ],
)
def test_what_a_cluster_gives_up_is_a_reason(plan: Plan, task: Task, reason: str) -> None:
    """A scenario that kills its workers, or that the cluster drops, has failed by itself."""
    assert task_outcome(task, plan.scenarios[2]) == Outcome(3, reason=reason)


def test_the_files_say_the_same_as_the_results(plan: Plan, outcomes: list[Outcome], tmp_path: Path) -> None:
    """A row in the table for each scenario, and a folder with its report for each that ran to its end."""
    results = results_of(plan, reversed(outcomes), tmp_path)
    results.write({"wall_sec": Decimal(1)}, "page")
    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    said = json.loads((tmp_path / "results.json").read_text(), parse_float=Decimal)["scenarios"]
    assert [row["name"] for row in rows] == [scenario.name for scenario in plan.scenarios]
    assert [row["chain_tip"] for row in rows] == [one.get("chain_tip", "") for one in said]
    assert [row["SIGNAL_THRESHOLD_PCT"] for row in rows] == ["0.002", "0.02", "0.002", "0.02", "", ""]
    assert [row["stress"] for row in rows[4:]] == ["silent", "fall"]
    for one in said:
        report = tmp_path / one["folder"] / "report.json"
        assert report.exists() == (one["state"] == "ok")
        if report.exists():
            assert json.loads(report.read_text())["chain_tip"] == one["chain_tip"]


def test_the_terminal_shows_every_scenario_at_any_width(plan: Plan, outcomes: list[Outcome]) -> None:
    """80 columns have the figures, 120 also money and the codes of alerts; a reason stands once."""
    results = results_of(plan, outcomes[:5])
    for width in (80, 120):
        console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
        console.print(render_table("plan", results.all, width=width))
        text = console.export_text()
        console.file.close()
        assert all(len(line) <= width for line in text.splitlines())
        assert "nothing-left failed: " in text
        assert "not run" in text
        assert ("fees" in text) == (width == 120)


def test_on_a_narrow_terminal_the_number_of_alerts_stands_under_its_heading(
    plan: Plan, outcomes: list[Outcome]
) -> None:
    """At the right, as every number: it is not read as a part of the number of refusals beside it."""
    one = results_of(plan, outcomes).all[0]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render_table("plan", [Result(one.scenario, "ok", "", one.report, {"EXIT_LATCHED": 2})], width=80))
    header, row = (line.rstrip() for line in console.export_text().splitlines()[1:3])

    assert header.endswith("alerts")
    assert row.endswith("  2")
    assert len(row) == len(header)


def test_the_page_shows_everything_and_loads_nothing(plan: Plan, outcomes: list[Outcome]) -> None:
    """A row and a curve for each scenario, a map of the grid, names as text; equal results give equal bytes."""
    results = results_of(plan, outcomes).all
    page = render_comparison(plan.title, results, linked=True)
    assert page == render_comparison(plan.title, results, linked=True)
    assert "<h1>a &lt;small&gt; plan</h1>" in page
    assert page.count('<tr class="failed">') == 1
    assert page.count("<title>") == 1 + 5
    assert 'href="001-STOP_LOSS_PCT=0.01_SIGNAL_THRESHOLD_PCT=0.002/report.html"' in page
    assert page.count('<table class="heat">') == 1
    assert "SIGNAL_THRESHOLD_PCT" in page
    assert "://" not in page
    assert 'src="' not in page


def test_a_page_of_many_scenarios_shows_the_best_and_the_worst(plan: Plan, outcomes: list[Outcome]) -> None:
    """No more curves than can be told apart; how many are left out is said."""
    one = results_of(plan, outcomes).all[0]
    many = [Result(replace(one.scenario, number=number), "ok", "", one.report, {}) for number in range(1, 31)]
    page = render_comparison("many", many, linked=False)
    assert f"the best and the worst {MOST_CURVES // 2}, 6 between them left out" in page
    assert page.count("<title>") == 1 + MOST_CURVES


def test_a_page_without_any_result_says_so(plan: Plan) -> None:
    """Nothing has run: the table says it, and there is nothing to draw."""
    page = render_comparison("nothing", Results(plan, None).all, linked=False)
    assert "6 not run" in page
    assert "no scenario has come to its end" in page


def test_the_command_writes_and_ends_with_1_when_one_failed(config: Path, tmp_path: Path) -> None:
    """The whole command in this process: table, files, the journal that plays again the same, and the exit code."""
    arguments = ["run-scenarios", "--config", str(config), "--workers", "0", "--output-dir", str(tmp_path)]
    done = RUNNER.invoke(app, [*arguments, "--keep-journals"])
    assert done.exit_code == 1
    assert "nothing-left failed" in " ".join(done.output.split())
    (journal,) = tmp_path.glob("*-falling/journal.jsonl.zst")
    said = json.loads((tmp_path / "results.json").read_text())["scenarios"][1]
    footer = next(record for record in JournalFile(journal).records() if isinstance(record, Footer))
    again = run_paper(PaperSpec(inputs=(journal,)))
    assert footer.head.hash.hex() == said["chain_tip"] == again.chain_tip
    assert {path.name for path in tmp_path.iterdir()} >= {"results.json", "comparison.csv", "comparison.html"}
    for_machines = RUNNER.invoke(app, [*arguments[:5], "--json"])
    assert json.loads(for_machines.stdout)["count"] == {"ok": 1, "failed": 1, "not run": 0}


def test_an_interrupted_command_keeps_what_is_done(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after the first scenario: its result is written, the other is said not to have run, exit code 130."""

    def interrupted(scenarios: Sequence[Scenario], **_: Any) -> Iterator[Outcome]:
        yield run_scenario(scenarios[1])
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "run_here", interrupted)
    arguments = ["run-scenarios", "--config", str(config), "--workers", "0", "--output-dir", str(tmp_path)]
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 130
    said = json.loads((tmp_path / "results.json").read_text())
    assert [one["state"] for one in said["scenarios"]] == ["not run", "ok"]
    assert list(tmp_path.glob("*-falling/report.json"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--scheduler", "tcp://x", "--workers", "2"], "leave --workers out"),
        (["--keep-journals"], "needs --output-dir"),
    ],
)
def test_options_that_do_not_go_together_are_refused(config: Path, options: list[str], told: str) -> None:
    """Exit code 2, with the fix."""
    done = RUNNER.invoke(app, ["run-scenarios", "--config", str(config), *options])
    assert done.exit_code == 2
    assert told in done.output


def test_mistakes_and_an_unusable_folder_end_the_command_with_2(config: Path, tmp_path: Path) -> None:
    """The text is the mistake; nothing has run."""
    (tmp_path / "wrong.yaml").write_text("bas: {}\n")
    wrong = RUNNER.invoke(app, ["run-scenarios", "--config", str(tmp_path / "wrong.yaml")])
    assert (wrong.exit_code, "perhaps base" in wrong.output) == (2, True)
    (tmp_path / "file").write_text("")
    arguments = ["run-scenarios", "--config", str(config), "--workers", "0", "--output-dir", str(tmp_path / "file")]
    unusable = RUNNER.invoke(app, arguments)
    assert (unusable.exit_code, "cannot be written" in unusable.output) == (2, True)


def test_the_example_that_the_readme_names_runs() -> None:
    """An hour and a half of its crash day, as recorded and stressed: both run, and the stress makes another day."""
    root = Path(__file__).parents[3]
    name = "backoffice/scenarios/example.yaml"
    assert name in (root / "README.md").read_text(encoding="utf-8")
    begin = parse_timestamp("2021-05-19T11:00:00Z")
    of = {scenario.name: scenario for scenario in read_plan(root / name).scenarios}
    names = ["crash-day/balanced/none", "crash-day/balanced/wide-and-falling"]
    cut = [
        replace(of[name], spec=replace(of[name].spec, period=Period(begin, begin + 90 * MINUTE_US))) for name in names
    ]
    plain, stressed = run_here(cut, keep_journals=False)
    assert not plain.reason
    assert not stressed.reason
    tips = [json.loads(outcome.files["report.json"])["chain_tip"] for outcome in (plain, stressed)]
    assert tips[0] != tips[1]


def test_there_is_a_worker_for_each_processor() -> None:
    """At least one."""
    assert default_workers() >= 1
