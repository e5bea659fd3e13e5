"""`claire parity`: a paper run is at par with itself, and whatever differs is split without a rest."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from claire.cli import app
from claire.history.journal_file import JournalWriter
from claire.parity.attribution import PARTS, Execution, Parts, as_decimal, attribute
from claire.parity.command import render
from claire.parity.compare import Parity, ParityResult
from services.common import channels
from services.common.codec import decode
from services.common.decimals import use_fixed_context
from services.common.events import Control, MarketData, OrderResult
from services.common.journal.entry import Entry, JournalId
from services.common.portfolio import mid_price
from tests.unit.audit.recorded_day import busy_day

Change = Callable[[dict[str, Any]], dict[str, Any] | None]


@pytest.fixture(scope="module")
def day() -> list[Entry]:
    """A day with trades in lockstep."""
    use_fixed_context()
    entries = busy_day(1, 240, lockstep=True).entries
    starts = [
        place
        for place, entry in enumerate(entries)
        if isinstance(entry.event, Control)
        and entry.event.action == "started"
        and entry.event.run_id is not None
        and entry.producer == channels.WS
    ]
    second = next(
        (place for place in starts if entries[place].event.run_id != entries[starts[0]].event.run_id),  # type: ignore[attr-defined]
        len(entries),
    )
    return entries[:second]


def compared(entries: list[Entry]) -> ParityResult:
    """Fold entries."""
    return Parity().observe_all(entries)


def changed(entries: list[Entry], change: Change) -> list[Entry]:
    """Return a journal in which every order result was changed; one that becomes None is left out."""
    made = []
    for entry in entries:
        if entry.channel != channels.ORDER_RESULTS:
            made.append(entry)
            continue
        fields = change(decode(entry.data))
        if fields is not None:
            event = OrderResult.parse(fields)
            made.append(Entry(entry.id, entry.channel, entry.producer, entry.cause, event.data))
    return made


def booked(entries: list[Entry]) -> Fraction:
    """Return the profit of the last run's results by keeping books: cash and holdings, valued at the last mid."""
    cash, held, mids, seen = Fraction(), {}, {}, {}
    orders: set[str] = set()
    for entry in entries:
        event = entry.event
        if isinstance(event, Control) and event.action == "started" and event.producer == channels.WS:
            cash, held, mids, seen, orders = Fraction(), {}, {}, {}, set()
        elif isinstance(event, MarketData) and event.bid and event.ask:
            mids[event.symbol] = Fraction(mid_price(event.bid, event.ask))
        elif entry.channel == channels.ORDERS:
            orders.add(event.order_id)  # type: ignore[attr-defined]
        elif isinstance(event, OrderResult) and event.last_price is not None and event.order_id in orders:
            quantity = Fraction(event.filled_quantity) - seen.get(event.order_id, 0)
            seen[event.order_id] = Fraction(event.filled_quantity)
            signed = quantity if event.side == "BUY" else -quantity
            cash -= signed * Fraction(event.last_price)
            held[event.symbol] = held.get(event.symbol, Fraction()) + signed
            if event.fee_currency == "BTC":
                held[event.symbol] -= Fraction(event.fee or 0)
            elif event.fee_currency != "MX":
                cash -= Fraction(event.fee or 0)
    return cash + sum((quantity * mids[symbol] for symbol, quantity in held.items()), Fraction())


def test_a_paper_run_is_at_par_with_itself(day: list[Entry]) -> None:
    """The same orders on the same data: every order alike, every part nothing."""
    result = compared(day)

    assert result.modes == ("paper",)
    assert sum(bool(order.real.quantity) for order in result.orders) >= 3
    assert all(order.real == order.paper for order in result.orders)
    assert result.parts == Parts()
    assert result.real_pnl == result.paper_pnl == booked(day)
    assert str(render(result)[-1]) == "every order fared alike in both"


def _worse(fields: dict[str, Any]) -> dict[str, Any]:
    if fields["last_price"] is not None:
        sign = 1 if fields["side"] == "BUY" else -1
        fields["last_price"] = fields["average_price"] = fields["last_price"] + sign * Decimal("1.5")
    return fields


def _half(fields: dict[str, Any]) -> dict[str, Any]:
    for name in ("filled_quantity", "last_quantity", "fee"):
        if fields[name]:
            fields[name] /= 2
    return {**fields, "status": "CANCELED"} if fields["status"] == "FILLED" else fields


