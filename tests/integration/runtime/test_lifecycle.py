"""The frame of a service in this process: exit codes, retries, and what happens when Redis stays away."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import structlog
from feeder import Feeder
from pydantic import BaseModel

from claire.embedded import EmbeddedRedis
from services.common import channels
from services.common.errors import FeedInputInvalid, FenceLost, JournalClosed, LeaseHeld, SettingsInvalid
from services.common.events import Control
from services.common.journal.entry import Cause
from services.common.journal.opening import open_bus
from services.common.runtime.lifecycle import ExitCode, Lifecycle
from services.common.runtime.process import run_service
from services.common.runtime.publisher import LineageLost, Publisher, Stopped
from services.common.settings import Infrastructure

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The service configures logging for its process: give this one its own back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def environ(environment: dict[str, str], infrastructure: Infrastructure) -> dict[str, str]:
    """The environment of a service on an open journal, with a port of its own."""
    open_bus(infrastructure)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return {**environment, "HTTP_PORT": str(probe.getsockname()[1])}


def run(environ: dict[str, str], body: Callable[[Lifecycle], None]) -> int:
    """Run a service in a thread of its own, so that it leaves the signals of the test alone."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run_service(channels.CORE, body, environ=environ)))
    thread.start()
    thread.join(30)
    assert codes, "the service did not end"
    return codes[0]


def raising(error: BaseException) -> Callable[[Lifecycle], None]:
    """Return a body that fails."""

    def body(_: Lifecycle) -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsInvalid("X=1: no"), ExitCode.SETTINGS),
        (FeedInputInvalid("line 7: no"), ExitCode.SETTINGS),
        (FenceLost("taken over"), ExitCode.NOT_ALONE),
        (LeaseHeld("held"), ExitCode.NOT_ALONE),
        (RuntimeError("surprise"), ExitCode.FAULT),
        (LineageLost("gone"), ExitCode.FAULT),
    ],
)
def test_how_the_body_ends_decides_the_exit_code(environ: dict[str, str], error: Exception, code: int) -> None:
    """Wrong input 2, not alone 4, whatever nobody thought of 3; and the folder is free again each time."""
    assert run(environ, raising(error)) == code
    assert run(environ, lambda _: None) == ExitCode.OK


@pytest.mark.parametrize(("error", "code"), [(OSError("disk"), ExitCode.FAULT), (FenceLost("x"), ExitCode.NOT_ALONE)])
def test_a_failure_of_another_thread_ends_the_service(environ: dict[str, str], error: Exception, code: int) -> None:
    """The work loop is stopped; the first reason decides."""

    def body(life: Lifecycle) -> None:
        life.fail(error)
        life.fail(ValueError("later"))
        assert life.stop.is_set()
        assert life.failure is error

    assert run(environ, body) == code


def test_a_lease_that_cannot_be_renewed_for_an_unknown_reason_ends_the_service(
    environ: dict[str, str], infrastructure: Infrastructure
) -> None:
    """Whatever the renewal did not foresee (here somebody else's value under the name) stops the service loudly."""

    def body(life: Lifecycle) -> None:
        with redis.Redis(unix_socket_path=infrastructure.REDIS_SOCKET) as client:
            client.delete("lease:cdb_core")
            client.rpush("lease:cdb_core", "not a lease")
        try:
            assert life.stop.wait(10), "the service goes on without renewing its lease"
            assert "WRONGTYPE" in life.health.failing()["lease"]
        finally:
            with redis.Redis(unix_socket_path=infrastructure.REDIS_SOCKET) as client:
                client.delete("lease:cdb_core")

    assert run(environ, body) == ExitCode.FAULT


def test_what_a_service_has_in_its_hands(environ: dict[str, str]) -> None:
    """Port, fence, settings, folder lock; a secret is masked in `/status`."""

    class Own(BaseModel):
        COLOUR: str = "green"

    def body(life: Lifecycle) -> None:
        assert life.http_port == int(environ["HTTP_PORT"])
        assert life.fence >= 1
        assert life.settings_of(Own).COLOUR == "blue"
        life.check("own", lambda: "tired")
        life.beat()
        assert life.health.failing() == {"own": "tired"}
        life.status.refresh(always=True)
        shown = life.status.read(0.0)["infrastructure"]
        assert shown["POSTGRES_PASSWORD"] == "********"
        assert shown["POSTGRES_DB"] == environ["POSTGRES_DB"]

    given = {**environ, "COLOUR": "blue", "POSTGRES_PASSWORD": "obviously-fake"}
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(run_service(channels.CORE, body, settings=(Own,), environ=given))
    )
    thread.start()
    thread.join(30)
    assert codes == [ExitCode.OK]


def test_what_opens_the_bus_is_done_before_the_lease_and_again(environ: dict[str, str]) -> None:
    """`before_lease` may find Redis away or closed: it is tried again until the lease is there."""
    tries = []

    def prepare(life: Lifecycle) -> None:
        tries.append(life.health.failing()["redis"])
        if len(tries) < 3:
            raise JournalClosed("not yet")

    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(run_service(channels.CORE, lambda _: None, environ=environ, before_lease=prepare))
    )
    thread.start()
    thread.join(30)
    assert codes == [ExitCode.OK]
    assert tries == ["not connected yet", "not yet", "not yet"]


def test_publishing_waits_for_redis_and_gives_up_only_when_told(
    environment: dict[str, str], short_folder: Path
) -> None:
    """While Redis is away a publication is repeated, after a look whether it is still right; a stop ends the wait."""
    server = EmbeddedRedis(short_folder / "redis", appendfsync="always").start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        environ = {**environment, **server.environment, "HTTP_PORT": str(probe.getsockname()[1])}
    infra = Infrastructure.model_validate({k: v for k, v in environ.items() if k in Infrastructure.model_fields})
    open_bus(infra)
    feeder = Feeder(infra)
    feeder.begin()

    def event() -> Control:
        return Control(event_id="e", timestamp=feeder.now, producer=channels.CORE, action="tick")

    def body(life: Lifecycle) -> None:
        publisher = Publisher(life)
        assert publisher.publish(Cause("test", 1), [event()]).status == "new"
        assert publisher.publish(Cause("test", 1), [event()]).status == "repeated"
        assert publisher.next_number("test") == 2
        looked = []

        def come_back() -> None:
            server.start()
            open_bus(infra)

        server.kill()
        helper = threading.Timer(0.3, come_back)
        helper.start()
        head = publisher.patiently(life.client.head, still_valid=lambda: looked.append(1))
        helper.join()
        assert head is not None
        assert looked
        assert life.redis_losses == 1
        server.kill()
        threading.Timer(0.3, life.stop.set).start()
        with pytest.raises(Stopped):
            publisher.patiently(life.client.head)

    try:
        assert run(environ, body) == ExitCode.OK
    finally:
        feeder.client.close()
        feeder._lease.close()
        server.stop()
