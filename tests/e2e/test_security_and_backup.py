"""On real containers: roles of PostgreSQL, the way back of a journal written into, the doctor, backup and restore."""

from __future__ import annotations

import json

import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege

from tests.e2e.market import Market
from tests.e2e.stack import ROOT, Stack, eventually

pytestmark = pytest.mark.security

WRITER = "cdb_writer"


def claire(stack: Stack, service: str, *arguments: str) -> tuple[int, str]:
    """Run a command in a container."""
    code, output = stack.container(service).exec_run(["claire", *arguments])
    return code, output.decode(errors="replace")


def stored(stack: Stack) -> int:
    """Return the number of the last stored event."""
    return int(stack.rows("SELECT seq FROM event_store.cursor")[0]["seq"])


def test_roles_of_postgres_are_refused_what_is_not_theirs(stack: Stack, market: Market) -> None:
    """Readers change nothing; the writer cannot change or delete an event; nobody of ours is a superuser."""
    eventually(lambda: stored(stack) > 20, "events are stored")
    for role in ("claire_reader", "claire_service", "claire"):
        connection = stack.postgres(role)
        forbidden = [
            "UPDATE event_store.events SET data = 'x'",
            "DELETE FROM event_store.events WHERE channel <> 'market_data'",
            "TRUNCATE event_store.events",
            "CREATE ROLE mine",
            "SELECT pg_read_file('/etc/passwd')",
        ]
        if role != "claire":
            forbidden += [
                "UPDATE event_store.cursor SET seq = 0",
                "DELETE FROM trades",
                "CREATE TEMP TABLE mine (x int)",
            ]
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            for statement in forbidden:
                with pytest.raises(InsufficientPrivilege):
                    cursor.execute(statement)
        connection.close()


def test_a_service_has_no_password_of_the_writer_or_the_server(stack: Stack) -> None:
    """The volumes of the others hold the reader's password alone."""
    for service in ("cdb_core", "cdb_risk", "cdb_execution", "cdb_ws"):
        assert stack.execute(service, "ls", "/run/claire/postgres").split() == ["service_password"]
    assert stack.execute(WRITER, "ls", "/run/claire/postgres").split() == ["password"]


def test_the_doctor_in_a_container(stack: Stack, market: Market) -> None:
    """Servers, users, journal and roles are well; no password is in what it says."""
    code, text = claire(stack, WRITER, "doctor", "--json")
    found = json.loads(text[text.index("{") :])["findings"]
    problems = [finding for finding in found if finding["level"] == "problem" and finding["topic"] != "clock"]
    assert problems == [], problems
    assert code in {0, 1}
    words = " ".join(finding["words"] for finding in found)
    for part in ("user service can log in", "user operator can log in", "reading roles can only read", "no hole"):
        assert part in words, words
    for name in ("redis/service_password", "redis/operator_password", "postgres/password"):
        assert stack.secret(name) not in text


def test_the_way_back_from_a_journal_written_into(stack: Stack, market: Market) -> None:
    """A raw XADD by the operator stops the stack; `claire mend-journal` brings it back, and it goes on."""
    with stack.redis("operator") as operator:
        epoch = int(operator.hget("bus", "epoch"))  # type: ignore[arg-type]
        operator.execute_command("XADD", "journal", f"{epoch}-99999999", "data", "{}")
    eventually(lambda: stack.get(WRITER, "/health").status_code == 503, "the writer is not well", 90)
    stack.execute("cdb_redis", "true")
    said = stack.compose("run", "--rm", "--no-deps", "-T", WRITER, "claire", "mend-journal", "--json")
    assert f"{epoch}-99999999" in json.loads(said[said.index("{") :])["removed"]
    stack.compose("restart", WRITER)
    stack.await_healthy()
    before = stored(stack)
    eventually(lambda: stored(stack) > before, "the stack goes on")


def test_backup_while_it_trades_and_restore_of_a_lost_database(stack: Stack, market: Market) -> None:
    """PostgreSQL and Redis are lost with their volumes; the backup is put back, and the stack goes on, epochs later."""
    code, text = claire(stack, WRITER, "backup", "--dsn", "env", "--output", "/backups", "--json")
    assert code == 0, text
    found = json.loads(text[text.index("{") :])
    metrics = eventually(
        lambda: "cdb_backup_timestamp_seconds 0.0" not in (page := stack.get(WRITER, "/metrics").text) and page,
        "the writer shows the backup", 30,
    )  # fmt: skip
    assert "cdb_backup_timestamp_seconds 1." in metrics
    names = [name for name in stack.services if name not in {"cdb_secrets", "cdb_postgres", "cdb_redis"}]
    stack.compose("rm", "--stop", "--force", *names, "cdb_postgres", "cdb_redis")
    for volume in ("postgres_data", "redis_data"):
        stack.docker.volumes.get(f"claire_de_binare_e2e_{volume}").remove()
    stack.compose("up", "-d", "--no-deps", "cdb_postgres", "cdb_redis")
    stack.await_healthy("cdb_postgres", "cdb_redis")
    restore = ("run", "--rm", "--no-deps", "-T", WRITER, "claire", "restore", found["file"], "--dsn", "env", "--json")
    said = stack.compose(*restore, "--tip", found["chain_tip"])
    assert json.loads(said[said.index("{") :])["events"] == found["events"]
    assert (ROOT / "docker-compose.yml").is_file()
    stack.compose("up", "-d", *names)
    stack.await_healthy()
    eventually(lambda: stored(stack) > found["events"], "the stack goes on")
    epochs = stack.rows("SELECT max(epoch) AS last FROM event_store.events")
    assert epochs[0]["last"] > 1_000
    with pytest.raises(psycopg2.Error):
        stack.postgres("claire").cursor().execute("DELETE FROM event_store.events")
