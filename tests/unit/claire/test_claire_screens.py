"""What the operator sees: lines worth reading, charts that fit, summaries with every number."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from claire.charts import line_chart, sparkline
from claire.screen import PlainScreen, TerminalScreen, render_stats, render_summary
from claire.up import to_json
from claire.watch import Happening, RunView, describe
from services.common import channels
from services.common.events import (
    LAYERS,
    Alert,
    Control,
    Event,
    LayerVerdict,
    MarketData,
    OrderResult,
    PortfolioView,
    RiskDecision,
    Signal,
    Sizing,
)
from services.common.journal.entry import Entry, JournalId

pytestmark = pytest.mark.unit

T0 = 1_621_382_400_000_000
MARKET = {"venue": "mexc_spot", "symbol": "BTCUSDT"}


def base(producer: str = channels.WS, **fields: Any) -> dict[str, Any]:
    """Return the common fields of an event."""
    return {"event_id": "e", "timestamp": T0, "producer": producer, **fields}


def decision(*, approved: bool) -> RiskDecision:
    """Return a decision on an entry."""
    return RiskDecision(
        **base(channels.RISK),
        **MARKET,
        signal_id="s",
        side="BUY",
        purpose="entry",
        approved=approved,
        reason="approved" if approved else "daily_drawdown",
        layers=tuple(LayerVerdict(layer=layer, code="OK", status="pass") for layer in LAYERS),
        sizing=Sizing(method="fixed_fractional", requested=Decimal(1), approved=Decimal("0.5000")),
        portfolio=PortfolioView(
            equity=None, cash=None, exposure=None, daily_pnl=None, drawdown=None, position=None,
            position_notional=None, trading_state="ACTIVE",
        ),
    )  # fmt: skip


def result(**fields: Any) -> OrderResult:
    """Return an order result."""
    given: dict[str, Any] = {
        "order_id": "o", "client_order_id": "c", "status": "NEW", **MARKET, "side": "BUY",
        "quantity": Decimal(1), "filled_quantity": Decimal(0),
    }  # fmt: skip
    return OrderResult(**base(channels.EXECUTION), **{**given, **fields})


def signal() -> Signal:
    """Return an entry signal."""
    return Signal(
        **base(channels.CORE), **MARKET, signal_type="buy", intent="entry", price=Decimal("40000.5"),
        confidence=Decimal(1), reason="m 0.6 % over T 0.5 %",
    )  # fmt: skip


def tick(price: int = 40_000) -> MarketData:
    """Return a market data event."""
    value = Decimal(price)
    return MarketData(**base(), **MARKET, price=value, high=value, low=value, sequence=1)


@pytest.mark.parametrize(
    ("event", "kind", "text"),
    [
        (signal(), "signal", "buy BTCUSDT at 40,000.50 (entry): m 0.6 % over T 0.5 %"),
        (decision(approved=True), "approved", "entry buy BTCUSDT: 0.5"),
        (decision(approved=False), "refused", "entry buy BTCUSDT: daily_drawdown"),
        (
            result(
                status="FILLED", last_quantity=Decimal("0.2500"), last_price=Decimal(40_001),
                filled_quantity=Decimal("0.25"),
            ),
            "fill",
            "buy 0.25 BTCUSDT at 40,001.00",
        ),
        (result(status="EXPIRED", reason="NO_SIZE"), "order", "BTCUSDT expired: NO_SIZE"),
        (
            Alert(**base(channels.RISK), level="CRITICAL", code="BREAKER", message="tripped"),
            "alert",
            "CRITICAL BREAKER: tripped",
        ),
        (Control(**base(), action="halt", by="me", reason="lunch"), "control", "halt cdb_ws: lunch"),
    ],
)  # fmt: skip
def test_what_is_worth_a_line(event: Event, kind: str, text: str) -> None:
    """Signals, decisions, fills, failed orders, alerts and commands."""
    assert describe(event) == Happening(kind, "2021-05-19 00:00:00", text)


@pytest.mark.parametrize(
    "event",
    [
        tick(),
        Control(**base(), action="tick"),
        Control(**base(channels.RISK), action="heartbeat", service=channels.RISK),
        result(),
    ],
)
def test_what_is_not(event: Event) -> None:
    """Market data, the clock, risk's answer to it and acknowledgements would drown the rest."""
    assert describe(event) is None


