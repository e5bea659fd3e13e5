"""Killed processes, a killed Redis: each event exactly once and in order, or a halt that says why."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from journal_support import ALL, Server, alert, drain, eventually, feed, fence_of, quote, signal, tick, whole

from services.common.channels import CORE, RISK, WS
from services.common.errors import FenceLost, JournalClosed, JournalHole, LeaseHeld, StateMismatch
from services.common.journal.bus import Bus
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause, JournalId
from services.common.journal.lease import LEASE_TTL_SEC, RENEW_EVERY_SEC, Lease
from services.common.journal.opening import is_open, open_bus
from services.common.settings import Infrastructure

pytestmark = [
    pytest.mark.integration,
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="no fork, no Valkey"),
]

ValueT = TypeVar("ValueT")
FORK = multiprocessing.get_context("fork")  # the children use nothing that the parent has open


def retried(action: Callable[[], ValueT]) -> ValueT:
    """Do something with the journal until Redis answers and the bus is open."""
    while True:
        try:
            return action()
        except (redis.ConnectionError, redis.TimeoutError, JournalClosed):
            time.sleep(0.01)


def run_feed(infra: Infrastructure, upto: int) -> None:
    """What cdb_ws is to the journal: numbered batches, continued after the last one that is there."""
    fence = retried(lambda: Lease(infra).acquire(WS, "feed"))
    client = JournalClient(infra, name="feed")
    k = retried(lambda: client.high_water(f"{WS}/feed"))
    while k < upto:
        k += 1
        batch = [quote(3 * k), tick(k), quote(3 * k + 1)]
        retried(lambda k=k, batch=batch: client.publish(WS, fence, Cause("feed", k), batch))


def run_machine(infra: Infrastructure, folder: Path, mode: Any, upto: int) -> None:
    """What cdb_core is: an output for each market data, a snapshot now and then, old entries handled again."""
    fence = retried(lambda: Lease(infra).acquire(CORE, "machine"))
    client = JournalClient(infra, name="machine")
    snapshot = folder / "snapshot"
    cursor = JournalId.parse(snapshot.read_text()) if snapshot.exists() else None
    last = quote(3 * upto + 1).data
    if cursor is not None and retried(lambda: client.read(cursor.n - 1, 1))[0].data == last:
        return  # killed between the last snapshot and its own end
    bus = Bus(infra, CORE, frozenset({"market_data"}), mode=mode)
    retried(lambda: bus.open(cursor))
    handled = 0
    while True:
        for entry in bus.poll(0.05):
            outputs = [signal(entry.id.n, CORE)]
            retried(lambda entry=entry, outputs=outputs: client.publish(CORE, fence, Cause.of(entry.id), outputs))
            handled += 1
            if handled % 7 == 0:
                (folder / "new").write_text(str(entry.id))
                (folder / "new").rename(snapshot)
            if entry.data == last:
                return


def run_reader(infra: Infrastructure, folder: Path, mode: Any, upto: int) -> None:
    """What a consumer with a transactional place is: each entry's effect and its place are one write."""
    with (folder / "effects").open("ab", buffering=0) as effects:
        lines = (folder / "effects").read_bytes().split(b"\n")
        cursor = JournalId.parse(lines[-2]) if len(lines) > 1 else None
        if cursor is not None and cursor.n >= upto:
            return  # killed between the last effect and its own end
        bus = Bus(infra, RISK, frozenset(ALL), mode=mode)
        retried(lambda: bus.open(cursor))
        while True:
            for entry in bus.poll(0.05):
                os.write(effects.fileno(), f"{entry.id}\n".encode())
                if entry.id.n >= upto:
                    return


