"""Live and shadow trading as processes at a sandbox exchange: killed around sending, and nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard

from claire.database import open_database
from claire.history.source import open_history
from services.common.decimals import use_fixed_context
from services.common.events import Event, Order, OrderResult
from tests.integration.runtime.live_stack import SYMBOL, LiveUp, SandboxProcess, claire

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(600)]

CYCLES = int(os.environ.get("LIVE_PROCESS_KILLS", "4"))
"""How often the stack is disturbed while an order is on its way."""
EVERYBODY = ("cdb_ws", "cdb_core", "cdb_risk", "cdb_execution", "cdb_writer")
VICTIMS = (("cdb_execution",), EVERYBODY, ("valkey-server",), ("cdb_execution",), ("cdb_execution", "valkey-server"))
FAULTS = (None, "timeout_after", "cut_after", None, "server_error_after", "cut_before", "late")
ENDED = {"filled", "cancelled", "rejected", "expired"}


@dataclass
class Traded:
    """What is left of a run: its data folder, its journal as a file, and the exchange's truth."""

    data: Path
    journal: Path
    ledger: dict[str, Any]

    def events(self) -> list[Event]:
        """Return all events."""
        use_fixed_context()
        with open_history(self.journal, self.data, "", None) as history:
            return [entry.event for entry in history.entries()]

    def table(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what the database says."""
        with open_database(self.data, "", {}) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()


def trade(folder: Path, mode: str, cycles: int, venue: str = "mexc_spot") -> Traded:
    """Let the stack trade; something is killed shortly after each signal, and the exchange fails now and then."""
    data, random = folder / f"traded-{mode}-{venue}", Random(4)
    where = "POST /api/v3/order" if venue == "mexc_spot" else "POST /api/v1/private/order/create"
    sandbox = SandboxProcess(folder)
    try:
        up = LiveUp(data, sandbox, mode, venue)
        try:
            up.await_ready(mode)
            for cycle in range(cycles):
                fault = FAULTS[cycle % len(FAULTS)]
                if fault is not None and mode == "live":
                    sandbox.ask("POST", "faults", kind=fault, where=where, delay_ms=1_500)
                up.signal("sell" if up.held else "buy")
                time.sleep(random.random() * 0.1)  # an instant around sending, another one each time
                up.kill(*VICTIMS[cycle % len(VICTIMS)])
                up.await_ready(mode)
            sandbox.ask("DELETE", "faults")
            for held in (True, False):  # it trades on
                up.bring(held=held)
                up.await_ready(mode)
        finally:
            said = up.stop()
        ledger = sandbox.ledger()
    finally:
        sandbox.stop()
    journal = folder / f"{mode}-{venue}.jsonl.zst"
    exported = claire("export", "--data-dir", data, "--output", journal)
    assert exported.returncode == 0, said + exported.stderr
    return Traded(data, journal, ledger)


@pytest.fixture(scope="module")
def live(servers_folder: Path) -> Traded:
    """A live run that was disturbed."""
    return trade(servers_folder, "live", CYCLES)


def check_ledger(live: Traded) -> None:
    """Each order is at most once at the exchange, and each fill once here, with its numbers."""
    orders = {order["client_order_id"]: order for order in live.ledger["orders"]}
    ours = {row[0]: row for row in live.table("SELECT client_order_id, status, filled_size FROM orders")}
    fills = live.table(
        "SELECT t.exchange_trade_id, o.client_order_id, t.side, t.size, t.execution_price, t.fees, t.mode "
        "FROM trades t JOIN orders o USING (order_id)"
    )
    results = [event for event in live.events() if isinstance(event, OrderResult)]
    sent = Counter(result.client_order_id for result in results if result.status == "SUBMITTING")

    assert len(orders) == len(live.ledger["orders"]) >= 2, "an order twice, or none"
    assert max(sent.values()) == 1
    assert set(orders) <= set(ours)
    assert {row[1] for row in ours.values()} <= ENDED
    filled = {name: row[2] for name, row in ours.items() if row[2]}
    assert filled == {name: order["filled"] for name, order in orders.items() if order["filled"]}
    assert sorted(fills) == sorted(_row(fill) for fill in live.ledger["fills"])
    told = [(r.trade_id, r.last_quantity, r.last_price, r.fee, r.fee_currency) for r in results if r.last_quantity]
    truth = [(f["trade_id"], f["quantity"], f["price"], f["fee"], f["fee_asset"]) for f in live.ledger["fills"]]
    assert sorted(told) == sorted(truth)


def test_tables_and_journal_are_the_ledger_of_the_exchange(live: Traded) -> None:
    """Orders and fills, and what is held is what was bought less what was sold."""
    check_ledger(live)
    bought = sum((f["quantity"] * (1 if f["side"] == "BUY" else -1) for f in live.ledger["fills"]), Decimal(0))
    fees = sum((f["fee"] for f in live.ledger["fills"] if f["fee_asset"] == "BTC"), Decimal(0))
    held = live.table(f"SELECT size FROM positions WHERE symbol = '{SYMBOL}'")
    assert held == [(bought - fees,)]
    assert live.ledger["balances"]["claire"]["BTC"]["free"] == 1 + bought - fees


def _row(fill: dict[str, Any]) -> tuple[Any, ...]:
    """Return a fill of the ledger as it stands in `trades`, where fees are quote currency."""
    fee = fill["fee"] * (fill["price"] if fill["fee_asset"] == "BTC" else 1)
    numbers = (fill["quantity"], fill["price"], fee)
    return (fill["trade_id"], fill["client_order_id"], fill["side"].lower(), *numbers, "live")


def test_the_record_of_live_trading_holds(live: Traded) -> None:
    """`claire validate` on the database and on the file: chain, decisions, mandates, books and tables."""
    for where in (("--data-dir", live.data), ("--journal", live.journal)):
        verdict = claire("validate", *where, "--json")
        assert verdict.returncode == 0, verdict.stdout + verdict.stderr
        checked = json.loads(verdict.stdout)["checked"]
        assert checked["fills"] == len(live.ledger["fills"])
        assert checked["order_results"] > len(live.ledger["orders"])


def test_replay_explain_and_parity_work_on_live_trading(live: Traded) -> None:
    """The inputs of a live day, what the exchange said among them, run through again; an order tells its story."""
    filled = next(e for e in live.events() if isinstance(e, OrderResult) and e.last_quantity)
    replayed = claire("replay", "--journal", live.journal, "--json", "--quiet")
    explained = claire("explain", filled.order_id, "--journal", live.journal)
    parity = claire("parity", "--journal", live.journal, "--json")

    assert replayed.returncode == 0, replayed.stderr
    assert explained.returncode == 0, explained.stderr
    assert "BTC" in explained.stdout
    assert parity.returncode == 0, parity.stderr
    found = json.loads(parity.stdout)
    assert found["modes"] == ["live"]
    assert sum(found["parts"].values()) + found["paper_pnl"] == pytest.approx(found["real_pnl"])


def test_a_changed_price_in_a_live_journal_is_found_by_name(live: Traded, tmp_path: Path) -> None:
    """What the exchange said is no derivation; the chain names it all the same."""
    fill = next(e for e in live.events() if isinstance(e, OrderResult) and e.last_quantity)
    text = zstandard.ZstdDecompressor().stream_reader(live.journal.read_bytes()).read().decode()
    lines = text.splitlines()
    place = next(n for n, line in enumerate(lines) if f'"event_id":"{fill.event_id}"' in line)
    changed = lines[place].replace('"last_price":6', '"last_price":7')
    assert changed != lines[place]
    lines[place] = changed
    forged = tmp_path / "forged.jsonl.zst"
    forged.write_bytes(zstandard.ZstdCompressor().compress("\n".join([*lines, ""]).encode()))

    verdict = claire("validate", "--journal", forged, "--json")

    assert verdict.returncode == 1, verdict.stdout
    assert json.loads(verdict.stdout)["first_difference"]["event_id"] == fill.event_id


def test_perpetuals_are_the_ledger_of_the_exchange_too(servers_folder: Path) -> None:
    """The same on perpetuals: contracts, margin, and a position that is closed at the end."""
    perpetual = trade(servers_folder, "live", 1, "mexc_perpetual")

    check_ledger(perpetual)
    assert perpetual.table("SELECT side, size FROM positions") == [("none", 0)]
    assert perpetual.ledger["perpetual"]["claire"]["positions"] == []
    verdict = claire("validate", "--data-dir", perpetual.data)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def test_shadow_trading_sends_no_order(servers_folder: Path) -> None:
    """Live's path up to the exchange's test endpoint: fills on paper, nothing in the ledger, and the record holds."""
    shadow = trade(servers_folder, "shadow", 1)

    events = shadow.events()
    results = [event for event in events if isinstance(event, OrderResult)]
    assert shadow.ledger["orders"] == shadow.ledger["fills"] == []
    assert any(isinstance(event, Order) for event in events)
    assert {result.mode for result in results} == {"shadow"}
    assert {"SUBMITTING", "NEW", "FILLED"} <= {result.status for result in results}
    verdict = claire("validate", "--data-dir", shadow.data)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
