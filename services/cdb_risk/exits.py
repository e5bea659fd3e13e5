"""The decision on an exit: the same seven layers, of which an exit bypasses what would keep a position from closing.

| layer | strategy exit | stop, take profit, guard, flatten |
|---|---|---|
| 1 | needs a good quote | needs a valid quote, collar bypassed |
| 2 | closes what is held less what is being closed | the same |
| 3, 4, 6 | bypass | bypass |
| 5 | blocked by an operator's halt or freeze | blocked by a freeze, but for flatten |
| 7 | blocked by old data or an old signal | blocked by old data |

What is blocked stays latched and asks again.
"""

from __future__ import annotations

from decimal import Decimal

from services.cdb_risk.codes import Code
from services.cdb_risk.entry import daily_loss_findings, halt_findings, missing_data, slippage_finding
from services.cdb_risk.finding import verdict, wire
from services.cdb_risk.layers.data_quality import check_problem, check_symbol
from services.cdb_risk.layers.position_limits import check_exit
from services.cdb_risk.layers.spread_check import check_spread
from services.cdb_risk.layers.timeout_check import check_age
from services.cdb_risk.layers.total_exposure import check_exposure
from services.cdb_risk.market import InstrumentMarket, Quote
from services.cdb_risk.prices import EXIT_PROTECTION_PCT, escalated_protection, protection_price, touch, worth_enough
from services.cdb_risk.protective import LatchedExit, closable, sellable
from services.cdb_risk.situation import Outcome, Situation
from services.common.decimals import ZERO
from services.common.events import LayerVerdict, Side, Signal, Sizing
from services.common.instruments import InstrumentSpec
from services.common.price_band import within_band

__all__ = ["NOTHING_TO_DO", "examine_exit"]

NOTHING_TO_DO = frozenset(code.value for code in (Code.NO_POSITION, Code.EXIT_WORKING, Code.EXIT_TOO_SOON, Code.DUST))
"""Codes of layer 2 that are the whole reason of a refused exit."""


def examine_exit(
    situation: Situation, key: str, wanted: LatchedExit, signal: Signal | None = None, *, too_soon: bool = False
) -> Outcome:
    """Return the verdict of all seven layers on closing a position: by a sale of a long, by a purchase of a short.

    Args:
        situation: what may be looked at.
        key: instrument key.
        wanted: the exit, with its purpose and the attempts made so far.
        signal: the exit signal when it has just come; a retry has none.
        too_soon: whether the last exit order was sent less than two seconds ago.
    """
    spec, market = situation.settings.spec(key), situation.market(key)
    quote = None if market is None else market.quote
    side = _side(situation, key, signal)
    held = closable(situation.held(key), side)
    pending = situation.state.reservations.pending_reducing(key)
    quantity = ZERO if spec is None else sellable(max(held - pending, ZERO), spec)
    price = _price(situation, key, spec, quote, wanted, side=side)
    if price is not None and spec is not None and quote is not None:
        price = worth_enough(side, price, quantity, quote, spec)
    dust = situation.is_dust(key, quantity)
    found = check_exit(held, pending, quantity, dust=dust, too_soon=too_soon)
    layers = (
        _data_quality(key, spec, market, wanted),
        verdict("position_limits", [found], bypass=not found.failed),
        verdict("daily_drawdown", daily_loss_findings(situation), bypass=True),
        _total_exposure(situation),
        _circuit_breaker(situation, wanted),
        _spread_check(situation, key, spec, quote, side=side, quantity=quantity),
        _timeout_check(situation, signal, quote),
    )
    failing = [layer.layer for layer in layers if layer.status == "fail"]
    approved = not failing
    return Outcome(
        approved=approved,
        reason=layers[1].code if layers[1].code in NOTHING_TO_DO else ", ".join(failing) or "approved",
        side=side,
        layers=layers,
        sizing=Sizing.make(
            method="position",
            requested=wire(held) or ZERO,
            approved=quantity if approved else ZERO,
            inputs={"position": wire(held), "pending_exits": wire(pending), "attempt": wanted.attempts},
        ),
        quantity=quantity if approved else ZERO,
        price=price,
        reference_price=None if quote is None else wire(quote.mid),
    )


def _side(situation: Situation, key: str, signal: Signal | None) -> Side:
    """Return what a signal asks for; without one, what closes the position."""
    if signal is not None:
        return "BUY" if signal.signal_type == "buy" else "SELL"
    return situation.closing_side(key) or "SELL"


def _price(
    situation: Situation, key: str, spec: InstrumentSpec | None, quote: Quote | None, wanted: LatchedExit, *, side: Side
) -> Decimal | None:
    pct = (
        escalated_protection(wanted.attempts, situation.settings.MAX_SLIPPAGE_PCT)
        if wanted.protective
        else EXIT_PROTECTION_PCT
    )
    if spec is not None and pct is None and not spec.market_orders:
        pct = situation.settings.MAX_SLIPPAGE_PCT  # the farthest that there is, where no order goes without a price
    if spec is None or quote is None or pct is None:
        return None
    price = protection_price(side, touch(side, quote), pct, spec.tick_size)
    return within_band(side, price, situation.limit_reference(key), spec)


def _data_quality(
    key: str, spec: InstrumentSpec | None, market: InstrumentMarket | None, wanted: LatchedExit
) -> LayerVerdict:
    findings = [check_symbol(key, known=spec is not None)]
    if market is None or market.quote is None:
        findings.append(missing_data())
    elif not wanted.protective:
        findings.append(check_problem(market.quote_problem))
    return verdict("data_quality", findings)


def _total_exposure(situation: Situation) -> LayerVerdict:
    limit = situation.settings.MAX_TOTAL_EXPOSURE_PCT
    found = check_exposure(situation.exposure(), ZERO, situation.capital(), limit, no_room=False)
    return verdict("total_exposure", [found], bypass=True)


def _circuit_breaker(situation: Situation, wanted: LatchedExit) -> LayerVerdict:
    trading = situation.state.trading
    blocks_protective = trading.is_set("freeze") and wanted.purpose != "flatten"
    blocks_strategy = not wanted.protective and trading.is_set("halt")
    return verdict("circuit_breaker", halt_findings(situation), bypass=not (blocks_protective or blocks_strategy))


def _spread_check(
    situation: Situation, key: str, spec: InstrumentSpec | None, quote: Quote | None, *, side: Side, quantity: Decimal
) -> LayerVerdict:
    if spec is None or quote is None:
        return verdict("spread_check", [missing_data()], bypass=True)
    findings = [
        slippage_finding(situation, key, spec, quote, side=side, quantity=max(quantity, spec.min_quantity)),
        check_spread(quote.bid, quote.ask, situation.settings.MAX_SPREAD_PCT),
    ]
    return verdict("spread_check", findings, bypass=True)


def _timeout_check(situation: Situation, signal: Signal | None, quote: Quote | None) -> LayerVerdict:
    limit = Decimal(situation.settings.DATA_STALE_TIMEOUT_SEC)
    findings = []
    if signal is not None:
        findings.append(check_age("signal", signal.timestamp, situation.now, limit, Code.SIGNAL_STALE))
    seen = None if quote is None else quote.timestamp
    findings.append(check_age("quote", seen, situation.now, limit, Code.DATA_STALE))
    return verdict("timeout_check", findings)
