"""Numbers as a trader reads them, and the unit of what each layer compares."""

from __future__ import annotations

from decimal import Decimal

import pytest

from claire.explain.fill_rule import fill_lines
from claire.explain.position import as_instrument
from claire.explain.wording import (
    Unit,
    bps,
    duration,
    fee,
    instrument_name,
    layer_number,
    money,
    percent,
    price,
    quote_line,
    rounded,
    short,
    unit_of,
)
from services.cdb_risk.codes import Code
from services.common.events import LayerName, LayerVerdict, MarketData, OrderResult
from services.common.timestamps import MINUTE_US, SECOND_US

pytestmark = pytest.mark.unit


def layer(name: LayerName, code: str = "OK", detail: str = "") -> LayerVerdict:
    """Return a verdict."""
    return LayerVerdict(layer=name, code=code, status="pass", detail=detail)


@pytest.mark.parametrize(
    ("verdict", "purpose", "unit"),
    [
        (layer("position_limits"), "entry", "fraction"),
        (layer("position_limits"), "stop_loss", "base"),
        (layer("position_limits", Code.POSITION_LIMIT, "12 of 100"), "entry", "fraction"),
        (layer("position_limits", Code.POSITION_LIMIT, "0 worth 0 is left; the exchange takes 1"), "entry", "usdt"),
        (layer("position_limits", Code.ORDER_RATE), "entry", "count"),
        (layer("position_limits", Code.ENTRY_SPACING), "entry", "seconds"),
        (layer("position_limits", Code.INSUFFICIENT_MARGIN), "entry", "usdt"),
        (layer("position_limits", Code.LIQUIDATION_TOO_CLOSE), "entry", "fraction"),
        (layer("timeout_check", Code.DATA_STALE), "entry", "seconds"),
        (layer("data_quality", Code.EQUITY_UNKNOWN), "entry", "usdt"),
        (layer("spread_check", Code.SPREAD_LIMIT), "entry", "fraction"),
    ],
)
def test_each_layer_s_numbers_have_their_unit(verdict: LayerVerdict, purpose: str, unit: Unit) -> None:
    """The same layer compares shares, money, quantities or seconds, as its code says."""
    assert unit_of(verdict, purpose) == unit


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (layer_number(Decimal("0.075187"), "fraction"), "7.52 %"),
        (layer_number(Decimal("1234.5"), "usdt"), "1,234.50 USDT"),
        (layer_number(Decimal("61.04"), "seconds"), "61 s"),
        (layer_number(Decimal(3), "count"), "3"),
        (layer_number(Decimal("0.15"), "base"), "0.15"),
        (layer_number(None, "fraction"), "-"),
        (money(Decimal(202_858_914)), "202.86 M USDT"),
        (money(None), "?"),
        (price(Decimal("44280.5")), "44,280.50"),
        (price(Decimal("0.0612")), "0.0612"),
        (price(None), "?"),
        (percent(Decimal("0.00002")), "0.0020 %"),
        (percent(Decimal("-0.0055"), signed=True), "-0.55 %"),
        (percent(None), "?"),
        (bps(Decimal("1.4656")), "+1.47 bp"),
        (bps(None), "?"),
        (duration(250_000), "250 ms"),
        (duration(15 * SECOND_US), "15 s"),
        (duration(3 * MINUTE_US), "3 min"),
        (duration(7 * MINUTE_US + 15 * SECOND_US), "7 min 15 s"),
        (duration(125 * MINUTE_US), "2 h 5 min"),
        (short("ord-c813c98251fa2a22648ecf2b8c67"), "ord-c813c98251…"),
        (short("c813c98251fa2a22648ecf2b8c671fd4"), "c813c98251…"),
        (short("ws-1"), "ws-1"),
        (short(None), "-"),
        (instrument_name("mexc_perpetual", "BTCUSDT"), "BTCUSDT perp"),
        (rounded("7518.718626502965 of 100000"), "7,518.72 of 100000"),
        (rounded("quote is 0.100000 s old"), "quote is 0.1 s old"),
        (rounded("at 2021-05-19T12:00:00.000000Z"), "at 2021-05-19T12:00:00.000000Z"),
    ],
)
def test_numbers_are_written_for_people(shown: str, text: str) -> None:
    """Thousands separated, no trailing zeros, a unit."""
    assert shown == text


def test_a_perpetual_s_quote_has_its_mark_and_a_gap_is_said() -> None:
    """What the decision looked at."""
    fields = {name: Decimal(100) for name in ("price", "high", "low")}
    event = MarketData(
        event_id="m", timestamp=0, producer="cdb_ws", venue="mexc_perpetual", symbol="BTCUSDT", sequence=1,
        bid=Decimal(99), ask=Decimal(101), mark_price=Decimal("100.5"), gap=True, **fields,
    )  # fmt: skip

    assert quote_line(event) == "price 100.00, bid 99.00, ask 101.00, mark 100.50, after a gap"


def test_a_fill_that_an_operator_told_names_him() -> None:
    """It has no rule of the paper exchange."""
    result = OrderResult(
        event_id="r", timestamp=0, producer="cdb_execution", order_id="o", client_order_id="c", status="FILLED",
        venue="mexc_spot", symbol="BTCUSDT", side="BUY", quantity=Decimal(1), filled_quantity=Decimal(1),
        last_quantity=Decimal(1), last_price=Decimal(100), fill={"rule": "operator", "by": "ana: seen there"},
    )  # fmt: skip

    assert "rule: operator: ana: seen there" in fill_lines(result)


def test_a_fee_is_told_in_its_own_coin_with_all_that_is_known() -> None:
    """A fee of a spot buy is a sliver of the coin that was bought: to the cent it would be nothing."""
    assert fee(Decimal("0.0000004155"), "BTC") == "0.0000004155 BTC"
    assert fee(Decimal("0.0246001"), "USDT") == "0.0246 USDT"
    assert fee(Decimal("0.5"), None) == "0.5"


@pytest.mark.parametrize(
    ("text", "instrument"),
    [
        ("BTCUSDT", (None, "BTCUSDT")),
        ("mexc_perpetual:ethusdt", ("mexc_perpetual", "ETHUSDT")),
        ("PEPE_USDT", (None, "PEPEUSDT")),
        ("mexc_spot:1INCHUSDC", ("mexc_spot", "1INCHUSDC")),
        ("nowhere:BTCUSDT", None),
        ("c813c98251", None),
        ("ord-c84b35462e9de9dd46a78c17f53b", None),
        ("USDT", None),
    ],
)
def test_any_instrument_of_the_exchange_can_be_asked_for(text: str, instrument: tuple[str | None, str] | None) -> None:
    """The screener and live rules trade what no list in the code knows; an id is never taken for a symbol."""
    assert as_instrument(text) == instrument
