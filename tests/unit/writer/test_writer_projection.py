"""The five tables as a fold: each row computed by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

import pytest

from services.cdb_writer.projection import CLOSED_ORDERS_KEPT, Projection
from services.cdb_writer.rows import OrderRow, PositionRow, Row, SignalRow, SnapshotRow, TradeRow
from services.common.errors import ContractViolation, IllegalTransition, StateMismatch
from services.common.events import Control
from tests.unit.writer.journal_story import Story, tell

pytestmark = pytest.mark.unit

D = Decimal
RowT = TypeVar("RowT", bound=Row)


class Tables:
    """What the projection of a story writes, as a database would hold it."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.projection = Projection()
        self.rows: dict[tuple[str, tuple[Any, ...]], Row] = {}
        self._folded = 0

    def fold(self) -> Tables:
        """Fold what the story has told since the last call."""
        for entry in self.story.entries[self._folded :]:
            self.projection.fold(entry)
        self._folded = len(self.story.entries)
        for row in self.projection.take_rows():
            if row.replaces or (row.table, row.identity) not in self.rows:
                self.rows[row.table, row.identity] = row
        return self

    def of(self, kind: type[RowT]) -> list[RowT]:
        """All rows of a table, in order of their first appearance."""
        return [row for row in self.rows.values() if isinstance(row, kind)]


@pytest.fixture
def story() -> Story:
    """A run that has just begun."""
    story = Story()
    story.begin()
    return story


def test_the_first_snapshot_is_the_configured_cash(story: Story) -> None:
    """The books open when risk says what the account holds, at the run's time."""
    (snapshot,) = Tables(story).fold().of(SnapshotRow)
    assert snapshot == SnapshotRow(
        run_id="run-1",
        timestamp="2021-05-19T23:40:00.000000Z",
        total_equity=D(100_000),
        cash=D(100_000),
        available_balance=D(100_000),
        daily_pnl=D(0),
        total_unrealized_pnl=D(0),
        total_realized_pnl=D(0),
        total_fees=D(0),
        total_exposure=D(0),
        total_exposure_pct=D(0),
        drawdown_pct=D(0),
        max_drawdown_pct=D(0),
        open_positions=0,
    )


def test_a_signal_becomes_one_row(story: Story) -> None:
    """Everything a signal says is in its row; its inputs are the metadata."""
    event = story.signal(D("40000.5"))
    (row,) = Tables(story).fold().of(SignalRow)
    assert (row.signal_id, row.run_id, row.source, row.strategy) == (event.event_id, "run-1", "cdb_core", "momentum_v1")
    assert (row.symbol, row.signal_type, row.intent) == ("BTCUSDT", "buy", "entry")
    assert (row.price, row.confidence, row.pct_change) == (D("40000.5"), D("0.6"), D("0.0123"))
    assert row.timestamp == "2021-05-19T23:40:00.000000Z"
    assert row.metadata == '{"m":0.0123,"window":60}'


