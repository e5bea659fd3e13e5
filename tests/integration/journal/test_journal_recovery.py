"""Recovery: Redis compared with the archive before the bus opens, and what it lost brought back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis
from journal_support import (
    ALL,
    MemoryArchive,
    Server,
    alert,
    drain,
    feed,
    fence_of,
    quote,
    signal,
    whole,
)

from services.common.channels import CORE, RISK, WS
from services.common.errors import StoreError
from services.common.events import Control
from services.common.journal.archive import PostgresArchive
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.journal.link import Link
from services.common.journal.opening import Opening, is_open, open_bus, recover
from services.common.journal.scripts import OPEN
from services.common.settings import Infrastructure

pytestmark = [pytest.mark.integration, pytest.mark.chaos]


@pytest.fixture
def client(server: Server, clients: Any) -> JournalClient:
    """A client of the shared, empty journal."""
    made: JournalClient = clients(server)
    return made


def sample_journal(server: Server, client: JournalClient) -> MemoryArchive:
    """Fill the journal with 30 entries of three producers and return an archive that has them all."""
    ws, core, risk = (fence_of(server, name) for name in (WS, CORE, RISK))
    started = Control(event_id="s", timestamp=1, producer=WS, action="started", service=WS, run_id="run-7")
    client.publish(WS, ws, Cause("announce", ws), [started])
    feed(client, ws, range(1, 16))
    client.publish(CORE, core, Cause("", 12), [signal(12, CORE), signal(13, CORE)])
    client.publish(RISK, risk, Cause("alert", 3), [alert(3, RISK)])
    feed(client, ws, range(16, 27))
    archive = MemoryArchive()
    archive.fill(client)
    assert archive.head() == JournalId(1, 30)
    return archive


def close(server: Server) -> None:
    """Make the bus look as after a restart of the server."""
    with server.admin() as admin:
        admin.delete("bus:open")


def lose_tail(server: Server, after: int) -> None:
    """Take Redis back to the moment when `after` was its head, as a cut file would."""
    with server.admin() as admin:
        kept = admin.xrange("journal", max=f"1-{after}")
        admin.flushall()
        for entry_id, fields in kept:
            admin.xadd("journal", fields, id=entry_id)
            admin.hset("last_id", fields[b"channel"], entry_id)
            entry = Entry(JournalId.parse(entry_id), "", fields[b"producer"].decode(), fields[b"cause"].decode(), b"")
            source, _, number = entry.cause.rpartition(":")
            admin.hset("hw", f"{entry.producer}/{source}" if source else entry.producer, number)
        admin.hset("bus", mapping={"epoch": 1, "head": after, "run_id": "run-7"})
        admin.hset("epochs", 1, 1)


def test_first_opening_begins_epoch_one(own_server: Server) -> None:
    """An empty Redis without an archive opens at epoch 1, number 1; an open bus is left alone."""
    with own_server.admin() as admin:
        admin.flushall()
    assert not is_open(own_server.infra)

    assert open_bus(own_server.infra) == Opening(opened=True, epoch=1, first_n=1, copied=0)
    assert is_open(own_server.infra)
    assert open_bus(own_server.infra) == Opening(opened=False, epoch=1, first_n=1, copied=0)


def test_redis_ahead_of_the_archive_is_normal(server: Server, client: JournalClient) -> None:
    """What the writer has not stored yet stays in Redis; the journal goes on in a new epoch."""
    archive = sample_journal(server, client)
    del archive.entries[20:]
    before = whole(client)
    close(server)

    opening = recover(server.infra, archive)

    assert opening == Opening(opened=True, epoch=2, first_n=31, copied=0)
    assert archive.epochs() == {1: 1, 2: 31}
    fresh = JournalClient(server.infra, name="fresh")
    assert whole(fresh) == before
    fresh.close()


def test_lost_tail_is_copied_back_with_its_marks(server: Server, client: JournalClient, clients: Any) -> None:
    """Redis behind the archive gets the missing events with their ids, and marks as if nothing had happened."""
    archive = sample_journal(server, client)
    before = whole(client)
    marks = {field: client.high_water(field) for field in ("cdb_ws/feed", "cdb_core", "cdb_risk/alert")}
    last_ids = client.last_ids()
    lose_tail(server, 11)

    seen: list[int] = []
    opening = recover(server.infra, archive, progress=seen.append)

    assert opening == Opening(opened=True, epoch=2, first_n=31, copied=19)
    assert seen == [19]
    fresh = clients(server)
    assert whole(fresh) == before
    assert {field: fresh.high_water(field) for field in marks} == marks == {
        "cdb_ws/feed": 26, "cdb_core": 12, "cdb_risk/alert": 3,
    }  # fmt: skip
    assert fresh.last_ids() == last_ids
    assert fresh.cursors() == {CORE: 12}
    assert fresh.run_id() == "run-7"
    ws = fence_of(server, WS)
    assert feed(fresh, ws, range(26, 28)) == [JournalId(2, 31)], "26 was there, 27 is new"


def test_empty_redis_gets_the_newest_events_and_all_marks(
    server: Server, client: JournalClient, clients: Any, buses: Any
) -> None:
    """A lost volume is filled with the newest events; older ones are read from the archive by who needs them."""
    archive = sample_journal(server, client)
    archive.run_id = lambda: "run-7"  # type: ignore[method-assign]
    before = whole(client)
    with server.admin() as admin:
        admin.flushall()

    opening = recover(server.infra, archive, copy_max=5)

    assert opening == Opening(opened=True, epoch=2, first_n=31, copied=5)
    fresh = clients(server, archive=archive)
    with server.admin() as admin:
        assert admin.xlen("journal") == 5
    assert whole(fresh) == before
    assert fresh.high_water("cdb_core") == 12
    assert fresh.high_water("cdb_ws/announce") == 1
    assert fresh.last_ids()["signals"] == JournalId(1, 18)
    assert fresh.run_id() == "run-7"
    assert fence_of(server, WS) == 2**20 + 1, "fences go on above every one of the epoch before"
    bus = buses(server, RISK, *ALL, archive=archive)
    bus.open(JournalId(1, 3))
    assert drain(bus, 27) == before[3:]


def test_tail_too_long_to_copy_replaces_the_stream(server: Server, client: JournalClient, clients: Any) -> None:
    """When more than the limit is missing, the old stream is dropped: a stream with a hole inside is never made."""
    archive = sample_journal(server, client)
    before = whole(client)
    lose_tail(server, 11)

    assert recover(server.infra, archive, copy_max=5).copied == 5

    with server.admin() as admin:
        assert admin.xlen("journal") == 5
    assert whole(clients(server, archive=archive)) == before


class Killed(Exception):
    """Stands for the end of the recovering process."""


class MortalArchive:
    """An archive whose reader dies after a number of its steps."""

    def __init__(self, archive: MemoryArchive, steps: int) -> None:
        self._archive = archive
        self._left = steps

    def __getattr__(self, name: str) -> Any:
        """Pass every method on, counting it."""

        def counted(*arguments: Any) -> Any:
            answer = getattr(self._archive, name)(*arguments)
            self._left -= 1
            if self._left < 0:
                raise Killed
            return answer

        return counted


def recover_until(server: Server, archive: MemoryArchive, copy_max: int, steps: int) -> Opening | None:
    """Recover, dying after so many steps of the archive; None when it died."""
    try:
        return recover(server.infra, MortalArchive(archive, steps), copy_max=copy_max)
    except Killed:
        return None


@pytest.mark.parametrize("copy_max", [5, 17, 50_000])
@pytest.mark.parametrize("lost", ["tail", "all"])
def test_recovery_may_be_interrupted_anywhere(  # noqa: PLR0917 - fixtures
    server: Server, client: JournalClient, clients: Any, monkeypatch: pytest.MonkeyPatch, copy_max: int, lost: str
) -> None:
    """Killed after any step, it is done again from where it is, and ends with the same journal."""
    archive = sample_journal(server, client)
    before = whole(client)
    marks = {field: client.high_water(field) for field in ("cdb_ws/feed", "cdb_core", "cdb_risk/alert")}
    last_ids = client.last_ids()
    monkeypatch.setattr("services.common.journal.opening.COPY_BATCH", 2)
    if lost == "tail":
        lose_tail(server, 11)
    else:
        with server.admin() as admin:
            admin.flushall()

    kills = 0
    while (opening := recover_until(server, archive, copy_max, kills)) is None:
        kills += 1
        assert not is_open(server.infra)

    assert kills >= 3
    assert opening.opened
    fresh = clients(server, archive=archive)
    assert whole(fresh) == before
    assert {field: fresh.high_water(field) for field in marks} == marks
    assert fresh.last_ids() == last_ids
    assert fresh.lineage_ok(JournalId(1, 30))
    assert feed(fresh, fence_of(server, WS), range(27, 28)) == [JournalId(opening.epoch, 31)]


def test_contradictions_keep_the_bus_closed(server: Server, client: JournalClient) -> None:
    """Other bytes, another epoch, another journal, a hole before the oldest entry: StoreError, and nothing opens."""
    archive = sample_journal(server, client)
    close(server)
    tampered, elsewhen, gone, holed = MemoryArchive(), MemoryArchive(), MemoryArchive(), MemoryArchive()
    for other in (tampered, elsewhen, gone, holed):
        other.entries, other.known = list(archive.entries), dict(archive.known)
    tampered.entries[-1] = replace(tampered.entries[-1], data=quote(99).data)
    elsewhen.known = {1: 2}
    gone.entries[-1] = replace(gone.entries[-1], id=JournalId(2, 30))
    gone.known[2] = 30
    del holed.entries[5:]

    with pytest.raises(StoreError, match="differs"):
        recover(server.infra, tampered)
    with pytest.raises(StoreError, match="epoch 1 begins"):
        recover(server.infra, elsewhen)
    with pytest.raises(StoreError, match="two journals"):
        recover(server.infra, gone)
    with server.admin() as admin:
        admin.xtrim("journal", minid="1-10", approximate=False)
    with pytest.raises(StoreError, match="oldest entry in Redis is 10"):
        recover(server.infra, holed)
    with server.admin() as admin:
        admin.hset("bus", "head", 12)
    with pytest.raises(StoreError, match="by hand"):
        recover(server.infra, archive)

    assert not is_open(server.infra)
    with server.admin() as admin:
        assert admin.hget("bus", "epoch") == b"1"


def test_archive_with_a_hole_in_the_lost_tail_keeps_the_bus_closed(server: Server, client: JournalClient) -> None:
    """What neither Redis nor the archive has cannot be passed over."""
    archive = sample_journal(server, client)
    lose_tail(server, 11)
    del archive.entries[20]

    with pytest.raises(StoreError, match="lacks events after"):
        recover(server.infra, archive)

    assert not is_open(server.infra)


def test_server_that_restarts_while_it_is_opened_stays_closed(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The opening counts only for the server process that was looked at."""
    archive = MemoryArchive()
    close(own_server)
    monkeypatch.setattr(archive, "record_epoch", lambda *_: own_server.restart())

    with pytest.raises(redis.ConnectionError):
        recover(own_server.infra, archive)

    assert not is_open(own_server.infra)


