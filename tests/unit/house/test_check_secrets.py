"""The scanner finds what looks like a secret, and knows what is none; the audit says when it could not audit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "backoffice" / "scripts"))

import audit  # noqa: E402 - the scripts are no package

pytest.importorskip("detect_secrets", reason="make setup installs the scanner")
import check_secrets  # noqa: E402

pytestmark = [pytest.mark.unit, pytest.mark.security]


def test_a_planted_secret_is_found_and_an_excused_line_is_not(tmp_path: Path) -> None:
    """By its form or by the name it stands under; in tests a name alone is not enough."""
    path = tmp_path / "file.py"
    word = "hunter" + "2hunter2"
    path.write_text(
        f'database_password = "{word}"\n'
        f'api_key = "{word}"  # not a secret: of a test\n'
        f"url = 'https://user:{word}@example.org'\n"
    )

    assert [line for line, _ in check_secrets.find_secrets(path, "services/x.py")] == [1, 3]
    assert [line for line, _ in check_secrets.find_secrets(path, "tests/x.py")] == [3]
    assert list(check_secrets.find_secrets(path, next(iter(check_secrets.PUBLISHED)))) == []
    assert check_secrets.main([str(path)]) == 1


def test_what_is_allowed_by_name_exists() -> None:
    """An allowance for a file that is gone would wait for whoever takes its name."""
    assert all((ROOT / name).is_file() for name in check_secrets.PUBLISHED)


def answers(*replies: CompletedProcess[str]) -> audit.Run:
    """Return a pip-audit that answers like this, one after the other."""
    left = list(replies)
    return lambda _: left.pop(0)


def test_the_audit_says_what_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    """No hole, a hole, the first database silent, all of them silent."""
    silent = subprocess.CompletedProcess([], 1, "", "Traceback\nConnectionError: no route")
    clean = subprocess.CompletedProcess([], 0, "No known vulnerabilities found\n", "")
    hole = subprocess.CompletedProcess([], 1, "flask 0.1 PYSEC-1\n", "Found 1 known vulnerability in 1 package")

    blind = subprocess.CompletedProcess([], 0, "flask Dependency not found and could not be audited\nNo known", "")

    assert audit.main(answers(clean)) == 0
    assert audit.main(answers(blind, blind)) == audit.NOT_AUDITED
    assert audit.main(answers(hole)) == 1
    assert audit.main(answers(silent, clean)) == 0
    assert audit.main(answers(silent, silent)) == audit.NOT_AUDITED
    assert "nothing was audited" in capsys.readouterr().err
