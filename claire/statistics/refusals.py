"""Refused entries by layer, and what they would have made: hypothetical, never part of any result.

Definition: a refused entry is bought (sold short) at the touch of the first valid quote after the refusal and left at
the touch of the first valid quote after the strategy's next exit intent, or when the opposing touch reaches the stop,
whichever comes first; both sides pay the taker fee, the size is the one that sizing asked for. Depth, latency and the
other layers are not looked at, so this is a kinder market than the paper exchange's. What has not ended is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.common.decimals import ONE, ZERO, divide
from services.common.events import LAYERS, MarketData, RiskDecision, Signal
from services.common.instruments import instrument_key

__all__ = ["LayerRefusals", "Refusal", "Refusals"]

_BPS = Decimal(10_000)

FOLLOWED = 1_000
"""Refused entries of one instrument that are followed at the same time; those beyond are counted without a result."""


@dataclass
class Refusal:
    """One refused entry and its hypothetical round trip.

    Attributes:
        layer, code: the first failing layer and what it found.
        size: base units that sizing asked for; 0 when it could not say.
        entry, exit: hypothetical prices; None before.
        result_bps: of the entry's value, net of fees; None while it has not ended.
        result: the same in quote currency; None without a size.
    """

    timestamp: int
    venue: str
    symbol: str
    direction: int
    layer: str
    code: str
    size: Decimal
    signal_id: str | None
    entry: Decimal | None = None
    exit: Decimal | None = None
    leaving: bool = False
    result_bps: Decimal | None = None
    result: Decimal | None = None


@dataclass
class LayerRefusals:
    """Refusals of one layer.

    Attributes:
        decisive: entries that it was the first to refuse.
        failing: entries that it refused, alone or with others.
        codes: what it found, by code, where decisive.
        ended, won: hypothetical round trips of the decisive ones that ended, and those above zero.
        mean_bps: their mean result; None without any.
        sum: their sum, quote currency, of those with a size.
    """

    decisive: int = 0
    failing: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    ended: int = 0
    won: int = 0
    mean_bps: Decimal | None = None
    sum: Decimal = ZERO


class Refusals:
    """Folds decisions, signals and quotes.

    Attributes:
        entries: refused entries, in order.
        decided: entries decided, refused or not.
        exits: exits that were not approved, by reason.
        taker_fee: share of notional a side, of execution's settings.
        stop_loss_pct: distance of the stop, of risk's settings.
    """

    def __init__(self) -> None:
        self.entries: list[Refusal] = []
        self.decided = 0
        self.exits: dict[str, int] = {}
        self.taker_fee = ZERO
        self.stop_loss_pct: Decimal | None = None
        self._failing: dict[str, int] = {}
        self._running: dict[str, list[Refusal]] = {}

    def on_decision(self, decision: RiskDecision) -> None:
        """Note a decision on an entry, and why an exit was not sent."""
        if decision.purpose != "entry":
            if not decision.approved:
                self.exits[decision.reason] = self.exits.get(decision.reason, 0) + 1
            return
        self.decided += 1
        failing = [layer for layer in decision.layers if layer.status == "fail"]
        if decision.approved or not failing:
            return
        for layer in failing:
            self._failing[layer.layer] = self._failing.get(layer.layer, 0) + 1
        refusal = Refusal(
            timestamp=decision.timestamp,
            venue=decision.venue,
            symbol=decision.symbol,
            direction=1 if decision.side == "BUY" else -1,
            layer=failing[0].layer,
            code=failing[0].code,
            size=decision.sizing.requested,
            signal_id=decision.signal_id,
        )
        self.entries.append(refusal)
        running = self._running.setdefault(instrument_key(decision.venue, decision.symbol), [])
        if len(running) < FOLLOWED:
            running.append(refusal)

    def on_signal(self, signal: Signal) -> None:
        """Let the strategy's exit end what is hypothetically held."""
        if signal.intent == "exit":
            for refusal in self._running.get(instrument_key(signal.venue, signal.symbol), ()):
                refusal.leaving = True

    def on_market_data(self, key: str, event: MarketData) -> None:
        """Enter, stop or leave at a valid quote."""
        running = self._running.get(key)
        if not running or event.bid is None or event.ask is None or event.bid >= event.ask:
            return
        for refusal in running:
            _look(refusal, event.bid, event.ask, self.taker_fee, self.stop_loss_pct)
        self._running[key] = [refusal for refusal in running if refusal.exit is None and not _missed(refusal)]

    def by_layer(self) -> dict[str, LayerRefusals]:
        """Return the refusals of every layer that refused something, in the order of the layers."""
        found: dict[str, LayerRefusals] = {
            layer: LayerRefusals(failing=self._failing[layer]) for layer in LAYERS if layer in self._failing
        }
        results: dict[str, list[Decimal]] = {layer: [] for layer in found}
        for refusal in self.entries:
            layer = found[refusal.layer]
            layer.decisive += 1
            layer.codes[refusal.code] = layer.codes.get(refusal.code, 0) + 1
            if refusal.result_bps is not None:
                layer.ended += 1
                layer.won += refusal.result_bps > 0
                layer.sum += refusal.result or ZERO
                results[refusal.layer].append(refusal.result_bps)
        for name, bps in results.items():
            if bps:
                found[name].mean_bps = divide(sum(bps, ZERO), Decimal(len(bps)), 6)
        return found


def _missed(refusal: Refusal) -> bool:
    return refusal.leaving and refusal.entry is None


def _look(refusal: Refusal, bid: Decimal, ask: Decimal, fee: Decimal, stop: Decimal | None) -> None:
    direction = refusal.direction
    if refusal.entry is None:
        if not refusal.leaving:
            refusal.entry = ask if direction > 0 else bid
        return
    touch = bid if direction > 0 else ask
    stopped = stop is not None and direction * (touch - refusal.entry) <= -stop * refusal.entry
    if not (refusal.leaving or stopped):
        return
    refusal.exit = touch
    gain = direction * (touch - refusal.entry) - fee * (refusal.entry + touch)
    refusal.result_bps = divide(gain * _BPS, refusal.entry, 6)
    if refusal.size:
        refusal.result = divide(gain * refusal.size, ONE)
