"""What the page shows: numbers as the services say them, what is unknown named so, everything escaped."""

from __future__ import annotations

import re
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest

from claire.page.html import bar, number, price, table
from claire.page.past import Decided, Past
from claire.page.render import render
from claire.page.wording import span
from services.common.events import Alert
from tests.unit.page.page_desk import EVERYONE, a_view, curve, decisions, screen, silence

pytestmark = [pytest.mark.unit, pytest.mark.security]

POSITION = {
    "instrument": "mexc_spot:BTCUSDT", "quantity": "2", "entry_price": "100", "value": "220", "stop_price": "99",
    "dust": True,
}  # fmt: skip
SHORT = {
    "instrument": "mexc_perpetual:ETHUSDT", "quantity": "-3", "entry_price": "0.5", "value": "-1.2",
    "stop_price": "0.51", "liquidation_price": "0.9",
}  # fmt: skip
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


class Reader(HTMLParser):
    """Notes what tags and attributes there are, and fails on tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that is empty."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the last one."""
        assert self.open.pop() == tag


def read(html: str) -> Reader:
    """Return what a page is made of; every tag is closed in order."""
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def words(html: str) -> str:
    """Return what can be read."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_numbers_are_those_of_risk() -> None:
    """Equity, PnL, limits in money, positions with the way to stop and liquidation, orders: to the last digit."""
    order = {
        "order_id": "o-1", "instrument": "mexc_spot:BTCUSDT", "side": "SELL", "status": "UNKNOWN", "quantity": "1.50",
        "filled": 0, "purpose": "stop_loss", "since": "2021-05-19T13:04:00.000000Z",
    }  # fmt: skip
    status = screen(
        equity="100123.45", daily_pnl="-23.4", start_of_day_equity="100146.85", peak_equity="100200", cash="99000",
        drawdown="0.0008", exposure="220", fees="1.5", positions=[POSITION, SHORT], working_orders=[order],
        headroom={"daily_drawdown": "0.04", "circuit_breaker": "-0.01", "total_exposure": "0.31"},
        decisions={"approved": 3, "refused": {"spread_check": 2, "EXIT_WORKING": 1, "NO_POSITION": 4}},
        execution={"working_orders": [{"order_id": "o-1", "obstacle": "NO_QUOTE", "price": "99.5"}]},
    )  # fmt: skip
    text = words(render(a_view(status)))

    for part in (
        "Equity, USDT 100,123.45 cash 99,000.00", "Day PnL net, USDT -23.40 -0.02 %", "gross PnL", "peak 100,200.00",
        "Fees, USDT 1.50", "volume, USDT",
        "limit used left daily loss 1.00 % of 5.00 % 4.00 % 4,005.87 USDT",
        "loss from the peak 11.00 % of 10.00 % -1.00 % 0.00 USDT",
        "exposure 0.00 % of 30.00 % 31.00 %", "positions 1 of 3 2",
        "BTCUSDT long dust 2 100.00 110.00 220.00 0.22 % +20.00 99.00 10.00 %",
        "ETHUSDT perp short -3 0.5 0.4 -1.20 0.00 % +0.30 0.51 27.50 % 0.9 125.00 %",
        "o-1 BTCUSDT stop loss sell 0 of 1.5 99.5 UNKNOWN 2021-05-19 13:04:00 NO_QUOTE",
        "order o-1 is UNKNOWN", "3 approved", "2 refused by spread check · 5 with nothing to do",
        "next funding: 2021-05-19 16:00:00 UTC", "last reconciliation: none on paper",
    ):  # fmt: skip
        assert part in text, f"{part!r} is missing in:\n{text}"


def test_what_needs_a_person_stands_at_the_top() -> None:
    """Causes with what lifts them, latched exits, stale marks, contradicting keys, sick services, what is stale."""
    status = screen(
        trading_state="HALTED",
        causes={
            "halt": {"since": "2021-05-19T13:00:00Z", "by": "me", "reason": "lunch"},
            "daily_loss": {"since": "2021-05-19T12:00:00Z", "by": "cdb_risk", "reason": "over"},
        },
        latched_exits=[
            {"instrument": "mexc_spot:BTCUSDT", "purpose": "stop_loss", "since": "2021-05-19T13:01:00Z", "attempts": 2,
             "reason": "NO_QUOTE"}
        ],
        stale_marks=["mexc_spot:SOLUSDT"],
        execution={"trading_state": "FROZEN", "risk_silent": True},
    )  # fmt: skip
    status["services"]["cdb_core"] = {"answers": False, "healthy": False, "failing": {}, "lag": None, "last_id": None}
    status["services"]["cdb_ws"]["failing"] = {"feed": "silent"}
    status["services"]["cdb_risk"]["lag"] = 12
    text = words(render(a_view(status, stale=["Stale since 11:00:00 UTC: no database."])))

    for part in (
        "HALTED no entries; protective exits still run",
        "Stale since 11:00:00 UTC: no database.",
        "halt since 2021-05-19 13:00:00 by me: lunch lifted by claire resume --by NAME --reason TEXT",
        "daily loss since 2021-05-19 12:00:00 by cdb_risk: over lifted by the next 00:00 UTC",
        "exit latched : stop loss of BTCUSDT since 2021-05-19 13:01:00, 2 orders so far: NO_QUOTE",
        "no mark for over 60 s : SOLUSDT; entries are blocked",
        "execution's own key says FROZEN, risk says HALTED",
        "risk does not answer the clock",
        "cdb_core does not answer",
        "cdb_ws feed: silent",
        "cdb_risk ✓ well 12 -",
    ):
        assert part in text, f"{part!r} is missing in:\n{text}"


@pytest.mark.parametrize(
    ("mode", "css", "said"),
    [
        ("paper", "mode-paper", "paper: no money at risk"),
        ("shadow", "mode-shadow", "shadow: nothing is sent"),
        ("live", "mode-live", "LIVE: real money"),
        ("other", "mode-unsure", "mode other"),
    ],
)
def test_nobody_can_mistake_the_mode(mode: str, css: str, said: str) -> None:
    """The mode colours the whole page; one that is not known looks dangerous."""
    html = render(a_view(screen(mode=mode)))

    assert f'<body class="{css}">' in html
    assert said in words(html)


def test_what_is_unknown_says_so() -> None:
    """Nobody answers: no number is made up, nothing is called healthy."""
    html = render(a_view(silence(), points=(), past=Past(), counts={"signals": 4}))
    text = words(html)

    assert html.count("does not answer") >= len(EVERYONE)
    assert ">unknown</b>" in html
    assert "feed unknown: cdb_ws does not answer" in text
    for invented in ("0 events/s", "age 0 s", "well", "No position", "No working order", "0.00"):
        assert invented not in text.replace("not well", "")
    assert "No curve yet" in text
    assert "No decision yet" in text
    assert "ticks unknown - signals 4 -" in text


def test_each_decision_shows_its_seven_layers_and_an_explain_link() -> None:
    """A strip with sign, value and limit; unfolded the details; what came of the order; nothing to do is no alarm."""
    shown = decisions()
    html = render(a_view(shown=shown))
    text = words(html)

    assert len(shown) == 4
    assert html.count('<span class="strip">') == 4
    cells = re.findall(r'<span class="cell (pass|fail|bypass|not_evaluated)"', html)
    assert len(cells) == 4 * 7
    assert "fail" in cells
    for decided in shown:
        assert f'href="/explain/{decided.decision.event_id}"' in html
        for layer in decided.decision.layers:
            assert layer.layer.replace("_", " ") in text
    assert "BTCUSDT entry buy filled" in text
    assert "refused: ALREADY_POSITIONED" in text
    assert "nothing to do: NO_POSITION" in text
    assert "✕ position failed" in text or "✕ position fail" in text
    assert "spread between" in text


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("rejected", "approved, rejected, 0.1 filled"),
        ("submitted", "approved, submitted"),
        (None, "approved, order on its way"),
    ],
)
def test_an_order_that_did_not_fill_says_what_became_of_it(status: str | None, said: str) -> None:
    """The state of the order as the database has it, with execution's reason."""
    approved = next(decided.decision for decided in decisions() if decided.decision.approved)
    decided = Decided(approved, status, Decimal("0.1"), None, "NO_QUOTE: none came")

    text = words(render(a_view(shown=[decided])))

    assert said in text
    assert "execution: NO_QUOTE: none came" in text


