"""The doctor at real servers: what is wrong with Redis, the journal and PostgreSQL is named with what mends it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psycopg2
import pytest
from redis.exceptions import ResponseError
from typer.testing import CliRunner

from claire.cli import app
from claire.data_folder import DataFolder
from claire.doctor import redis_room
from claire.doctor.examination import Examination, Patient
from claire.doctor.finding import Finding, Level
from claire.doctor.journal_room import look_at_journal
from claire.doctor.postgres_room import look_at_postgres, stored_events
from claire.doctor.redis_room import look_at_redis, look_at_users
from claire.embedded import EmbeddedPostgres, EmbeddedRedis
from services.cdb_writer.adapters.connection import connector
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore
from services.common import channels
from services.common.journal.client import JournalClient
from services.common.journal.link import Link
from services.common.settings import Infrastructure
from tests.integration.writer.writer_support import query, write_all
from tests.unit.writer.journal_story import tell

pytestmark = pytest.mark.integration

STORY = tell(5, 60)


@pytest.fixture
def link(infrastructure: Infrastructure) -> Iterator[Link]:
    """A connection to this test's Redis."""
    link = Link(infrastructure, name="doctor")
    yield link
    link.close()


def worst(findings: Iterator[Finding]) -> dict[str, Level]:
    """Return words and level of what is not well."""
    return {finding.words: finding.level for finding in findings if finding.level is not Level.ok}


def test_a_redis_that_keeps_what_it_is_given_is_well(
    link: Link, infrastructure: Infrastructure, embedded_redis: EmbeddedRedis
) -> None:
    """Only what this server has been told otherwise is named; each of it with its remedy."""
    with embedded_redis.client() as client:
        client.config_set("maxmemory", "512mb")
        try:
            assert worst(look_at_redis(link, infrastructure, "paper")) == {}
            assert list(worst(look_at_redis(link, infrastructure, "live")).values()) == [Level.problem]
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.config_set("appendonly", "no")
            words = " ".join(worst(look_at_redis(link, infrastructure, "paper")))
            assert "append-only file is off" in words
            assert "allkeys-lru" in words
            client.config_set("maxmemory", "1000")
            assert "market data are refused" in " ".join(worst(look_at_redis(link, infrastructure, "paper")))
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", str(used * 8 // 5))
            assert Level.warning in worst(look_at_redis(link, infrastructure, "paper")).values()
        finally:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("appendonly", "yes")
    assert "no memory limit" in " ".join(worst(look_at_redis(link, infrastructure, "paper")))


def test_users_are_tried(infrastructure: Infrastructure, short_folder: Path) -> None:
    """A socket needs none; over TCP each known password is tried, and an open port is named."""
    assert [finding.level for finding in look_at_users(infrastructure, {})] == [Level.ok]
    from tests.integration.runtime.test_up import free_ports

    port = free_ports()
    with EmbeddedRedis(short_folder / "redis", port=port) as server, server.client() as client:
        client.execute_command("ACL", "SETUSER", "service", "on", ">right", "~*", "&*", "+@all")
        infra = Infrastructure(REDIS_PORT=port)
        levels = [f.level for f in look_at_users(infra, {"service": "right", "operator": "wrong"})]
        assert levels == [Level.ok, Level.problem, Level.not_checked]
        open_port = Link(infra, name="doctor")
        assert "asks for no password" in " ".join(worst(look_at_redis(open_port, infra, "paper")))
        open_port.close()
    assert next(f.level for f in look_at_users(infra, {"service": "right"})) is Level.not_checked


def journal(server: EmbeddedRedis, *, head: int = 60) -> None:
    """Put a journal there as the services leave it."""
    with server.client() as client:
        for entry in STORY.entries[:60]:
            fields = {"data": entry.data, "channel": entry.channel, "producer": entry.producer, "cause": entry.cause}
            client.xadd("journal", fields, id=str(entry.id))  # type: ignore[arg-type]
        client.hset("bus", mapping={"epoch": "1", "head": str(head)})
        client.hset("epochs", "1", "1")
        client.set("bus:open", client.info("server")["run_id"])
        client.hset("cursor", mapping=dict.fromkeys((*channels.TURNSTILE_ORDER, channels.WRITER), str(head)))
        client.hset("durable", mapping=dict.fromkeys(channels.TURNSTILE_ORDER, f"1-{head}"))
        for service in channels.SERVICES:
            client.set(f"lease:{service}", "1:me")


