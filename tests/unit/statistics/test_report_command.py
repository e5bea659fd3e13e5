"""`claire report`: the same page from the journal and from `report.json`, and what it says when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from claire.cli import app
from claire.history.journal_file import JournalWriter
from claire.report import render, report_data
from claire.statistics import StatisticsCollector
from claire.up import to_json
from services.common.journal.entry import Entry, JournalId
from tests.unit.writer.journal_story import tell

pytestmark = pytest.mark.unit


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal file of a small run."""
    path = tmp_path / "journal.jsonl.zst"
    with JournalWriter(path) as writer:
        for entry in tell(4, 300).entries:
            writer.write(entry)
    return path


def test_a_journal_becomes_a_page_beside_it(journal: Path) -> None:
    """`report.html` stands beside the journal, with the run, its chain tip and the name of the journal."""
    done = CliRunner().invoke(app, ["report", "--journal", str(journal)])

    page = journal.with_name("report.html").read_text()
    assert done.exit_code == 0, done.output
    assert "report.html" in done.output
    assert "run-1" in page
    assert "journal.jsonl.zst" in page
    assert "not computed" not in page


def test_a_report_json_becomes_its_page_again(tmp_path: Path) -> None:
    """What run-paper writes is drawn again, byte for byte, into the file that is asked for."""
    collector = StatisticsCollector()
    for entry in tell(4, 300).entries:
        collector.observe(entry)
    report = report_data(collector.result(), title="again")
    (tmp_path / "report.json").write_text(to_json(report))

    done = CliRunner().invoke(app, ["report", str(tmp_path / "report.json"), "--output", str(tmp_path / "page.html")])

    assert done.exit_code == 0, done.output
    assert (tmp_path / "page.html").read_text() == render(report)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ("{", "--journal"),
        ('{"run_id": "x"}', "no report.json"),
        ("[1]", "no report.json"),
    ],
)
def test_another_file_is_refused_with_what_is_meant(tmp_path: Path, content: str | None, said: str) -> None:
    """Exit code 2, and the text names the file."""
    file = tmp_path / "other.json"
    if content is not None:
        file.write_text(content)

    done = CliRunner().invoke(app, ["report", str(file)])

    assert done.exit_code == 2
    assert said in done.output
    assert "other.json" in done.output


def test_an_output_that_cannot_be_written_is_named(journal: Path, tmp_path: Path) -> None:
    """A folder as target: exit code 2 and its name."""
    done = CliRunner().invoke(app, ["report", "--journal", str(journal), "--output", str(tmp_path)])

    assert done.exit_code == 2
    assert "cannot be written" in done.output


def test_a_part_without_its_beginning_is_refused(tmp_path: Path) -> None:
    """An exported part does not say what the account held: exit code 2, and what to take instead."""
    path = tmp_path / "part.jsonl.zst"
    with JournalWriter(path) as writer:
        for entry in tell(4, 60).entries:
            if entry.producer != "cdb_risk":
                writer.write(Entry(JournalId(1, writer.head.seq + 1), entry.channel, entry.producer, "", entry.data))

    done = CliRunner().invoke(app, ["report", "--journal", str(path)])

    assert done.exit_code == 2
    assert "take the whole journal" in " ".join(done.output.split())