def test_the_view_counts_what_happened() -> None:
    """Ticks, refusals by reason, prices, the clock of the run."""
    view = RunView()
    events: list[Event] = [
        Control(**base(), action="started", service=channels.WS, run_id="r"), tick(), tick(41_000), signal(),
        decision(approved=False),
    ]  # fmt: skip
    for n, event in enumerate(events, 1):
        view.fold(Entry(JournalId(1, n), event.channel, event.producer, str(n), event.data))
    assert (view.counts["ticks"], view.counts["signal"], view.counts["refused"]) == (2, 1, 1)
    assert view.refusals == {"daily_drawdown": 1}
    assert view.prices == {"BTCUSDT": Decimal(41_000)}
    assert (view.now, view.run_id, view.head) == (T0, "r", 5)


@given(st.lists(st.floats(-1e9, 1e9), max_size=300), st.integers(1, 90))
def test_charts_never_leave_their_frame(values: list[float], width: int) -> None:
    """Any numbers: at most `width` columns, and the line chart has its eight rows."""
    assert len(sparkline(values, width)) == min(len(values), width)
    rows = line_chart(values, width)
    assert len(rows) == (8 if values else 0)
    assert sum(row.count("•") for row in rows) == min(len(values), width)


def test_a_sparkline_rises_with_its_values() -> None:
    """Lowest and highest value have the lowest and highest bar; equal values are level."""
    assert sparkline([1, 2, 3]) == "▁▅█" or sparkline([1, 2, 3]) == "▁▄█"
    assert set(sparkline([5, 5, 5])) == {"▄"}


SUMMARY: dict[str, Any] = {
    "run_id": "r",
    "tables": {"signals": 10, "trades": 2},
    "events": {"market_data": 11520, "signal": 10},
    "portfolio": {
        "timestamp": datetime(2021, 5, 20, tzinfo=UTC), "equity": Decimal("99963.235632345195"),
        "cash": Decimal(50000), "realized_pnl": Decimal("0.60976713"), "unrealized_pnl": Decimal(0),
        "fees": Decimal("37.37"), "daily_pnl": Decimal("-137.7"), "max_drawdown_pct": Decimal("0.0021"),
        "positions": [
            {"venue": "mexc_spot", "symbol": "BTCUSDT", "side": "long", "size": Decimal("0.25"),
             "entry_price": Decimal(40_000), "current_price": Decimal(41_000), "unrealized_pnl": Decimal(250),
             "realized_pnl": Decimal(0), "fees": Decimal(0)},
        ],
    },
    "signals": {"entry": 5, "exit": 5},
    "decisions": [
        {"approved": True, "purpose": "entry", "reason": "approved", "count": 5},
        {"approved": False, "purpose": "exit", "reason": "NO_POSITION", "count": 1},
    ],
    "orders": {"filled": 10},
    "trades": [
        {"timestamp": datetime(2021, 5, 19, 14, 0, tzinfo=UTC), "symbol": "BTCUSDT", "side": "sell",
         "purpose": "stop_loss", "size": Decimal("0.207326"), "price": Decimal("35782.1"), "fees": Decimal("3.71"),
         "realized_pnl": Decimal("-48.94"), "slippage_bps": None},
    ],
    "alerts": [{"level": "CRITICAL", "code": "EXIT_LATCHED", "count": 1}],
    "equity": {"first": Decimal(100_000), "points": 3},
}  # fmt: skip


def rendered(renderable: Any, width: int = 80) -> str:
    """Return what a console of this width shows."""
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    return str(text)


def test_the_summary_shows_every_part() -> None:
    """Counts, refusals with reason, trades, money and the curve, in 80 columns."""
    text = rendered(render_summary(SUMMARY, [100_000, 100_100, 99_963]))
    for part in ("11,520", "NO_POSITION", "stop_loss", "35,782.10", "-48.94", "99,963.24", "EXIT_LATCHED", "•"):
        assert part in text
    assert "approved" not in text.partition("orders")[0].partition("refused")[2]


def test_the_statistics_show_tables_portfolio_and_events() -> None:
    """The open position is there with its numbers."""
    text = rendered(render_stats(SUMMARY))
    for part in ("signals", "equity", "99,963.24", "BTCUSDT", "0.25", "market_data"):
        assert part in text


def test_profit_says_whether_fees_are_in_it() -> None:
    """What was made and what is open are before fees, the day's profit is after them; money has two decimals."""
    end, stored = (
        re.sub(r"\s+", " ", rendered(shown)) for shown in (render_summary(SUMMARY, []), render_stats(SUMMARY))
    )

    for text in (end, stored):
        assert "realized PnL, before fees 0.61 " in text
        assert "unrealized PnL, before fees 0.00 " in text
        assert "fees 37.37 " in text
    assert "PnL of the day, after fees -137.70 " in stored
    assert "fees gross PnL" in end, "of each trade"
    assert "gross PnL" in stored, "of the open position"
    assert "portfolio at 2021-05-20 00:00 UTC (USDT)" in stored, "a snapshot, not the last tick"