def test_the_journal_is_judged_by_what_it_is(link: Link, embedded_redis: EmbeddedRedis) -> None:
    """Never used, well, closed, with a hole, written into, gone; services that are dead or behind; dead letters."""

    def said() -> str:
        return " | ".join(worst(look_at_journal(link, lambda service: f"logs {service}")))

    assert "nothing was ever published" in said()
    journal(embedded_redis)
    assert said() == ""
    with embedded_redis.client() as client:
        client.set("bus:open", "0" * 40)
        assert "closed since Redis started" in said()
        client.set("bus:open", client.info("server")["run_id"])
        client.xdel("journal", "1-30")
        assert "missing in the stream between 1 and 60: 1 entry" in said()
        client.delete("lease:cdb_risk")
        assert "cdb_risk does not run" in said()
        client.xadd("dead_letter", {"reason": "x"}, id=f"{int(time.time() * 1000) - 3_600_000}-0")
        assert "1 dead letter, the last 60 minutes ago" in said()
        client.xadd("journal", {"x": "y"}, id="1-500")
        (problem,) = [f for f in look_at_journal(link, str) if "written into it past the publish script" in f.words]
        assert "the stream ends at 1-500, its head says 60" in problem.words
        assert "claire mend-journal" in problem.mend
        client.delete("journal")
        assert "the stream is gone" in said()
        client.delete(*(f"lease:{service}" for service in channels.SERVICES))
        assert "no service runs" in said()


def test_a_service_that_is_behind_or_without_snapshots(link: Link, embedded_redis: EmbeddedRedis) -> None:
    """A thousand entries behind is a warning, fifty thousand a problem; an old snapshot a warning."""
    journal(embedded_redis)
    with embedded_redis.client() as client:
        client.hset("bus", "head", "200060")
        client.hset("cursor", mapping={"cdb_core": "200060", "cdb_risk": "199000", "cdb_execution": "60"})
        client.xadd("journal", {"x": "y"}, id="1-200060")
    found = {f.words.split()[0]: f for f in look_at_journal(link, lambda s: f"logs {s}") if f.words.startswith("cdb_")}
    assert found["cdb_core"].level is Level.warning
    assert "last snapshot 200,000 entries ago" in found["cdb_core"].words
    assert found["cdb_risk"].level is Level.warning
    assert found["cdb_execution"].level is Level.problem
    assert found["cdb_execution"].mend == "logs cdb_execution"


@pytest.fixture
def postgres(infrastructure: Infrastructure) -> Iterator[psycopg2.extensions.connection]:
    """A connection to this test's database."""
    database = connector(infrastructure)()
    database.autocommit = True
    yield database
    database.close()


def test_postgres_is_judged_by_what_it_holds(
    postgres: psycopg2.extensions.connection, infrastructure: Infrastructure, embedded_postgres: EmbeddedPostgres,
    database: str,
) -> None:  # fmt: skip
    """Without tables, well, at another revision, short of events, ahead of and behind Redis, without a cursor."""
    connect = connector(infrastructure)

    def said(head: int | None = None, first: int | None = None) -> str:
        return " | ".join(worst(look_at_postgres(postgres, head, first)))

    assert "no tables yet" in said()
    assert stored_events(postgres) is None
    migrate(connect)
    store = EventStore(connect)
    store.open()
    write_all(store, STORY.entries)
    store.close()
    count = len(STORY.entries)
    assert stored_events(postgres) == count
    assert set(worst(look_at_postgres(postgres, count, 1)).values()) == {Level.not_checked}  # roles: there are none
    assert f"events {count + 1} to {count + 8} are neither here nor in Redis" in said(None, count + 9)
    assert f"the journal ends at 3, before event {count}" in said(3)
    query(connect, "DELETE FROM event_store.events WHERE seq > %s RETURNING 1", (count - 3,))
    assert "some are missing at an end" in said()
    query(connect, "UPDATE event_store.schema_version SET version_num = '0001' RETURNING 1")
    assert "revision 0001" in said()
    query(connect, "UPDATE event_store.schema_version SET version_num = (SELECT '9999') RETURNING 1")
    root = embedded_postgres.connect(database, "postgres")
    root.autocommit = True
    assert "superuser" in " ".join(worst(look_at_postgres(root, None, None)))
    root.close()
    query(connect, "DELETE FROM event_store.cursor RETURNING 1")
    from services.cdb_writer.adapters.schema import REVISION

    query(connect, f"UPDATE event_store.schema_version SET version_num = '{REVISION}' RETURNING 1")
    assert "cursor is empty" in said()


