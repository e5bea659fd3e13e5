"""Marks, leverage, margin and the liquidation guard of perpetuals in risk."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_risk.finding import wire
from services.cdb_risk.layers.perpetual_limits import check_leverage, check_liquidation_distance, check_margin
from services.cdb_risk.liquidation import liquidation_view
from services.common.instruments import PERPETUAL, RiskTier
from services.common.portfolio import Position
from tests.unit.risk.risk_desk import RiskDesk
from tests.unit.risk.test_risk_perpetuals import KEY, PerpetualDesk, layer, purposes

pytestmark = [pytest.mark.unit, pytest.mark.risk]


@pytest.fixture
def desk() -> PerpetualDesk:
    """A desk of perpetuals where shorts are allowed."""
    return PerpetualDesk()


# marks


def test_a_mark_far_from_its_quote_is_not_believed(desk: PerpetualDesk) -> None:
    """Over the collar from the quote beside it, it neither values nor stops."""
    desk.hold_short()
    assert purposes(desk.quote(mark="53000", at_ms=1_000)) == []
    assert desk.machine.state.account.portfolio.marks[KEY].price == 50_000


def test_a_mark_without_a_quote_is_compared_with_the_last_good_one(desk: PerpetualDesk) -> None:
    """Within the collar of it, it values and stops; beyond it, it does not; beside a crossed book it never does."""
    desk.hold_short()
    marks = desk.machine.state.account.portfolio.marks
    assert desk.quote(None, None, mark="53000", at_ms=1_000) == []
    assert desk.quote("50001", "49999", mark="51500", at_ms=1_000) == []
    assert desk.quote(None, None, mark="50500", at_ms=1_100) == []
    assert marks[KEY].price == 50_500
    assert purposes(desk.quote(None, None, mark="51000", at_ms=1_200)) == [("stop_loss", "BUY")]


def test_a_jumped_quote_with_its_mark_stops_but_does_not_value(desk: PerpetualDesk) -> None:
    """As on spot: the collar is bypassed by a stop alone."""
    desk.hold_short()
    outputs = desk.quote("53999.9", "54000.1", at_ms=1_000)
    assert purposes(outputs) == [("stop_loss", "BUY")]
    assert desk.machine.state.account.portfolio.marks[KEY].price == 50_000


@pytest.mark.parametrize(("wait_ms", "blocked"), [(60_000, False), (60_001, True)])
def test_no_entry_without_a_fresh_mark(desk: PerpetualDesk, wait_ms: int, *, blocked: bool) -> None:
    """Quotes alone do not open a position on a perpetual."""
    desk.quote()
    desk.quote(mark=None, at_ms=wait_ms)
    found = layer(desk.signal("buy"), "data_quality")
    assert found.code == ("MARK_MISSING" if blocked else "OK")


def test_an_implausible_mark_spoils_the_event(desk: PerpetualDesk) -> None:
    """A mark over a billion is no data at all."""
    desk.quote()
    desk.quote(mark=Decimal(10) ** 10, at_ms=1_000)
    assert layer(desk.signal("buy"), "data_quality").code == "IMPLAUSIBLE_DATA"


def test_a_held_perpetual_without_marks_is_blind(desk: PerpetualDesk) -> None:
    """Its quotes come, but its stop looks at the mark: a person must hear of it."""
    desk.hold_short()
    desk.quote(mark=None, at_ms=61_000)
    desk.tick(61_001)
    blind = [alert for alert in desk.alerts if alert.code == "BLIND_WHILE_POSITIONED"]
    assert [alert.level for alert in blind] == ["CRITICAL"]
    assert "no mark price for 60 s" in blind[0].message


# leverage, liquidation and margin


@pytest.mark.parametrize(("leverage", "blocked"), [(24, False), (25, True)])
def test_the_stop_must_have_room_before_the_liquidation(leverage: int, *, blocked: bool) -> None:
    """Long: 1 - (1 - 1/L) / (1 - 0.0014) is 4.033 % at 24 and 3.865 % at 25; twice the stop is 4 %."""
    desk = PerpetualDesk(LEVERAGE=leverage, MAX_LEVERAGE=50)
    desk.quote()
    decision = desk.signal("buy")
    found = layer(decision, "position_limits")
    assert decision.approved is not blocked
    if blocked:
        assert (found.code, found.limit) == ("LIQUIDATION_TOO_CLOSE", Decimal("0.04"))
        assert found.value is not None
        assert abs(found.value - Decimal("0.038654115762")) < Decimal("1e-9")
        assert found.headroom == found.value - Decimal("0.04")


def test_leverage_is_limited_by_the_tier_of_the_size() -> None:
    """Equality passes; beyond the largest tier nothing does."""
    tier = RiskTier(max_contracts=Decimal(1), maintenance_rate=Decimal("0.01"), max_leverage=20)
    assert check_leverage(21, tier).code == "LEVERAGE_LIMIT"
    assert check_leverage(1, None).code == "LEVERAGE_LIMIT"
    found = check_leverage(20, tier)
    assert (found.code, found.value, found.limit, found.headroom) == ("OK", 20, 20, 0)


def test_equality_passes() -> None:
    """A distance of exactly twice the stop, and margin for exactly the free cash."""
    assert check_liquidation_distance(Decimal("0.04"), Decimal("0.02")).code == "OK"
    assert check_margin(Decimal(100), Decimal(100)).code == "OK"
    assert check_margin(Decimal("100.01"), Decimal(100)).code == "INSUFFICIENT_MARGIN"


def test_the_smallest_rest_of_a_perpetual_blocks_an_entry(desk: PerpetualDesk) -> None:
    """On spot dust does not count as held; here an entry against it would turn it around."""
    desk.hold_short()
    position = desk.machine.state.account.portfolio.positions[KEY]
    position.quantity = Decimal("-0.00001")
    assert layer(desk.signal("buy"), "position_limits").code == "ALREADY_POSITIONED"


def test_the_margin_must_be_there() -> None:
    """A short of 60 % has gained 12 %: the caps leave room for 64000 more, but only 40000 are free to be margin."""
    desk = PerpetualDesk(
        MAX_POSITION_PCT=1,
        MAX_TOTAL_EXPOSURE_PCT=1,
        RISK_PER_TRADE_PCT="0.012",
        MAX_ORDER_NOTIONAL_USDT=1_000_000,
        ENTRY_SPACING_SEC=0,
    )
    desk.quote()
    desk.quote("2999.99", "3000.01", symbol="ETHUSDT")
    desk.result(desk.short(), price=50_000)
    portfolio = desk.machine.state.account.portfolio
    portfolio.marks[KEY].price = Decimal(40_000)
    decision = desk.signal("buy", symbol="ETHUSDT", price=3_000)
    found = layer(decision, "position_limits")
    assert (found.code, found.limit) == ("INSUFFICIENT_MARGIN", wire(portfolio.cash))
    assert found.value is not None
    assert found.value > 60_000


def test_pending_entries_bind_free_cash_at_their_leverage() -> None:
    """A pending short of 7500 USDT with leverage 5 binds 1500; an exit binds nothing; an unmarked entry is unknown."""
    desk = PerpetualDesk(LEVERAGE=5)
    desk.quote()
    desk.short()
    situation = desk.machine._situation()
    assert situation.free_cash() == 98_500
    del desk.machine.state.account.portfolio.marks[KEY]
    assert situation.free_cash() is None
    closing = PerpetualDesk(LEVERAGE=5)
    closing.hold_short()
    closing.signal("buy", "exit")
    assert closing.machine._situation().free_cash() == 98_500


# the liquidation guard


@pytest.fixture
def levered() -> PerpetualDesk:
    """A long of 0.1499 BTC at 50000 with leverage 20: liquidation at 47500 / 0.9986 = 47566.593, guard at 48047.06."""
    desk = PerpetualDesk(LEVERAGE=20, MAX_LEVERAGE=20)
    desk.quote()
    desk.result(desk.buy(), price=50_000)
    return desk


@pytest.mark.parametrize(("mark", "purpose"), [("48047", "liquidation_guard"), ("48048", "stop_loss")])
def test_the_guard_closes_at_its_distance_on_the_mark(levered: PerpetualDesk, mark: str, purpose: str) -> None:
    """(mark - liquidation) / mark <= 0.01 is the guard's; before it the stop's."""
    assert purposes(levered.quote(mark=mark, at_ms=1_000)) == [(purpose, "SELL")]


def test_the_guard_outranks_a_stop_that_did_not_leave(levered: PerpetualDesk) -> None:
    """The stop's order expired; the guard takes over, repeated every two seconds until the position is gone."""
    levered.quote(mark="48900", at_ms=1_000)
    stop = levered.orders[-1]
    levered.result(stop, "EXPIRED", reason="NO_SIZE")
    assert purposes(levered.quote(mark="48000", at_ms=2_000)) == []
    assert levered.machine.state.exits[KEY].purpose == "liquidation_guard"
    assert levered.decisions[-1].reason == "EXIT_TOO_SOON"
    assert purposes(levered.quote(mark="48000", at_ms=3_000)) == [("liquidation_guard", "SELL")]
    assert levered.quote(mark="47990", at_ms=3_500) == [], "it is at it already"
    levered.result(levered.orders[-1], "EXPIRED", reason="NO_SIZE")
    assert purposes(levered.quote(mark="49900", at_ms=5_000)) == [("liquidation_guard", "SELL")]
    levered.result(levered.orders[-1], price=49_000)
    assert (levered.held, levered.machine.state.exits) == (0, {})


