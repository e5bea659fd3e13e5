"""The socket beneath every call to Redis: replies as they come, refusals, silence, and a connection that is gone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import redis

from services.common.journal.wire import NOTHING, Wire

pytestmark = pytest.mark.unit


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    """A wire and the server's end of it."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0.01)
    yield Wire(SimpleNamespace(_sock=ours)), theirs
    ours.close()
    theirs.close()


def test_a_command_is_sent_packed_and_its_reply_read(ends: tuple[Wire, socket.socket]) -> None:
    """Text, bytes and numbers go out as bulk strings; the reply comes back as it is."""
    wire, server = ends
    wire.send("SET", b"key", 1)
    server.sendall(b":7\r\n")

    assert server.recv(100) == b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1\r\n1\r\n"
    assert wire.reply() == 7


def test_a_reply_in_pieces_is_waited_for(ends: tuple[Wire, socket.socket]) -> None:
    """Half a reply is none yet; with its other half it is whole."""
    wire, server = ends
    server.sendall(b"$5\r\nhe")
    assert wire.wait(0.01)
    assert wire.read() is NOTHING
    server.sendall(b"llo\r\n")

    assert wire.reply(0.01) == b"hello"


def test_what_arrived_is_taken_up_to_the_limit(ends: tuple[Wire, socket.socket]) -> None:
    """The rest stays for the next time."""
    wire, server = ends
    server.sendall(b":1\r\n:2\r\n-ERR no\r\n")
    wire.wait(0.01)

    assert wire.arrived(2) == [1, 2]
    assert [type(reply) for reply in wire.arrived(2)] == [redis.ResponseError]
    assert wire.arrived(2) == []


def test_a_refusal_is_raised_as_redis_names_it(ends: tuple[Wire, socket.socket]) -> None:
    """A script that the server does not know is an error of its own kind."""
    wire, server = ends
    server.sendall(b"-NOSCRIPT no such script\r\n")

    with pytest.raises(redis.exceptions.NoScriptError):
        wire.reply()


def test_silence_is_a_time_out(ends: tuple[Wire, socket.socket]) -> None:
    """Waiting says that nothing came; asking for a reply fails, also when there is no time at all."""
    wire, _ = ends

    assert not wire.wait()
    assert not wire.wait(0.0)
    with pytest.raises(redis.TimeoutError):
        wire.reply(0.0)


def test_a_server_that_takes_nothing_is_a_time_out(ends: tuple[Wire, socket.socket]) -> None:
    """More than the buffers between hold cannot be sent."""
    wire, _ = ends

    with pytest.raises(redis.TimeoutError):
        wire.send("SET", "key", b"x" * 4_000_000)


def test_a_connection_that_is_gone_is_said_to_be(ends: tuple[Wire, socket.socket]) -> None:
    """The server has closed it: nothing comes, nothing goes; so has our side, whoever did that."""
    wire, server = ends
    server.close()

    with pytest.raises(redis.ConnectionError):
        wire.reply()
    with pytest.raises(redis.ConnectionError):
        wire.send("PING")

    wire._socket.close()
    with pytest.raises(redis.ConnectionError):
        wire.wait()
