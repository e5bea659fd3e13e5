"""Parity of runs that really were live: journals of live execution against the sandbox, with faults and kills."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import stamina
from typer.testing import CliRunner

from claire.cli import app
from claire.history.journal_file import JournalWriter
from claire.parity.attribution import PARTS
from claire.parity.compare import Parity, ParityResult
from claire.parity.holdings import Holdings
from services.cdb_execution.state import ExecutionState
from services.common.events import Order, OrderResult
from services.common.portfolio import Position
from tests.unit.execution.execution_desk import Desk
from tests.unit.execution.sandbox_world import SandboxWorld
from tests.unit.execution.test_live_sandbox_chaos import play

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def retries_without_waiting() -> Iterator[None]:
    """Retry as often as meant, without the time between."""
    with stamina.set_testing(True, attempts=3):
        yield


ONE = 6
"""A history with many fills of which some are in part, some only real and some only on paper."""


def earned(world: SandboxWorld, result: ParityResult) -> Fraction:
    """Return what the account has earned by the exchange's own ledger, valued at the last mid; fees in MX left out."""
    cash, held, unit = Fraction(), Fraction(), world.sandbox.listing.unit_value
    for fill in world.sandbox.house.exchange.records.fills:
        signed = Fraction(fill.quantity * unit) * (1 if fill.side == "BUY" else -1)
        cash -= signed * Fraction(fill.price)
        held += signed
        cash -= Fraction(fill.fee) if fill.fee_asset == "USDT" else 0
        held -= Fraction(fill.fee) if fill.fee_asset == "BTC" else 0
    return cash + held * Fraction(result.orders[0].final) if result.orders else Fraction()


def check(world: SandboxWorld) -> ParityResult:
    """Compare a run's parity with the exchange's ledger, part by part and order by order."""
    result = Parity().observe_all(world.journal.entries)
    assert result.real_pnl - result.parts.funding == earned(world, result)
    assert result.parts.total == result.real_pnl - result.paper_pnl
    for order in result.orders:
        direction = 1 if order.order.side == "BUY" else -1
        gains = [each.profit(direction, order.final) for each in (order.real, order.paper)]
        assert order.parts.total == gains[0] - gains[1]
    shown = result.as_json()
    assert sum((shown["parts"][name] for name in PARTS), Decimal(0)) == shown["difference"]
    assert shown["real_pnl"] - shown["paper_pnl"] == shown["difference"]
    return result


@pytest.mark.no_cover
def test_a_live_run_is_split_without_a_rest_and_its_profit_is_the_exchanges(tmp_path: Path) -> None:
    """What the journal says was earned the exchange's ledger says, too; the command shows why paper differs."""
    world = play(ONE)
    result = check(world)
    assert result.modes == ("live",)
    assert sum(bool(each.real.quantity) for each in result.orders) > 5
    assert sum(bool(each.parts.total) for each in result.orders) > 5
    path = tmp_path / "journal.jsonl.zst"
    with JournalWriter(path) as writer:
        for entry in world.journal.entries:
            writer.write(entry)

    shown = CliRunner().invoke(app, ["parity", "--journal", str(path)], env={"COLUMNS": "120"})
    told = CliRunner().invoke(app, ["parity", "--journal", str(path), "--json"])

    assert (shown.exit_code, told.exit_code) == (0, 0)
    assert {"latency", "slippage", "fees", "partials", "rejects"} <= set(shown.output.split())
    assert "orders filled" in shown.output
    assert "BY_EXCHANGE" in shown.output
    assert "000000000 at" not in shown.output
    figures = json.loads(told.stdout, parse_float=Decimal)
    assert sum(map(Decimal, figures["parts"].values())) == Decimal(figures["difference"])
    assert any(order["real"]["reason"] for order in figures["by_order"])


@pytest.mark.slow
@pytest.mark.no_cover
def test_every_live_history_is_split_without_a_rest() -> None:
    """Whatever faults and kills there were."""
    for seed in range(40):
        check(play(seed))


def order(side: str, venue: str = "mexc_spot", purpose: str = "entry") -> Order:
    """Return an order of 0.2."""
    desk = Desk(configured=False)
    return desk.order_of(desk.decision(0, side=side, venue=venue, purpose=purpose), leverage=1)


def test_paper_stands_where_the_run_stood() -> None:
    """What the run holds and paper does not is given to it, unless something works; a perpetual's other side, too."""
    holdings, paper = Holdings(), ExecutionState()
    sale = order("SELL", purpose="exit")
    holdings.positions["mexc_spot:BTCUSDT"] = Position("mexc_spot", "BTCUSDT", quantity=Decimal(1))

    holdings.ordered(sale)
    holdings.settle(sale, paper)
    assert paper.held("mexc_spot:BTCUSDT") == 0
    holdings.working.clear()
    holdings.settle(sale, paper)
    assert paper.held("mexc_spot:BTCUSDT") == 1
    holdings.positions.clear()
    holdings.settle(sale, paper)
    assert paper.held("mexc_spot:BTCUSDT") == 1

    short = order("SELL", "mexc_perpetual")
    paper.positions["mexc_perpetual:BTCUSDT"] = Decimal(1)
    holdings.positions["mexc_perpetual:BTCUSDT"] = Position("mexc_perpetual", "BTCUSDT", Decimal(-2), Decimal(-80_000))
    holdings.settle(short, paper)
    assert paper.held("mexc_perpetual:BTCUSDT") == -2
    assert paper.perpetual("mexc_perpetual:BTCUSDT", "BTCUSDT").position.quantity == -2
    holdings.liquidated("mexc_perpetual:BTCUSDT")
    holdings.settle(short, paper)
    assert paper.held("mexc_perpetual:BTCUSDT") == 0


def test_what_the_run_holds_follows_its_fills() -> None:
    """On spot less a fee in the coin; on a perpetual closed and opened anew by one fill that crosses zero."""
    holdings = Holdings()
    bought, sold = order("BUY"), order("SELL", "mexc_perpetual")
    for each in (bought, sold):
        holdings.ordered(each)
    holdings.positions["mexc_perpetual:BTCUSDT"] = Position(
        "mexc_perpetual", "BTCUSDT", Decimal("0.05"), Decimal(2_000), margin=Decimal(2_000)
    )

    holdings.told(bought, told_of(bought, fee=Decimal("0.001"), fee_currency="BTC"), Decimal("0.2"))
    holdings.told(sold, told_of(sold), Decimal("0.2"))
    holdings.told(sold, told_of(sold, status="CANCELED", last_price=None), Decimal(0))

    assert holdings.positions["mexc_spot:BTCUSDT"].quantity == Decimal("0.199")
    assert holdings.positions["mexc_perpetual:BTCUSDT"].quantity == Decimal("-0.15")
    assert holdings.working == {"mexc_spot:BTCUSDT": set(), "mexc_perpetual:BTCUSDT": set()}


def told_of(given: Order, **changed: Any) -> OrderResult:
    """Return the result that fills an order at 40000."""
    fields: dict[str, Any] = {
        "event_id": "r", "timestamp": given.timestamp, "producer": "cdb_execution", "order_id": given.order_id,
        "client_order_id": given.client_order_id, "status": "FILLED", "venue": given.venue, "symbol": given.symbol,
        "side": given.side, "quantity": given.quantity, "filled_quantity": given.quantity,
        "average_price": Decimal(40_000), "last_quantity": given.quantity, "last_price": Decimal(40_000),
    }  # fmt: skip
    return OrderResult(**fields | changed)