def test_json_keeps_every_digit_and_names_times() -> None:
    """Money is a plain number with all its digits, a time is ISO 8601 in UTC."""
    text = to_json(SUMMARY)
    assert '"equity":99963.235632345195' in text
    assert '"timestamp":"2021-05-19T14:00:00.000000Z"' in text


def test_plain_screen_tells_lines_and_progress_now_and_then() -> None:
    """A line a happening; progress every five seconds with health; nothing when quiet."""
    out = io.StringIO()
    screen = PlainScreen(Console(file=out, width=200))
    view = RunView()
    view.fold(Entry(JournalId(1, 1), channels.MARKET_DATA, channels.WS, "feed:1", tick().data))
    screen.start()
    screen.tell(Happening("signal", "2021-05-19 00:00:00", "buy [BTCUSDT]"))
    screen.update(view, {"cdb_core": "loop: stuck"}, [100.0], 1.0)
    assert len(out.getvalue().splitlines()) == 1
    screen.update(view, {"cdb_core": "loop: stuck", "cdb_ws": ""}, [100.0], 6.0)
    screen.stop()
    assert "buy [BTCUSDT]" in out.getvalue()
    assert "1 tick, 0 signals, 0 fills, equity 100.00; cdb_core: loop: stuck" in out.getvalue()
    silent = io.StringIO()
    quiet = PlainScreen(Console(file=silent), quiet=True)
    quiet.tell(Happening("signal", "", "x"))
    quiet.update(view, {}, [], 99.0)
    assert silent.getvalue() == ""


def test_progress_says_a_reason_once_and_whole() -> None:
    """What several wait for stands there once, with its end: that names the cause."""
    out = io.StringIO()
    closed = "redis: the bus is closed: cdb_writer has not compared it with PostgreSQL since Redis started"

    PlainScreen(Console(file=out, width=80)).update(
        RunView(), {"cdb_ws": closed, "cdb_core": closed, "cdb_risk": "loop: stuck", "cdb_writer": ""}, [], 6.0
    )

    assert out.getvalue().strip().endswith(f"0 fills; cdb_ws, cdb_core: {closed}; cdb_risk: loop: stuck")


def test_terminal_screen_draws_the_moment() -> None:
    """Clock, counts, prices, equity, last lines and the health of each service are on the screen."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40)
    screen = TerminalScreen(console, "Claire de Binare")
    view = RunView()
    view.fold(Entry(JournalId(1, 1), channels.MARKET_DATA, channels.WS, "feed:1", tick().data))
    screen.start()
    screen.tell(Happening("fill", "2021-05-19 00:00:00", "buy 0.25 BTCUSDT"))
    screen.update(view, {"cdb_ws": "", "cdb_core": "redis: away"}, [100.0, 101.0], 3.0)
    screen.stop()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("2021-05-19 00:00:00", "40,000.00", "equity 101.00", "buy 0.25 BTCUSDT", "redis: away"):
        assert part in text


def test_a_summary_never_cuts_a_number_on_a_narrow_terminal() -> None:
    """80 columns: prices of six figures, sizes with six decimals and losses stand there whole, words too."""
    trade = {
        "timestamp": datetime(2021, 5, 19, 14, 0, 30, tzinfo=UTC), "symbol": "BTCUSDT", "side": "sell",
        "purpose": "stop_loss", "size": Decimal("0.008071"), "price": Decimal("135181.22"),
        "fees": Decimal("0.152628"), "realized_pnl": Decimal("-217.33"),
    }  # fmt: skip
    summary = {
        "decisions": [], "trades": [trade], "events": {}, "signals": {}, "orders": {}, "alerts": [],
        "portfolio": dict.fromkeys(
            ("equity", "cash", "realized_pnl", "unrealized_pnl", "fees"), Decimal(1)
        ) | {"max_drawdown_pct": Decimal("0.005259")},
    }  # fmt: skip
    out = io.StringIO()

    Console(file=out, width=80).print(render_summary(summary, []))

    shown = out.getvalue()
    assert "…" not in shown
    assert "0.53\N{NBSP}%" in shown
    for number in ("135,181.22", "0.008071", "0.152628", "-217.33", "stop_loss", "05-19 14:00:30"):
        assert number in shown