def _rejected(fields: dict[str, Any]) -> dict[str, Any] | None:
    if fields["status"] == "NEW":
        return {**fields, "status": "REJECTED", "reason": "REFUSED: 30004"}
    return None


def _paid_in(coin: str) -> Change:
    def change(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "fee_currency": coin, "fee": Decimal("0.000001")} if fields["fee"] else fields

    return change


@pytest.mark.parametrize(
    ("change", "made_of"),
    [
        (_worse, {"slippage"}),
        (_half, {"partials"}),
        (_rejected, {"rejects"}),
        (lambda fields: {**fields, "fee": Decimal(0)} if fields["fee"] else fields, {"fees"}),
        (_paid_in("BTC"), {"fees"}),
        (_paid_in("MX"), {"fees"}),
    ],
)
def test_what_differs_is_found_under_its_name_and_adds_up(day: list[Entry], change: Change, made_of: set[str]) -> None:
    """A worse price is slippage, half a fill is partials, a refusal is rejects; the books give the same difference."""
    entries = changed(day, change)

    result = compared(entries)

    assert {name for name in PARTS if getattr(result.parts, name)} == made_of
    assert result.real_pnl == booked(entries)
    assert result.paper_pnl == booked(day)
    assert result.parts.total == result.real_pnl - result.paper_pnl
    assert set(result.other_fees) <= {"MX"}


def test_a_fill_that_came_later_is_latency_and_spread(day: list[Entry]) -> None:
    """Told only after the next quotes: the market had gone on, and the parts still add up."""
    late, waiting = [], []
    for entry in day:
        if entry.channel == channels.ORDER_RESULTS and entry.event.last_price is not None:  # type: ignore[attr-defined]
            waiting.append(entry)
            continue
        late.append(entry)
        if entry.channel == channels.MARKET_DATA:
            late += waiting
            waiting = []

    result = compared(late)

    assert result.parts.latency != 0
    assert result.parts.latency + result.parts.spread + result.parts.slippage == 0
    assert result.real_pnl == result.paper_pnl


def test_the_paper_side_knows_nothing_of_live(day: list[Entry]) -> None:
    """A run recorded as live is compared with paper; what an operator said of a real order is not said on paper."""
    entries = changed(day, lambda fields: {**fields, "mode": "live"})
    word = Control.make(
        event_id="w", timestamp=entries[-1].event.timestamp, producer=channels.OPERATOR, correlation_id=None,
        causation_id=None, action="resolve_order", by="somebody", reason="seen", details={}, command_id="c",
    )  # fmt: skip
    entries.append(Entry(JournalId(9, len(entries) + 1), channels.CONTROL, channels.OPERATOR, "operator:1", word.data))

    result = compared(entries)

    assert result.modes == ("live",)
    assert result.parts.total == 0


def _fact(day: list[Entry], action: str, details: dict[str, Any]) -> Entry:
    event = Control.make(
        event_id=action, timestamp=day[-1].event.timestamp, producer=channels.EXECUTION, correlation_id=None,
        causation_id=None, action=action, service=channels.EXECUTION, details=details,
    )  # fmt: skip
    return Entry(JournalId(9, len(day) + 1), channels.CONTROL, channels.EXECUTION, "1", event.data)


def test_funding_and_liquidation_of_one_world_are_parts_of_their_own(day: list[Entry]) -> None:
    """What was paid is lost; margin is lost beyond what the position's value at the end says."""
    funding = _fact(day, "funding", {"venue": "mexc_perpetual", "symbol": "ETHUSDT", "amount": Decimal("-1.25")})
    liquidation = {
        "venue": "mexc_perpetual", "symbol": "ETHUSDT", "quantity": Decimal(2), "entry": Decimal(100),
        "margin": Decimal(50),
    }  # fmt: skip

    result = compared([*day, funding, _fact(day, "liquidation", liquidation)])

    assert (result.parts.funding, result.parts.liquidation) == (Fraction("-1.25"), Fraction(-50))
    assert result.real_pnl - result.paper_pnl == result.parts.total == Fraction("-51.25")


