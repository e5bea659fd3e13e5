"""Migrations and what the tables refuse."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg2 import sql

from claire.embedded import EmbeddedPostgres
from services.cdb_writer.adapters.connection import Connect, connector
from services.cdb_writer.adapters.schema import MIGRATIONS, REVISION, migrate, stored_revision
from services.cdb_writer.adapters.store import EventStore
from services.cdb_writer.chain import GENESIS, ChainHead
from services.cdb_writer.rows import TABLES
from services.common.decimals import use_fixed_context
from services.common.errors import StoreError
from services.common.settings import Infrastructure
from tests.integration.writer.writer_support import query, write_all
from tests.unit.writer.journal_story import tell

pytestmark = pytest.mark.integration


def test_the_revision_in_the_code_is_the_newest_migration() -> None:
    """A migration that is added must be named in `REVISION`, else it would never be applied."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def test_migrations_are_idempotent(connect: Connect) -> None:
    """The first call makes everything, the second finds it done and changes nothing."""
    assert migrate(connect) is None
    tables = query(connect, "SELECT table_schema, table_name FROM information_schema.tables ORDER BY 1, 2")
    assert migrate(connect) == REVISION
    assert query(connect, "SELECT table_schema, table_name FROM information_schema.tables ORDER BY 1, 2") == tables
    for table in TABLES:
        assert ("public", table.table) in tables
    store = EventStore(connect)
    assert store.open().head == ChainHead(0, 0, GENESIS)
    store.close()


