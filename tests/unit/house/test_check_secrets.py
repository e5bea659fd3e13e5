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
    assert check_secrets.main([str(path)], tmp_path / "cache") == 1


def test_only_what_was_clean_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finding is found each time; a clean file is passed over until its bytes change or the scanner does."""
    word = "hunter" + "2hunter2"
    cache, clean, planted = tmp_path / "cache", tmp_path / "clean.py", tmp_path / "planted.py"
    clean.write_text("x = 1\n")
    planted.write_text(f'database_password = "{word}"\n')
    read: list[str] = []
    find = check_secrets.find_secrets
    monkeypatch.setattr(check_secrets, "find_secrets", lambda path, name: read.append(path.name) or find(path, name))
    both = [str(clean), str(planted)]

    assert [check_secrets.main(both, cache) for _ in range(2)] == [1, 1]
    assert read == ["clean.py", "planted.py", "planted.py"]
    clean.write_text(f'api_key = "{word}"\n')
    assert check_secrets.main([str(clean)], cache) == 1
    clean.write_text("x = 1\n")
    monkeypatch.setattr(check_secrets, "_SCANNER", b"another")
    assert check_secrets.main([str(clean)], cache) == 0
    assert read[3:] == ["clean.py", "clean.py"]
    cache.write_text("[")
    assert check_secrets.main([str(clean)], cache) == 0


def test_many_files_are_shared_among_processes(tmp_path: Path) -> None:
    """What one of many files hides is found with its place."""
    for number in range(check_secrets.ALONE):
        (tmp_path / f"{number}.py").write_text("x = 1\n")
    (tmp_path / "7.py").write_text("y = 1\n" + 'api_key = "' + "hunter" + '2hunter2"\n')

    paths = [(path, path.name) for path in sorted(tmp_path.iterdir())]
    found = dict(zip((name for _, name in paths), check_secrets._scan(paths), strict=True))

    assert [name for name, lines in found.items() if lines] == ["7.py"]
    assert [line for line, _ in found["7.py"]] == [2]


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
