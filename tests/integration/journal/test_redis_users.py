"""The users of Redis can do what they should and no more; and the way back when one has written into the journal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError
from typer.testing import CliRunner

from claire.cli import app
from claire.doctor.finding import Level
from claire.doctor.journal_room import look_at_journal
from claire.embedded import EmbeddedRedis
from services.common import channels
from services.common.errors import JournalHole, StoreError
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause
from services.common.journal.lease import Lease
from services.common.journal.link import Link
from services.common.journal.mending import mend_journal
from services.common.journal.opening import open_bus
from services.common.settings import Infrastructure
from tests.integration.runtime.test_up import free_ports
from tests.unit.writer.journal_story import Story

pytestmark = [pytest.mark.integration, pytest.mark.security]

SCRIPT = Path(__file__).parents[3] / "backoffice" / "docker" / "redis-start.sh"
PASSWORD = "of-a-test"


def rules() -> dict[str, list[str]]:
    """Return what the container's script lets each user do."""
    found = re.findall(r"^user (\w+) on #\S+(?: \w+\))? (.+)$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    # a selector in parentheses is one rule
    return {user: re.findall(r"\([^)]*\)|\S+", text) for user, text in found}


@pytest.fixture
def server(short_folder: Path) -> Iterator[EmbeddedRedis]:
    """A server of this test's own, with the users of the container."""
    with EmbeddedRedis(short_folder / "redis", port=free_ports()) as server:
        give_users(server)
        yield server


def give_users(server: EmbeddedRedis) -> None:
    """Make the users; a restart of this server forgets them."""
    with server.client() as client:
        for user, granted in rules().items():
            client.execute_command("ACL", "SETUSER", user, "reset", "on", f">{PASSWORD}", *granted)


def infra(server: EmbeddedRedis, user: str) -> Infrastructure:
    """Return the way in as a user."""
    return Infrastructure(REDIS_PORT=server.port, REDIS_USERNAME=user, REDIS_PASSWORD=PASSWORD)


def client(server: EmbeddedRedis, user: str) -> redis.Redis:
    """Return a plain client of a user."""
    return server.client(username=user, password=PASSWORD, protocol=2)


def test_the_script_names_three_users() -> None:
    """Each with its rules; the operator's rights on the journal are selectors of their own."""
    assert set(rules()) == {"service", "operator", "readonly"}
    assert {"(+xadd ~journal)", "(+hset ~bus ~last_id)"} <= set(rules()["operator"])


def test_each_user_is_refused_what_is_not_his(server: EmbeddedRedis) -> None:
    """Whatever would stop, empty, change or overhear the system beyond a user's task."""
    with client(server, "service") as service:
        service.xadd("journal", {"a": "b"})
        service.set("lease:cdb_risk", "1:me")

    administration: tuple[tuple[Any, ...], ...] = (
        ("FLUSHALL",), ("FLUSHDB",), ("SHUTDOWN",), ("CONFIG", "SET", "appendonly", "no"),
        ("ACL", "SETUSER", "mine", "on"), ("ACL", "LIST"), ("REPLICAOF", "NO", "ONE"), ("BGREWRITEAOF",), ("SAVE",),
        ("MONITOR",), ("CLIENT", "KILL", "TYPE", "normal"), ("CLIENT", "PAUSE", "1"), ("CLIENT", "LIST"), ("KEYS", "*"),
        ("SWAPDB", "0", "1"), ("MODULE", "LIST"), ("SLOWLOG", "GET"),
    )  # fmt: skip
    writing: tuple[tuple[Any, ...], ...] = (
        ("DEL", "journal"), ("XTRIM", "journal", "MAXLEN", "0"), ("XDEL", "journal", "1-1"),
        ("HSET", "fence", "cdb_risk", "9"), ("HSET", "hw", "cdb_risk", "9"), ("HSET", "cursor", "cdb_risk", "9"),
        ("SET", "lease:cdb_risk", "9:me"), ("SET", "bus:open", "x"), ("RENAME", "journal", "x"),
        ("EXPIRE", "journal", "1"),
        ("XADD", "dead_letter", "*", "a", "b"), ("PUBLISH", "orders", "{}"), ("PUBLISH", "order_results", "{}"),
        ("PUBLISH", "risk_decisions", "{}"),
    )  # fmt: skip
    only_reading: tuple[tuple[Any, ...], ...] = (
        ("XADD", "journal", "*", "a", "b"), ("HSET", "bus", "head", "9"), ("PUBLISH", "control", "{}"),
        ("EVAL", "return 1", "0"), ("SCRIPT", "LOAD", "return 1"), ("SUBSCRIBE", "mine"),
    )  # fmt: skip
    forbidden = {
        "service": administration,
        "operator": (*administration, *writing),
        "readonly": (*administration, *writing, *only_reading),
    }
    done = []
    for user, commands in forbidden.items():
        with client(server, user) as asked:
            for command in commands:
                try:
                    asked.execute_command(*command)
                except NoPermissionError:
                    continue
                except redis.RedisError as error:
                    done.append((user, command, str(error)))
                else:
                    done.append((user, command, "done"))
    assert done == []


def test_each_user_can_do_his_task(server: EmbeddedRedis) -> None:
    """The service opens, leases and publishes; the operator commands; the reader reads and listens."""
    open_bus(infra(server, "service"))
    lease = Lease(infra(server, "service"))
    fence = lease.acquire(channels.WS, "me")
    story = Story()
    story.begin()
    publishing = JournalClient(infra(server, "service"), name="test")
    publishing.publish(channels.WS, fence, Cause("feed", 1), [story.entries[0].event])
    publishing.close()
    commanding = JournalClient(infra(server, "operator"), name="test")
    story.control(channels.OPERATOR, "halt", command_id="c1", by="me", reason="test")
    commanding.publish(channels.OPERATOR, None, None, [story.entries[-1].event])
    commanding.close()
    lease.close()
    with client(server, "readonly") as reader, reader.pubsub() as heard:
        assert reader.xlen("journal") == 2
        assert reader.info("memory")
        heard.subscribe(*channels.CHANNELS)
        assert heard.get_message(timeout=2)
    with client(server, "operator") as operator:
        for channel in ("market_data", "signals", "alerts", "control"):
            assert operator.publish(channel, "{}") >= 0


def test_the_way_back_from_a_journal_that_was_written_into(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A raw XADD with the operator's password stops every reader, and the opening after a restart too.

    The way back of the runbook: `claire mend-journal` takes out what stands beyond the head. Then the bus opens and the
    journal goes on without a hole.
    """
    open_bus(infra(server, "service"))
    story = Story()
    story.begin()
    writing = JournalClient(infra(server, "operator"), name="test")
    for number in range(3):
        story.control(channels.OPERATOR, "halt", command_id=f"c{number}", by="me", reason="test")
        writing.publish(channels.OPERATOR, None, None, [story.entries[-1].event])
    with client(server, "operator") as operator:
        operator.execute_command("XADD", "journal", "1-5000", "data", "{}")

    with pytest.raises(JournalHole, match="past the publish script"):
        writing.read(0, 10)
    writing.close()
    server.restart()
    give_users(server)
    with pytest.raises(StoreError, match="changed by hand"):
        open_bus(infra(server, "service"))
    doctor = Link(infra(server, "service"), name="doctor")
    (problem,) = [f for f in look_at_journal(doctor, str) if "past the publish script" in f.words]
    assert problem.level is Level.problem
    doctor.close()

    monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
    for name, value in (("PORT", str(server.port)), ("USERNAME", "service"), ("PASSWORD", PASSWORD)):
        monkeypatch.setenv(f"REDIS_{name}", value)
    done = CliRunner().invoke(app, ["mend-journal", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"end": "1-3", "removed": {"1-5000": "data {}"}}
    assert "nothing stands beyond the head" in CliRunner().invoke(app, ["mend-journal"]).output

    opening = open_bus(infra(server, "service"))
    assert (opening.opened, opening.first_n) == (True, 4)
    going_on = JournalClient(infra(server, "operator"), name="test")
    story.control(channels.OPERATOR, "halt", command_id="c9", by="me", reason="test")
    going_on.publish(channels.OPERATOR, None, None, [story.entries[-1].event])
    assert [entry.id.n for entry in going_on.read(0, 10)] == [1, 2, 3, 4]
    going_on.close()


def test_what_cannot_be_mended_is_said(server: EmbeddedRedis) -> None:
    """A Redis that was never used; a stream whose own last entry is gone."""
    link = Link(infra(server, "service"), name="mend")
    with pytest.raises(StoreError, match="nothing was ever published"):
        mend_journal(link)
    with client(server, "service") as service:
        service.hset("bus", "head", "7")
        service.hset("epochs", mapping={"1": "1", "2": "9"})
        service.xadd("journal", {"a": "b"}, id="1-3")
        assert mend_journal(link).end == "1-7"
        service.xadd("journal", {"a": "b"}, id="1-8")
    with pytest.raises(StoreError, match="lacks its own last entry 1-7"):
        mend_journal(link)
    link.close()
