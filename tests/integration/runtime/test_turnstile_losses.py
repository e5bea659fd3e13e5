"""A service that waits for its turn notices when Redis has lost what it waits for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from feeder import Feeder
from test_shell import Process, announced, eventually, signals

from claire.embedded import EmbeddedRedis
from services.common import channels
from services.common.journal.client import JournalClient
from services.common.journal.lease import Lease
from services.common.journal.opening import open_bus
from services.common.settings import Infrastructure, load_settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

PEERS = (channels.RISK, channels.EXECUTION)


class Peers:
    """Risk and execution, who follow core when they are told to."""

    def __init__(self, infra: Infrastructure) -> None:
        """Take their leases."""
        self._client = JournalClient(infra, name="peers")
        self._leases = {peer: Lease(infra) for peer in PEERS}
        self._fences = {peer: lease.acquire(peer, "peers") for peer, lease in self._leases.items()}

    def follow(self) -> None:
        """Say that both have done what core has done: they never go ahead of it."""
        done = self._client.cursors().get(channels.CORE, 0)
        for peer in PEERS:
            self._client.advance(peer, self._fences[peer], done)

    def all_at_head(self) -> bool:
        """Follow, and tell whether all three have done everything."""
        self.follow()
        head, cursors = self._client.head(), self._client.cursors()
        return head is not None and all(cursors.get(each, 0) == head.n for each in (channels.CORE, *PEERS))

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()
        for lease in self._leases.values():
            lease.close()


def test_an_entry_lost_while_its_turn_is_awaited_sends_the_machine_back(
    environment: dict[str, str], short_folder: Path
) -> None:
    """Core waits for its peers with an entry that Redis loses: it starts over and decides what comes instead."""
    server = EmbeddedRedis(short_folder / "redis", appendfsync="always").start()
    environ = {**environment, **server.environment, "TURNSTILE": "true"}
    infra = load_settings(Infrastructure, environ)
    open_bus(infra)
    feeder, peers = Feeder(infra), Peers(infra)
    feeder.begin()
    core = Process(environ, short_folder / "core.log").start()

    def passed(count: int) -> bool:
        peers.follow()
        return len(signals(feeder)) == count

    try:
        eventually(lambda: peers.follow() or len(announced(feeder)) == 2)
        feeder.price(1, 2, 3)
        eventually(lambda: passed(1))
        eventually(peers.all_at_head)
        lengths = {path: path.stat().st_size for path in (short_folder / "redis" / "appendonlydir").glob("*.incr.aof")}
        first, _second = feeder.price(4, 5).ids
        eventually(lambda: feeder.client.cursors().get(channels.CORE, 0) == first.n)
        server.kill()
        for path, length in lengths.items():
            os.truncate(path, length)
        server.start()
        open_bus(infra)
        peers.close()
        feeder, peers = feeder.again(), Peers(infra)
        feeder.price(6, 7, 8)
        eventually(lambda: passed(2))
        assert [signal.price for signal in signals(feeder)] == [3, 8]
        assert "starting_over" in core.text()
        assert core.terminate() == 0
    finally:
        if core.process is not None and core.process.poll() is None:
            core.kill()
        peers.close()
        feeder.client.close()
        feeder._lease.close()
        server.stop()


@pytest.mark.slow
def test_an_advance_that_redis_lost_is_said_again(environment: dict[str, str], short_folder: Path) -> None:
    """Redis keeps every entry and loses how far core was: core says it again, or the feed would wait for ever."""
    server = EmbeddedRedis(short_folder / "redis", appendfsync="always").start()
    environ = {**environment, **server.environment, "TURNSTILE": "true"}
    infra = load_settings(Infrastructure, environ)
    open_bus(infra)
    feeder, peers = Feeder(infra), Peers(infra)
    feeder.begin()
    core = Process(environ, short_folder / "core.log").start()
    try:
        eventually(lambda: peers.follow() or len(announced(feeder)) == 2)
        feeder.price(1)
        eventually(peers.all_at_head)
        with server.client() as client:
            client.hincrby("cursor", channels.CORE, -1)  # as a lost tail would
        server.kill()
        server.start()
        open_bus(infra)
        peers.close()
        feeder, peers = feeder.again(), Peers(infra)
        eventually(peers.all_at_head)
        core.terminate()
        with server.client() as client:
            client.hincrby("cursor", channels.CORE, -1)
        core.start()
        eventually(peers.all_at_head)
        assert core.terminate() == 0
    finally:
        if core.process is not None and core.process.poll() is None:
            core.kill()
        peers.close()
        feeder.client.close()
        feeder._lease.close()
        server.stop()