_PRICE = st.decimals(1, 100_000, places=4)
_FILL = st.tuples(st.decimals("0.0001", 50, places=4), _PRICE, _PRICE, _PRICE)
_WORLD = st.tuples(
    st.lists(_FILL, max_size=4), st.decimals(-5, 5, places=6), st.decimals(0, 1, places=8), st.booleans()
)


@given(st.sampled_from([1, -1]), _PRICE, _PRICE, _WORLD, _WORLD)
def test_the_parts_add_up_to_the_difference_without_a_rest(
    direction: int, decided: Decimal, final: Decimal, first: Any, second: Any
) -> None:
    """For any fills of either world: exactly before rounding, and exactly as shown."""
    sides, earned = [], []
    for fills, fee, coin_fee, rejected in (first, second):
        side, cash, held = Execution(rejected=rejected), Fraction(), Fraction()
        for quantity, price, mid, touch in fills:
            side.fill(direction, quantity, price, decided=decided, mid=mid, touch=touch)
            cash -= direction * Fraction(quantity) * Fraction(price)
            held += direction * Fraction(quantity)
        side.fees, side.coin_fees = Fraction(fee), Fraction(coin_fee)
        sides.append(side)
        earned.append(cash - Fraction(fee) + (held - Fraction(coin_fee)) * Fraction(final))
        assert side.profit(direction, final) == earned[-1]

    parts = attribute(direction, decided, final, *sides)

    assert parts.total == earned[0] - earned[1]
    shown = parts.shown()
    assert sum((shown[name] for name in PARTS), Decimal(0)) == shown["total"] == as_decimal(earned[0] - earned[1])


@pytest.mark.parametrize("width", [60, 80])
def test_no_word_of_the_tables_is_cut(day: list[Entry], width: int) -> None:
    """In a narrow terminal, or piped, a code goes on in the next line: PROTECTION_PRI… names no rule."""

    def refused(fields: dict[str, Any]) -> dict[str, Any]:
        fields.update(status="REJECTED", reason="PROTECTION_PRICE_OF_A_LONG_NAME: told", filled_quantity=0)
        return {**fields, "last_quantity": None, "last_price": None, "average_price": None, "trade_id": None, "fee": 0}

    console = Console(width=width, record=True, file=io.StringIO())
    for part in render(compared(changed(day, refused))):
        console.print(part)
    text = console.export_text()

    assert "PROTECTION_PRICE_OF_A_LONG_NAME" in re.sub(r"[\s│]|paper", "", "".join(_column(text, 2)))
    assert all(len(line.rstrip()) <= width for line in text.splitlines())


def _column(text: str, place: int) -> list[str]:
    return [line.split("│")[1:][place] for line in text.splitlines() if line.count("│") == 6]


def test_the_command_shows_a_table_and_the_same_as_json(day: list[Entry], tmp_path: Path) -> None:
    """Parts, the orders that differ most, and what could not be counted; the figures of JSON add up."""
    path = tmp_path / "journal.jsonl.zst"
    with JournalWriter(path) as writer:
        for entry in changed(day, _paid_in("MX")):
            writer.write(entry)

    shown = CliRunner().invoke(app, ["parity", "--journal", str(path)])
    told = CliRunner().invoke(app, ["parity", "--journal", str(path), "--json"])

    assert (shown.exit_code, told.exit_code) == (0, 0)
    assert "profit on paper" in shown.output
    assert "not counted: fees of" in shown.output
    figures = json.loads(told.stdout, parse_float=Decimal)
    assert Decimal(figures["real_pnl"]) - Decimal(figures["paper_pnl"]) == Decimal(figures["difference"])
    assert sum(map(Decimal, figures["parts"].values())) == Decimal(figures["difference"])
    assert len(figures["by_order"]) == figures["orders"] >= 3


def test_a_journal_that_begins_in_the_middle_has_no_parity(tmp_path: Path, day: list[Entry]) -> None:
    """Nobody knows what the run held there, so every order would differ: it is refused instead."""
    with JournalWriter(tmp_path / "begin.zst") as journal:
        for entry in day[:100]:
            journal.write(entry)
    with JournalWriter(tmp_path / "part.zst", after=journal.head) as part:
        for entry in day[100:]:
            part.write(entry)
    done = CliRunner().invoke(app, ["parity", "--journal", str(tmp_path / "part.zst")])
    assert done.exit_code == 2
    assert "begins after event 100" in done.output
