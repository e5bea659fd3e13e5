"""The second ledger balances over any fills."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cdb_writer.projection import Projection
from services.cdb_writer.rows import OrderRow, PositionRow, SnapshotRow, TradeRow
from tests.property.effort import examples
from tests.unit.writer.journal_story import CASH, Story, tell

pytestmark = pytest.mark.unit

MOVES = st.lists(
    st.tuples(
        st.sampled_from(["BTCUSDT", "ETHUSDT"]),
        st.booleans(),
        st.decimals("0.000001", "2", places=6),
        st.decimals("0.01", "50000", places=2),
        st.integers(1, 3),
    ),
    max_size=25,
)


@settings(max_examples=examples(60), deadline=None, derandomize=True)
@given(MOVES)
def test_the_books_balance(moves: list[tuple[str, bool, Decimal, Decimal, int]]) -> None:
    """Equity = initial cash + realised + unrealised - fees, in every snapshot, to the last digit."""
    story = Story()
    story.begin()
    held = {"BTCUSDT": Decimal(0), "ETHUSDT": Decimal(0)}
    for symbol, sells, wanted, price, parts in moves:
        story.quote(price, symbol, bid=price, ask=price * 2)
        quantity = min(wanted, held[symbol]) if sells else wanted
        if quantity <= 0:
            continue
        order = story.order(quantity, price, "SELL" if sells else "BUY", symbol)
        story.result(order, "NEW")
        done = Decimal(0)
        for part in range(parts):
            size = quantity - done if part == parts - 1 else (quantity / parts).quantize(Decimal("0.000001"))
            if size > 0:
                story.fill(order, size, price + part, done)
                done += size
            story.tick(20)
        held[symbol] += -quantity if sells else quantity
    projection = Projection()
    for entry in story.entries:
        projection.fold(entry)
    rows = projection.take_rows()
    for row in rows:
        if isinstance(row, SnapshotRow):
            books = CASH + row.total_realized_pnl + row.total_unrealized_pnl - row.total_fees
            assert row.total_equity == books
            assert row.max_drawdown_pct >= row.drawdown_pct >= 0
    positions = {row.symbol: row for row in rows if isinstance(row, PositionRow)}
    for symbol, quantity in held.items():
        assert (positions[symbol].size if symbol in positions else 0) == quantity
    trades = [row for row in rows if isinstance(row, TradeRow)]
    for order_row in (row for row in rows if isinstance(row, OrderRow)):
        own = [trade for trade in trades if trade.order_id == order_row.order_id]
        assert sum((trade.size for trade in own), Decimal(0)) == order_row.filled_size
        assert sum((trade.fees for trade in own), Decimal(0)) == order_row.fees
    assert sum((trade.realized_pnl for trade in trades), Decimal(0)) == sum(
        (row.realized_pnl for row in positions.values()), Decimal(0)
    )


@settings(max_examples=examples(15), deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.lists(st.integers(1, 199), max_size=6))
def test_restarts_anywhere_change_no_row(seed: int, cuts: list[int]) -> None:
    """Dumped and restored between any entries, the rows are those of the undisturbed fold."""
    entries = tell(seed, 200).entries
    undisturbed = Projection()
    for entry in entries:
        undisturbed.fold(entry)
    disturbed = Projection()
    rows = {}
    for number, entry in enumerate(entries):
        if number in cuts:
            rows.update({(row.table, row.identity): row for row in disturbed.take_rows()})
            state = disturbed.dump()
            disturbed = Projection()
            disturbed.restore(state)
        disturbed.fold(entry)
    rows.update({(row.table, row.identity): row for row in disturbed.take_rows()})
    assert rows == {(row.table, row.identity): row for row in undisturbed.take_rows()}
