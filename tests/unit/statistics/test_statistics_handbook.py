"""The handbook's page on statistics says what the code computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from claire.statistics.definitions import DAYS_PER_YEAR, DEFINITIONS, Definition

pytestmark = pytest.mark.unit

PAGE = Path(__file__).parents[3] / "backoffice" / "docs" / "statistik.md"
BAR = "\N{DIVIDES}"


def row_of(definition: Definition) -> list[str]:
    """Return what must stand in the table, but for the German meaning."""
    needs = [f"{definition.days} Tage"] if definition.days else []
    needs += [f"{definition.trades} Rundläufe"] if definition.trades else []
    source = "" if definition.source == "definition" else definition.source
    return [f"`{definition.name}`", f"`{definition.formula.replace('|', BAR)}`", " und ".join(needs), source]


def test_the_table_of_the_handbook_is_the_table_of_the_code() -> None:
    """Names, formulas, needed data and sources are equal, in the same order, and each has a German meaning."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    assert [[row[0], *row[2:]] for row in rows] == [row_of(definition) for definition in DEFINITIONS]
    assert all(len(row[1]) > 8 for row in rows)
    assert f"mit {DAYS_PER_YEAR} Tagen" in PAGE.read_text(encoding="utf-8")


def test_names_are_unique_and_every_source_is_named() -> None:
    """No name stands twice; a source is a publication with its year, or says that the formula is the definition."""
    names = [definition.name for definition in DEFINITIONS]

    assert len(set(names)) == len(names)
    for definition in DEFINITIONS:
        assert definition.source == "definition" or definition.source[-1].isdigit() or "(" in definition.source