def test_a_round_trip_in_numbers(story: Story) -> None:
    """Buy 0.5 at 40 000, mark at 40 100, sell at 40 200: every money column by hand."""
    tables = Tables(story)
    story.quote(D(40_000))
    buy = story.order(D("0.5"), D(40_000))
    story.result(buy, "NEW")
    tables.fold()
    (order,) = tables.of(OrderRow)
    assert (order.status, order.filled_size, order.size, order.approved) == ("submitted", D(0), D("0.5"), True)
    assert order.price == D(40_400)
    assert order.submitted_at == "2021-05-19T23:40:00.000000Z"

    story.tick(5)
    story.fill(buy, D("0.5"), D(40_000))  # costs 20 000, fee 10
    tables.fold()
    (order,) = tables.of(OrderRow)
    assert (order.status, order.filled_size, order.avg_fill_price, order.fees) == ("filled", D("0.5"), D(40_000), D(10))
    assert order.filled_at == order.updated_at == "2021-05-19T23:40:05.000000Z"
    (trade,) = tables.of(TradeRow)
    assert (trade.side, trade.size, trade.execution_price, trade.fees) == ("buy", D("0.5"), D(40_000), D(10))
    assert (trade.price, trade.status, trade.purpose, trade.realized_pnl) == (D(40_000), "filled", "entry", D(0))
    (position,) = tables.of(PositionRow)
    assert (position.side, position.size, position.entry_price) == ("long", D("0.5"), D(40_000))
    assert position.stop_loss_price == D(39_200)  # 2 % under the entry
    assert position.opened_at == "2021-05-19T23:40:05.000000Z"
    assert position.closed_at is None
    snapshot = tables.of(SnapshotRow)[-1]
    assert snapshot.cash == D(79_990)
    assert snapshot.total_equity == D(99_990)
    assert snapshot.total_exposure_pct == D("0.200020002000")  # 20 000 / 99 990

    story.quote(D(40_100))
    story.tick(60)  # a new minute: marked at 40 100
    tables.fold()
    snapshot = tables.of(SnapshotRow)[-1]
    assert snapshot.timestamp == "2021-05-19T23:41:00.000000Z"
    assert (snapshot.total_unrealized_pnl, snapshot.total_equity) == (D(50), D(100_040))
    assert tables.of(PositionRow)[0].current_price == D(40_100)

    sell = story.order(D("0.5"), D(40_200), "SELL")
    story.quote(D(40_200))
    story.fill(sell, D("0.5"), D(40_200))  # 20 100 in, fee 10.05
    tables.fold()
    (position,) = tables.of(PositionRow)
    assert (position.side, position.size, position.entry_price, position.stop_loss_price) == ("none", D(0), None, None)
    assert (position.realized_pnl, position.fees) == (D(100), D("20.05"))
    assert position.closed_at == "2021-05-19T23:41:05.000000Z"
    assert tables.of(TradeRow)[1].realized_pnl == D(100)
    snapshot = tables.of(SnapshotRow)[-1]
    assert (snapshot.total_equity, snapshot.cash, snapshot.open_positions) == (D("100079.95"), D("100079.95"), 0)
    assert (snapshot.total_realized_pnl, snapshot.total_fees) == (D(100), D("20.05"))


def test_a_working_buy_order_reserves_cash(story: Story) -> None:
    """Available balance is cash less what working buys may still spend at their protective price."""
    order = story.order(D("0.5"), D(40_000))
    story.result(order, "NEW")
    story.tick(60)
    snapshot = Tables(story).fold().of(SnapshotRow)[-1]
    assert snapshot.available_balance == D(100_000) - D("0.5") * D(40_400)


def test_partial_fills_and_the_cancelled_rest(story: Story) -> None:
    """Two fills are two trades; the cancelled remainder ends the order with its reason."""
    story.quote(D(100))
    order = story.order(D(3), D(100))
    story.fill(order, D(1), D(100))
    story.fill(order, D(1), D(102), D(1), average_price=D(101))
    story.result(order, "CANCELED", D(2), average_price=D(101), reason="REMAINDER")
    tables = Tables(story).fold()
    (row,) = tables.of(OrderRow)
    assert (row.status, row.filled_size, row.avg_fill_price, row.filled_at) == ("cancelled", D(2), D(101), None)
    assert row.status_reason == "REMAINDER"
    assert row.fees == D("0.05") + D("0.051")
    assert [(trade.size, trade.status) for trade in tables.of(TradeRow)] == [(D(1), "partial"), (D(1), "partial")]


def test_a_rejected_order_says_why(story: Story) -> None:
    """A rejection is kept as such; it was never submitted."""
    order = story.order(D(1), D(100))
    story.result(order, "REJECTED", reason="MIN_NOTIONAL")
    (row,) = Tables(story).fold().of(OrderRow)
    assert (row.status, row.rejection_reason, row.submitted_at) == ("rejected", "MIN_NOTIONAL", None)


