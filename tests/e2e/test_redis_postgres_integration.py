"""Redis and PostgreSQL as the pipeline uses them, while processes and servers are killed in the middle of trading.

A market moves up and down all the while, so that signals, orders and fills are in flight when something dies. What
must hold afterwards is the same each time: the journal and the event store are one contiguous, chained sequence, no
event and no order stands in it twice, and the books balance.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from hashlib import sha256
from typing import Any

import psycopg2
import pytest

from tests.e2e.market import MINUTE_SEC, Market
from tests.e2e.stack import SERVICES, Profile, Stack, eventually

TABLES = {"signals", "orders", "trades", "positions", "portfolio_snapshots"}
GENESIS = sha256(b"claire_de_binare event chain 1").digest()
INITIAL_CASH = Decimal(100_000)
ORPHAN_TRADE = """
    INSERT INTO trades (trade_id, run_id, order_id, venue, symbol, side, price, size, execution_price, fees,
                        realized_pnl, status, timestamp, exchange, exchange_trade_id, mode, metadata)
    VALUES ('x', 'x', 'no-such-order', 'mexc_spot', 'BTCUSDT', 'buy', 1, 1, 1, 0, 0, 'filled', now(), 'x', 'x',
            'paper', '{}')
"""


@pytest.fixture(scope="module")
def stack(stack_manager: Stack) -> Stack:
    """A stack of its own, so that nothing is halted from other tests."""
    stack_manager.ensure(Profile("external, to be disturbed"))
    return stack_manager


@pytest.fixture(scope="module", autouse=True)
def waves(market: Market) -> Iterator[Market]:
    """Prices go up 0.7 % in one minute and down 0.8 % three minutes later, one symbol after another, for ever."""
    stop = threading.Event()

    def move() -> None:
        minute = 0
        while not stop.wait(MINUTE_SEC):
            for place, symbol in enumerate(market.quotes):
                phase = (minute + 2 * place) % 6
                if phase in {2, 5}:
                    market.move(symbol, "0.007" if phase == 2 else "-0.0069")
            minute += 1

    thread = threading.Thread(target=move, name="waves", daemon=True)
    thread.start()
    yield market
    stop.set()
    thread.join(10)


def _count(stack: Stack, table: str) -> int:
    return int(stack.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"])


def _await_more(stack: Stack, table: str, more: int = 1, timeout_sec: float = 90) -> None:
    before = _count(stack, table)
    eventually(lambda: _count(stack, table) >= before + more, f"{more} more rows in {table}", timeout_sec)


def _chained(previous: bytes, row: dict[str, Any]) -> bytes:
    """One link of the chain, written down from its definition and not taken from the writer's code."""
    parts = [
        previous,
        str(row["epoch"]).encode(),
        str(row["seq"]).encode(),
        row["channel"].encode(),
        row["producer"].encode(),
        bytes(row["data"]),
    ]
    return sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


def _check_history(stack: Stack) -> None:
    """Everything that must hold for the whole history, whatever was killed, all of it seen at one moment."""
    with stack.one_moment() as rows_of:
        _check_moment(rows_of)


def _check_moment(rows_of: Callable[..., list[dict[str, Any]]]) -> None:
    rows = rows_of(
        "SELECT seq, epoch, channel, producer, cause, event_id, data, hash FROM event_store.events ORDER BY seq"
    )
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1)), "contiguous from the first event"
    head = GENESIS
    for row in rows:
        head = _chained(head, row)
        assert bytes(row["hash"]) == head, f"the chain is broken at {row['seq']}"
    doubled = [event_id for event_id, times in Counter(row["event_id"] for row in rows).items() if times > 1]
    assert doubled == []

    fills: dict[str, Decimal] = {}
    for trade in rows_of("SELECT order_id, size FROM trades"):
        fills[trade["order_id"]] = fills.get(trade["order_id"], Decimal(0)) + trade["size"]
    for order in rows_of("SELECT order_id, size, filled_size FROM orders"):
        assert fills.get(order["order_id"], Decimal(0)) == order["filled_size"] <= order["size"]
    decisions = Counter(order["decision_id"] for order in rows_of("SELECT decision_id FROM orders"))
    assert all(times == 1 for times in decisions.values()), "one order a decision"

    held = rows_of(
        "SELECT symbol, sum(CASE side WHEN 'buy' THEN size ELSE -size END) AS size FROM trades GROUP BY symbol"
    )
    positions = {row["symbol"]: row["size"] for row in rows_of("SELECT symbol, size FROM positions")}
    assert all(positions[row["symbol"]] == row["size"] >= 0 for row in held)
    last = rows_of("SELECT * FROM portfolio_snapshots ORDER BY timestamp DESC LIMIT 1")[0]
    balance = INITIAL_CASH + last["total_realized_pnl"] + last["total_unrealized_pnl"] - last["total_fees"]
    assert abs(last["total_equity"] - balance) < Decimal("0.000001")


