"""A backup holds what was recorded, is refused when it was cut or changed, and is put back whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from claire.backup.archive import BackupUnusable, Manifest, extract_journal, read_manifest, write_archive
from claire.backup.make import Backup, BackupFolderUnusable, make_backup
from claire.backup.place import backup_folder, redis_of_environment, redis_of_folder, tail_of, went_on_elsewhere
from claire.backup.restore import EPOCHS_LEFT_OUT, Restored, RestoreFailed, restore_database, restore_folder
from claire.backup.tail import Tail, read_tail
from claire.cli import app
from claire.data_folder import DataFolder, DataFolderInUse
from claire.doctor.postgres_room import stored_origin
from claire.embedded import EmbeddedPostgres, EmbeddedRedis
from claire.history.source import DatabaseHistory
from claire.history.transfer import TargetNotEmpty, empty_store, require_empty
from services.cdb_writer.adapters.backup_folder import backup_name, backups, made_at
from services.cdb_writer.adapters.connection import Connect, connector
from services.cdb_writer.adapters.store import EventStore
from services.cdb_writer.chain import ChainHead
from services.common.journal.entry import Entry
from services.common.runtime.file_lock import try_lock
from services.common.settings import Infrastructure
from tests.integration.writer.writer_support import query, read_tables, stored_cursor, write_all
from tests.unit.audit.recorded_day import busy_day
from tests.unit.writer.journal_story import tell as tell_story

pytestmark = pytest.mark.integration

MOMENT = datetime(2026, 11, 28, 6, 0, 0, tzinfo=UTC)
RUNNER = CliRunner()
SECOND_EPOCH = 321
"""Where the second epoch of the day begins."""


@cache
def entries() -> list[Entry]:
    """Return a day on which every decision follows."""
    return busy_day(1, 150).entries


def silent(_name: str, _total: int | None) -> Any:
    """Tell nobody how far the work is."""
    return lambda _: None


def in_redis(server: EmbeddedRedis, tail: list[Entry], head: int | None = None) -> None:
    """Put entries where the journal would have them."""
    with server.client() as client:
        for entry in tail:
            fields = {"data": entry.data, "channel": entry.channel, "producer": entry.producer, "cause": entry.cause}
            client.xadd("journal", fields, id=str(entry.id))  # type: ignore[arg-type]
        client.hset("bus", "head", str(head or tail[-1].id.n))
        client.hset("epochs", mapping={"1": "1", "2": str(SECOND_EPOCH)})


def made(connect: Connect, folder: Path, tail: Tail | None = None, moment: datetime = MOMENT, keep: int = 0) -> Backup:
    """Back the database up."""
    database = connect()
    try:
        return make_backup(DatabaseHistory(database, "here"), lambda _: tail or Tail(), folder, moment, keep=keep)
    finally:
        database.close()


def restored(path: Path, connect: Connect, *, check: bool = True, tip: str = "", jump: bool = True) -> Any:
    """Put a backup back."""
    return restore_database(path, connect, jump=lambda _: jump, check=check, tip=tip, stage=silent)


@pytest.fixture
def other(embedded_postgres: EmbeddedPostgres, infrastructure: Infrastructure, database: str) -> Iterator[Connect]:
    """Opens connections to a second, empty database."""
    name = f"{database}_restored"
    embedded_postgres.create_database(name)
    yield connector(infrastructure.model_copy(update={"POSTGRES_DB": name}))
    embedded_postgres.drop_database(name)


@pytest.fixture
def half(store: EventStore) -> int:
    """The first part of the day is stored; returns how many events."""
    stored = len(entries()) - 40
    write_all(store, entries()[:stored])
    return stored


def test_backup_and_restore_give_the_same_store(
    *, half: int, connect: Connect, other: Connect, store: EventStore, infrastructure: Infrastructure,
    embedded_redis: EmbeddedRedis, short_folder: Path,
) -> None:  # fmt: skip
    """Database and tail come back as the writer would have stored them: events, tables, cursor, anchors; and validate.

    The epochs begin far beyond those of the time that was lost, so that no snapshot of then is taken for valid.
    """
    in_redis(embedded_redis, entries()[half - 5 :])
    tail = read_tail(infrastructure, stored_cursor(connect).head)

    backup = made(connect, short_folder / "backups", tail)
    done = restored(backup.path, other, tip=backup.manifest.tip.hash.hex())

    assert len(tail.entries) == 40
    assert backup.manifest.stored.seq == half
    write_all(store, entries()[half:])
    assert read_tables(other) == read_tables(connect)
    assert stored_cursor(other).head == stored_cursor(connect).head == backup.manifest.tip
    assert query(other, "SELECT * FROM event_store.chain_anchor") == query(
        connect, "SELECT * FROM event_store.chain_anchor"
    )
    assert done.verdict.ok
    assert done.verdict.entries == len(entries())
    assert dict(query(other, "SELECT epoch, first_seq FROM event_store.epochs")) == {
        1: 1, 2: SECOND_EPOCH, 2 + EPOCHS_LEFT_OUT: len(entries()) + 1
    }  # fmt: skip


def test_a_tail_that_cannot_be_had_is_left_out_with_the_reason(
    infrastructure: Infrastructure, embedded_redis: EmbeddedRedis
) -> None:
    """A hole, a stream that was written into, a Redis that is away: the backup ends with the database, and says why."""
    stored = ChainHead(10, 1)
    assert read_tail(infrastructure, stored) == Tail()
    in_redis(embedded_redis, entries()[19:25])
    assert "entry 11 is gone" in read_tail(infrastructure, stored).words
    assert "ends at 25, its head says 30" in _head_at(embedded_redis, 30, infrastructure, ChainHead(24, 1)).words
    assert "entries wait" in _head_at(embedded_redis, 999_999, infrastructure, stored).words
    with embedded_redis.client() as client:
        client.xadd("journal", {"x": "y"}, id="1-26")
    assert "not one of the journal" in _head_at(embedded_redis, 26, infrastructure, ChainHead(24, 1)).words
    away = Infrastructure(REDIS_SOCKET="/nowhere.sock")
    assert "does not answer" in read_tail(away, stored).words
    assert "no Redis was named" in tail_of(None)(stored).words


def _head_at(server: EmbeddedRedis, head: int, infra: Infrastructure, stored: ChainHead) -> Tail:
    with server.client() as client:
        client.hset("bus", "head", str(head))
    return tail_of(infra)(stored)


def test_what_was_cut_or_changed_is_refused_by_name(
    half: int, connect: Connect, other: Connect, short_folder: Path
) -> None:
    """Whatever byte is another and wherever the file ends: it is said, and the target stays empty."""
    path = made(connect, short_folder).path
    whole, bad = path.read_bytes(), short_folder / "bad.backup"
    places = (*range(0, len(whole) - 10_240, max(1, len(whole) // 40)), 520, 600, 1_500)
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 0x01
        bad.write_bytes(changed)
        if whole[place]:  # (the padding of a tar belongs to nothing)
            with pytest.raises(BackupUnusable, match=r"bad\.backup: "):
                extract_journal(bad, short_folder / "journal")
            assert not (short_folder / "journal").exists()
    for length in (0, 100, 511, 700, len(whole) // 2, len(whole) - 10_240 - 1_000):
        bad.write_bytes(whole[:length])
        with pytest.raises(BackupUnusable, match=r"bad\.backup: .*(cut|read|begin)"):
            restored(bad, other)
    with pytest.raises(BackupUnusable, match="no such file"):
        read_manifest(short_folder / "none")
    with pytest.raises(BackupUnusable, match="another history"):
        restored(path, other, tip="00" * 32)


def test_a_manifest_that_says_another_end_is_refused(half: int, connect: Connect, short_folder: Path) -> None:
    """Also one that was made anew around another journal: its chain must end where the manifest says."""
    from claire.backup.archive import write_archive
    from claire.backup.restore import check_backup

    backup = made(connect, short_folder)
    journal = short_folder / "journal"
    extract_journal(backup.path, journal)
    forged = Manifest(**{**vars(backup.manifest), "tip": ChainHead(half, 1, b"\0" * 32)})
    write_archive(short_folder / "forged", forged, journal)
    with pytest.raises(BackupUnusable, match="the manifest says 1-"):
        check_backup(short_folder / "forged", short_folder / "out", "", silent)
    journal.write_bytes(b"{}\n")
    write_archive(short_folder / "forged", backup.manifest, journal)
    with pytest.raises(BackupUnusable, match="forged: "):
        check_backup(short_folder / "forged", short_folder / "out", "", silent)


def test_only_an_empty_database_is_a_target(half: int, connect: Connect, store: EventStore, short_folder: Path) -> None:
    """What is there is not touched."""
    path = made(connect, short_folder).path
    store.close()
    with pytest.raises(TargetNotEmpty, match=f"{half} events"):
        restored(path, connect)
    assert stored_cursor(connect).head.seq == half


def test_nothing_is_left_of_what_does_not_hold(
    store: EventStore, connect: Connect, other: Connect, short_folder: Path
) -> None:
    """Decisions that do not follow, an anchor that is another: taken back; as recorded only when that is asked for."""
    write_all(store, tell_story(23, 300).entries)
    backup = made(connect, short_folder)
    with pytest.raises(RestoreFailed, match="claire validate does not hold"):
        restored(backup.path, other)
    again = EventStore(other)
    again.open()
    require_empty(again)
    again.close()
    done = restored(backup.path, other, check=False, jump=False)
    assert done.verdict is None
    assert query(other, "SELECT count(*) FROM event_store.epochs") == [(1,)]


def test_a_forged_anchor_is_found(half: int, connect: Connect, other: Connect, short_folder: Path) -> None:
    """What was noted of closed days must come out again."""
    query(connect, "UPDATE event_store.chain_anchor SET hash = sha256('x') RETURNING 1")
    backup = made(connect, short_folder)
    assert backup.manifest.anchors
    with pytest.raises(RestoreFailed, match="the anchor at event"):
        restored(backup.path, other)
    assert stored_cursor(other).head == ChainHead()


def test_rotation_keeps_the_newest_and_only_backups_count(half: int, connect: Connect, short_folder: Path) -> None:
    """`--keep 2`: the oldest goes; other files stay; drafts of a killed backup are cleared; one at a time."""
    (short_folder / "note.txt").write_text("mine")
    (short_folder / ".journal.draft").write_text("half")
    for hour in range(3):
        last = made(connect, short_folder, moment=MOMENT + timedelta(hours=hour), keep=2)
    assert [path.name for path in last.removed] == [f"claire-20261128T060000Z-{half}.backup"]
    assert [moment.hour for moment, _ in backups(short_folder)] == [7, 8]
    assert {path.name for path in short_folder.iterdir() if path.suffix != ".backup"} == {"note.txt", ".lock"}
    assert made_at(short_folder / "note.txt") is None
    assert backups(short_folder / "none") == []
    with (short_folder / ".lock").open("ab") as held:
        assert try_lock(held)
        with pytest.raises(BackupFolderUnusable, match="another backup"):
            made(connect, short_folder)
    with pytest.raises(BackupFolderUnusable, match="cannot be written"):
        made(connect, short_folder / "note.txt" / "x")


@pytest.mark.usefixtures("half")
def test_rotation_leaves_the_backups_of_another_history(connect: Connect, short_folder: Path) -> None:
    """Two runs into one folder: `--keep 1` of one removes no backup of the other, nor what nobody can read."""
    first = made(connect, short_folder)
    other = short_folder / backup_name(MOMENT + timedelta(hours=1), 9)
    journal = short_folder / "journal"
    journal.write_bytes(b"of another run")
    write_archive(other, replace(first.manifest, origin="00" * 32), journal)
    unreadable = short_folder / backup_name(MOMENT + timedelta(hours=2), 9)
    unreadable.write_text("cut")

    last = made(connect, short_folder, moment=MOMENT + timedelta(hours=3), keep=1)

    assert last.removed == (first.path,)
    assert last.manifest.origin == first.manifest.origin != ""
    assert [path for _, path in backups(short_folder)] == [other, unreadable, last.path]
    database = connect()
    assert stored_origin(database) == last.manifest.origin, "so claire doctor knows this history's backups"
    database.close()


def test_an_empty_store_gives_no_backup(store: EventStore, connect: Connect, short_folder: Path) -> None:
    """Nothing recorded is nothing saved, and no file says otherwise."""
    with pytest.raises(BackupUnusable, match="nothing is recorded"):
        made(connect, short_folder)
    assert backups(short_folder) == []


def test_what_redis_still_holds_decides_about_epochs(
    half: int, connect: Connect, infrastructure: Infrastructure, embedded_redis: EmbeddedRedis, short_folder: Path
) -> None:
    """Redis that follows the backup goes on by itself; one of another line, or one that is away, is refused."""
    manifest = made(connect, short_folder).manifest
    assert went_on_elsewhere(None, manifest)
    assert went_on_elsewhere(infrastructure, manifest)  # it is empty
    in_redis(embedded_redis, entries()[half:])
    assert not went_on_elsewhere(infrastructure, manifest)
    with embedded_redis.client() as client:
        client.hset("epochs", "3", str(half - 3))
    with pytest.raises(RestoreFailed, match=f"another journal \\(3-{half} where"):
        went_on_elsewhere(infrastructure, manifest)
    with pytest.raises(RestoreFailed, match="must run"):
        went_on_elsewhere(Infrastructure(REDIS_SOCKET="/nowhere.sock"), manifest)
    assert redis_of_environment({}) is None
    found = redis_of_environment({"REDIS_HOST": "a", "REDIS_PORT": "1"})
    assert found is not None
    assert found.REDIS_HOST == "a"
    assert backup_folder(None, {"BACKUP_DIR": "/b"}) == Path("/b")
    assert backup_folder(short_folder, {}) == short_folder


class Borrowed:
    """The session's PostgreSQL in place of a data folder's own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.starts = 0

    def __enter__(self) -> Borrowed:
        self.starts += 1
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def borrowed(environment: dict[str, str], database: str, other: Connect, monkeypatch: pytest.MonkeyPatch) -> Borrowed:
    """Data folders use a database of the session's server."""
    server = Borrowed({**environment, "POSTGRES_DB": f"{database}_restored"})
    monkeypatch.setattr(DataFolder, "postgres", lambda _: server)
    return server


