"""Export and import lose nothing, and the five tables follow from the events alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from claire.cli import app
from claire.data_folder import DataFolder
from claire.database import open_database
from claire.history.journal_file import JournalWriter
from claire.history.source import DatabaseHistory, FileHistory
from claire.history.transfer import TargetNotEmpty, import_history, require_empty
from claire.stats import collect
from services.cdb_writer.adapters.connection import Connect
from services.cdb_writer.adapters.retention import retain
from services.cdb_writer.adapters.store import EventStore
from services.common.errors import IllegalTransition
from services.common.journal.entry import Entry
from tests.integration.writer.writer_support import query, read_tables, stored_cursor, write_all
from tests.unit.writer.journal_story import Story, tell

pytestmark = pytest.mark.integration

STORY = tell(23, 700)
RUNNER = CliRunner()


def write(path: Path, entries: list[Entry]) -> Path:
    """Write a journal file."""
    with JournalWriter(path) as journal:
        for entry in entries:
            journal.write(entry)
    return path


def claire(*arguments: object) -> Result:
    """Run a command in this process."""
    return RUNNER.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def imported(servers_folder: Path) -> tuple[Path, Path]:
    """A journal file, and the data folder that was made of it."""
    journal, folder = write(servers_folder / "journal.jsonl.zst", STORY.entries), servers_folder / "imported"
    done = claire("import", journal, "--data-dir", folder, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    history = FileHistory(journal)
    *_, (_, head) = history.links()
    assert (found["entries"], found["chain_tip"]) == (len(STORY.entries), head.hash.hex())
    return journal, folder


def test_export_import_export_gives_identical_bytes(imported: tuple[Path, Path], short_folder: Path) -> None:
    """A file made a database and a file again is the same file, to the byte."""
    journal, folder = imported
    again = short_folder / "again.jsonl.zst"
    done = claire("export", "--data-dir", folder, "--output", again, "--json")
    assert done.exit_code == 0, done.output
    assert again.read_bytes() == journal.read_bytes()
    assert json.loads(done.stdout)["bytes"] == journal.stat().st_size


def test_a_part_is_exported_with_its_place_in_the_chain(imported: tuple[Path, Path], short_folder: Path) -> None:
    """A part begins and ends where it was asked to; it is no journal to import."""
    journal, folder = imported
    part = short_folder / "part.zst"
    done = claire("export", "--data-dir", folder, "--output", part, "--from", "101", "--to", "200")
    assert done.exit_code == 0, done.output
    assert "100 events" in done.output
    whole = list(FileHistory(journal).links())
    assert list(FileHistory(part).links()) == whole[100:200]
    refused = claire("import", part, "--data-dir", short_folder / "data")
    assert refused.exit_code == 2
    assert "begins after event 100" in refused.output
    nothing = claire("export", "--data-dir", folder, "--output", part, "--from", "2031-01-01")
    assert nothing.exit_code == 2
    assert "nothing is recorded in that range" in nothing.output


def test_an_import_has_what_the_writer_would_have_written(
    imported: tuple[Path, Path], store: EventStore, connect: Connect
) -> None:
    """Events, cursor, states, anchors, runs and the five tables are those of a writer that saw every entry."""
    write_all(store, STORY.entries, size=5_000)
    database = DataFolder(imported[1]).postgres()
    with database:
        assert read_tables(database.connect) == read_tables(connect)
        ours, theirs = stored_cursor(database.connect), stored_cursor(connect)
        assert (ours.head, ours.state) == (theirs.head, theirs.state)
        assert ours.clock is not None
        assert json.loads(ours.clock)["run_id"] == "run-1"
        for table in ("event_store.chain_anchor", "event_store.runs", "event_store.epochs"):
            assert query(database.connect, f"SELECT * FROM {table}") == query(connect, f"SELECT * FROM {table}")


def test_rebuild_gives_the_same_tables(imported: tuple[Path, Path]) -> None:
    """Also after somebody has been at them."""
    folder = imported[1]
    with DataFolder(folder).postgres() as database:
        before = read_tables(database.connect)
        query(database.connect, "DELETE FROM trades WHERE true RETURNING 1")
        query(database.connect, "UPDATE positions SET realized_pnl = 1000000 RETURNING 1")
    done = claire("rebuild", "--data-dir", folder, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"events": len(STORY.entries)}
    with DataFolder(folder).postgres() as database:
        assert read_tables(database.connect) == before
    with open_database(folder, "", {}) as connection:
        assert collect(connection)["tables"]["trades"] > 0


def test_only_an_empty_folder_is_a_target(imported: tuple[Path, Path], short_folder: Path) -> None:
    """Neither one with events, nor one in which services have left something."""
    journal, folder = imported
    done = claire("import", journal, "--data-dir", folder)
    assert done.exit_code == 1
    assert f"the target holds {len(STORY.entries)} events" in done.output
    (short_folder / "redis" / "appendonlydir").mkdir(parents=True)
    (short_folder / "redis" / "appendonlydir" / "file").touch()
    done = claire("import", journal, "--data-dir", short_folder)
    assert done.exit_code == 1
    assert "a journal in Redis" in done.output
    (short_folder / "redis" / "appendonlydir" / "file").unlink()
    (short_folder / "state" / "cdb_core").mkdir(parents=True)
    (short_folder / "state" / "cdb_core" / "snapshot-1-7.json").touch()
    assert "snapshots of another" in claire("import", journal, "--data-dir", short_folder).output


def test_an_inconsistent_target_is_named(store: EventStore, connect: Connect) -> None:
    """Rows without the events that they follow from."""
    require_empty(store)
    query(connect, "INSERT INTO event_store.runs VALUES ('a', 1, now()) RETURNING 1")
    with pytest.raises(TargetNotEmpty, match=r"1 rows in event_store\.runs"):
        require_empty(store)


def test_nothing_is_left_of_an_import_that_fails(store: EventStore, connect: Connect, short_folder: Path) -> None:
    """A fill that cannot be booked is found while the tables are made: the store is empty again."""
    story = Story()
    story.begin()
    order = story.order(STORY.entries[10].event.price, STORY.entries[10].event.price)  # type: ignore[attr-defined]
    for _ in range(6_000):
        story.tick()
    story.fill(order, order.quantity, order.quantity, side="SELL")
    history = FileHistory(write(short_folder / "bad.zst", story.entries))
    with pytest.raises(IllegalTransition, match="sells"):
        import_history(history, store)
    require_empty(store)
    import_history(FileHistory(write(short_folder / "good.zst", STORY.entries)), store)
    assert stored_cursor(connect).head.seq == len(STORY.entries)


def test_market_data_past_retention_are_exported_as_well(
    store: EventStore, connect: Connect, short_folder: Path
) -> None:
    """They come back from their files; the journal file is the same as before they were moved."""
    write_all(store, STORY.entries)
    database = connect()
    list(retain(database, "2021-07-01", 30, short_folder))
    database.close()
    database = connect()
    history = DatabaseHistory(database, "here", short_folder)
    path = write(short_folder / "whole.zst", list(history.entries()))
    database.close()
    assert path.read_bytes() == write(short_folder / "again.zst", STORY.entries).read_bytes()


def test_what_cannot_be_opened_is_said(short_folder: Path) -> None:
    """No folder, no server, no file."""
    assert claire("export", "--data-dir", short_folder / "no", "--output", short_folder / "x").exit_code == 2
    assert claire("rebuild", "--data-dir", short_folder / "no").exit_code == 2
    done = claire("rebuild", "--dsn", "host=127.0.0.1 port=1 dbname=x")
    assert done.exit_code == 2
    assert "no database there" in done.output
    assert claire("import", short_folder / "none", "--data-dir", short_folder).exit_code == 2
