"""The operator's line on a real server: recorded once, followed to the answer, honest about who is silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError

from claire.embedded import EmbeddedRedis
from claire.operator_line import Command, JournalUnreachable, OperatorLine, Outcome
from services.common import channels
from services.common.events import Alert, Control, Event, Order, OrderResult
from services.common.identity import derive_id
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause, JournalId
from services.common.journal.lease import Lease
from services.common.journal.opening import open_bus
from services.common.settings import Infrastructure, load_settings

pytestmark = [pytest.mark.integration, pytest.mark.security]

T0 = 1_621_382_400_000_000
ROOT = Path(__file__).resolve().parents[3]


class Key(threading.Thread):
    """Stands in for a service: holds its lease, and answers every command with what it is told to say."""

    def __init__(
        self, infra: Infrastructure, service: str, says: Any = None, hears: tuple[str, ...] = (channels.OPERATOR,)
    ) -> None:
        super().__init__(daemon=True)
        self._client = JournalClient(infra, name=service)
        self._lease = Lease(infra)
        self._service, self._says, self._hears = service, says, hears
        self._fence = self._lease.acquire(service, service)
        self._stop_asked = threading.Event()
        self._after = 0

    def run(self) -> None:
        """Answer until it is stopped."""
        while not self._stop_asked.is_set():
            for entry in self._client.read(self._after, 100, block_ms=20):
                self._after = entry.id.n
                answer = self._says(entry.event) if self._says and entry.producer in self._hears else None
                if answer is None:
                    self._client.advance(self._service, self._fence, entry.id)
                else:
                    self._client.publish(self._service, self._fence, Cause.of(entry.id), [answer])

    def stop(self) -> None:
        """Go, and give the lease back."""
        self._stop_asked.set()
        self.join()
        self._lease.release()
        self._lease.close()
        self._client.close()


def halted(command: Control) -> Control:
    """Return what risk says to a halt."""
    return Control(
        event_id=derive_id("state", command.event_id), timestamp=T0, producer=channels.RISK, action="trading_state",
        causation_id=command.event_id, details={"state": "HALTED", "previous": "ACTIVE", "causes": ["halt"]},
    )  # fmt: skip


def refused(command: Control) -> Alert:
    """Return what risk says to a command that it does not do."""
    return Alert(
        event_id=derive_id("no", command.event_id), timestamp=T0, producer=channels.RISK, level="WARNING",
        code="COMMAND_REFUSED", message="the circuit breaker has not tripped", causation_id=command.event_id,
    )  # fmt: skip


def selling(command: Control) -> Order:
    """Return what risk orders on a flatten."""
    return Order(
        event_id=derive_id("order", command.event_id), timestamp=T0, producer=channels.RISK, order_id="ord-1",
        client_order_id="cdb-1", signal_id=None, decision_id="d", venue="mexc_spot", symbol="BTCUSDT", side="SELL",
        order_type="LIMIT", quantity=Decimal(1), price=Decimal(1), reduce_only=True, purpose="flatten",
        reference_price=Decimal(1), causation_id=command.event_id,
    )  # fmt: skip


def reported(event: Event) -> OrderResult:
    """Return what execution makes of a command (a working order is cancelled) and of an order (it is filled)."""
    filled = isinstance(event, Order)
    return OrderResult(
        event_id=derive_id("result", event.event_id), timestamp=T0, producer=channels.EXECUTION,
        order_id="ord-1" if filled else "ord-0", client_order_id="cdb", status="FILLED" if filled else "CANCELED",
        venue="mexc_spot", symbol="BTCUSDT", side="SELL" if filled else "BUY", quantity=Decimal(1),
        filled_quantity=Decimal(int(filled)), average_price=Decimal(1) if filled else None,
    )  # fmt: skip


@pytest.fixture
def infra(embedded_redis: EmbeddedRedis) -> Infrastructure:
    """An open journal with one tick in it."""
    infra = load_settings(Infrastructure, embedded_redis.environment)
    open_bus(infra)
    lease, client = Lease(infra), JournalClient(infra, name="ws")
    started = Control(
        event_id="s", timestamp=T0, producer=channels.WS, action="started", service=channels.WS, run_id="run"
    )
    client.publish(channels.WS, lease.acquire(channels.WS, "ws"), Cause("feed", 1), [started])
    client.close()
    lease.close()
    return infra


@pytest.fixture
def line(infra: Infrastructure) -> Iterator[OperatorLine]:
    """A line to it."""
    line = OperatorLine(infra)
    yield line
    line.close()


@pytest.fixture
def keys(infra: Infrastructure) -> Iterator[list[Key]]:
    """Stand-ins that end with the test."""
    started: list[Key] = []
    yield started
    for key in started:
        key.stop()


def start(keys: list[Key], *wanted: Key) -> None:
    """Let stand-ins work."""
    for key in wanted:
        key.start()
        keys.append(key)


def test_a_command_is_one_entry_of_the_operator_and_its_answer_comes_back(
    infra: Infrastructure, line: OperatorLine, keys: list[Key]
) -> None:
    """Who, why and when stand in the journal, stamped with the run's clock; risk's new state is the outcome."""
    start(keys, Key(infra, channels.RISK, halted), Key(infra, channels.EXECUTION))

    outcome = line.follow(line.send(Command("halt", "ada", "lunch", {"freeze": True})), 10)

    assert (outcome.state, outcome.previous, outcome.causes) == ("HALTED", "ACTIVE", ["halt"])
    assert outcome.unanswered == []
    reader = JournalClient(infra, name="reader")
    (entry,) = [entry for entry in reader.read(0, 100) if entry.producer == channels.OPERATOR]
    reader.close()
    event = entry.event
    assert isinstance(event, Control)
    assert (entry.id, entry.cause, event.timestamp) == (outcome.place, "", T0)
    assert (event.action, event.by, event.reason) == ("halt", "ada", "lunch")
    assert event.details["freeze"] is True
    assert str(event.command_id).startswith(time.strftime("%Y%m%dT", time.gmtime()))


def test_a_refusal_comes_with_its_reason(infra: Infrastructure, line: OperatorLine, keys: list[Key]) -> None:
    """What risk does not do is an outcome of its own, without a new state."""
    start(keys, Key(infra, channels.RISK, refused), Key(infra, channels.EXECUTION))

    outcome = line.follow(line.send(Command("reset_breaker", "ada", "why not")), 10)

    assert outcome.refused == "the circuit breaker has not tripped"
    assert outcome.state is None


def test_each_command_gets_its_own_answer(infra: Infrastructure, line: OperatorLine, keys: list[Key]) -> None:
    """Two operators at once: what risk says to the one is not taken for the answer to the other."""

    def answer(command: Control) -> Event:
        return halted(command) if command.action == "halt" else refused(command)

    start(keys, Key(infra, channels.RISK, answer), Key(infra, channels.EXECUTION))
    first, second = line.send(Command("halt", "ada", "now")), line.send(Command("reset_breaker", "bob", "why not"))
    for outcome in (second, first):
        line.follow(outcome, 10)

    assert (first.state, first.refused) == ("HALTED", None)
    assert (second.state, second.refused) == (None, "the circuit breaker has not tripped")


def test_a_flatten_is_followed_to_the_end_of_its_orders(
    infra: Infrastructure, line: OperatorLine, keys: list[Key]
) -> None:
    """What execution cancels on the command, and the fill of what risk ordered on it, are part of the outcome."""
    execution = Key(infra, channels.EXECUTION, reported, (channels.OPERATOR, channels.RISK))
    start(keys, execution, Key(infra, channels.RISK, selling))

    outcome = line.follow(line.send(Command("flatten", "ada", "home")), 10)

    assert [result.order_id for result in outcome.canceled] == ["ord-0"]
    assert outcome.results["ord-1"].status == "FILLED"
    assert outcome.settled


def test_who_is_dead_is_not_waited_for(infra: Infrastructure, line: OperatorLine, keys: list[Key]) -> None:
    """Risk holds no lease: execution's own key is turned all the same, and the outcome says who did not answer."""
    start(keys, Key(infra, channels.EXECUTION))
    began = time.monotonic()

    outcome = line.follow(line.send(Command("halt", "ada", "now")), 60)

    assert time.monotonic() - began < 30
    assert outcome.folded == {channels.RISK: False, channels.EXECUTION: True}
    assert outcome.running == {channels.RISK: False, channels.EXECUTION: True}
    assert outcome.unanswered == [channels.RISK]