def test_the_guard_works_while_trading_is_halted(levered: PerpetualDesk) -> None:
    """An operator's halt stops entries and the strategy, not the guard; a freeze holds it back, latched."""
    levered.command("halt")
    assert purposes(levered.quote(mark="48000", at_ms=1_000)) == [("liquidation_guard", "SELL")]
    frozen = PerpetualDesk(LEVERAGE=20, MAX_LEVERAGE=20)
    frozen.quote()
    frozen.result(frozen.buy(), price=50_000)
    frozen.command("halt", details={"freeze": True})
    assert purposes(frozen.quote(mark="48000", at_ms=1_000)) == []
    assert frozen.machine.state.exits[KEY].purpose == "liquidation_guard"


def test_flatten_outranks_the_guard(levered: PerpetualDesk) -> None:
    """What the operator wants is not replaced."""
    levered.command("flatten", by="ana", reason="enough")
    assert levered.quote(mark="48000", at_ms=1_000) == []
    assert levered.machine.state.exits[KEY].purpose == "flatten"


def test_a_near_liquidation_pages(levered: PerpetualDesk) -> None:
    """Within twice the guard's distance a person hears of it, with distance and price; far from it nobody does."""
    levered.tick(500)
    assert "LIQUIDATION_NEAR" not in levered.alert_codes()
    levered.quote(mark="48500", at_ms=1_000)
    levered.tick(1_001)
    (near,) = [alert for alert in levered.alerts if alert.code == "LIQUIDATION_NEAR"]
    assert near.level == "CRITICAL"
    assert near.context["price"] == Decimal("47566.593230522732")
    assert abs(near.context["distance"] - Decimal("0.019245500401")) < Decimal("1e-9")