def test_the_five_tables_and_the_event_store_exist(stack: Stack) -> None:
    """The writer's migrations made the five tables and the event store, owned by a role without superpowers."""
    tables = stack.rows("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'")
    role = stack.rows("SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = 'claire'")[0]

    assert {row["tablename"] for row in tables} >= TABLES
    assert {row["tableowner"] for row in tables} == {"claire"}
    assert not any(role.values())


def test_redis_keeps_what_it_is_given(stack: Stack) -> None:
    """Redis evicts nothing, writes its log every second, and knows a limit that the journal watches."""
    with stack.redis("service") as client:
        settings = client.config_get("*")
        role = client.acl_whoami()

    assert role == "service"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert int(settings["maxmemory"]) == 512 * 1024 * 1024
    assert "pubsub 33554432 8388608 60" in settings["client-output-buffer-limit"]


@pytest.mark.chaos
def test_redis_itself_brings_the_journal_back(stack: Stack, market: Market) -> None:
    """Killed and restarted, Redis has the journal from its own log, all but the last two seconds at most.

    The writer is stopped meanwhile, so that nobody can copy anything back from PostgreSQL. (With `everysec` a slow disk
    lets Redis answer up to two seconds before its log is written.)
    """
    eventually(lambda: _count(stack, "event_store.events") > 100, "a journal with some history", 60)
    stack.container("cdb_writer").stop(timeout=20)
    try:
        with stack.redis("readonly") as client:
            before, head = client.xlen("journal"), client.hget("bus", "head")
            first = client.xrange("journal", count=1)[0]
        market.let_pass(1)
        stack.kill("cdb_redis")
        stack.await_healthy("cdb_redis")
        with stack.redis("readonly") as client:
            after, later = client.xlen("journal"), client.hget("bus", "head")
            again = client.xrange("journal", count=1)[0]
        complaints = [line for line in stack.logs("cdb_redis", 2_000).splitlines() if "CRITICAL" in line]
    finally:
        stack.container("cdb_writer").start()
    stack.await_healthy()

    assert complaints == []
    assert after >= before > 100
    assert later is not None
    assert int(later) >= int(head or 0)
    assert again == first


@pytest.mark.security
def test_constraints_refuse_rows_that_cannot_be(stack: Stack) -> None:
    """Not even the owner can write a negative fill, a NaN price, a trade without its order or a second cursor."""
    connection = stack.postgres("claire")
    try:
        with connection.cursor() as cursor:
            for statement in (
                ORPHAN_TRADE,
                "INSERT INTO portfolio_snapshots VALUES ('x', now(), 'NaN', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
                "UPDATE orders SET filled_size = size + 1",
                "UPDATE positions SET size = -1",
                "INSERT INTO event_store.cursor (id, seq, epoch, chain_head) VALUES (false, 0, 0, ''::bytea)",
            ):
                _await_any(stack)
                with pytest.raises((psycopg2.errors.IntegrityError, psycopg2.errors.CheckViolation)):
                    cursor.execute(statement)
    finally:
        connection.close()


def _await_any(stack: Stack) -> None:
    eventually(lambda: _count(stack, "positions") > 0, "a first position", 120)