def test_opening_is_for_one_server_process(server: Server) -> None:
    """The opening script itself refuses a server process other than the one whose facts were gathered."""
    close(server)
    link = Link(server.infra, name="test")

    reply = link.run(OPEN, ("bus", "bus:open", "epochs", "hw", "cursor"), ["0" * 40, 2, 0, "secret", 1, 1, 2, 1])
    link.close()

    assert reply[0] == b"closed"
    assert not is_open(server.infra)


# the archive in PostgreSQL


def test_archive_in_postgresql_answers_like_the_one_in_memory(
    server: Server, client: JournalClient, infrastructure: Infrastructure
) -> None:
    """What the writer stored is read back exactly, with the marks, last ids and the run that follow from it."""
    from services.cdb_writer.adapters.connection import connector
    from services.cdb_writer.adapters.schema import migrate

    memory = sample_journal(server, client)
    archive = PostgresArchive(infrastructure)
    assert (archive.head(), archive.epochs(), archive.read(0, 9)) == (None, {}, []), "no schema: an empty archive"
    migrate(connector(infrastructure))
    store_entries(infrastructure, memory.entries)

    assert archive.head() == memory.head()
    assert archive.read(0, 1000) == memory.entries
    assert archive.read(11, 3) == memory.entries[11:14]
    assert archive.high_water() == memory.high_water()
    assert archive.last_ids() == memory.last_ids()
    assert archive.run_id() == "run-7"
    archive.record_epoch(2, 31)
    archive.record_epoch(2, 31)
    with pytest.raises(StoreError, match="cannot begin at 32"):
        archive.record_epoch(2, 32)
    assert archive.epochs()[2] == 31
    archive.close()


def test_archive_without_run_or_server(infrastructure: Infrastructure) -> None:
    """An empty database knows no run; a server that is away is a ConnectionError, to be tried again."""
    archive = PostgresArchive(infrastructure)
    assert archive.run_id() is None
    archive.close()
    away = PostgresArchive(infrastructure.model_copy(update={"POSTGRES_HOST": "/nonexistent"}))
    with pytest.raises(ConnectionError, match="PostgreSQL is away"):
        away.head()


def store_entries(infra: Infrastructure, entries: list[Entry]) -> None:
    """Store entries as the writer does."""
    from services.cdb_writer.adapters.connection import connector
    from services.cdb_writer.adapters.store import EventStore
    from services.cdb_writer.recorder import Recorder

    store = EventStore(connector(infra))
    found = store.open()
    store.write(Recorder(found.head, found.state).fold(entries))
    store.close()