class Child:
    """A process that is killed and started again until it has finished its work."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        self._work, self._arguments = work, arguments
        self.process: BaseProcess | None = None
        self.kills = 0
        self.start()

    def start(self) -> None:
        """Start the work anew."""
        self.process = FORK.Process(target=self._work, args=self._arguments, daemon=True)
        self.process.start()

    def kill_and_restart(self) -> bool:
        """Kill it in the middle of whatever it does; return whether it was still at work."""
        assert self.process is not None
        if self.process.exitcode is not None:
            return False
        self.process.kill()
        self.process.join()
        self.kills += 1
        self.start()
        return True

    def finished(self) -> bool:
        """Whether the work is done; fails when it went wrong."""
        assert self.process is not None
        assert self.process.exitcode in {None, 0}
        return self.process.exitcode == 0

    def end(self) -> None:
        """End it for good."""
        if self.process is not None:
            self.process.kill()
            self.process.join()


@pytest.fixture
def children() -> Iterator[Callable[..., Child]]:
    """Start children that are ended after the test."""
    started: list[Child] = []

    def start(work: Callable[..., None], *arguments: Any) -> Child:
        started.append(Child(work, *arguments))
        return started[-1]

    yield start
    for child in started:
        child.end()


@pytest.fixture(params=["pubsub", "xread"])
def mode(request: pytest.FixtureRequest) -> str:
    """Both modes of the bus."""
    return str(request.param)


def kill_while_it_grows(client: JournalClient, child: Child, marks: list[int]) -> None:
    """Kill the child each time the journal's head passes one of the numbers."""
    for mark in marks:

        def passed(mark: int = mark) -> bool:
            head = client.head()
            return head is not None and head.n >= mark

        eventually(passed)
        child.kill_and_restart()


def require_feed(client: JournalClient, upto: int) -> None:
    """Each batch of the feed is there once, whole and in order."""
    entries = [entry for entry in whole(client) if entry.producer == WS]
    expected = [(f"feed:{k}", e.data) for k in range(1, upto + 1) for e in (quote(3 * k), tick(k), quote(3 * k + 1))]
    assert [(entry.cause, entry.data) for entry in entries] == expected


def require_contiguous(client: JournalClient) -> None:
    """Numbers run from 1 to the head without a gap."""
    entries = whole(client)
    head = client.head()
    assert head is not None
    assert [entry.id.n for entry in entries] == list(range(1, head.n + 1))


def test_publisher_killed_in_the_middle(server: Server, clients: Any, children: Any) -> None:
    """A feed killed again and again while it publishes leaves every batch once, whole and in order."""
    client = clients(server)
    child = children(run_feed, server.infra, 400)

    kill_while_it_grows(client, child, [50, 51, 200, 333, 500, 700, 900, 1000])
    eventually(child.finished)

    assert child.kills >= 4
    require_feed(client, 400)
    require_contiguous(client)


def test_consumer_killed_in_the_middle(server: Server, clients: Any, children: Any, tmp_path: Path, mode: str) -> None:
    """A consumer killed again and again has each entry's effect once and in order."""
    client = clients(server)
    source = children(run_feed, server.infra, 400)
    child = children(run_reader, server.infra, tmp_path, mode, 1200)

    kill_while_it_grows(client, child, [50, 51, 200, 400, 600, 800, 1000])
    eventually(child.finished)

    eventually(source.finished)
    effects = (tmp_path / "effects").read_text().split()
    assert effects == [f"1-{n}" for n in range(1, 1201)]


def test_machine_killed_in_the_middle(server: Server, clients: Any, children: Any, tmp_path: Path, mode: str) -> None:
    """A machine that handles entries again from its snapshot has published the outputs of each entry once."""
    client = clients(server)
    children(run_feed, server.infra, 150)
    child = children(run_machine, server.infra, tmp_path, mode, 150)

    kill_while_it_grows(client, child, [40, 41, 150, 250, 333, 450, 500, 600])
    eventually(child.finished)

    assert child.kills >= 4
    entries = whole(client)
    inputs = [entry.id.n for entry in entries if entry.channel == "market_data"]
    outputs = [(entry.cause, entry.data) for entry in entries if entry.producer == CORE]
    assert outputs == [(str(n), signal(n, CORE).data) for n in inputs]
    require_feed(client, 150)
    require_contiguous(client)


