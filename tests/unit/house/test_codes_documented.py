"""Every code has a meaning, and the handbook's table is made from the enums that decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from backoffice.scripts import make_codes
from services.cdb_execution.codes import CancelCode, ExpiryCode, RejectCode
from services.cdb_risk.codes import MEANINGS, Code

pytestmark = pytest.mark.unit


def test_the_table_in_the_handbook_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """The page equals what the enums generate; `make schemas` writes it."""
    assert make_codes.PAGE.read_text(encoding="utf-8") == make_codes.page()
    assert make_codes.main(["--check"]) == 0
    assert capsys.readouterr().out == "codes: up to date\n"


def test_an_outdated_page_is_named_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check fails and says what to do; without it the page is written."""
    monkeypatch.setattr(make_codes, "PAGE", tmp_path / "codes.md")
    assert make_codes.main(["--check"]) == 1
    assert "make schemas" in capsys.readouterr().out
    assert make_codes.main([]) == 0
    assert make_codes.main(["--check"]) == 0


def test_every_code_of_risk_has_a_meaning() -> None:
    """Each once, and each execution code stands on the page, too."""
    assert set(MEANINGS) == set(Code)
    text = make_codes.page()
    for code in (*Code, *RejectCode, *ExpiryCode, *CancelCode):
        assert f"| `{code}` |" in text