def test_a_repeated_result_changes_nothing(story: Story) -> None:
    """The same fill told twice, an older result, and a late status of a closed order leave all rows as they are."""
    story.quote(D(100))
    order = story.order(D(2), D(100))
    story.fill(order, D(1), D(100))
    story.fill(order, D(1), D(100), D(1))
    tables = Tables(story).fold()
    before = dict(tables.rows)
    story.fill(order, D(1), D(100))
    story.fill(order, D(1), D(100), D(1))
    story.result(order, "REJECTED", reason="DUPLICATE")
    story.add(order)
    tables.fold()
    assert tables.rows == before


def test_a_closed_order_stays_closed(story: Story) -> None:
    """A status without a fill does not change an order that has ended."""
    order = story.order(D(2), D(100))
    story.result(order, "CANCELED", reason="OPERATOR")
    tables = Tables(story).fold()
    before = dict(tables.rows)
    story.result(order, "REJECTED", reason="DUPLICATE")
    story.result(order, "NEW")
    assert tables.fold().rows == before


def test_a_late_fill_of_a_cancelled_order_is_booked(story: Story) -> None:
    """An exchange may fill what it had reported cancelled: the facts win."""
    story.quote(D(100))
    order = story.order(D(2), D(100))
    story.result(order, "CANCELED")
    story.fill(order, D(2), D(100))
    tables = Tables(story).fold()
    assert tables.of(OrderRow)[0].status == "filled"
    assert tables.of(PositionRow)[0].size == D(2)


def test_a_fee_in_base_coin_is_valued_at_its_fill(story: Story) -> None:
    """A fee of 0.001 BTC at 40 000 is 40 in quote currency, and fewer coins are held."""
    story.quote(D(40_000))
    order = story.order(D(1), D(40_000))
    story.fill(order, D(1), D(40_000), fee=D("0.001"), fee_currency="BTC")
    tables = Tables(story).fold()
    assert tables.of(TradeRow)[0].fees == D(40)
    assert tables.of(PositionRow)[0].size == D("0.999")
    assert tables.of(SnapshotRow)[-1].total_equity == D(99_960)


def test_a_fill_of_an_unknown_order_is_a_fault(story: Story) -> None:
    """Books that cannot be kept stop the writer; a status without a fill is passed over."""
    order = story.order(D(1), D(100))
    story.entries = [entry for entry in story.entries if entry.channel != "orders"]
    story.result(order, "REJECTED", reason="NO_DECISION")
    assert Tables(story).fold().of(OrderRow) == []
    story.fill(order, D(1), D(100))
    with pytest.raises(ContractViolation, match="unknown"):
        Tables(story).fold()


def test_a_fill_before_the_books_are_open_is_a_fault() -> None:
    """Without a configuration of risk nobody knows what the account holds."""
    story = Story()
    story.control("cdb_ws", "started", service="cdb_ws", run_id="run-1")
    order = story.order(D(1), D(100))
    story.fill(order, D(1), D(100))
    with pytest.raises(ContractViolation, match="before cdb_risk"):
        Tables(story).fold()


def test_selling_more_than_is_held_is_a_fault(story: Story) -> None:
    """The second ledger refuses what the first one should have refused."""
    order = story.order(D(1), D(100), "SELL")
    story.fill(order, D(1), D(100))
    with pytest.raises(IllegalTransition, match="is held"):
        Tables(story).fold()


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"settings": None},
        {"settings": {}},
        {"settings": {"ACCOUNT_EQUITY": "much"}},
        {"settings": {"ACCOUNT_EQUITY": True}},
    ],
)
def test_a_config_of_risk_without_the_cash_is_a_fault(details: dict[str, Any]) -> None:
    """Initial cash is read from risk's configuration or not at all."""
    story = Story()
    story.control("cdb_ws", "started", service="cdb_ws", run_id="run-1")
    story.control("cdb_risk", "config", service="cdb_risk", details=details)
    with pytest.raises(ContractViolation):
        Tables(story).fold()