def test_who_hangs_is_waited_for_only_so_long(infra: Infrastructure, line: OperatorLine) -> None:
    """Risk holds its lease and does nothing: the time runs out, and it is named as running and silent."""
    hanging = Key(infra, channels.RISK)

    outcome = line.follow(line.send(Command("halt", "ada", "now")), 0.2)

    hanging.start()
    hanging.stop()
    assert outcome.running == {channels.RISK: True, channels.EXECUTION: False}
    assert outcome.unanswered == [channels.RISK, channels.EXECUTION]


class LostReply:
    """Lets a publish happen and loses its reply, so many times."""

    def __init__(self, line: OperatorLine, times: int, *, before: bool) -> None:
        self._publish = line._client.publish
        self._times, self._before = times, before
        line._client.publish = self  # type: ignore[method-assign, assignment]

    def __call__(self, *arguments: Any) -> Any:
        """Publish, or lose it."""
        if self._times == 0:
            return self._publish(*arguments)
        self._times -= 1
        if not self._before:
            self._publish(*arguments)
        raise redis.ConnectionError("lost")


@pytest.mark.parametrize("before", [True, False])
def test_a_lost_reply_never_makes_two_entries(infra: Infrastructure, line: OperatorLine, before: bool) -> None:
    """Whether the call was lost or its reply: the command is looked up first, and stands in the journal once."""
    LostReply(line, 1, before=before)

    outcome = line.send(Command("halt", "ada", "now"))

    reader = JournalClient(infra, name="reader")
    found = [entry.id for entry in reader.read(0, 100) if entry.producer == channels.OPERATOR]
    reader.close()
    assert found == [outcome.place]


