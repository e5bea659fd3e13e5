"""The milestones, and the script that puts them into a repository, with a `gh` that keeps them in a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "backoffice" / "milestones"
SCRIPT = FOLDER / "create_milestones.sh"
MILESTONES = json.loads((FOLDER / "milestones.json").read_text(encoding="utf-8"))["milestones"]

GH = """#!{python}
import json, os, pathlib, sys
store = pathlib.Path(os.environ["GH_STORE"])
held = json.loads(store.read_text()) if store.exists() else []
arguments = sys.argv[1:]
if arguments[:2] == ["repo", "view"]:
    print("anna/claire")
    sys.exit()
assert arguments[0] == "api"
path = next(a for a in arguments if a.startswith("repos/anna/claire/milestones"))
if "--method" not in arguments:
    print("\\n".join(f"{{m['number']}}\\t{{m['title']}}" for m in held))
    sys.exit()
method = arguments[arguments.index("--method") + 1]
fields = dict(a.split("=", 1) for a, before in zip(arguments[1:], arguments) if before == "-f")
if os.environ.get("GH_REFUSES"):
    sys.exit("HTTP 403: forbidden")
if method == "POST":
    assert path.endswith("/milestones")
    held.append({{"number": len(held) + 1, "state": "open", **fields}})
else:
    held[int(path.rsplit("/", 1)[1]) - 1].update(fields)
store.write_text(json.dumps(held))
"""

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("bash") is None, reason="a shell script: it needs bash"
)


@pytest.fixture
def gh(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which `gh` is a program that keeps milestones in a file."""
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text(GH.format(python=sys.executable))
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "GH_STORE": str(tmp_path / "held.json"), "PYTHON": sys.executable}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, check=False
    )


def held(environment: dict[str, str]) -> list[dict[str, Any]]:
    """Return what the repository has now."""
    store = Path(environment["GH_STORE"])
    found: list[dict[str, Any]] = json.loads(store.read_text()) if store.exists() else []
    return found


def test_there_are_nine_with_criteria_to_look_at() -> None:
    """Nine steps in order, each with an id, a title that begins with it, a summary and at least three criteria."""
    assert [m["id"] for m in MILESTONES] == [f"M{n}" for n in range(1, 10)]
    for milestone in MILESTONES:
        assert milestone["title"].startswith(f"{milestone['id']}: ")
        assert milestone["summary"]
        assert len(milestone["exit_criteria"]) >= 3


@pytest.mark.slow  # two programs for each of nine milestones, twice
def test_the_script_creates_all_and_a_second_time_changes_nothing(gh: dict[str, str]) -> None:
    """Nine milestones with their criteria as a check list; another run brings the same nine up to date."""
    first = run(gh)
    once = held(gh)
    second = run(gh, "anna/claire")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert [m["title"] for m in once] == [m["title"] for m in MILESTONES]
    assert once[0]["description"].startswith(MILESTONES[0]["summary"])
    assert f"- [ ] {MILESTONES[0]['exit_criteria'][0]}" in once[0]["description"]
    assert held(gh) == once
    assert first.stdout.count("create") == second.stdout.count("update") == 9


@pytest.mark.slow  # make test keeps to three minutes
def test_what_people_did_stays(gh: dict[str, str]) -> None:
    """A closed milestone stays closed, one of their own stays as it is, a changed title is known by its id."""
    own = {"number": 1, "title": "M10 is not M1", "state": "open"}
    closed = {"number": 2, "title": "M1: old words", "state": "closed", "description": "old"}
    Path(gh["GH_STORE"]).write_text(json.dumps([own, closed]))

    assert run(gh).returncode == 0

    assert held(gh)[0] == own
    assert held(gh)[1]["state"] == "closed"
    assert held(gh)[1]["title"] == MILESTONES[0]["title"]
    assert len(held(gh)) == 10


def test_a_dry_run_only_says_what_it_would_do(gh: dict[str, str]) -> None:
    """Nothing is written with --dry-run."""
    told = run(gh, "--dry-run")
    assert told.returncode == 0
    assert told.stdout.count("create") == 9
    assert held(gh) == []


def test_a_refusal_of_github_ends_it(gh: dict[str, str]) -> None:
    """What GitHub refuses is shown and is an error; nothing goes on behind it."""
    told = run({**gh, "GH_REFUSES": "1"})
    assert told.returncode == 1
    assert "403" in told.stderr
    assert told.stdout.count("create") == 1


@pytest.mark.parametrize(("argument", "meant"), [("--force", "--force is unknown"), ("claire", "OWNER/REPOSITORY")])
def test_a_wrong_argument_is_named_with_what_is_meant(gh: dict[str, str], argument: str, meant: str) -> None:
    """Exit code 2, and the argument in the text."""
    told = run(gh, argument)
    assert told.returncode == 2
    assert meant in told.stderr


def test_a_file_that_is_none_is_named(gh: dict[str, str], tmp_path: Path) -> None:
    """A broken milestones.json ends it before GitHub is asked to change anything."""
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    told = run({**gh, "MILESTONES_FILE": str(broken)})
    assert told.returncode == 2
    assert str(broken) in told.stderr
    assert held(gh) == []
