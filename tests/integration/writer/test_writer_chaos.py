"""Killed, cut off and deceived: nothing is lost or stands twice, and the tables are those of the undisturbed run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from claire.embedded import EmbeddedPostgres, EmbeddedRedis
from services.cdb_writer.adapters.connection import Connect, connector
from services.cdb_writer.adapters.keeper import Keeper
from services.cdb_writer.adapters.metrics import WriterMetrics
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore
from services.cdb_writer.recorder import Batch, Recorder
from services.common.errors import StoreError
from services.common.journal.opening import is_open
from services.common.runtime.lifecycle import Lifecycle
from services.common.runtime.publisher import Stopped
from services.common.settings import Infrastructure
from tests.integration.writer.writer_support import (
    Feeder,
    WriterProcess,
    WriterThread,
    caught_up,
    query,
    read_tables,
    reference_tables,
    stored_cursor,
    stored_entries,
    verified,
    wait_for,
)
from tests.unit.writer.journal_story import tell

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

NewWriter = Callable[..., WriterProcess]
NewThread = Callable[..., WriterThread]
NewFeeder = Callable[[], Feeder]

WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cdb_writer' AND wait_event_type = 'Lock' "
    "AND datname = current_database()"
)


@pytest.mark.slow
def test_killed_inside_and_between_batches(
    new_writer: NewWriter, feeder: NewFeeder, connect: Connect, another_connect: Connect, embedded_redis: EmbeddedRedis
) -> None:
    """Killed before a commit, after one whose answer nobody heard, and while idle: all as if nothing had happened."""
    entries = tell(21, 700).entries
    writer = new_writer(WRITER_BATCH_EVENTS="50").start()
    source = feeder()
    head = source.publish(entries[:200])
    wait_for(caught_up(connect, head), "the first part")
    writer.kill()  # between batches, at rest

    writer.start()
    wait_for(lambda: not writer.failing(), "up again")
    blocker = connect()
    with blocker.cursor() as cursor:
        cursor.execute("LOCK TABLE portfolio_snapshots IN EXCLUSIVE MODE")
    head = source.publish(entries[200:400])
    wait_for(lambda: query(connect, WAITING) == [(1,)], "a batch whose events are copied and whose rows wait")
    before = stored_cursor(connect)
    writer.kill()  # inside a transaction
    blocker.rollback()
    wait_for(lambda: query(connect, WAITING) == [(0,)], "the server notices")

    writer.start()
    wait_for(caught_up(connect, head), "the second part")
    assert before.head.seq < head
    with blocker.cursor() as cursor:
        cursor.execute("LOCK TABLE portfolio_snapshots IN EXCLUSIVE MODE")
    head = source.publish(entries[400:])
    wait_for(lambda: query(connect, WAITING) == [(1,)], "a batch waits")
    before = stored_cursor(connect)
    with embedded_redis.client() as redis:
        redis.execute_command("CLIENT", "PAUSE", 20_000, "WRITE")
        try:
            blocker.rollback()
            wait_for(lambda: stored_cursor(connect) != before, "the batch is committed and Redis does not know")
            writer.kill()  # between the commit and what follows it
        finally:
            redis.execute_command("CLIENT", "UNPAUSE")
    blocker.close()

    writer.start()
    wait_for(caught_up(connect, head), "the rest")
    assert writer.stop() == 0
    assert [entry.data for entry in stored_entries(connect)] == [entry.data for entry in entries]
    assert verified(connect).ok
    assert read_tables(connect) == reference_tables(another_connect, entries)


@pytest.mark.slow
def test_killed_again_and_again(
    new_writer: NewWriter, feeder: NewFeeder, connect: Connect, another_connect: Connect
) -> None:
    """Small batches, many kills at whatever moment: the store is that of the undisturbed run."""
    entries = tell(22, 1200).entries
    writer = new_writer(WRITER_BATCH_EVENTS="7").start()
    source = feeder()
    for start in range(0, 1200, 200):
        source.publish(entries[start : start + 200])
        wait_for(caught_up(connect, start + 60), "some of it")
        writer.kill()
        writer.start()
    head = source.publish(entries[1200:]) or len(entries)
    wait_for(caught_up(connect, head), "all of it")
    assert writer.stop() == 0
    assert [entry.data for entry in stored_entries(connect)] == [entry.data for entry in entries]
    assert verified(connect).ok
    assert read_tables(connect) == reference_tables(another_connect, entries)


@pytest.fixture
def own_redis(short_folder: Path) -> EmbeddedRedis:
    """A Valkey of this test's own, which it may kill."""
    return EmbeddedRedis(short_folder / "redis", maxmemory="0")


@pytest.fixture
def own_postgres(short_folder: Path) -> EmbeddedPostgres:
    """A PostgreSQL of this test's own, which it may kill."""
    return EmbeddedPostgres(short_folder / "postgres", durable=False)