def test_the_screen_shows_margin_and_liquidation(levered: PerpetualDesk) -> None:
    """Margin 374.75; at a mark of 49000 the distance is 2.9253 % and the ratio 0.0014 * 7345.1 / (374.75 - 149.9)."""
    levered.quote(mark="49000", at_ms=1_000)
    shown = levered.machine.summary()
    position = shown["positions"][0]
    assert (shown["margin"], shown["funding"], position["margin"]) == (Decimal("374.75"), 0, Decimal("374.75"))
    assert position["liquidation_price"] == Decimal("47566.593230522732")
    assert abs(position["liquidation_distance"] - Decimal("0.029253199377")) < Decimal("1e-9")
    assert abs(position["margin_ratio"] - Decimal("0.045733333333")) < Decimal("1e-9")
    spec = levered.machine.settings.spec(KEY)
    assert liquidation_view(spec, Position(PERPETUAL, "BTCUSDT"), Decimal(1)) is None
    assert liquidation_view(spec, Position(PERPETUAL, "BTCUSDT"), None) is None


def test_spot_has_no_liquidation() -> None:
    """Nothing of this appears for a spot position."""
    desk = RiskDesk()
    desk.hold()
    position = desk.machine.summary()["positions"][0]
    assert (position["liquidation_price"], position["margin_ratio"], position["margin"]) == (None, None, 0)