def test_what_cannot_be_recorded_is_said(
    infra: Infrastructure, line: OperatorLine, embedded_redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that goes away, a journal that is not open, and one that refuses to write are three different things."""
    monkeypatch.setattr("claire.operator_line.PATIENCE_SEC", 0.2)
    lost = Outcome(JournalId(1, 1), T0)
    LostReply(line, 1_000, before=True)
    line._client.cursors = lambda: (_ for _ in ()).throw(redis.ConnectionError("gone"))  # type: ignore[method-assign]
    with pytest.raises(JournalUnreachable, match="recorded as 1-1"):
        line.follow(lost, 1)
    with pytest.raises(JournalUnreachable, match="does not answer"):
        line.send(Command("halt", "ada", "now"))
    with embedded_redis.client() as client:
        client.set("bus:open", "another server")
    closed = OperatorLine(infra)
    with pytest.raises(JournalUnreachable, match="not open yet"):
        closed.send(Command("halt", "ada", "now"))
    closed.close()


def test_a_journal_that_is_being_opened_is_waited_for(
    infra: Infrastructure, line: OperatorLine, embedded_redis: EmbeddedRedis
) -> None:
    """Redis has restarted and the writer opens the bus half a second later: the halt goes through by itself."""
    with embedded_redis.client() as client:
        server = client.get("bus:open")
        client.set("bus:open", "another server")
        opening = threading.Timer(0.5, lambda: client.set("bus:open", server))  # type: ignore[arg-type]
        opening.start()
        outcome = line.send(Command("halt", "ada", "now"))
        opening.join()
    assert outcome.place.n == 2


def test_a_command_before_the_first_event_is_stamped_by_the_wall(embedded_redis: EmbeddedRedis) -> None:
    """There is no run yet: the machines keep the command until they can decide."""
    infra = load_settings(Infrastructure, embedded_redis.environment)
    open_bus(infra)
    line = OperatorLine(infra)

    outcome = line.send(Command("halt", "ada", "not today"))

    line.close()
    assert outcome.place.n == 1
    assert outcome.recorded_at > T0 + 10**14


@pytest.fixture
def as_operator(infra: Infrastructure, embedded_redis: EmbeddedRedis) -> Iterator[Infrastructure]:
    """The same server through the user `operator`, with exactly the rights that the Docker stack gives it."""
    text = (ROOT / "backoffice" / "docker" / "redis-start.sh").read_text(encoding="utf-8")
    (rule,) = [line for line in text.splitlines() if line.startswith("user operator ")]
    rights = rule.removeprefix("user operator on #$(hash_of operator) ")
    words, selectors = rights.split("(", 1)
    parts = [*words.split(), *(f"({part.strip()}" for part in selectors.split("("))]
    with embedded_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "operator", "reset", "on", ">secret-of-the-operator", *parts)
        yield infra.model_copy(update={"REDIS_USERNAME": "operator", "REDIS_PASSWORD": _secret()})
        client.execute_command("ACL", "DELUSER", "operator")


def _secret() -> Any:
    from pydantic import SecretStr

    return SecretStr("secret-of-the-operator")


def test_the_user_operator_can_give_every_command(as_operator: Infrastructure, infra: Infrastructure) -> None:
    """With the rights of the Docker stack a command is recorded, also when the server does not know the script yet."""
    key = Key(infra, channels.EXECUTION)
    key.start()
    line = OperatorLine(as_operator)

    outcome = line.follow(line.send(Command("halt", "ada", "now")), 10)

    line.close()
    key.stop()
    assert outcome.folded[channels.EXECUTION]


def test_the_user_operator_can_do_no_more(as_operator: Infrastructure, embedded_redis: EmbeddedRedis) -> None:
    """No deletion, no lease, no fence, no cursor, no mark, no order by PUBLISH; not through a script either."""
    with redis.Redis(
        unix_socket_path=str(embedded_redis.socket), username="operator", password="secret-of-the-operator"
    ) as client:
        assert client.publish("control", "{}") >= 0
        assert client.hget("bus", "head") is not None
        for forbidden in (
            ("DEL", "journal"),
            ("XTRIM", "journal", "MAXLEN", "0"),
            ("XADD", "dead_letter", "*", "a", "b"),
            ("HSET", "fence", "cdb_risk", "99"),
            ("HSET", "hw", "cdb_risk", "99"),
            ("HSET", "cursor", "cdb_risk", "99"),
            ("SET", "lease:cdb_risk", "9:me"),
            ("SET", "bus:open", "x"),
            ("DEL", "bus"),
            ("PUBLISH", "orders", "{}"),
            ("CONFIG", "SET", "maxmemory", "1"),
            ("FLUSHALL",),
            ("SHUTDOWN",),
        ):
            with pytest.raises(NoPermissionError):
                client.execute_command(*forbidden)
            with pytest.raises(redis.ResponseError, match=r"ACL|[Pp]ermission|can't run|not allowed"):
                client.eval("return redis.call(unpack(ARGV))", 0, *forbidden)