def test_the_stream_and_the_event_store_are_the_same_bytes(stack: Stack) -> None:
    """Every entry of the Redis stream stands in PostgreSQL under its number with exactly its bytes, once."""
    _await_any(stack)
    with stack.redis("readonly") as client:
        entries = client.xrange("journal", count=5_000)
    last = int(entries[-1][0].split(b"-")[1])
    eventually(lambda: _count(stack, "event_store.events") >= last, "the writer has caught up", 30)

    stored = {
        row["seq"]: (row["epoch"], row["channel"], row["producer"], row["cause"], bytes(row["data"]))
        for row in stack.rows("SELECT * FROM event_store.events WHERE seq <= %s", last)
    }

    for entry_id, fields in entries:
        epoch, number = map(int, entry_id.split(b"-"))
        assert stored[number] == (
            epoch,
            fields[b"channel"].decode(),
            fields[b"producer"].decode(),
            fields[b"cause"].decode(),
            fields[b"data"],
        )


@pytest.mark.parametrize("channel", ["signals", "orders"])
def test_each_event_has_its_row(stack: Stack, channel: str) -> None:
    """The tables are a fold of the events: as many signals and orders as the journal has, with the same ids."""
    _await_any(stack)
    key = {"signals": "signal_id", "orders": "order_id"}[channel]
    field = {"signals": "event_id", "orders": "order_id"}[channel]

    def same() -> bool:
        rows = {row[key] for row in stack.rows(f"SELECT {key} FROM {channel}")}
        return rows == {event[field] for event in stack.events(channel)} and bool(rows)

    eventually(same, f"{channel} and their events agree", 30)


@pytest.mark.chaos
@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_comes_back_and_nothing_is_lost_or_doubled(stack: Stack, service: str) -> None:
    """SIGKILL in the middle of trading: Docker restarts it, it goes on from its journal number, trading goes on."""
    _await_any(stack)

    stack.kill(service)

    stack.await_healthy()
    _await_more(stack, "trades")
    _check_history(stack)


@pytest.mark.chaos
def test_redis_killed_and_restarted(stack: Stack) -> None:
    """SIGKILL to Redis: it comes back from its log, the writer compares and opens the bus, trading goes on."""
    _await_any(stack)

    stack.kill("cdb_redis")

    stack.await_healthy()
    _await_more(stack, "trades")
    _check_history(stack)


@pytest.mark.chaos
def test_postgres_killed_and_restarted(stack: Stack) -> None:
    """SIGKILL to PostgreSQL: the pipeline trades on, the writer says so on /health and catches up afterwards."""
    _await_any(stack)

    stack.kill("cdb_postgres")

    stack.await_healthy()
    _await_more(stack, "trades")
    _check_history(stack)


@pytest.mark.chaos
def test_a_second_writer_gives_way(stack: Stack) -> None:
    """Another process of the same service, started beside the first, ends with exit code 4 and changes nothing."""
    writer = stack.container("cdb_writer")
    command = "STATE_DIR=/tmp HTTP_PORT=8099 timeout 60 python -m services.cdb_writer.service"

    code, output = writer.exec_run(["sh", "-c", command])

    assert code == 4, output.decode(errors="replace")[-2_000:]
    stack.await_healthy()
    _await_more(stack, "event_store.events")
    _check_history(stack)


@pytest.mark.chaos
def test_the_whole_stack_stopped_and_started_goes_on(stack: Stack) -> None:
    """`docker compose stop` and `start`: the run goes on where it was, with the same run_id and the same books."""
    _await_any(stack)
    runs = {row["run_id"] for row in stack.rows("SELECT DISTINCT run_id FROM portfolio_snapshots")}

    stack.compose("stop", "--timeout", "20")
    stack.compose("start")

    stack.await_healthy()
    _await_more(stack, "trades", timeout_sec=120)
    assert {row["run_id"] for row in stack.rows("SELECT DISTINCT run_id FROM portfolio_snapshots")} == runs
    _check_history(stack)