def test_the_whole_examination_of_a_running_folder(
    embedded_redis: EmbeddedRedis, embedded_postgres: EmbeddedPostgres, environment: dict[str, str],
    short_folder: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A data folder in use: its Redis, its journal and its database are looked at through it."""
    journal(embedded_redis)
    migrate(connector(Infrastructure.model_validate(environment)))
    folder = DataFolder(short_folder / "data")
    folder.make()
    (folder.path / "postgres" / "data").mkdir(parents=True)
    (folder.path / "postgres" / "data" / "PG_VERSION").touch()
    monkeypatch.setattr(DataFolder, "redis", lambda _, **__: embedded_redis)
    server = SimpleNamespace(connect=lambda: embedded_postgres.connect(environment["POSTGRES_DB"]))
    monkeypatch.setattr(DataFolder, "postgres", lambda _: server)
    patient = Patient(folder.path, "", None, "", 1, {"MEXC_REST_URL": "http://127.0.0.1:1"}, short_folder)
    at_rest = {f.topic: f for f in Examination(patient).findings() if f.topic in {"Redis", "PostgreSQL"}}
    assert {f.level for f in at_rest.values()} == {Level.not_checked}
    folder.acquire()
    found = list(Examination(patient).findings())
    folder.release()
    topics = {finding.topic for finding in found if finding.level is Level.ok}
    assert {"Redis", "journal", "PostgreSQL"} <= topics
    assert any("claire backup --data-dir" in finding.mend for finding in found)


def test_the_whole_examination_inside_a_container(
    environment: dict[str, str], embedded_redis: EmbeddedRedis, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REDIS_* and POSTGRES_* name the servers; what a DSN names is taken instead."""
    journal(embedded_redis)
    migrate(connector(Infrastructure.model_validate(environment)))
    monkeypatch.setattr("claire.doctor.examination.SECRETS_OF_REDIS", short_folder)
    (short_folder / "operator_password").write_text("x")
    values = {**environment, "MEXC_REST_URL": "http://127.0.0.1:1", "BACKUP_DIR": str(short_folder)}
    for dsn in ("", "env"):
        found = list(Examination(Patient(None, "", None, dsn, 1, values, short_folder)).findings())
        assert {"Redis", "journal", "PostgreSQL"} <= {f.topic for f in found if f.level is Level.ok}
        silent = [f for f in found if f.topic == "MEXC"]
        assert [(f.level, f.mend) for f in silent] == [(Level.not_checked, "docker compose exec cdb_ws claire doctor")]
    heard = Examination(Patient(None, "", None, "", 1, {**values, "FEED": "mexc_spot"}, short_folder)).findings()
    assert [f.level for f in heard if f.topic == "MEXC"] == [Level.problem]
    dsn = f"host={environment['POSTGRES_HOST']} user=claire dbname={environment['POSTGRES_DB']}"
    found = list(Examination(Patient(None, "", None, dsn, 1, {}, short_folder)).findings())
    assert any(f.topic == "PostgreSQL" and f.level is Level.ok for f in found)
    assert threading.active_count() < 20


def test_refused_messages_are_shown_with_the_reason(
    environment: dict[str, str], embedded_redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None, the newest first and no more than asked for, as JSON; without a Redis the command says where to look."""
    journal(embedded_redis)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    runner = CliRunner()
    assert "no dead letters: nothing was refused" in runner.invoke(app, ["dead-letters"]).stdout

    with closing(JournalClient(Infrastructure.model_validate(environment), name="t")) as client:
        client.keep_dead_letter("cdb_core", "market_data", "price=-1: above 0 is meant", b'{"price":-1}')
        client.keep_dead_letter("cdb_writer", "control", "a halt is meant", b"\xff")
    said = runner.invoke(app, ["dead-letters", "--count", "1"]).stdout
    assert "control, refused by cdb_writer: a halt is meant" in said
    assert "market_data" not in said
    assert "2 dead letters are kept" in said
    told = json.loads(runner.invoke(app, ["dead-letters", "--json"]).stdout)
    assert [letter["text"] for letter in told["letters"]] == ["\ufffd", '{"price":-1}']

    monkeypatch.setenv("REDIS_SOCKET", "/nowhere/redis.sock")
    assert runner.invoke(app, ["dead-letters"]).exit_code == 1
    assert runner.invoke(app, ["dead-letters", "--redis", "a:1", "--data-dir", "x"]).exit_code == 2


DOCKER = redis_room.Remedy("docker")
OWN, ALSO = "redis-cli -h 10.0.0.7 -p 6380 CONFIG SET", "# and in its redis.conf, for the next start"


@pytest.mark.parametrize(
    ("values", "policy", "memory", "live"),
    [
        (
            {"REDIS_HOST": "cdb_redis"},
            "docker compose up -d --force-recreate cdb_redis",
            "REDIS_MAXMEMORY=512mb docker compose up -d --force-recreate cdb_redis",
            "REDIS_APPENDFSYNC=always docker compose up -d --force-recreate cdb_redis",
        ),
        (
            {"REDIS_SOCKET": "/x/redis.sock"},
            "stop claire up and start it again: it starts Redis with what is right",
            "stop claire up and start it again: it starts Redis with what is right",
            "stop claire up and start it again with TRADING_MODE=live: it starts Redis with what is right",
        ),
        (
            {"REDIS_HOST": "10.0.0.7", "REDIS_PORT": "6380"},
            f"{OWN} maxmemory-policy noeviction  {ALSO}",
            f"{OWN} maxmemory 512mb  {ALSO}",
            f"{OWN} appendfsync always  {ALSO}",
        ),
    ],
)
def test_the_remedy_fits_whoever_started_redis(values: dict[str, str], policy: str, memory: str, live: str) -> None:
    """In Docker a container is made anew, a folder's pipeline is started again, another Redis is told."""
    remedy = redis_room.Remedy.of(Infrastructure.model_validate(values))
    info = {"maxmemory_policy": "allkeys-lru", "used_memory": "1", "aof_enabled": "1"}

    assert [f.mend for f in redis_room._memory(info, remedy)] == [policy, memory]
    assert [f.mend for f in redis_room._durability(info, "everysec", "live", remedy)] == [live]
    tight = {"maxmemory_policy": "noeviction", "used_memory": "1000000", "maxmemory": "32000000"}
    assert [(f.level, f.mend) for f in redis_room._memory(tight, remedy)] == [(Level.warning, memory)]
    roomy = {**tight, "maxmemory": "64000000"}
    assert [f.level for f in redis_room._memory(roomy, remedy)] == [Level.ok]


def test_what_an_older_or_a_broken_server_says() -> None:
    """Redis 6, an append-only file that cannot be written, a user who may not ask for settings."""
    info = {"redis_version": "6.2.1", "aof_enabled": "1", "aof_last_write_status": "err"}
    assert [f.level for f in redis_room._version(info, DOCKER)] == [Level.problem]
    assert [f.level for f in redis_room._durability(info, None, "paper", DOCKER)] == [Level.problem, Level.not_checked]
    assert [f.level for f in redis_room._durability({"aof_enabled": "1"}, "no", "paper", DOCKER)] == [Level.problem]
    refusing = SimpleNamespace(call=lambda *_: (_ for _ in ()).throw(ResponseError("NOPERM")))
    assert redis_room._setting(refusing, "appendfsync") is None  # type: ignore[arg-type]