def cut_tail(redis: EmbeddedRedis, share: float) -> None:
    """Cut the append-only file of a stopped Redis to a share of its length, as power loss may."""
    (log,) = redis.directory.rglob("*.incr.aof")
    size = log.stat().st_size
    with log.open("r+b") as file:
        file.truncate(int(size * share))


@pytest.mark.parametrize("share", [0.6, 0.0])
def test_redis_loses_its_tail(  # noqa: PLR0917 -- fixtures
    new_thread: NewThread,
    environment: dict[str, str],
    connect: Connect,
    another_connect: Connect,
    own_redis: EmbeddedRedis,
    share: float,
) -> None:
    """Killed and cut (to a part, to nothing): what is stored is copied back with its ids, and a new epoch begins."""
    entries = tell(23, 500).entries
    with own_redis:
        infra = Infrastructure.model_validate({**environment, **own_redis.environment})
        writer = new_thread(**own_redis.environment).start()
        wait_for(lambda: is_open(infra), "open")
        source = Feeder(infra)
        wait_for(caught_up(connect, source.publish(entries[:300])), "the first part")
        source.client.close()
        own_redis.kill()
        wait_for(lambda: "redis" in writer.failing(), "unhealthy without Redis")
        cut_tail(own_redis, share)
        own_redis.start()
        wait_for(lambda: is_open(infra), "opened again")
        source.reconnect()
        head = source.client.head()
        assert head is not None
        assert head.n == 300
        back = source.client.read(0, 1000)
        while back[-1].id.n < 300:
            back += source.client.read(back[-1].id.n, 1000)
        assert [entry.data for entry in back] == [entry.data for entry in entries[:300]]
        assert [entry.id.epoch for entry in back] == [1] * 300
        wait_for(caught_up(connect, source.publish(entries[300:])), "the rest")
        wait_for(lambda: "redis" not in writer.failing(), "healthy again")
        writer.stop()
        source.close()
    assert [entry.data for entry in stored_entries(connect)] == [entry.data for entry in entries]
    assert [entry.id.n for entry in stored_entries(connect)] == list(range(1, len(entries) + 1))
    assert query(connect, "SELECT first_seq FROM event_store.epochs ORDER BY epoch") == [(1,), (301,)]
    assert verified(connect).ok
    assert read_tables(connect) == reference_tables(another_connect, entries)


def test_redis_loses_what_the_writer_has_in_hand(
    new_thread: NewThread, environment: dict[str, str], connect: Connect, own_redis: EmbeddedRedis
) -> None:
    """A batch read from Redis, lost there before its commit: it is committed, and copied back before the bus opens."""
    entries = tell(29, 300).entries
    with own_redis:
        infra = Infrastructure.model_validate({**environment, **own_redis.environment})
        writer = new_thread(**own_redis.environment).start()
        wait_for(lambda: is_open(infra), "open")
        source = Feeder(infra)
        wait_for(caught_up(connect, source.publish(entries[:100])), "the first part")
        blocker = connect()
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE portfolio_snapshots IN EXCLUSIVE MODE")
        source.publish(entries[100:])
        wait_for(lambda: query(connect, WAITING) == [(1,)], "a batch in hand")
        own_redis.kill()
        cut_tail(own_redis, 0.2)
        own_redis.start()
        assert not is_open(infra)
        blocker.rollback()
        blocker.close()
        wait_for(lambda: is_open(infra), "opened again")
        source.reconnect()
        head = source.client.head()
        assert head is not None
        assert head.n == stored_cursor(connect).head.seq
        assert 100 < head.n <= len(entries)
        wait_for(caught_up(connect, source.publish(entries[head.n :]) or head.n), "all")
        writer.stop()
        source.close()
    assert [entry.data for entry in stored_entries(connect)] == [entry.data for entry in entries]
    assert verified(connect).ok


@pytest.mark.slow
def test_redis_and_the_writer_die_together(
    new_writer: NewWriter, environment: dict[str, str], connect: Connect, own_redis: EmbeddedRedis
) -> None:
    """Power loss: both gone, the tail cut; the writer's next start brings Redis back before anybody may publish."""
    entries = tell(24, 300).entries
    with own_redis:
        infra = Infrastructure.model_validate({**environment, **own_redis.environment})
        writer = new_writer(**own_redis.environment).start()
        wait_for(lambda: is_open(infra), "open")
        source = Feeder(infra)
        wait_for(caught_up(connect, source.publish(entries)), "written")
        source.close()
        writer.kill()
        own_redis.kill()
        cut_tail(own_redis, 0.3)
        own_redis.start()
        assert not is_open(infra)
        writer.start()
        wait_for(lambda: is_open(infra), "opened again")
        head = source.client.head()
        assert head is not None
        assert head.n == len(entries)
        assert writer.stop() == 0
        source.close()
    assert verified(connect).ok