def test_everything_is_escaped() -> None:
    """Text from anywhere is text, in a cause, a symbol, a state, a reason, an alert, a service's fault."""
    decided = decisions()[0]
    layers = tuple(layer.model_copy(update={"detail": HOSTILE, "code": HOSTILE}) for layer in decided.decision.layers)
    evil = decided.decision.model_copy(update={"layers": layers, "event_id": HOSTILE, "symbol": HOSTILE})
    alert = Alert(
        event_id="a", timestamp=0, producer="cdb_risk", level="WARNING", code="CODE", message=HOSTILE, context={}
    )
    instrument = f"mexc_spot:{HOSTILE}"
    status = screen(
        causes={HOSTILE: {"by": HOSTILE, "reason": HOSTILE, "since": HOSTILE}}, trading_state=HOSTILE, mode=HOSTILE,
        positions=[{**POSITION, "instrument": instrument}], stale_marks=[instrument],
        working_orders=[{"order_id": HOSTILE, "instrument": instrument, "side": HOSTILE, "status": HOSTILE,
                         "quantity": HOSTILE, "filled": HOSTILE}],
        latched_exits=[{"instrument": instrument, "purpose": HOSTILE, "since": HOSTILE, "attempts": HOSTILE}],
        decisions={"approved": HOSTILE, "refused": {HOSTILE: HOSTILE}},
        core={"instruments": {instrument: {"last_bar": {"reasons": [HOSTILE], "action": HOSTILE}, "why": HOSTILE}}},
    )  # fmt: skip
    status["services"]["cdb_ws"]["failing"] = {HOSTILE: HOSTILE}
    past = Past(HOSTILE, None, [Decided(evil, HOSTILE, None, None, HOSTILE)], [alert])

    html = render(a_view(status, past=past, stale=[HOSTILE], outcomes={HOSTILE: 1}))
    reader = read(html)

    assert [attributes for tag, attributes in reader.tags if tag == "script"] == [{"src": "/script.js", "defer": None}]
    assert not {tag for tag, _ in reader.tags} & {"img", "iframe", "object", "style", "form"}
    assert not [
        name for _, attributes in reader.tags for name in attributes if name.startswith("on") or name == "style"
    ]


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere() -> None:
    """Every tag closes; no address but its own; keys of rows are unique among their siblings."""
    html = render(a_view(screen(positions=[POSITION, SHORT]), shown=decisions()))
    reader = read(html)
    links = [value for _, attributes in reader.tags for name, value in attributes.items() if name in {"href", "src"}]

    assert links
    assert all(str(link).startswith("/") and not str(link).startswith("//") for link in links)
    assert "http://" not in html.replace("http-equiv", "")
    identities = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(identities) == len(set(identities))


