"""The decision on an entry: all seven layers, and the quantity that the caps leave."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from services.cdb_risk.codes import Code
from services.cdb_risk.finding import Finding, verdict, wire
from services.cdb_risk.layers.circuit_breaker import breaker_findings
from services.cdb_risk.layers.daily_drawdown import check_pause, check_rolling_loss, daily_findings
from services.cdb_risk.layers.data_quality import (
    check_equity,
    check_gap,
    check_marks,
    check_problem,
    check_symbol,
    price_collar,
)
from services.cdb_risk.layers.live_ramp import (
    check_live_loss,
    check_live_order,
    check_live_position,
    check_live_symbol,
    tightest_last,
)
from services.cdb_risk.layers.perpetual_limits import (
    check_leverage,
    check_liquidation_distance,
    check_margin,
    check_mark,
)
from services.cdb_risk.layers.position_limits import (
    check_concurrent,
    check_entry_working,
    check_long_only,
    check_minimum,
    check_not_positioned,
    check_nothing_closing,
    check_order_notional,
    check_order_rate,
    check_rate,
    check_share,
    check_sizing,
    check_spacing,
)
from services.cdb_risk.layers.spread_check import check_slippage, check_spread
from services.cdb_risk.layers.timeout_check import check_age
from services.cdb_risk.layers.total_exposure import check_exposure
from services.cdb_risk.market import UNKNOWN_VOLATILITY, InstrumentMarket, Quote, plausible_price
from services.cdb_risk.prices import (
    ENTRY_PROTECTION_PCT,
    expected_slippage,
    protection_price,
    resting_price,
    touch,
    worst_price,
)
from services.cdb_risk.situation import Outcome, Situation
from services.cdb_risk.sizing import Request, headroom_quantity, round_to_lot
from services.cdb_risk.sizing_request import requested_size
from services.common.decimals import ZERO, divide
from services.common.events import LayerVerdict, Side, Signal, Sizing
from services.common.instruments import PERPETUAL, InstrumentSpec, instrument_key
from services.common.perpetuals import liquidation_distance, maintenance_fraction, tier_of
from services.common.portfolio import Position
from services.common.price_band import within_band

__all__ = ["daily_loss_findings", "examine_entry", "halt_findings", "missing_data", "slippage_finding"]


@dataclass(frozen=True)
class _Plan:
    """What an entry would be: filled in as far as the inputs are known.

    Attributes:
        request: of the sizing method.
        side: BUY opens a long, SELL a short.
        unit_cost: worst price of one base unit, quote currency.
        for_position: quantity that layer 2 leaves, on the lot grid.
        for_exposure: quantity that layer 4 leaves, on the lot grid.
        no_position_room, no_order_room, no_exposure_room: whether that cap leaves less than the smallest order, though
            more was asked.
        capped_by: the layer that cut the request; None when none did.
    """

    request: Request
    side: Side
    limit_price: Decimal = ZERO
    unit_cost: Decimal = ZERO
    for_position: Decimal = ZERO
    for_exposure: Decimal = ZERO
    no_position_room: bool = False
    no_order_room: bool = False
    no_exposure_room: bool = False
    capped_by: str | None = None

    @property
    def quantity(self) -> Decimal:
        return min(self.for_position, self.for_exposure)


def examine_entry(situation: Situation, signal: Signal) -> Outcome:
    """Return the verdict of all seven layers on an entry signal; refused unless every one passes."""
    key = instrument_key(signal.venue, signal.symbol)
    spec = situation.settings.spec(key)
    market = situation.market(key)
    quote = None if market is None else market.quote
    side: Side = "BUY" if signal.signal_type == "buy" else "SELL"
    plan = _plan(situation, key, spec, quote, side)
    layers = (
        _data_quality(situation, signal, spec, market),
        _position_limits(situation, signal, spec, quote, plan),
        verdict("daily_drawdown", daily_loss_findings(situation)),
        _total_exposure(situation, plan),
        verdict("circuit_breaker", halt_findings(situation)),
        _spread_check(situation, key, spec, quote, plan),
        _timeout_check(situation, signal, quote),
    )
    failing = [layer.layer for layer in layers if layer.status == "fail"]
    approved = not failing
    return Outcome(
        approved=approved,
        reason=", ".join(failing) or "approved",
        side=side,
        layers=layers,
        sizing=Sizing.make(
            method=plan.request.method,
            requested=wire(plan.request.quantity) or ZERO,
            approved=plan.quantity if approved else ZERO,
            capped_by=plan.capped_by,
            inputs={name: wire(value) for name, value in plan.request.inputs.items()},
        ),
        quantity=plan.quantity if approved else ZERO,
        price=plan.limit_price or None,
        reference_price=None if quote is None else wire(quote.mid),
        time_in_force=situation.settings.ENTRY_TIME_IN_FORCE,
    )


def _plan(situation: Situation, key: str, spec: InstrumentSpec | None, quote: Quote | None, side: Side) -> _Plan:
    settings, equity = situation.settings, situation.capital()
    price = None if quote is None else touch(side, quote)
    request = requested_size(situation, key, price)
    notional, exposure = situation.notional(key), situation.exposure()
    if (
        spec is None
        or quote is None
        or equity is None
        or request.quantity is None
        or notional is None
        or exposure is None
    ):
        lacking = Finding(Code.SIZING_INPUT_UNKNOWN, "size is zero: mark or grid is not known", value=ZERO)
        return _Plan(replace(request, quantity=None, refusal=request.refusal or lacking), side)
    limit_price = protection_price(side, touch(side, quote), ENTRY_PROTECTION_PCT, spec.tick_size)
    if settings.ENTRY_TIME_IN_FORCE == "GTC":
        limit_price = resting_price(side, quote, spec.tick_size)
    limit_price = within_band(side, limit_price, situation.limit_reference(key), spec)
    # A short binds the more the higher it fills, so its worst price lies above the market, too.
    highest = protection_price("BUY", quote.ask, ENTRY_PROTECTION_PCT, spec.tick_size)
    # What is held is valued at the mark, which on a perpetual may stand above its quotes.
    mark = situation.state.account.portfolio.marks.get(key)
    highest = highest if mark is None else max(highest, mark.price)
    unit_cost = worst_price(highest, settings.taker_fee(spec.venue))
    position_room = headroom_quantity(settings.largest_position(equity), notional, unit_cost)
    order_room = headroom_quantity(min(settings.largest_order, spec.max_notional), ZERO, unit_cost)
    exposure_room = headroom_quantity(settings.MAX_TOTAL_EXPOSURE_PCT * equity, exposure, unit_cost)
    asked = request.quantity
    for_position = round_to_lot(min(asked, position_room, order_room), spec)
    for_exposure = round_to_lot(min(asked, exposure_room), spec)

    def is_order(quantity: Decimal) -> bool:
        return quantity >= spec.min_quantity and quantity * quote.bid >= spec.min_notional

    asked_is_order = is_order(round_to_lot(asked, spec))
    capped_by = None
    if min(for_position, for_exposure) < round_to_lot(asked, spec):
        capped_by = "position_limits" if for_position <= for_exposure else "total_exposure"
    return _Plan(
        request,
        side,
        limit_price,
        unit_cost,
        for_position,
        for_exposure,
        asked_is_order and not is_order(round_to_lot(position_room, spec)),
        asked_is_order and not is_order(round_to_lot(order_room, spec)),
        asked_is_order and not is_order(for_exposure),
        capped_by,
    )


def missing_data() -> Finding:
    """Return the finding for an instrument without quotes."""
    return Finding(Code.MARKET_DATA_MISSING, "no quote has been seen")


def _data_quality(
    situation: Situation, signal: Signal, spec: InstrumentSpec | None, market: InstrumentMarket | None
) -> LayerVerdict:
    settings = situation.settings
    known = spec is not None and settings.may_enter(signal.venue, signal.symbol)
    findings = [check_symbol(signal.symbol, known=known)]
    if settings.sends:
        findings.append(check_live_symbol(signal.symbol, settings.LIVE_SYMBOLS))
    collar = []
    if signal.venue == PERPETUAL:
        mark = situation.state.account.portfolio.marks.get(instrument_key(signal.venue, signal.symbol))
        findings.append(check_mark(None if mark is None else mark.timestamp, situation.now))
    if market is None or market.good is None:
        findings.append(missing_data())
    else:
        findings += [check_problem(market.problem(settings.PRICE_COLLAR_PCT)), check_gap(gap_open=market.gap_open)]
        if plausible_price(signal.price):
            collar.append(price_collar(Code.SIGNAL_PRICE_COLLAR, signal.price, market.good, settings.PRICE_COLLAR_PCT))
        else:
            findings.append(Finding(Code.IMPLAUSIBLE_DATA, "the signal's price is outside every plausible range"))
    findings += [check_equity(situation.state.account.equity), check_marks(situation.stale_marks()), *collar]
    return verdict("data_quality", findings)


def _position_limits(
    situation: Situation, signal: Signal, spec: InstrumentSpec | None, quote: Quote | None, plan: _Plan
) -> LayerVerdict:
    key = instrument_key(signal.venue, signal.symbol)
    settings, state, now = situation.settings, situation.state, situation.now
    findings = [
        check_long_only(is_short=plan.side == "SELL", allowed=settings.may_short(signal.venue)),
        check_not_positioned(situation.held(key), dust=signal.venue != PERPETUAL and situation.is_dust(key)),
        check_entry_working(working=state.reservations.entry_working(key)),
        check_nothing_closing(working=state.reservations.exit_working(key)),
        check_concurrent(len(situation.occupied()), settings.MAX_CONCURRENT_POSITIONS),
        check_rate(state.entries.within_minute(key, now), settings.MAX_ENTRIES_PER_MINUTE),
        check_order_rate(state.entries.orders_within_minute(now), settings.MAX_ORDERS_PER_MINUTE),
        check_spacing(state.entries.since_last(plan.side, now), settings.ENTRY_SPACING_SEC),
        check_sizing(plan.request.quantity, plan.request.refusal),
    ]
    equity, notional = situation.capital(), situation.notional(key)
    if plan.request.refusal is not None or spec is None or quote is None or equity is None or notional is None:
        return verdict("position_limits", findings)
    if spec.tiers and plan.quantity:
        findings += _perpetual_limits(situation, spec, quote, plan)
    worst = notional + plan.quantity * plan.unit_cost
    ramp = _ramp(situation, plan, worst)
    findings += [found for found in ramp if found.failed]
    largest = min(settings.largest_order, spec.max_notional)
    findings.append(check_order_notional(plan.quantity * plan.unit_cost, largest, no_room=plan.no_order_room))
    no_room = plan.no_position_room
    findings.append(
        check_minimum(plan.for_position, quote.bid, spec.min_quantity, spec.min_notional, capped_to_nothing=no_room)
    )
    share = check_share(worst, equity, settings.MAX_POSITION_PCT, Code.POSITION_LIMIT)
    findings += tightest_last([*(found for found in ramp if not found.failed), share])
    return verdict("position_limits", findings)


def _ramp(situation: Situation, plan: _Plan, worst: Decimal) -> list[Finding]:
    """Return what the live ramp says of order and position; nothing on paper."""
    settings = situation.settings
    if not settings.sends:
        return []
    order, position = settings.LIVE_MAX_ORDER_USDT, settings.LIVE_MAX_POSITION_USDT
    equity = situation.capital()
    assert equity is not None, "without equity there is no plan"
    binds = settings.largest_position(equity) == position
    return [
        check_live_order(
            plan.quantity * plan.unit_cost, order, no_room=plan.no_order_room and settings.largest_order == order
        ),
        check_live_position(worst, position, no_room=plan.no_position_room and binds),
    ]


def _perpetual_limits(situation: Situation, spec: InstrumentSpec, quote: Quote, plan: _Plan) -> list[Finding]:
    """Return what leverage, liquidation and margin of the position that would be opened say."""
    settings, leverage = situation.settings, situation.settings.leverage(spec.venue)
    price, opened = touch(plan.side, quote), Position(spec.venue, spec.symbol)
    opened.trade(plan.side, plan.quantity, price, leverage)
    tier = tier_of(plan.quantity, spec)
    distance = liquidation_distance(opened, price, maintenance_fraction(plan.quantity, spec))
    assert distance is not None, "something would be held"
    worst, free = plan.quantity * plan.unit_cost, situation.free_cash()
    fee = plan.quantity * plan.unit_cost * settings.taker_fee(spec.venue)
    return [
        check_leverage(leverage, tier),
        check_liquidation_distance(distance, settings.STOP_LOSS_PCT),
        check_margin(divide(worst, Decimal(leverage)) + fee, ZERO if free is None else free),
    ]


def _total_exposure(situation: Situation, plan: _Plan) -> LayerVerdict:
    found = check_exposure(
        situation.exposure(),
        plan.quantity * plan.unit_cost,
        situation.capital(),
        situation.settings.MAX_TOTAL_EXPOSURE_PCT,
        no_room=plan.no_exposure_room,
    )
    return verdict("total_exposure", [found])


def daily_loss_findings(situation: Situation) -> list[Finding]:
    """Return what layer 3 finds, whoever asks."""
    account, trading, settings = situation.state.account, situation.state.trading, situation.settings
    latch, loss = daily_findings(
        account.start_of_day_equity,
        account.daily_pnl,
        settings.MAX_DAILY_DRAWDOWN_PCT,
        latched=trading.is_set("daily_loss"),
    )
    rolling = check_rolling_loss(account.rolling.peak, account.equity, settings.MAX_ROLLING_DRAWDOWN_PCT)
    rolling_latch = check_pause(Code.ROLLING_DRAWDOWN_LATCHED, latched=trading.is_set("rolling_loss"))
    streak = check_pause(Code.LOSS_STREAK, latched=trading.is_set("loss_streak"))
    found = [latch, rolling_latch.with_numbers_of(rolling), _with_streak(situation, streak), rolling]
    if not settings.sends:
        return [*found, loss]
    return [*found, *tightest_last([loss, check_live_loss(account.daily_pnl, settings.LIVE_MAX_DAILY_LOSS_USDT)])]


def _with_streak(situation: Situation, found: Finding) -> Finding:
    limit, lost = situation.settings.MAX_LOSS_STREAK, situation.state.trips.lost
    return found._replace(value=Decimal(lost), limit=Decimal(limit), headroom=Decimal(limit - lost)) if limit else found


def halt_findings(situation: Situation) -> list[Finding]:
    """Return what layer 5 finds, whoever asks."""
    state = situation.state
    limit = situation.settings.CIRCUIT_BREAKER_THRESHOLD_PCT
    return breaker_findings(state.account, state.trading, state.pressure, limit)


def slippage_finding(
    situation: Situation, key: str, spec: InstrumentSpec, quote: Quote, *, side: Side, quantity: Decimal
) -> Finding:
    """Return what an order of this quantity would cost against mid, compared with MAX_SLIPPAGE_PCT."""
    market = situation.state.market[key]
    volatility = market.volatility_1m
    expected = expected_slippage(
        side,
        quantity,
        quote,
        volume_60s=market.volume_60s(situation.now),
        volatility_1m=UNKNOWN_VOLATILITY if volatility is None else volatility,
        tick=spec.tick_size,
    )
    detail = "" if volatility is not None or expected is None else "expected slippage, volatility assumed"
    return check_slippage(expected, situation.settings.MAX_SLIPPAGE_PCT, detail)


def _spread_check(
    situation: Situation, key: str, spec: InstrumentSpec | None, quote: Quote | None, plan: _Plan
) -> LayerVerdict:
    if spec is None or quote is None:
        return verdict("spread_check", [missing_data()])
    quantity = plan.quantity or max(round_to_lot(plan.request.quantity or ZERO, spec), spec.min_quantity)
    return verdict(
        "spread_check",
        [
            slippage_finding(situation, key, spec, quote, side=plan.side, quantity=quantity),
            check_spread(quote.bid, quote.ask, situation.settings.MAX_SPREAD_PCT),
        ],
    )


def _timeout_check(situation: Situation, signal: Signal, quote: Quote | None) -> LayerVerdict:
    limit = Decimal(situation.settings.DATA_STALE_TIMEOUT_SEC)
    seen = None if quote is None else quote.timestamp
    return verdict(
        "timeout_check",
        [
            check_age("signal", signal.timestamp, situation.now, limit, Code.SIGNAL_STALE),
            check_age("quote", seen, situation.now, limit, Code.DATA_STALE),
        ],
    )