def test_postgresql_restarts_in_the_middle(
    new_thread: NewThread,
    environment: dict[str, str],
    infrastructure: Infrastructure,
    own_postgres: EmbeddedPostgres,
    another_connect: Connect,
) -> None:
    """Killed and started again: unhealthy meanwhile, nothing lost, and the writer goes on by itself."""
    entries = tell(25, 500).entries
    with own_postgres:
        connect = connector(Infrastructure.model_validate({**environment, **own_postgres.environment}))
        writer = new_thread(**own_postgres.environment).start()
        wait_for(lambda: is_open(infrastructure), "open")
        source = Feeder(infrastructure)
        wait_for(caught_up(connect, source.publish(entries[:250])), "the first part")
        own_postgres.kill()
        head = source.publish(entries[250:])
        wait_for(lambda: "postgresql" in writer.failing(), "unhealthy without PostgreSQL")
        own_postgres.start()
        wait_for(lambda: _soon(connect, head), "the rest")
        wait_for(lambda: "postgresql" not in writer.failing(), "healthy again")
        writer.stop()
        source.close()
        assert verified(connect).ok
        assert read_tables(connect) == reference_tables(another_connect, entries)


def _soon(connect: Connect, head: int) -> bool:
    with contextlib.suppress(psycopg2.OperationalError):
        return caught_up(connect, head)()
    return False


def test_without_postgresql_it_waits_and_stops_when_told(new_thread: NewThread, short_folder: Path) -> None:
    """No server at the start: unhealthy and patient; a stop ends it."""
    writer = new_thread(POSTGRES_HOST=str(short_folder)).start()
    wait_for(lambda: "postgresql" in writer.failing() or None, "answers and is unhealthy")
    assert "http" not in writer.failing()
    writer.stop()


class _Deceiving(EventStore):
    """Commits, and then says that the connection broke; or lets somebody else write."""

    lies = 1

    def write(self, batch: Batch, clock: bytes | None = None) -> None:
        super().write(batch, clock)
        if self.lies:
            self.lies -= 1
            raise psycopg2.OperationalError("the answer to COMMIT was lost")


@pytest.fixture
def life(environment: dict[str, str]) -> Lifecycle:
    """A process frame that was not opened."""
    return Lifecycle("cdb_writer", environment)


def test_a_commit_whose_answer_was_lost_is_not_repeated(life: Lifecycle, connect: Connect) -> None:
    """The cursor tells that the batch is in; nothing is written twice and no error is raised."""
    keeper = Keeper(life, WriterMetrics(life.metrics.registry))
    keeper._store = store = _Deceiving(connect)
    stored = keeper.stored()
    recorder = Recorder(stored.head, stored.state)
    entries = tell(26, 100).entries
    keeper.commit(recorder.fold(entries[:60]), b"{}")
    keeper.commit(recorder.fold(entries[60:]), b"{}")
    assert store.lies == 0
    assert stored_entries(connect) == entries
    assert verified(connect).ok
    keeper.close()


def test_a_store_that_moved_by_itself_stops_the_writer(life: Lifecycle, connect: Connect) -> None:
    """Neither before nor after our batch: somebody else writes, so this process must not go on."""
    keeper = Keeper(life, WriterMetrics(life.metrics.registry))
    entries = tell(27, 100).entries

    class Meddled(_Deceiving):
        def write(self, batch: Batch, clock: bytes | None = None) -> None:
            self.lies = 1
            super().write(Recorder(batch.before, None).fold(entries[:10]), clock)

    keeper._store = Meddled(connect)
    stored = keeper.stored()
    with pytest.raises(StoreError, match="another writer was here"):
        keeper.commit(Recorder(stored.head, stored.state).fold(entries[:60]), b"{}")
    keeper.close()


def test_a_stop_while_postgresql_is_away_gives_up(life: Lifecycle, connect: Connect) -> None:
    """The batch is not in, which is what the store says at the next start."""
    migrate(connect)
    keeper = Keeper(life, WriterMetrics(life.metrics.registry))

    class Gone(EventStore):
        def write(self, batch: Batch, clock: bytes | None = None) -> None:
            life.stop.set()
            self._connect = connector(life.infra.model_copy(update={"POSTGRES_HOST": "/nowhere"}))
            raise psycopg2.OperationalError("gone")

    keeper._store = Gone(connect)
    stored = keeper.stored()
    with pytest.raises(Stopped):
        keeper.commit(Recorder(stored.head, stored.state).fold(tell(28, 20).entries), b"{}")
    assert keeper.failure is not None
    assert stored_cursor(connect).head == stored.head
    keeper.close()