def test_live_shows_what_was_compared_with_the_exchange() -> None:
    """Verdict, canary, unanswered orders, and each difference with the command that accepts it; nothing on paper."""
    exchange = {
        "reconciliation": {
            "verdict": "differs",
            "to_accept": [{"name": "balance:BTC", "expected": "0.10", "actual": "0.2", "detail": "<more>"}],
        },
        "canary": {"fills": 3, "paused": True},
        "unknown_orders": [{"order_id": "ord-7", "since": "2021-05-19T13:00:00Z", "asked": 4}],
    }
    text = words(render(a_view(screen(mode="live"), exchange=exchange)))

    for part in (
        "verdict differs · canary: 3 fills, paused",
        "order ord-7 without an answer since 2021-05-19 13:00:00, asked 4 times",
        "balance:BTC 0.1 0.2 &lt;more&gt;",
        "claire resume --accept NAME --by YOU --reason TEXT",
    ):
        assert part in re.sub(r" (?=,)", "", text), f"{part!r} is missing in:\n{text}"
    assert "No difference" in render(a_view(exchange={"reconciliation": {"verdict": "agrees", "to_accept": []}}))
    assert 'id="exchange"' not in render(a_view())


def test_the_curve_is_drawn_with_its_fills() -> None:
    """Both charts carry their numbers; a fill stands on the line; one outside of the run's time is left out."""
    view = a_view()
    late = a_view(marks=[view.marks[0].__class__(9_999_999_999, "sell", "later")])
    html = render(view)

    assert html.count('class="chart ') == 2
    assert "buy 0.1 BTCUSDT at 50,000.00 (entry)" in html
    assert "later" not in render(late)
    assert "from 100,000.00 to 100,050.00, lowest 99,900.00, highest 100,200.00" in html
    assert "deepest 0.30 %" in html
    assert "100,200.00" in html
    assert "No curve yet" in render(a_view(points=curve(100)))
    assert read(render(a_view(points=curve(100, 100)))).open == []


def test_symbols_say_why_there_is_no_trade_now() -> None:
    """Age of the quote, the way to the threshold, what hinders; also for those without market data."""
    bar_ = {"momentum_pct": "0.002", "threshold_pct": "0.004", "volume_usdt": "1234567.8", "action": "none",
            "reasons": ["BELOW_THRESHOLD", "COOLDOWN"]}  # fmt: skip
    core = {
        "instruments": {
            "mexc_spot:BTCUSDT": {"last_bar": bar_, "cooldown_left_min": 7},
            "mexc_spot:ETHUSDT": {"last_bar": {**bar_, "action": "entry"}},
            "mexc_spot:SOLUSDT": {"last_bar": None, "why": "no bar yet"},
        }
    }
    ages: Any = {"mexc_spot:BTCUSDT": 61_500, "mexc_spot:ETHUSDT": None}
    text = words(render(a_view(screen(core=core), quote_ages_ms=ages)))

    assert "BTCUSDT 61.5 s +0.20 % 0.40 % 50 % 1,234,567 momentum under the threshold; cooling down, 7 min left" in text
    assert "ETHUSDT no quote" in text
    assert "entry signal at the last bar" in text
    assert "SOLUSDT - unknown unknown unknown unknown no bar yet" in text


def test_parts_write_what_they_are_given() -> None:
    """Ages in their unit, bars by how full they are, prices under one with all digits, odd numbers as text."""
    assert [span(ms) for ms in (None, 5, 1_500, 600_000, 8_000_000)] == ["no quote", "5 ms", "1.5 s", "10 min", "2 h"]
    for share, css in ((None, "none"), (Decimal("0.2"), "good"), (Decimal("0.5"), "warn"), (Decimal(2), "bad")):
        assert f'class="bar {css}"' in bar(share, "x")
    assert price(Decimal("0.00001230")) == "0.0000123"
    assert [number(value) for value in ("x<", True, "NaN", "1200.50")] == ["x&lt;", "unknown", "NaN", "1,200.5"]
    assert table(("a",), [], caption="c").count("<tr>") == 1
