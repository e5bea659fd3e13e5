"""Grids and limits out of exchangeInfo and contract/detail, and reading fields exactly."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.codec import decode
from services.common.decimals import format_number
from services.common.errors import ExchangeAnswerInvalid
from services.common.instruments import RiskTier
from services.common.mexc import rows
from services.common.mexc.instruments import contract_listing, spot_listing
from tests.unit.mexc.published import contract_row, spot_row


def test_spot_grids_come_from_decimals_and_from_the_fields_with_misleading_names() -> None:
    """Steps are powers of ten; `baseSizePrecision` and `quoteAmountPrecision` are the minimums."""
    listing = spot_listing(spot_row())

    spec = listing.spec
    assert (spec.venue, spec.symbol, spec.base, spec.quote) == ("mexc_spot", "BTCUSDT", "BTC", "USDT")
    assert (spec.tick_size, spec.lot_size) == (Decimal("0.01"), Decimal("0.00000001"))
    assert (spec.min_quantity, spec.min_notional) == (Decimal("0.000001"), Decimal(1))
    assert spec.max_notional == 4_000_000
    assert (spec.closed, spec.market_orders) == (None, True)
    assert set(spec.sides) == {"BUY", "SELL"}
    assert (spec.buy_band, spec.sell_band) == (Decimal("0.005"), Decimal("0.005"))


def test_a_smallest_quantity_of_nothing_is_one_lot() -> None:
    """Some instruments publish 0: no order can be smaller than a lot."""
    assert spot_listing(spot_row(baseSizePrecision="0")).spec.min_quantity == Decimal("0.00000001")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": "2"}, "status 2"),
        ({"isSpotTradingAllowed": False}, "not tradable by API"),
        ({"tradeSideType": 4}, "neither side is taken"),
        ({"status": "ENABLED", "tradeSideType": ..., "filters": [], "quotePrecision": ...}, None),
    ],
)
def test_why_a_spot_instrument_is_closed_is_said(changes: dict[str, Any], why: str | None) -> None:
    """Paused, not for the API, or closed on both sides; the older spelling of online is understood."""
    assert spot_listing(spot_row(**changes)).spec.closed == why


def test_an_instrument_that_may_only_be_sold_says_so() -> None:
    """`tradeSideType` 3 leaves the way out."""
    assert set(spot_listing(spot_row(tradeSideType=3)).spec.sides) == {"SELL"}


def test_contract_grids_are_base_units() -> None:
    """Contracts of 0.0001 BTC: lot and smallest order follow, and the tiers stay in contracts."""
    listing = contract_listing(contract_row())

    spec = listing.spec
    assert (listing.name, spec.venue, spec.symbol) == ("BTC_USDT", "mexc_perpetual", "BTCUSDT")
    assert (spec.tick_size, spec.lot_size, spec.min_quantity) == (Decimal("0.1"), Decimal("0.0001"), Decimal("0.0001"))
    assert (spec.contract_size, spec.volume_unit) == (Decimal("0.0001"), "contracts")
    assert spec.liquidation_fee_rate == Decimal("0.0004")
    assert [(tier.max_contracts, tier.max_leverage) for tier in spec.tiers] == [
        (50_000, 500),
        (60_000, 200),
        (4_500_000, 10),
    ]
    assert spec.max_quantity == 40
    assert (spec.buy_band, spec.sell_band, spec.closed) == (Decimal("0.1"), Decimal("0.1"), None)


def test_increasing_tiers_are_computed_by_the_published_formula() -> None:
    """Tier n: volume and both margins grow by (n - 1) steps; the leverage is what the margin allows."""
    row = contract_row(
        riskLimitMode="INCREASE", riskBaseVol=1000, riskIncrVol=500, riskIncrMmr=Decimal("0.004"),
        riskIncrImr=Decimal("0.008"), riskLevelLimit=2,
    )  # fmt: skip

    assert contract_listing(row).spec.tiers == (
        RiskTier(max_contracts=Decimal(1000), maintenance_rate=Decimal("0.001"), max_leverage=500),
        RiskTier(max_contracts=Decimal(1500), maintenance_rate=Decimal("0.005"), max_leverage=100),
    )


def test_tiers_counted_in_value_become_the_most_cautious_one() -> None:
    """Value cannot be told in contracts without a price: highest maintenance, lowest leverage, for every size."""
    assert contract_listing(contract_row(riskLimitType="BY_VALUE")).spec.tiers == (
        RiskTier(max_contracts=Decimal(400_000), maintenance_rate=Decimal("0.05"), max_leverage=10),
    )


@pytest.mark.parametrize(
    ("changes", "why"), [({"state": 4}, "state 4"), ({"apiAllowed": False}, "not tradable by API")]
)
def test_why_a_contract_is_closed_is_said(changes: dict[str, Any], why: str) -> None:
    """Paused or delivered, or not for the API."""
    assert contract_listing(contract_row(**changes)).spec.closed == why


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"baseAssetPrecision": ...}, "BTCUSDT: baseAssetPrecision=None"),
        ({"baseAssetPrecision": 40}, "BTCUSDT: baseAssetPrecision=40"),
        ({"maxQuoteAmount": "NaN"}, "BTCUSDT: maxQuoteAmount='NaN'"),
        ({"isSpotTradingAllowed": "yes"}, "BTCUSDT: isSpotTradingAllowed='yes'"),
        ({"filters": "none"}, "BTCUSDT: filters='none'"),
        ({"filters": [{"filterType": "OTHER"}], "status": None}, "BTCUSDT: status=None"),
        ({"symbol": "B"}, "B: symbol 'B'"),
        ({"symbol": 7}, "symbol=7"),
    ],
)
def test_a_field_of_spot_that_cannot_be_is_named_with_its_value(changes: dict[str, Any], named: str) -> None:
    """Whoever reads the error knows where to look."""
    with pytest.raises(ExchangeAnswerInvalid, match=named):
        spot_listing(spot_row(**changes))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"contractSize": 0}, "BTC_USDT: contractSize=Decimal\\('0'\\)"),
        ({"liquidationFeeRate": 2}, "BTC_USDT: liquidation_fee_rate"),
        ({"riskLimitCustom": [3]}, "BTC_USDT: riskLimitCustom=3"),
    ],
)
def test_a_field_of_a_contract_that_cannot_be_is_named_with_its_value(changes: dict[str, Any], named: str) -> None:
    """Whoever reads the error knows where to look."""
    with pytest.raises(ExchangeAnswerInvalid, match=named):
        contract_listing(contract_row(**changes))


def test_ids_are_read_as_text_or_as_number_without_losing_a_digit() -> None:
    """The exchange sends both; an id beyond 2^53 keeps all its digits."""
    assert rows.identifier(decode('{"id":102057569836905984}'), "id") == "102057569836905984"
    assert rows.identifier({"id": "C02__1"}, "id") == "C02__1"
    assert rows.optional_identifier({"id": ""}, "id") is rows.optional_identifier({}, "id") is None
    with pytest.raises(ExchangeAnswerInvalid, match="id=True"):
        rows.identifier({"id": True}, "id")


def test_times_become_microseconds() -> None:
    """Milliseconds as number or text; zero is no time."""
    assert rows.milliseconds({"t": 1765342336768}, "t") == rows.milliseconds({"t": "1765342336768"}, "t")
    assert rows.milliseconds({"t": 1765342336768}, "t") == 1765342336768000
    with pytest.raises(ExchangeAnswerInvalid, match="t=0"):
        rows.milliseconds({"t": 0}, "t")


@pytest.mark.parametrize("value", [None, "", "1,5", "abc", "Infinity", True, [], "1e99", "9" * 29, Decimal("NaN")])
def test_what_is_no_number_is_refused(value: Any) -> None:
    """Nothing but a finite number within the wire's digits gets in."""
    with pytest.raises(ExchangeAnswerInvalid, match="price="):
        rows.number({"price": value}, "price")


