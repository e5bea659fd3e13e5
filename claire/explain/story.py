"""The chain of one decision: market data, signal, verdicts of risk, orders, results; and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from claire.explain.lookup import Hit, Lookup, chain_id
from claire.explain.wording import base_of, bps, day_clock, duration, fee, money, price, quantity, rounded, unit_of
from services.common import channels
from services.common.codec import decode
from services.common.decimals import ZERO
from services.common.events import Event, MarketData, Order, OrderResult, RiskDecision, Signal
from services.common.instruments import instrument_key
from services.common.journal.entry import Entry

__all__ = ["NOTHING_TO_DO", "Path", "Story", "story_of", "tell"]

NOTHING_TO_DO: Final = frozenset({"NO_POSITION", "EXIT_WORKING", "EXIT_TOO_SOON", "DUST"})
"""Reasons of a refused exit that only say that there was nothing (more) to close."""


@dataclass(frozen=True)
class Path:
    """A decision and what came of it.

    Attributes:
        n: journal number of the decision.
        results: of the order, in order.
    """

    n: int
    decision: RiskDecision
    order: Order | None
    results: tuple[OrderResult, ...]

    @property
    def fills(self) -> list[OrderResult]:
        """The results that report a fill."""
        return [result for result in self.results if result.last_quantity]

    @property
    def verdict(self) -> str:
        """Return what came of it: one word."""
        decision = self.decision
        if not decision.approved:
            return "nothing_to_do" if decision.reason in NOTHING_TO_DO else "refused"
        if not self.results:
            return "not_accepted_yet" if self.order is not None else "no_order"
        last = self.results[-1]
        if last.status == "FILLED":
            return "filled"
        if last.filled_quantity > 0 and last.status in {"CANCELED", "EXPIRED"}:
            return "partly_filled"
        return last.status.lower() if last.status in {"CANCELED", "EXPIRED", "REJECTED", "UNKNOWN"} else "working"


@dataclass(frozen=True)
class Story:
    """What belongs to one id.

    Attributes:
        id: whole.
        kind: signal, decision, refusal, order, fill, or the type of another event.
        subject: the event that the id names.
        began: the event that began the chain; None when the history does not have it (any more).
        signal: None for what the strategy did not ask for.
        paths: decisions, in order.
        entries: all of it, in the order of the journal.
    """

    id: str
    kind: str
    subject: Event
    began: Event | None
    signal: Signal | None
    paths: tuple[Path, ...]
    entries: tuple[Entry, ...]

    @property
    def verdict(self) -> str:
        """Return what came of it: one word; of several decisions the one that went furthest."""
        verdicts = [path.verdict for path in self.paths]
        order = ("filled", "partly_filled", "working", "not_accepted_yet", "unknown", "expired", "canceled", "rejected")
        first = next((verdict for verdict in order if verdict in verdicts), None)
        return first or (verdicts[0] if verdicts else "undecided")

    @property
    def instrument(self) -> str | None:
        """Key of the instrument."""
        about = self.signal or (self.paths[0].decision if self.paths else self.subject)
        venue, symbol = getattr(about, "venue", None), getattr(about, "symbol", None)
        return instrument_key(venue, symbol) if venue and symbol else None

    def as_dict(self) -> dict[str, Any]:
        """Return everything for `--json`; events as they stand in the journal."""
        times = [entry.event.timestamp for entry in self.entries]
        exchange_us = self.began.exchange_timestamp if isinstance(self.began, MarketData) else None
        return {
            "id": self.id,
            "kind": self.kind,
            "instrument": self.instrument,
            "verdict": self.verdict,
            "summary": tell(self),
            "subject": plain(self.subject),
            "began": plain(self.began),
            "signal": plain(self.signal),
            "decisions": [_path(path) for path in self.paths],
            "timeline": [
                {
                    "n": entry.id.n,
                    "event_id": entry.event.event_id,
                    "type": entry.event.type,
                    "producer": entry.producer,
                    "timestamp": plain(entry.event)["timestamp"],
                    "since_previous_us": times[place] - times[max(place - 1, 0)],
                    "since_beginning_us": times[place] - times[0],
                }
                for place, entry in enumerate(self.entries)
            ],
            "exchange_to_feed_us": None if exchange_us is None or self.began is None else (
                self.began.timestamp - exchange_us
            ),
        }  # fmt: skip


def plain(event: Event | None) -> Any:
    """Return an event as the JSON object that stands in the journal."""
    return None if event is None else decode(event.data)


def _path(path: Path) -> dict[str, Any]:
    decision = plain(path.decision)
    units = [unit_of(layer, path.decision.purpose) for layer in path.decision.layers]
    return {
        "n": path.n,
        "verdict": path.verdict,
        "summary": tell_path(path),
        "decision": decision,
        "layers": [{**layer, "unit": unit} for layer, unit in zip(decision["layers"], units, strict=True)],
        "order": plain(path.order),
        "results": [plain(result) for result in path.results],
    }


def story_of(lookup: Lookup, hit: Hit) -> Story:
    """Return the story of what was found."""
    subject = hit.entry.event
    chain = lookup.chain(chain_id(subject))
    if all(entry.id.n != hit.entry.id.n for entry in chain):
        chain = sorted([*chain, hit.entry], key=lambda entry: entry.id.n)
    return select(hit, chain)


def select(hit: Hit, chain: Sequence[Entry]) -> Story:
    """Return what of a whole chain belongs to one of its events; of market data, alerts and control all of it."""
    subject = hit.entry.event
    events = [entry.event for entry in chain]
    orders = {event.order_id: event for event in events if isinstance(event, Order)}
    signals = {event.event_id: event for event in events if isinstance(event, Signal)}
    wanted: str | None = None
    signal_id: str | None = None
    if isinstance(subject, Signal):
        signal_id = subject.event_id
    elif isinstance(subject, RiskDecision):
        wanted, signal_id = subject.event_id, subject.signal_id
    elif isinstance(subject, Order | OrderResult):
        order = orders.get(subject.order_id)
        wanted, signal_id = (order.decision_id, order.signal_id) if order is not None else ("", None)
    elif len(signals) == 1:
        signal_id = next(iter(signals))
    paths = []
    for entry in chain:
        decision = entry.event
        if not isinstance(decision, RiskDecision) or (wanted is not None and decision.event_id != wanted):
            continue
        if isinstance(subject, Signal) and decision.signal_id != signal_id:
            continue
        order = next((order for order in orders.values() if order.decision_id == decision.event_id), None)
        paths.append(Path(entry.id.n, decision, order, _results(events, order)))
    signal = signals.get(signal_id or "")
    of_subject = isinstance(subject, Signal | RiskDecision | Order | OrderResult)
    began = next((event for event in events if event.event_id == chain_id(subject)), None)
    kept = {event.event_id for path in paths for event in (path.decision, path.order, *path.results) if event}
    kept |= {event.event_id for event in (began, signal, subject) if event is not None}
    return Story(
        id=hit.id,
        kind=_kind(hit, subject),
        subject=subject,
        began=None if began is subject and of_subject else began,
        signal=signal,
        paths=tuple(paths),
        entries=tuple(entry for entry in chain if not of_subject or entry.event.event_id in kept),
    )


def _results(events: Iterable[Event], order: Order | None) -> tuple[OrderResult, ...]:
    if order is None:
        return ()
    return tuple(event for event in events if isinstance(event, OrderResult) and event.order_id == order.order_id)


def _kind(hit: Hit, subject: Event) -> str:
    if hit.kind == "fill" or (isinstance(subject, OrderResult) and subject.last_quantity):
        return "fill"
    if hit.kind == "order":
        return "order"
    if isinstance(subject, RiskDecision):
        return "decision" if subject.approved else "refusal"
    return "order" if subject.channel == channels.ORDER_RESULTS else subject.type


def tell(story: Story) -> str:
    """Return in a sentence what came of it."""
    if not story.paths:
        if isinstance(story.subject, Signal):
            return "Risk has not decided on this signal in what is recorded."
        return "Nothing followed from it."
    furthest = next((path for path in story.paths if path.verdict == story.verdict), story.paths[0])
    return tell_path(furthest, story.signal)


def tell_path(path: Path, signal: Signal | None = None) -> str:
    """Return in a sentence what came of a decision."""
    decision, verdict = path.decision, path.verdict
    if verdict == "nothing_to_do":
        return f"Nothing was to do ({decision.reason}): {rounded(decision.layers[1].detail)}."
    if verdict == "refused":
        failing = [layer for layer in decision.layers if layer.status == "fail"]
        return (
            "Refused: " + "; ".join(f"{layer.layer} ({layer.code}): {rounded(layer.detail)}" for layer in failing) + "."
        )
    if verdict in {"filled", "partly_filled"}:
        return _tell_fill(path, signal)
    if not path.results:
        return "Approved; in what is recorded execution has not answered yet."
    last = path.results[-1]
    if verdict == "working":
        return f"Approved and accepted by execution; it works since {day_clock(path.results[0].timestamp)}."
    return f"Sent but not filled, {last.status.lower()}: {rounded(last.reason or 'no reason given')}."


def _tell_fill(path: Path, signal: Signal | None) -> str:
    last, fills = path.results[-1], path.fills
    order, filled, average = path.order, last.filled_quantity, last.average_price or ZERO
    what = f"{'Bought' if last.side == 'BUY' else 'Sold'} {quantity(filled)} {base_of(last.symbol)}"
    part = "" if last.status == "FILLED" or order is None else f" of {quantity(order.quantity)}"
    paid: dict[str, Decimal] = {}
    for fill in fills:
        coin = fill.fee_currency or "USDT"
        paid[coin] = paid.get(coin, ZERO) + (fill.fee or ZERO)
    fees = " and ".join(money(sum_) if coin == "USDT" else fee(sum_, coin) for coin, sum_ in paid.items())
    since = signal.timestamp if signal is not None else path.decision.timestamp
    origin = "signal" if signal is not None else "decision"
    return (
        f"{what}{part} at {price(average)} ({money(filled * average)}), {duration(fills[-1].timestamp - since)} after "
        f"the {origin}; slippage {bps(fills[-1].slippage_bps)}, fee {fees}."
    )