def test_several_may_migrate_at_once(connect: Connect) -> None:
    """Four processes starting together leave one schema."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: migrate(connect), range(4)))
    database = connect()
    assert stored_revision(database) == REVISION
    database.close()


@pytest.mark.security
def test_the_owner_of_the_database_needs_no_other_right(connect: Connect) -> None:
    """The role that migrates is neither superuser nor may it create roles or databases."""
    migrate(connect)
    assert query(
        connect,
        "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user",
    ) == [(False, False, False)]


def test_a_database_of_another_encoding_is_refused(
    embedded_postgres: EmbeddedPostgres, infrastructure: Infrastructure, database: str
) -> None:
    """Texts could be changed on their way in: the writer says what to do instead."""
    name = f"{database}_latin"
    admin = embedded_postgres.connect("postgres", "postgres")
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE DATABASE {} OWNER claire ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").format(
                sql.Identifier(name)
            )
        )
    admin.close()
    connect = connector(infrastructure.model_copy(update={"POSTGRES_DB": name}))
    migrate(connect)
    with pytest.raises(StoreError, match="LATIN1"):
        EventStore(connect).open()
    embedded_postgres.drop_database(name)


def test_what_was_made_can_be_taken_back(connect: Connect) -> None:
    """The downgrade removes everything but the empty schema."""
    migrate(connect)
    from alembic import command
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine("postgresql+psycopg2://", creator=connect, poolclass=NullPool)
    with engine.begin() as transaction:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = transaction
        command.downgrade(config, "base")
    assert query(
        connect,
        "SELECT table_name FROM information_schema.tables WHERE table_schema IN ('public', 'event_store')",
    ) == [("schema_version",)]
    assert migrate(connect) is None


BAD_ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "price that is not a number": ("signals", {"price": "NaN"}),
    "infinite price": ("signals", {"price": "Infinity"}),
    "price of zero": ("signals", {"price": 0}),
    "confidence over one": ("signals", {"confidence": "1.01"}),
    "side unknown": ("signals", {"signal_type": "hold"}),
    "symbol with an underscore": ("signals", {"symbol": "BTC_USDT"}),
    "order without a signal that is named": ("orders", {"signal_id": "nobody"}),
    "order of no size": ("orders", {"size": 0}),
    "more filled than ordered": ("orders", {"filled_size": "1000"}),
    "filled in part called filled": ("orders", {"status": "filled", "filled_size": "0.0000001"}),
    "status unknown": ("orders", {"status": "lost"}),
    "limit order without a price": ("orders", {"price": None}),
    "leverage beyond reason": ("orders", {"leverage": 126}),
    "trade without its order": ("trades", {"order_id": "nobody"}),
    "trade of nothing": ("trades", {"size": 0}),
    "execution price missing": ("trades", {"execution_price": None}),
    "negative position": ("positions", {"size": -1}),
    "flat position called long": ("positions", {"side": "long", "size": 0}),
    "infinite equity": ("portfolio_snapshots", {"total_equity": "-Infinity"}),
    "drawdown beyond the greatest": ("portfolio_snapshots", {"drawdown_pct": 2, "max_drawdown_pct": 1}),
    "event of no channel": ("event_store.events", {"channel": "rumours"}),
    "event with half a hash": ("event_store.events", {"hash": b"12"}),
    "event without a number": ("event_store.events", {"seq": 0}),
    "second cursor": ("event_store.cursor", {"id": False}),
}


@pytest.fixture(scope="module")
def filled(embedded_postgres: EmbeddedPostgres) -> Iterator[Connect]:
    """One database with some rows in every table, for tests that change nothing in it."""
    embedded_postgres.create_database("test_filled")
    infra = Infrastructure.model_validate({**embedded_postgres.environment, "POSTGRES_DB": "test_filled"})
    connect = connector(infra)
    migrate(connect)
    store = EventStore(connect)
    store.open()
    use_fixed_context()
    write_all(store, tell(11, 300).entries)
    store.close()
    yield connect
    embedded_postgres.drop_database("test_filled")


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows_are_refused(filled: Connect, case: str) -> None:
    """A copy of a good row with one wrong value (and keys of its own) does not go in; without the value it does."""
    table, wrong = BAD_ROWS[case]
    database = filled()
    keys = {
        "signals": {"signal_id": "new"},
        "orders": {"order_id": "new", "client_order_id": "new"},
        "trades": {"trade_id": "new", "exchange_trade_id": "new"},
        "positions": {"run_id": "new"},
        "portfolio_snapshots": {"run_id": "new"},
        "event_store.events": {"seq": 1_000_000},
        "event_store.cursor": {},
    }[table]
    name = sql.SQL(".").join(map(sql.Identifier, table.split(".")))
    with database.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(name))
        assert cursor.description is not None
        row = cursor.fetchone()
        assert row is not None
        good = dict(zip([column.name for column in cursor.description], row, strict=True))
        good = {key: psycopg2.extras.Json(value) if isinstance(value, dict) else value for key, value in good.items()}

        def insert(values: dict[str, Any]) -> None:
            cursor.execute(
                sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    name,
                    sql.SQL(", ").join(map(sql.Identifier, values)),
                    sql.SQL(", ").join([sql.Placeholder()] * len(values)),
                ),
                list(values.values()),
            )

        if table != "event_store.cursor":
            insert({**good, **keys})
            database.rollback()
        with pytest.raises(psycopg2.IntegrityError):
            insert({**good, **keys, **wrong})
    database.close()


def test_what_a_trader_asks_has_an_index(filled: Connect) -> None:
    """Last signals, orders, trades of a symbol and the last snapshots are read through an index."""
    database = filled()
    with database.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        for question in (
            "SELECT * FROM signals WHERE symbol = 'BTCUSDT' ORDER BY timestamp DESC LIMIT 5",
            "SELECT * FROM orders WHERE symbol = 'BTCUSDT' ORDER BY created_at DESC LIMIT 5",
            "SELECT * FROM trades WHERE symbol = 'BTCUSDT' ORDER BY timestamp DESC LIMIT 5",
            "SELECT * FROM trades ORDER BY timestamp DESC LIMIT 5",
            "SELECT * FROM portfolio_snapshots ORDER BY timestamp DESC LIMIT 5",
            "SELECT * FROM event_store.events WHERE event_id = 'x'",
            "SELECT * FROM event_store.events WHERE correlation_id = 'x'",
            "SELECT * FROM event_store.events WHERE seq > 5 ORDER BY seq LIMIT 5",
            "SELECT * FROM risk_decisions ORDER BY timestamp DESC LIMIT 5",
        ):
            cursor.execute(f"EXPLAIN {question}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Index" in plan, plan
            assert "Seq Scan" not in plan, plan
    database.close()