def test_daily_pnl_counts_from_the_journalled_start_of_day(story: Story) -> None:
    """After cdb_risk has said the start-of-day equity, daily PnL is the difference to it."""
    story.control("cdb_risk", "start_of_day", service="cdb_risk", details={"equity": D("99000.5")})
    story.tick(60)
    assert Tables(story).fold().of(SnapshotRow)[-1].daily_pnl == D("999.5")


def test_drawdown_is_measured_from_the_highest_snapshot(story: Story) -> None:
    """Equity 100 000, 110 000, 104 500, 110 000: drawdown 5 %, later 0; the greatest stays."""
    story.quote(D(100))
    order = story.order(D(1_000), D(100))
    story.fill(order, D(1_000), D(100), fee=D(0))
    for price in (110, D("104.5"), 110):
        story.quote(D(price))
        story.tick(60)
    snapshots = Tables(story).fold().of(SnapshotRow)
    assert [snapshot.total_equity for snapshot in snapshots[-3:]] == [D(110_000), D(104_500), D(110_000)]
    assert [snapshot.drawdown_pct for snapshot in snapshots[-3:]] == [D(0), D("0.05"), D(0)]
    assert [snapshot.max_drawdown_pct for snapshot in snapshots[-3:]] == [D(0), D("0.05"), D("0.05")]


def test_a_snapshot_a_minute_however_many_events(story: Story) -> None:
    """Sixty ticks of one second make one snapshot; a silence over minutes makes one when it ends."""
    tables = Tables(story).fold()
    for _ in range(59):
        story.tick()
    assert len(tables.fold().of(SnapshotRow)) == 1
    story.tick()
    story.tick(600)
    times = [snapshot.timestamp[11:19] for snapshot in tables.fold().of(SnapshotRow)]
    assert times == ["23:40:00", "23:41:00", "23:51:00"]


def test_nobody_but_the_clock_moves_the_clock(story: Story) -> None:
    """Market data admitted from elsewhere marks positions and opens no minute."""
    tables = Tables(story).fold()
    foreign = story.quote(D(100)).model_copy(update={"producer": "cdb_core", "timestamp": story.now + 600_000_000})
    story.entries.pop()
    story.add(type(foreign).parse(foreign.model_dump()))
    tick = story.control("cdb_ws", "tick")
    story.entries.pop()
    assert isinstance(tick, Control)
    story.add(Control.parse({**tick.model_dump(), "producer": "operator", "timestamp": story.now + 600_000_000}))
    assert len(tables.fold().of(SnapshotRow)) == 1
    assert tables.projection.state.now == story.now
    assert tables.projection.state.portfolio is not None
    assert tables.projection.state.portfolio.marks["mexc_spot:BTCUSDT"].price == D(100)


def test_nothing_is_written_while_a_position_has_no_value(story: Story) -> None:
    """Unknown equity is not zero: no snapshot until the first valid quote."""
    order = story.order(D(1), D(100))
    story.quote(D(100), bid=None, ask=None)
    story.fill(order, D(1), D(100))
    story.tick(60)
    tables = Tables(story).fold()
    assert len(tables.of(SnapshotRow)) == 1
    (position,) = tables.of(PositionRow)
    assert (position.current_price, position.unrealized_pnl) == (None, None)
    story.quote(D(101))
    story.tick(60)
    assert tables.fold().of(SnapshotRow)[-1].total_unrealized_pnl == D(1)


def test_equity_that_is_gone_has_no_exposure_ratio() -> None:
    """With no equity left a share of it means nothing."""
    story = Story()
    story.begin(cash=D(0))
    (snapshot,) = Tables(story).fold().of(SnapshotRow)
    assert (snapshot.total_exposure_pct, snapshot.drawdown_pct) == (None, D(0))


