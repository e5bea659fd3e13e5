"""The compiled package is the same program: the same tests hold on it, and it writes and reads the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from backoffice.scripts.compile_package import FOLDER, ROOT, modules

pytestmark = [pytest.mark.integration, pytest.mark.slow]

HOLDING: Final = (
    "tests/unit/audit/test_older_records.py",
    "tests/unit/risk/test_risk_layers.py",
    "tests/unit/risk/test_risk_entry.py",
    "tests/unit/core/test_core_machine.py",
    "tests/unit/execution/test_execution_machine.py",
)
"""Tests of what the machines say byte for byte, on spot and perpetual, live and on paper, and after a restart."""

CLAIRE: Final = ("-c", "from claire.cli import main; main()")


@pytest.fixture(scope="module")
def compiled() -> Path:
    """Return the folder of the compiled package, which is made unless it is of this code already."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler (cc), and who has none runs the package as it stands")
    subprocess.run([sys.executable, "backoffice/scripts/compile_package.py"], cwd=ROOT, check=True)
    return ROOT / FOLDER


def _python(path: tuple[Path, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a path of its own, and nothing before it: -P keeps the working directory out."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-P", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def _run_paper(path: Path, *options: str) -> dict[str, Any]:
    done = _python((path,), *CLAIRE, "run-paper", "--scenario", "crash-2021-05-19", "--json", *options)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_module_that_is_named_is_native(compiled: Path) -> None:
    """No module falls back to its source unnoticed: each comes from an extension, though its source lies beside it."""
    names = [module.removesuffix(".py").replace("/", ".") for module in modules()]
    code = "import importlib, json, sys; print(json.dumps([importlib.import_module(n).__file__ for n in sys.argv[1:]]))"

    done = _python((compiled,), "-c", code, *names)

    files = json.loads(done.stdout)
    assert [file for file in files if not file.endswith((".so", ".pyd"))] == []
    assert {Path(file).is_relative_to(compiled) for file in files} == {True}


def test_a_run_gives_the_same_bytes_and_each_validates_the_other_s(compiled: Path, tmp_path: Path) -> None:
    """Chain tip, figures and code version are equal; the journal of one side holds before the machines of the other."""
    folders = {side: tmp_path / side.name for side in (compiled, ROOT)}

    results = [_run_paper(side, "--output-dir", str(folder)) for side, folder in folders.items()]

    assert results[0] == results[1]
    assert results[0]["events"]["order"] > 10
    journals = [folder / "journal.jsonl.zst" for folder in folders.values()]
    assert journals[0].read_bytes() == journals[1].read_bytes()
    for side, journal in zip(folders, reversed(journals), strict=True):
        done = _python((side,), *CLAIRE, "validate", "--journal", str(journal))
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_holds_of_the_machines_holds_of_the_compiled_ones(compiled: Path) -> None:
    """The tests of decisions, restarts and older records pass on native machines, too."""
    probe = "import services.common.machine as m; assert m.__file__.endswith(('.so', '.pyd')), m.__file__"
    code = f"{probe}; import pytest, sys; sys.exit(pytest.main(sys.argv[1:]))"
    options = ("--import-mode=importlib", "-q", "-p", "no:cacheprovider")

    done = _python((compiled, ROOT), "-c", code, *options, *HOLDING)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