def test_a_folder_is_made_beside_the_target_and_renamed(
    half: int, connect: Connect, other: Connect, borrowed: Borrowed, short_folder: Path
) -> None:
    """It gets its name when it is whole; what was there is moved aside only when asked; leftovers are cleared first."""
    path = made(connect, short_folder / "backups").path
    folder, draft = short_folder / "data", short_folder / ".data.restoring"
    (draft / "postgres" / "data").mkdir(parents=True)
    (draft / "postgres" / "data" / "PG_VERSION").touch()  # of a restore that was killed
    (draft / "journal.jsonl.zst").touch()
    folder.mkdir()

    def put_back(*, replace: bool = False) -> Restored:
        return restore_folder(path, folder, replace=replace, check=False, tip="", moment=MOMENT, stage=silent)

    assert put_back().moved is None
    assert borrowed.starts == 2  # the leftover server was ended by starting and stopping it
    assert stored_cursor(other).head.seq == half
    assert not draft.exists()
    assert {place.name for place in folder.iterdir()} == {"claire.lock", "logs"}
    with pytest.raises(TargetNotEmpty, match="--replace"):
        put_back()
    with pytest.raises(TargetNotEmpty, match="events"):  # the borrowed database is full: nothing may be left beside
        put_back(replace=True)
    assert not draft.exists()
    again = EventStore(other)
    again.open()
    empty_store(again)
    again.close()
    moved = put_back(replace=True).moved
    assert moved == short_folder / "data.before-20261128T060000Z"
    assert moved.is_dir()
    running = DataFolder(folder)
    running.acquire()
    with pytest.raises(DataFolderInUse, match="in use by process"):
        put_back(replace=True)
    running.release()