def test_a_new_run_begins_with_the_configured_cash(story: Story) -> None:
    """Another run_id closes the books; the configuration of risk stays in force, as in the machines."""
    story.quote(D(100))
    order = story.order(D(1), D(100))
    story.fill(order, D(1), D(100))
    tables = Tables(story).fold()
    story.run_id, story.now = "run-2", story.now - 3_600_000_000
    story.control("cdb_ws", "started", service="cdb_ws", run_id="run-2")
    story.tick(60)
    tables.fold()
    snapshots = [row for row in tables.of(SnapshotRow) if row.run_id == "run-2"]
    assert [snapshot.total_equity for snapshot in snapshots] == [D(100_000), D(100_000)]
    assert snapshots[0].timestamp == "2021-05-19T22:40:00.000000Z"
    assert tables.of(PositionRow)[0].run_id == "run-1"
    assert tables.projection.state.working == {}


def test_a_repeated_start_of_the_same_run_changes_nothing(story: Story) -> None:
    """cdb_ws restarted: same run, same books."""
    story.quote(D(100))
    order = story.order(D(1), D(100))
    story.fill(order, D(1), D(100))
    tables = Tables(story).fold()
    before = tables.projection.dump()
    story.control("cdb_ws", "started", service="cdb_ws", run_id="run-1")
    tables.fold()
    assert tables.projection.dump() == before


def test_changed_settings_of_risk_do_not_change_the_books(story: Story) -> None:
    """ACCOUNT_EQUITY changed within a run counts from the next run on."""
    tables = Tables(story).fold()
    story.control(
        "cdb_risk", "config", service="cdb_risk", details={"settings": {"ACCOUNT_EQUITY": D(5)}, "settings_hash": "1"}
    )
    story.tick(60)
    assert tables.fold().of(SnapshotRow)[-1].total_equity == D(100_000)
    assert tables.projection.state.stop_loss_pct is None


def test_events_before_the_first_run_leave_no_rows() -> None:
    """What cannot be attributed to a run is in the event store only."""
    story = Story()
    story.signal(D(100))
    story.alert()
    story.tick()
    assert Tables(story).fold().rows == {}


def test_only_so_many_closed_orders_are_remembered(story: Story) -> None:
    """The state does not grow with the number of orders, nor does the ledger's memory of them."""
    story.quote(D(100))
    for _ in range(CLOSED_ORDERS_KEPT + 10):
        order = story.order(D(1), D(100))
        story.fill(order, D(1), D(100))
    state = Tables(story).fold().projection.state
    assert len(state.closed) == CLOSED_ORDERS_KEPT
    assert state.portfolio is not None
    assert len(state.portfolio.booked) == CLOSED_ORDERS_KEPT


def test_a_restored_projection_goes_on_as_the_old_one() -> None:
    """Dumped and restored at any of many points, the later rows and the later state are the same."""
    entries = tell(3, 400).entries
    whole = Projection()
    for entry in entries:
        whole.fold(entry)
    for cut in range(1, 400, 37):
        first = Projection()
        for entry in entries[:cut]:
            first.fold(entry)
        second = Projection()
        second.restore(first.dump())
        assert second.dump() == first.dump()
        for entry in entries[cut:]:
            second.fold(entry)
        assert second.dump() == whole.dump()


@pytest.mark.parametrize("data", [b"", b"[]", b'{"now":"yesterday"}', b'{"working":{"a":1}}'])
def test_a_state_that_is_none_is_refused(data: bytes) -> None:
    """A restored state is validated whole."""
    with pytest.raises(StateMismatch):
        Projection().restore(data)


@pytest.mark.security
def test_a_nul_in_free_text_does_not_stop_the_writer(story: Story) -> None:
    """PostgreSQL has no NUL: text columns and JSON get U+FFFD, the exact bytes stay in the event store."""
    story.signal(D(100), reason="a\x00b", inputs={"k\x00": ["x\x00", {"y": ("z\x00",)}]})
    (row,) = Tables(story).fold().of(SignalRow)
    assert "a\ufffdb" in row.values()
    assert row.metadata == '{"k\ufffd":["x\ufffd",{"y":["z\ufffd"]}]}'
