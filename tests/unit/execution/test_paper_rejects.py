"""Paper refuses what the exchange would: state, side, type, size and distance of the price, from the feed's facts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cdb_execution.live.order_rules import check_rules, rules_told
from services.cdb_execution.settings import INSTRUMENTS
from services.common.events import OrderResult
from services.common.instruments import InstrumentSpec
from services.common.market_facts import instrument_details, read_instruments
from services.common.price_band import farthest_price, within_band
from tests.unit.execution.execution_desk import Desk

pytestmark = [pytest.mark.unit, pytest.mark.risk]

SPOT, PERPETUAL = INSTRUMENTS["mexc_spot:BTCUSDT"], INSTRUMENTS["mexc_perpetual:BTCUSDT"]
BAND = {"buy_band": Decimal("0.005"), "sell_band": Decimal("0.005")}


def told(spec: InstrumentSpec = SPOT, **facts: Any) -> Desk:
    """Return a desk whose feed has told more of BTCUSDT, and which holds 1 BTC on spot."""
    perpetual = spec is PERPETUAL
    desk = Desk(VENUE=spec.venue) if perpetual else Desk()
    if not perpetual:
        desk.hold("1")
    desk.control("instruments", 1_000, details=instrument_details([spec.model_copy(update=facts)]))
    desk.quote(1_000, price="40000", venue=spec.venue, **({"mark_price": Decimal(40_000)} if perpetual else {}))
    return desk


def sent(desk: Desk, order: dict[str, Any] | None = None, **decision: Any) -> OrderResult:
    """Send an order and return what is said to it."""
    (result,) = [event for event in desk.send(1_100, order, **decision) if isinstance(event, OrderResult)]
    return result


@pytest.mark.parametrize(
    ("facts", "order", "reason"),
    [
        ({"closed": "status 2"}, {}, "EXCHANGE_RULE: BTCUSDT is closed: status 2"),
        ({"sides": ("SELL",)}, {}, "EXCHANGE_RULE: BTCUSDT takes no BUY now"),
        ({"max_quantity": Decimal("0.1")}, {}, "EXCHANGE_RULE: quantity 0.2 is over the exchange's 0.1"),
        (
            BAND,
            {"price": Decimal("40200.01")},
            "EXCHANGE_RULE: price 40200.01 is above 40200, the last that the exchange takes at 40000",
        ),
        (BAND, {"price": Decimal(40_200)}, None),
    ],
)
def test_an_entry_is_refused_as_live_would_refuse_it(facts: Any, order: dict[str, Any], reason: str | None) -> None:
    """The same function with the same words judges an entry on paper and before it is sent."""
    desk = told(**facts)

    result = sent(desk, order)

    assert (result.status, result.reason) == ("NEW" if reason is None else "REJECTED", reason)
    spec = SPOT.model_copy(update=facts)
    entry = desk.order_of(desk.decision(0), **order)
    live = check_rules(entry, {"BTCUSDT": rules_told(spec)}, Decimal(40_000))
    assert (None if live is None else str(live)) == reason


@pytest.mark.parametrize(
    ("facts", "order", "reason"),
    [
        ({"closed": "status 2"}, {}, "REFUSED: 30016: BTCUSDT is closed: status 2"),
        ({"sides": ("BUY",)}, {}, "REFUSED: 30001: BTCUSDT takes no SELL now"),
        (
            BAND,
            {"price": Decimal("39799.99")},
            "REFUSED: 30087: price 39799.99 is below 39800, the last that the exchange takes at 40000",
        ),
        (BAND, {"price": None, "order_type": "MARKET"}, None),
        (BAND | {"market_orders": False}, {"price": None, "order_type": "MARKET"}, "EXCHANGE_RULE: BTCUSDT takes no"),
    ],
)
def test_an_exit_is_refused_with_the_exchanges_code(facts: Any, order: dict[str, Any], reason: str | None) -> None:
    """Live sends it and MEXC answers with a code: paper answers for MEXC."""
    result = sent(told(**facts), order, side="SELL", purpose="stop_loss")

    assert result.status == ("NEW" if reason is None else "REJECTED")
    assert reason is None or (result.reason or "").startswith(reason)


def test_on_perpetuals_the_mark_is_the_reference_and_codes_are_theirs() -> None:
    """A limit 2 % off the mark is refused where 1 % is taken; without a mark nothing is known."""
    desk = told(PERPETUAL, buy_band=Decimal("0.01"))
    order = {"price": Decimal("40400.1"), "leverage": 1}

    refused = sent(desk, order, venue="mexc_perpetual", quantity="0.2")
    selling = desk.order_of(desk.decision(0, venue="mexc_perpetual", side="SELL", purpose="exit"), price=Decimal(1))
    rules = {"BTCUSDT": rules_told(PERPETUAL.model_copy(update={"sell_band": Decimal("0.01")}))}

    assert (refused.reason or "").startswith("EXCHANGE_RULE: price 40400.1 is above 40400")
    said = check_rules(selling, rules, Decimal(40_000), on_paper=True)
    assert str(said).startswith("REFUSED: 2004: price 1 is below 39600")
    assert desk.machine.state.reference_price("mexc_perpetual:BTCUSDT") == 40_000
    assert desk.machine.state.reference_price("mexc_spot:ETHUSDT") is None


def test_facts_that_say_nothing_more_have_the_bytes_of_before() -> None:
    """Rules that are not told are left out, and what is told is read back."""
    plain = instrument_details([SPOT])["instruments"][0]
    more = instrument_details([SPOT.model_copy(update={"closed": "status 3", **BAND})])

    assert not {"max_quantity", "buy_band", "sell_band", "sides", "market_orders", "closed"} & plain.keys()
    (read,) = read_instruments(more).values()
    assert (read.closed, read.buy_band, read.sides) == ("status 3", Decimal("0.005"), ("BUY", "SELL"))


@given(
    st.sampled_from(["BUY", "SELL"]),
    st.decimals("0.01", 90_000, places=2),
    st.one_of(st.none(), st.decimals("0.01", 90_000, places=2)),
    st.one_of(st.none(), st.decimals("0.001", 2, places=3)),
)
def test_a_protective_price_is_moved_into_the_band_and_no_further(
    side: str, price: Decimal, reference: Decimal | None, band: Decimal | None
) -> None:
    """On the grid, within the band, nearer to the market or where it was."""
    spec = SPOT.model_copy(update={"buy_band": band, "sell_band": band})

    moved, farthest = within_band(side, price, reference, spec), farthest_price(side, reference, spec)

    direction = 1 if side == "BUY" else -1
    assert moved > 0
    assert (moved - price) * direction <= 0
    if farthest is None or farthest <= 0:
        assert moved == price
    else:
        assert (moved - farthest) * direction <= 0
        assert moved in {price, farthest}
        assert farthest % spec.tick_size == 0