def test_the_tail_of_a_folder_comes_from_its_own_redis(
    embedded_redis: EmbeddedRedis, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that runs is asked; one at rest is started for the moment; without a journal there is none."""
    with redis_of_folder(short_folder, running=False) as none:
        assert none is None
    told: list[str] = []
    server = SimpleNamespace(
        environment=embedded_redis.environment, start=lambda: told.append("start"), stop=lambda: told.append("stop")
    )
    monkeypatch.setattr(DataFolder, "redis", lambda _, **_options: server)
    (short_folder / "redis" / "appendonlydir").mkdir(parents=True)
    (short_folder / "redis" / "appendonlydir" / "file").touch()
    for running, expected in ((True, []), (False, ["start", "stop"])):
        with redis_of_folder(short_folder, running=running) as infra:
            assert infra is not None
            assert read_tail(infra, ChainHead()) == Tail()
        assert told == expected


def claire(*arguments: object) -> Result:
    """Run a command in this process."""
    return RUNNER.invoke(app, [str(argument) for argument in arguments])


def test_the_commands_on_a_database(
    *, half: int, store: EventStore, embedded_postgres: EmbeddedPostgres, database: str, other: Connect,
    short_folder: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """`claire backup --dsn`, `restore --check`, `restore --dsn`: what they say, and their exit codes."""
    for name in ("REDIS_HOST", "REDIS_SOCKET", "BACKUP_DIR"):
        monkeypatch.delenv(name, raising=False)
    store.close()
    dsn, target = embedded_postgres.dsn(database), embedded_postgres.dsn(f"{database}_restored")
    done = claire("backup", "--dsn", dsn, "--output", short_folder, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["events"] == half
    path = found["file"]
    checked = claire("restore", path, "--check", "--json")
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["tip"]["hash"] == found["chain_tip"]
    assert "is whole" in claire("restore", path, "--check").output
    assert claire("restore", path, "--check", "--tip", "00").exit_code == 2
    assert claire("restore", path, "--dsn", target, "--replace").exit_code == 2
    back = claire("restore", path, "--dsn", target)
    assert back.exit_code == 0, back.output
    assert "every decision follows again" in back.output
    assert claire("restore", path, "--dsn", target).exit_code == 1
    assert claire("backup", "--dsn", target, "--output", short_folder, "--keep", "1").exit_code == 0
    assert len(backups(short_folder)) == 1
    assert claire("restore", short_folder / "none", "--data-dir", short_folder / "x").exit_code == 2