def test_redis_killed_in_the_middle(own_server: Server, clients: Any, children: Any, tmp_path: Path, mode: str) -> None:
    """Redis killed -9 under load, restarted and reopened: nothing that was answered is lost, nothing is double."""
    client = clients(own_server)
    source = children(run_feed, own_server.infra, 300)
    machine = children(run_machine, own_server.infra, tmp_path, mode, 300)
    reader = children(run_reader, own_server.infra, tmp_path, mode, 1500)

    for mark in (60, 600):
        eventually(lambda mark=mark: (retried(client.head) or JournalId(0, 0)).n >= mark)
        assert not machine.finished()
        own_server.restart()
        assert not is_open(own_server.infra)
        open_bus(own_server.infra)
    for child in (source, machine, reader):
        eventually(child.finished, 30)

    client = clients(own_server)
    require_feed(client, 300)
    require_contiguous(client)
    entries = whole(client)
    inputs = [entry.id.n for entry in entries if entry.channel == "market_data"]
    assert [entry.cause for entry in entries if entry.producer == CORE] == [str(n) for n in inputs]
    assert (tmp_path / "effects").read_text().split() == [str(entry.id) for entry in entries]
    assert list(client.epochs()) == [1, 2, 3]


def test_batch_in_flight_at_a_restart_of_redis_is_published_once(own_server: Server, clients: Any) -> None:
    """A client repeats the batch that it was publishing when Redis died, done or not, and goes on in the new epoch."""
    client = clients(own_server)
    ws, core = fence_of(own_server, WS), fence_of(own_server, CORE)
    feed(client, ws, range(1, 6))
    client.publish(CORE, core, Cause("", 4), [signal(4, CORE)])
    own_server.restart()
    with pytest.raises(redis.ConnectionError):
        client.publish(CORE, core, Cause("", 4), [signal(4, CORE)])
    with pytest.raises(JournalClosed):
        client.publish(CORE, core, Cause("", 4), [signal(4, CORE)])
    open_bus(own_server.infra)

    assert client.publish(CORE, core, Cause("", 4), [signal(4, CORE)]).status == "repeated"
    assert client.publish(CORE, core, Cause("", 5), [signal(5, CORE)]).ids == (JournalId(2, 7),)
    assert feed(client, ws, range(6, 7)) == [JournalId(2, 8)]
    assert client.publish(CORE, core, Cause.of(JournalId(2, 8)), [signal(8, CORE)]).status == "new"
    client.advance(CORE, core, JournalId(2, 9))


def test_cause_without_epoch_after_a_restart_is_refused_when_it_could_be_lost(own_server: Server, clients: Any) -> None:
    """A bare number beyond the old epoch's end might mean a lost entry: refused; with its epoch it is unambiguous."""
    client = clients(own_server)
    ws, core = fence_of(own_server, WS), fence_of(own_server, CORE)
    feed(client, ws, range(1, 4))
    own_server.restart()
    open_bus(own_server.infra)
    feed(clients(own_server), ws, range(4, 7))
    eventually(lambda: _reconnected(client))

    with pytest.raises(StateMismatch, match="without its epoch"):
        client.publish(CORE, core, Cause("", 5), [signal(5, CORE)])
    with pytest.raises(StateMismatch, match="tail that Redis lost"):
        client.publish(CORE, core, Cause.of(JournalId(1, 5)), [signal(5, CORE)])
    with pytest.raises(StateMismatch, match="tail that Redis lost"):
        client.advance(CORE, core, JournalId(1, 5))
    assert client.publish(CORE, core, Cause.of(JournalId(2, 5)), [signal(5, CORE)]).status == "new"


def _reconnected(client: JournalClient) -> bool:
    try:
        client.head()
    except redis.ConnectionError:
        return False
    return True


def test_bus_waits_out_a_restart_of_redis(own_server: Server, clients: Any, buses: Any, mode: str) -> None:
    """While Redis is away or closed, poll gives nothing and says why; then it goes on where it was."""
    client = clients(own_server)
    ws = fence_of(own_server, WS)
    bus = buses(own_server, RISK, *ALL, mode=mode)
    bus.open(None)
    feed(client, ws, range(1, 4))
    drain(bus, 3)

    own_server.kill()
    assert bus.poll(0.1) == []
    assert bus.problem is not None
    own_server.start()
    eventually(lambda: bus.poll(0.05) == [] and "closed" in (bus.problem or ""))
    open_bus(own_server.infra)
    eventually(lambda: _reconnected(client))
    feed(client, ws, range(4, 6))

    assert [entry.id for entry in drain(bus, 2)] == [JournalId(2, 4), JournalId(2, 5)]
    assert bus.problem is None


# a lost tail


