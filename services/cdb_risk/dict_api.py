"""The library's way in: the same seven layers over plain dicts with the environment names as config keys.

An absent key leaves its check out (`not_evaluated`); a key that is there with a bad value (NaN, Infinity, negative
where that makes no sense, a wrong type, absurdly large) fails its layer, also where an exit bypasses it. Nothing is
approved without a symbol, a side, a price and a size. The pipeline is stricter: there, what is missing fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any, Final

from services.cdb_risk.codes import Code
from services.cdb_risk.dict_sizing import requested_by_dict, sizing_inputs
from services.cdb_risk.finding import Finding, bad_value, ok, verdict
from services.cdb_risk.given import Given, Plain, amount, choice, fraction, instant, price, signed, switch
from services.cdb_risk.layers.circuit_breaker import check_halts, check_peak_loss
from services.cdb_risk.layers.daily_drawdown import check_daily_latch, check_daily_loss
from services.cdb_risk.layers.data_quality import check_book, check_equity, check_symbol, price_collar
from services.cdb_risk.layers.position_limits import (
    check_concurrent,
    check_exit,
    check_long_only,
    check_minimum,
    check_not_positioned,
    check_rate,
    check_share,
    check_sizing,
)
from services.cdb_risk.layers.spread_check import check_slippage, check_spread
from services.cdb_risk.layers.timeout_check import check_age
from services.cdb_risk.layers.total_exposure import check_exposure
from services.cdb_risk.settings import RiskSettings
from services.cdb_risk.sizing import Request, headroom_quantity, round_to_lot
from services.common.decimals import FIXED, ONE, ZERO
from services.common.errors import ContractViolation
from services.common.events import LAYERS, LayerName, LayerVerdict
from services.common.instruments import instrument_key, normalise_symbol

__all__ = ["Verdict", "validate"]

Verdict = dict[str, Any]
"""`approved`, `reason`, `layers`, `position_size` (base units), `sizing`: plain values, numbers as floats."""

_DEFAULTS: Final = RiskSettings()
_STEP: Final = Decimal("0.00000001")
_MODES: Final = ("ACTIVE", "REDUCING", "HALTED", "FROZEN")


def validate(signal: Any, state: Any, config: Any) -> Verdict:
    """Return the verdict on a signal; never raises, and never approves what it cannot read."""
    for name, given in (("signal", signal), ("state", state), ("config", config)):
        if not isinstance(given, dict):
            return _refuse_all(bad_value(name, given))
    with localcontext(FIXED.copy()):
        return _Case(signal, state, config).decide()


def _refuse_all(finding: Finding) -> Verdict:
    layers = [verdict(layer, [finding] if layer == "data_quality" else []) for layer in LAYERS]
    return _result(layers, Request("dict", None), ZERO, None)


def _result(layers: Iterable[LayerVerdict], request: Request, quantity: Decimal, capped_by: str | None) -> Verdict:
    layers = list(layers)
    failing = [layer.layer for layer in layers if layer.status == "fail"]
    size = ZERO if failing else quantity
    return {
        "approved": not failing,
        "reason": ", ".join(failing) or "approved",
        "position_size": float(size),
        "layers": [
            {name: float(v) if isinstance(v, Decimal) else v for name, v in layer.model_dump().items()}
            for layer in layers
        ],
        "sizing": {
            "method": request.method,
            "requested": float(request.quantity or ZERO),
            "approved": float(size),
            "capped_by": capped_by,
            "inputs": {name: None if v is None else float(v) for name, v in request.inputs.items()},
        },
    }


def _faults(*given: Given[Any]) -> list[Finding]:
    return [g.fault for g in given if g.fault is not None]


@dataclass(frozen=True)
class _Size:
    """The quantity that the caps leave, and which layer cut it."""

    request: Request
    for_position: Decimal = ZERO
    for_exposure: Decimal = ZERO
    capped_by: str | None = None

    @property
    def quantity(self) -> Decimal:
        return min(self.for_position, self.for_exposure)


class _Case:
    """One signal with its state and config, read once."""

    def __init__(self, signal: Plain, state: Plain, config: Plain) -> None:
        self.kind = choice(signal, ("signal",), "type")
        self.side = choice(signal, ("buy", "sell"), "signal_type", "side")
        self.intent = choice(signal, ("entry", "exit"), "intent")
        self.price = price(signal, "price")
        self.requested = amount(signal, "size", "quantity")
        self.symbol, self.symbol_finding = _symbol(signal, config)
        self.spec = _DEFAULTS.spec(instrument_key("mexc_spot", self.symbol))

        account = amount(config, "ACCOUNT_EQUITY")
        equity = amount(state, "equity", "total_equity")
        self.equity_given, self.account = equity, account
        self.equity = equity if equity.present else account
        self.position = _position(state, self.symbol)

        self.config, self.state, self.signal = config, state, signal
        self.bid = price(signal, "bid") if "bid" in signal else price(state, "bid")
        self.ask = price(signal, "ask") if "ask" in signal else price(state, "ask")
        self.mode = choice(state, _MODES, "trading_state")

    @property
    def is_exit(self) -> bool:
        """Without an intent a sell closes, since spot sells only what is held."""
        return (self.intent.value or ("exit" if self.side.value == "sell" else "entry")) == "exit"

    def decide(self) -> Verdict:
        exposure, exposure_faults = self._exposure()
        if self.is_exit:
            size, limits = self._exit_size()
        else:
            size = self._entry_size(exposure)
            limits = self._position_limits(size)
        layers = [
            self._layer("data_quality", self._data_quality(), bypassed=False),
            self._layer("position_limits", limits, bypassed=False),
            self._layer("daily_drawdown", self._daily_drawdown(), bypassed=self.is_exit),
            self._layer("total_exposure", self._total_exposure(exposure, exposure_faults, size), bypassed=self.is_exit),
            self._layer("circuit_breaker", self._circuit_breaker(), bypassed=False),
            self._layer("spread_check", self._spread_check(), bypassed=self.is_exit),
            self._layer("timeout_check", self._timeout_check(), bypassed=False),
        ]
        return _result(layers, size.request, size.quantity, size.capped_by)

    @staticmethod
    def _layer(layer: LayerName, findings: list[Finding], *, bypassed: bool) -> LayerVerdict:
        garbage = any(finding.code is Code.BAD_VALUE for finding in findings)
        return verdict(layer, findings, bypass=bypassed and not garbage)

    # the layers

    def _data_quality(self) -> list[Finding]:
        findings = [self.symbol_finding, *_faults(self.kind, self.side, self.intent, self.price)]
        if not self.side.present:
            findings.append(Finding(Code.BAD_VALUE, "signal_type (or side) is missing; buy or sell is meant"))
        if not self.price.present:
            findings.append(Finding(Code.MARKET_DATA_MISSING, "price is missing"))
        findings += _faults(self.equity_given, self.account)
        if self.equity.value is not None:
            findings.append(check_equity(self.equity.value))
        if self.bid.value is not None and self.ask.value is not None:
            findings.append(check_book(self.bid.value, self.ask.value))
        last, collar = price(self.state, "last_price"), fraction(self.config, "PRICE_COLLAR_PCT")
        findings += _faults(last, collar)
        if self.price.value is not None and last.value is not None and collar.value is not None:
            findings.append(price_collar(Code.PRICE_COLLAR, self.price.value, last.value, collar.value))
        return findings

    def _entry_size(self, exposure: Decimal | None) -> _Size:
        request = self._request()
        asked, equity, unit_cost = request.quantity, self.equity.value, self.price.value
        if asked is None or equity is None or unit_cost is None:
            return _Size(request)
        position_limit = fraction(self.config, "MAX_POSITION_PCT").value
        order_limit = amount(self.config, "MAX_ORDER_NOTIONAL_USDT").value
        exposure_limit = fraction(self.config, "MAX_TOTAL_EXPOSURE_PCT", "MAX_EXPOSURE_PCT").value
        for_position, for_exposure = asked, asked
        if position_limit is not None:
            held = abs(self.position.value or ZERO) * unit_cost
            for_position = min(for_position, headroom_quantity(position_limit * equity, held, unit_cost))
        if order_limit is not None:
            for_position = min(for_position, headroom_quantity(order_limit, ZERO, unit_cost))
        if exposure_limit is not None and exposure is not None:
            for_exposure = min(for_exposure, headroom_quantity(exposure_limit * equity, exposure, unit_cost))
        for_position, for_exposure = self._to_lot(for_position), self._to_lot(for_exposure)
        capped_by = None
        if min(for_position, for_exposure) < self._to_lot(asked):
            capped_by = "position_limits" if for_position <= for_exposure else "total_exposure"
        return _Size(request, for_position, for_exposure, capped_by)

    def _request(self) -> Request:
        if self.requested.present:
            return Request("requested", self.requested.value)
        return requested_by_dict(self.equity.value, self.price.value, self.state, self.config)

    def _to_lot(self, quantity: Decimal) -> Decimal:
        return round_to_lot(quantity, self.spec) if self.spec is not None else quantity

    def _minimum(self) -> tuple[Decimal, Decimal]:
        return (_STEP, ZERO) if self.spec is None else (self.spec.min_quantity, self.spec.min_notional)

    def _position_limits(self, size: _Size) -> list[Finding]:
        config, state = self.config, self.state
        share = fraction(config, "MAX_POSITION_PCT")
        held, positions = amount(state, "open_positions"), amount(config, "MAX_CONCURRENT_POSITIONS")
        entries, rate = amount(state, "entries_last_minute"), amount(config, "MAX_ENTRIES_PER_MINUTE")
        findings = [
            *_faults(
                self.requested, self.position, share, held, positions, entries, rate,
                amount(config, "MAX_ORDER_NOTIONAL_USDT"), *sizing_inputs(state, config),
            ),
            check_long_only(is_short=self.side.value == "sell"),
        ]  # fmt: skip
        if self.position.value is not None:
            findings.append(check_not_positioned(self.position.value))
        if held.value is not None and positions.value is not None:
            findings.append(check_concurrent(int(held.value), int(positions.value)))
        if entries.value is not None and rate.value is not None:
            findings.append(check_rate(int(entries.value), int(rate.value)))
        findings.append(check_sizing(size.request.quantity, size.request.refusal))
        if size.request.refusal is not None:
            return findings
        equity, unit_cost = self.equity.value, self.price.value
        if equity is None or unit_cost is None:
            return [*findings, Finding(Code.SIZING_INPUT_UNKNOWN, "equity or price is not known", value=ZERO)]
        min_quantity, min_notional = self._minimum()
        capped = self._to_lot(size.request.quantity or ZERO) > size.for_position
        findings.append(
            check_minimum(size.for_position, unit_cost, min_quantity, min_notional, capped_to_nothing=capped)
        )
        if share.value is not None and equity > 0:
            worst = (abs(self.position.value or ZERO) + size.quantity) * unit_cost
            findings.append(check_share(worst, equity, share.value, Code.POSITION_LIMIT))
        return findings

    def _exit_size(self) -> tuple[_Size, list[Finding]]:
        """An exit sells what is held; with an unknown position, what the signal asks for."""
        held = self.position.value if self.position.present else self.requested.value
        if self.side.value == "buy":
            held = ZERO
        held = held or ZERO
        wanted = held if self.requested.value is None else min(self.requested.value, held)
        quantity = self._to_lot(wanted)
        dust = quantity < self._minimum()[0]
        found = check_exit(held, ZERO, quantity, dust=dust, too_soon=False)
        size = _Size(Request("position", wanted), quantity, quantity)
        return size, [*_faults(self.requested, self.position), found]

    def _daily_drawdown(self) -> list[Finding]:
        pnl = signed(self.state, "daily_pnl")
        start = amount(self.state, "start_of_day_equity")
        limit = fraction(self.config, "MAX_DAILY_DRAWDOWN_PCT", "MAX_DRAWDOWN_PCT")
        findings = _faults(pnl, start, limit)
        if self.mode.value is not None:
            findings.append(check_daily_latch(latched=self.mode.value == "REDUCING"))
        if pnl.value is not None and limit.value is not None:
            base = next((g.value for g in (start, self.account, self.equity_given) if g.present), None)
            findings.append(check_daily_loss(base, pnl.value, limit.value))
        return findings

    def _exposure(self) -> tuple[Decimal | None, list[Finding]]:
        """Return the exposure in quote currency, the greater of two statements, and what is wrong with them."""
        share, notional = amount(self.state, "total_exposure_pct"), amount(self.state, "total_exposure")
        limit = fraction(self.config, "MAX_TOTAL_EXPOSURE_PCT", "MAX_EXPOSURE_PCT")
        faults, equity = _faults(share, notional, limit), self.equity.value
        known = []
        if share.value is not None and equity is not None:
            known.append(share.value * equity)
        if notional.value is not None:
            # 0.15 is hardly 15 cents: as a share of equity it blocks more, so that reading is the safe one
            as_share = notional.value <= ONE and equity is not None
            known.append(notional.value * equity if as_share and equity is not None else notional.value)
        return (max(known) if known else None), faults

    def _total_exposure(self, exposure: Decimal | None, faults: list[Finding], size: _Size) -> list[Finding]:
        limit = fraction(self.config, "MAX_TOTAL_EXPOSURE_PCT", "MAX_EXPOSURE_PCT").value
        if exposure is None or limit is None:
            return faults
        order = ZERO if self.is_exit else size.quantity * (self.price.value or ZERO)
        asked = self._to_lot(size.request.quantity or ZERO)
        no_room = not self.is_exit and self._is_order(asked) and not self._is_order(size.for_exposure)
        return [*faults, check_exposure(exposure, order, self.equity.value, limit, no_room=no_room)]

    def _is_order(self, quantity: Decimal) -> bool:
        min_quantity, min_notional = self._minimum()
        return quantity >= min_quantity and quantity * (self.price.value or ZERO) >= min_notional

    def _circuit_breaker(self) -> list[Finding]:
        breaker = switch(self.state, "circuit_breaker", "circuit_breaker_active")
        peak = amount(self.state, "peak_equity")
        limit = fraction(self.config, "CIRCUIT_BREAKER_THRESHOLD_PCT")
        findings = _faults(breaker, peak, limit, self.mode)
        if self.mode.value is not None or breaker.value is not None:
            found = check_halts(
                frozen=self.mode.value == "FROZEN",
                halted=self.mode.value == "HALTED",
                breaker=bool(breaker.value) and not self.is_exit,
            )
            findings += found
        if peak.value is not None and limit.value is not None and not self.is_exit:
            findings.append(check_peak_loss(peak.value, self.equity.value, limit.value))
        return findings

    def _spread_check(self) -> list[Finding]:
        widest, most = fraction(self.config, "MAX_SPREAD_PCT"), fraction(self.config, "MAX_SLIPPAGE_PCT")
        slippage = signed(self.state, "expected_slippage_pct")
        findings = _faults(self.bid, self.ask, widest, most, slippage)
        if slippage.value is not None and most.value is not None:
            findings.append(check_slippage(slippage.value, most.value))
        if self.bid.value is not None and self.ask.value is not None and widest.value is not None:
            findings.append(check_spread(self.bid.value, self.ask.value, widest.value))
        return findings

    def _timeout_check(self) -> list[Finding]:
        now, limit = instant(self.state, "now"), amount(self.config, "DATA_STALE_TIMEOUT_SEC")
        asked, seen = instant(self.signal, "timestamp"), instant(self.state, "market_timestamp", "last_update")
        findings = _faults(now, limit, asked, seen)
        if now.value is not None and limit.value is not None:
            if asked.value is not None:
                findings.append(check_age("signal", asked.value, now.value, limit.value, Code.SIGNAL_STALE))
            if seen.value is not None:
                findings.append(check_age("market data", seen.value, now.value, limit.value, Code.DATA_STALE))
        return findings


def _symbol(signal: Plain, config: Plain) -> tuple[str, Finding]:
    raw = signal.get("symbol")
    if not isinstance(raw, str):
        return "", bad_value("symbol", raw)
    try:
        symbol = normalise_symbol(raw)
    except ContractViolation:
        return "", bad_value("symbol", raw)
    if "SYMBOLS" not in config:
        return symbol, ok(symbol)
    allowed = config["SYMBOLS"]
    names = allowed.split(",") if isinstance(allowed, str) else allowed
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return symbol, bad_value("SYMBOLS", allowed)
    return symbol, check_symbol(symbol, known=symbol in {name.strip().upper().replace("_", "") for name in names})


def _position(state: Plain, symbol: str) -> Given[Decimal]:
    """Read what is held: `position`, or `positions[symbol]` as a number or as a dict with quantity or size."""
    if "position" in state or "positions" not in state:
        return amount(state, "position")
    positions = state["positions"]
    if not isinstance(positions, dict):
        return Given("positions", fault=bad_value("positions", positions))
    if symbol not in positions:
        return Given("positions", ZERO)
    entry = positions[symbol]
    if isinstance(entry, dict):
        quantity = amount(entry, "quantity", "size")
        return quantity if quantity.present else Given("positions", fault=bad_value("positions", entry))
    return amount({"positions": entry}, "positions")