def test_what_need_not_be_told_may_be_missing() -> None:
    """Missing, null and empty text mean the same."""
    assert (
        rows.optional_number({}, "p") is rows.optional_number({"p": None}, "p") is rows.optional_number({"p": ""}, "p")
    )
    assert rows.optional_number({"p": "1.50"}, "p") == Decimal("1.50")
    with pytest.raises(ExchangeAnswerInvalid, match=r"p=Decimal\('1.5'\)"):
        rows.integer({"p": Decimal("1.5")}, "p")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=30))
def test_every_number_that_is_read_can_stand_on_the_wire(value: Decimal) -> None:
    """Finer than 18 decimals is rounded to them; everything else keeps its digits."""
    read = rows.number({"x": f"{value:f}"}, "x")

    format_number(read)
    assert abs(read - value) <= Decimal("1e-15")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_whatever_stands_in_a_field_is_read_or_named(value: Any) -> None:
    """No type and no text makes anything but the one error."""
    readers = (rows.number, rows.integer, rows.milliseconds, rows.text, rows.identifier, rows.flag, rows.positive,
               rows.optional_number, rows.optional_identifier)  # fmt: skip
    for reader in readers:
        with contextlib.suppress(ExchangeAnswerInvalid):
            reader({"field": value}, "field")