def test_lost_tail_is_told_from_the_new_entries_with_its_numbers(
    own_server: Server, clients: Any, buses: Any, mode: str
) -> None:
    """Redis loses 41 to 50: who stands there is told so; who stands before goes on; nobody mixes old and new."""
    client = clients(own_server)
    ws = fence_of(own_server, WS)
    behind, beyond = (buses(own_server, RISK, *ALL, mode=mode) for _ in range(2))
    behind.open(None)
    beyond.open(None)
    feed(client, ws, range(1, 36))
    drain(behind, 35)
    feed(client, ws, range(36, 41))
    size = own_server.aof_size()
    feed(client, ws, range(41, 51))
    drain(beyond, 50)
    behind.close()  # a service that was away
    own_server.kill()
    own_server.cut_aof(size)
    own_server.start()
    assert open_bus(own_server.infra).first_n == 41

    with pytest.raises(StateMismatch, match="1-50"):
        drain(beyond, 99)
    eventually(lambda: _reconnected(client))
    with pytest.raises(StateMismatch, match="50 was published, the journal knows 40"):
        feed(client, ws, range(51, 52))
    fresh = clients(own_server)
    assert fresh.high_water(f"{WS}/feed") == 40
    assert not fresh.lineage_ok(JournalId(1, 41))
    assert fresh.lineage_ok(JournalId(1, 40))
    feed(fresh, ws, range(41, 56))
    assert not fresh.lineage_ok(JournalId(1, 41))
    assert fresh.lineage_ok(JournalId(2, 41))
    behind.open(JournalId(1, 35))
    assert [entry.id.n for entry in drain(behind, 20)] == list(range(36, 56))
    with pytest.raises(StateMismatch):
        beyond.open(JournalId(1, 50))


