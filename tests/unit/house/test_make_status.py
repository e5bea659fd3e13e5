"""PROJECT_STATUS.md: what can be measured is put in by a script, what people write stays."""

from __future__ import annotations

import pytest

from backoffice.scripts import make_status


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    """Words before and after stay; a second time gives the same page."""
    page = f"before\n{make_status.BEGIN}\nold\n{make_status.END}\nafter\n"
    once = make_status.replace(page, "facts\n")
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert make_status.replace(once, "facts\n") == once


def test_a_page_without_marks_is_an_error_that_names_them() -> None:
    """Nothing is guessed: the marks are named."""
    with pytest.raises(ValueError, match="gemessen: Anfang"):
        make_status.replace("words", "facts")


def test_the_page_has_its_marks_and_facts() -> None:
    """The page in the repository was written by the script: tests, coverage and extent."""
    page = make_status.PAGE.read_text(encoding="utf-8")
    facts = page.split(make_status.BEGIN)[1].split(make_status.END)[0]
    assert all(title in facts for title in ("**Tests**", "**Abdeckung**", "**Umfang**"))
    assert "nicht" not in facts


def test_the_extent_is_counted_from_the_product() -> None:
    """Commands, settings and rules are found: a number that falls to nothing would be seen."""
    counted = dict(make_status._extent())
    assert int(counted["Befehle von `claire`"]) > 20
    assert int(counted["Einstellungen in `.env.example`"]) > 60
    assert int(counted["Kennzahlen"]) > 30
    assert int(counted["Alarme"]) > 5
