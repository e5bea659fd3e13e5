"""The operator's commands in Docker, as `docker compose exec cdb_risk claire …` gives them: with its rights alone."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from tests.e2e.market import Market
from tests.e2e.stack import PORTS, ROOT, SERVICES, Stack, eventually

WHO = ["--by", "ada", "--reason", "e2e"]
pytestmark = pytest.mark.risk


def claire(stack: Stack, *arguments: str, service: str = "cdb_risk") -> tuple[int, str]:
    """Run the command in a container; returns exit code and what it said."""
    code, output = stack.container(service).exec_run(["claire", *arguments])
    return int(code), output.decode(errors="replace")


@pytest.fixture
def active(stack: Stack, market: Market) -> Stack:
    """A stack with a market, and nothing that restricts trading."""
    eventually(lambda: stack.events("market_data", symbol="SOLUSDT"), "a market", 60)
    if json.loads(claire(stack, "status", "--json")[1])["trading_state"] != "ACTIVE":
        assert claire(stack, "resume", *WHO)[0] == 0
    return stack


def test_halt_and_resume_by_compose_exec(active: Stack) -> None:
    """One word halts both keys; without a name nothing is resumed; who, when and why stand in the event store."""
    code, text = claire(active, "halt")
    assert (code, "trading is HALTED (was ACTIVE)" in text) == (0, True), text
    states = [active.get(service, "/status").json()["machine"]["trading_state"] for service in SERVICES[2:4]]
    assert states == ["HALTED", "HALTED"]

    assert claire(active, "resume")[0] == 2
    code, text = claire(active, "resume", *WHO, service="cdb_core")
    assert (code, "trading is ACTIVE (was HALTED)" in text) == (0, True), text
    code, text = claire(active, "resume", *WHO)
    assert (code, "resume refused: nothing is halted" in text) == (1, True), text

    def recorded() -> list[dict[str, Any]]:
        return active.events("control", producer="operator", action="resume")

    events = eventually(recorded, "the resume in the event store", 30)
    assert (events[0]["by"], events[0]["reason"]) == ("ada", "e2e")


def test_a_halt_needs_neither_writer_nor_postgres(active: Stack) -> None:
    """Both are stopped: the halt counts all the same, and is stored when they are back."""
    for name in ("cdb_writer", "cdb_postgres"):
        active.container(name).stop(timeout=20)
    try:
        code, text = claire(active, "halt", "--freeze", "--reason", "without a database")
        assert (code, "trading is FROZEN" in text) == (0, True), text
    finally:
        for name in ("cdb_postgres", "cdb_writer"):
            active.container(name).start()
    active.await_healthy()
    eventually(lambda: active.events("control", reason="without a database"), "the halt in the event store", 30)


def test_a_halt_with_every_service_dead_is_honest(active: Stack) -> None:
    """Only Redis lives: recorded, exit code 4, both are said to be down; they come back halted."""
    for service in SERVICES:
        active.container(service).stop(timeout=20)
    try:
        files = ["-f", "docker-compose.yml", "-f", "tests/e2e/compose.override.yml", "--env-file", "/dev/null"]
        done = subprocess.run(
            [
                *("docker", "compose", "-p", "claire_de_binare_e2e", *files),
                *("run", "--rm", "--no-deps", "-T", "cdb_writer", "claire", "halt"),
            ],
            cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False,
        )  # fmt: skip
    finally:
        for service in SERVICES:
            active.container(service).start()
    assert done.returncode == 4, done.stdout + done.stderr
    assert "cdb_risk is not running" in done.stdout
    assert "cdb_execution is not running" in done.stdout
    active.await_healthy()

    def state() -> str:
        return str(json.loads(claire(active, "status", "--json")[1])["trading_state"])

    assert eventually(lambda: state() in {"HALTED", "FROZEN"}, "halted after the start", 60)
    assert claire(active, "resume", *WHO)[0] == 0


def test_status_inside_and_outside(active: Stack) -> None:
    """In a container the services are asked by their names, on this machine at their published ports."""
    code, inside = claire(active, "status")
    outside = subprocess.run(
        [sys.executable, "-m", "claire", "status", "--first-port", str(PORTS["cdb_ws"])],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (code, outside.returncode) == (0, 0), inside + outside.stdout + outside.stderr
    for text in (inside, outside.stdout):
        assert "ACTIVE" in text
        assert "last reconciliation: none on paper" in text
        assert "why no trade now" in text


def test_a_drill_on_a_copy_of_the_database(active: Stack) -> None:
    """The event store is read and folded in the container; nothing new of the drill stands in it afterwards."""
    code, text = claire(active, "drill", "breaker", "--dsn", "env")
    assert (code, "10 of 10 promises held" in text) == (0, True), text
    assert active.events("control", by="drill") == []


@pytest.mark.security
def test_users_of_redis_can_do_what_they_should_and_no_more(stack: Stack) -> None:
    """The operator publishes, commands and reads, the reader reads, the service cannot delete everything."""
    with stack.redis("operator") as operator, stack.redis("readonly") as reader, stack.redis("service") as service:
        assert operator.publish("alerts", "") >= 0
        assert reader.xlen("journal") > 0
        for forbidden in (
            lambda: operator.publish("orders", "{}"),
            lambda: operator.delete("journal"),
            lambda: operator.xtrim("journal", maxlen=0),
            lambda: operator.hset("fence", "cdb_risk", "99"),
            lambda: operator.hset("hw", "cdb_risk", "99"),
            lambda: operator.set("lease:cdb_risk", "9:me"),
            lambda: reader.publish("market_data", "{}"),
            lambda: reader.set("x", "y"),
            lambda: reader.eval("return 1", 0),
            service.flushall,
            lambda: service.config_set("appendonly", "no"),
            service.shutdown,
        ):
            with pytest.raises(NoPermissionError):
                forbidden()