def test_file_cut_anywhere_leaves_a_consistent_journal(own_server: Server, clients: Any) -> None:
    """Wherever the append-only file is cut, entries and marks are those of one moment, and publishing goes on."""
    client = clients(own_server)
    ws = fence_of(own_server, WS)
    start = own_server.aof_size()
    feed(client, ws, range(1, 61))
    end = own_server.aof_size()
    own_server.kill()
    heads = []
    for cut in range(end - 1, start, -(end - start) // 6):
        own_server.cut_aof(cut)
        own_server.start()
        open_bus(own_server.infra)
        fresh = clients(own_server)
        entries = whole(fresh)
        heads.append(len(entries))
        assert [entry.data for entry in entries] == [quote(k).data for k in range(1, len(entries) + 1)]
        assert fresh.high_water(f"{WS}/feed") == len(entries)
        assert fresh.last_ids().get("market_data", JournalId(0, 0)).n == len(entries)
        own_server.kill()

    assert heads == sorted(heads, reverse=True)
    assert heads[0] == 59
    own_server.start()
    open_bus(own_server.infra)
    last = clients(own_server)
    feed(last, ws, range(heads[-1] + 1, 61))
    assert [entry.data for entry in whole(last)] == [quote(k).data for k in range(1, 61)]


# one of each


def test_second_instance_waits_and_gives_up(server: Server, leases: Any) -> None:
    """While the first instance lives, another machine's second one gets LeaseHeld, never a fence."""
    first, second = leases(server), leases(server)
    first.acquire(CORE, "here")
    with pytest.raises(LeaseHeld, match="here"):
        second.acquire(CORE, "elsewhere", timeout_sec=0.05)
    assert second.fence is None
    first.renew()


def test_same_holder_takes_over_at_once(server: Server, leases: Any) -> None:
    """After kill -9 the same holder need not wait for the old lease to run out, and the old fence is lost."""
    first, second = leases(server), leases(server)
    old = first.acquire(CORE, "here")
    started = time.monotonic()
    new = second.acquire(CORE, "here")

    assert (old, new) == (1, 2)
    assert time.monotonic() - started < LEASE_TTL_SEC - RENEW_EVERY_SEC
    with pytest.raises(FenceLost):
        first.renew()
    second.renew()


def test_lease_that_ran_out_goes_to_whoever_wants_it(server: Server, leases: Any) -> None:
    """A lease that nobody renews runs out; the next holder gets it, and the first one, waking up, is refused."""
    first, second = leases(server, ttl_sec=0.1), leases(server, ttl_sec=0.1)
    first.acquire(CORE, "here")
    assert second.acquire(CORE, "elsewhere", timeout_sec=5) == 2
    with pytest.raises(FenceLost):
        first.renew()


def test_paused_holder_goes_on_when_nobody_else_came(server: Server, leases: Any) -> None:
    """A lease that ran out while nobody else wanted it is simply renewed, with the same fence."""
    lease = leases(server, ttl_sec=0.05)
    fence = lease.acquire(CORE, "here")
    with server.admin() as admin:
        eventually(lambda: admin.get("lease:cdb_core") is None)
        lease._ttl_ms = 60_000  # the answer may be read late on a busy machine
        lease.renew()
        assert admin.get("lease:cdb_core") == f"{fence}:here".encode()


def test_fence_that_redis_lost_is_not_given_again(own_server: Server, clients: Any, leases: Any) -> None:
    """The tail with a lease is lost, another instance comes: the first is refused at once, not at its renewal."""
    size = own_server.aof_size()
    first, second = leases(own_server), leases(own_server)
    lost = first.acquire(CORE, "here")
    own_server.kill()
    own_server.cut_aof(size)
    own_server.start()
    open_bus(own_server.infra)

    given = second.acquire(CORE, "there")

    assert given > lost
    with pytest.raises(FenceLost):
        clients(own_server).publish(CORE, lost, Cause("alert", 1), [alert(1, CORE)])
    with pytest.raises(redis.ConnectionError):
        first.renew()  # its connection died with the server
    with pytest.raises(FenceLost):
        first.renew()


def test_released_lease_is_free_at_once(server: Server, leases: Any) -> None:
    """A graceful stop gives the lease back; giving back what is somebody else's changes nothing."""
    first, second, third = (leases(server) for _ in range(3))
    first.acquire(CORE, "a")
    first.release()
    assert first.fence is None
    assert second.acquire(CORE, "b", timeout_sec=0) == 2
    third.acquire(CORE, "b", timeout_sec=0)
    second.release()
    third.renew()


def test_lease_survives_a_lost_tail(own_server: Server, leases: Any) -> None:
    """When Redis loses the lease itself, its holder renews it with its fence."""
    lease = leases(own_server)
    fence = lease.acquire(CORE, "here")
    with own_server.admin() as admin:
        admin.delete("lease:cdb_core", "fence")
        lease.renew()
        assert admin.hget("fence", CORE) == str(fence).encode()


def test_equal_fences_after_a_lost_tail_are_told_apart_by_their_holders(own_server: Server, leases: Any) -> None:
    """Redis forgets the lease and its fence, somebody else gets the same number: the first holder sees it and exits."""
    first, second = leases(own_server), leases(own_server)
    assert first.acquire(CORE, "here") == 1
    with own_server.admin() as admin:
        admin.delete("lease:cdb_core", "fence")
    assert second.acquire(CORE, "elsewhere") == 1

    with pytest.raises(FenceLost, match="elsewhere"):
        first.renew()
    second.renew()


def test_lease_waits_for_an_open_bus_and_a_writing_server(own_server: Server, leases: Any) -> None:
    """Before the bus is open, and while the server writes nothing, there is no lease; the error asks to try again."""
    lease = leases(own_server)
    lease.acquire(CORE, "here")
    with own_server.admin() as admin:
        admin.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(JournalClosed, match="does not write"):
                lease.renew()
        finally:
            admin.replicaof("NO", "ONE")
        admin.delete("bus:open")
    with pytest.raises(JournalClosed):
        leases(own_server).acquire(RISK, "here")


def test_hole_halts_a_running_consumer(server: Server, clients: Any, buses: Any, mode: str) -> None:
    """Entries trimmed away while a consumer was disconnected make it halt, not skip."""
    client = clients(server)
    ws = fence_of(server, WS)
    bus = buses(server, RISK, *ALL, mode=mode)
    bus.open(None)
    feed(client, ws, range(1, 4))
    drain(bus, 3)
    with server.admin() as admin:
        for connection in admin.client_list():
            if connection["name"].startswith("cdb_risk"):
                admin.client_kill_filter(_id=connection["id"])
        feed(client, ws, range(4, 9))
        admin.xtrim("journal", minid="1-7", approximate=False)

    with pytest.raises(JournalHole, match="events 4 to 6"):
        drain(bus, 5)
