"""What a person wants to see of a running pipeline, folded from the journal as it grows.

Nothing here decides anything; numbers are for the eye. Equity comes from the snapshots that the writer stores.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import redis

from services.common.errors import JournalClosed, JournalHole, StateMismatch
from services.common.events import Alert, Control, Event, MarketData, OrderResult, RiskDecision, Signal
from services.common.journal.client import JournalClient
from services.common.journal.entry import Entry
from services.common.settings import Infrastructure
from services.common.timestamps import format_timestamp

__all__ = ["Happening", "JournalWatch", "RunView", "describe"]

KEPT_HAPPENINGS = 200
PAGE = 1_000
BLOCK_MS = 200
UNTOLD = frozenset({"tick", "heartbeat", "warmup", "config"})
"""Actions of control that come so often, or say so little to a person, that they would drown the rest."""


@dataclass(frozen=True)
class Happening:
    """One line for the operator.

    Attributes:
        kind: signal, approved, refused, fill, order, alert, control or process.
        time: of the run's clock, ISO 8601; empty when it is not of the run.
    """

    kind: str
    time: str
    text: str


def _short(number: Decimal | None, places: int = 2) -> str:
    return "?" if number is None else f"{number:,.{places}f}"


def describe(event: Event) -> Happening | None:
    """Return the line for an event, None when it is not worth one (market data, the clock, acknowledgements)."""
    time = format_timestamp(event.timestamp)[:19].replace("T", " ")
    if isinstance(event, Signal):
        text = f"{event.signal_type} {event.symbol} at {_short(event.price)} ({event.intent}): {event.reason}"
        return Happening("signal", time, text)
    if isinstance(event, RiskDecision):
        what = f"{event.purpose} {event.side.lower()} {event.symbol}"
        if event.approved:
            return Happening("approved", time, f"{what}: {event.sizing.approved.normalize():f}")
        return Happening("refused", time, f"{what}: {event.reason}")
    if isinstance(event, OrderResult):
        return _describe_result(event, time)
    if isinstance(event, Alert):
        return Happening("alert", time, f"{event.level} {event.code}: {event.message}")
    if isinstance(event, Control) and event.action not in UNTOLD:
        who = event.service or event.producer
        return Happening("control", time, f"{event.action} {who}" + (f": {event.reason}" if event.reason else ""))
    return None


def _describe_result(event: OrderResult, time: str) -> Happening | None:
    if event.last_quantity and event.last_price:
        quantity = f"{event.last_quantity.normalize():f}"
        return Happening("fill", time, f"{event.side.lower()} {quantity} {event.symbol} at {_short(event.last_price)}")
    if event.status in {"REJECTED", "EXPIRED", "CANCELED", "UNKNOWN"}:
        return Happening("order", time, f"{event.symbol} {event.status.lower()}: {event.reason or 'no reason given'}")
    return None


@dataclass
class RunView:
    """Counts and the last lines; fold and read under `lock`."""

    now: int | None = None
    run_id: str | None = None
    head: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    prices: dict[str, Decimal] = field(default_factory=dict)
    happenings: deque[Happening] = field(default_factory=lambda: deque(maxlen=KEPT_HAPPENINGS))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fold(self, entry: Entry) -> Happening | None:
        """Take one entry; returns the line that it is worth, if any."""
        event = entry.event
        self.head = entry.id.n
        if isinstance(event, MarketData):
            self.counts["ticks"] += 1
            self.prices[event.symbol] = event.price
        if event.producer == "cdb_ws":
            if isinstance(event, Control) and event.action == "started":
                self.now = event.timestamp if event.run_id != self.run_id else self.now
                self.run_id = event.run_id
            self.now = event.timestamp if self.now is None else max(self.now, event.timestamp)
        happening = describe(event)
        if happening is not None:
            self.counts[happening.kind] += 1
            self.happenings.append(happening)
            if happening.kind == "refused" and isinstance(event, RiskDecision):
                self.refusals[event.reason] += 1
        return happening


class JournalWatch(threading.Thread):
    """Follows the journal in a thread of its own and tells each line."""

    def __init__(
        self, infra: Infrastructure, view: RunView, tell: Callable[[Happening], None], *, from_beginning: bool
    ) -> None:
        """Follow from the beginning, or from the head at the moment of starting."""
        super().__init__(name="watch", daemon=True)
        self._infra = infra
        self._view = view
        self._tell = tell
        self._after: int | None = 0 if from_beginning else None
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Follow until `stop`; whatever is lost on the way only costs lines on the screen."""
        client = JournalClient(self._infra, name="claire")
        while not self._stop_asked.is_set():
            try:
                if self._after is None:
                    head = client.head()
                    self._after = 0 if head is None else head.n
                entries = client.read(self._after, PAGE, block_ms=BLOCK_MS)
            except (JournalHole, StateMismatch):
                client.close()
                client = JournalClient(self._infra, name="claire")
                self._after = None
                continue
            except (JournalClosed, redis.RedisError, OSError):
                self._stop_asked.wait(0.1)
                continue
            for entry in entries:
                with self._view.lock:
                    happening = self._view.fold(entry)
                if happening is not None:
                    self._tell(happening)
            if entries:
                self._after = entries[-1].id.n
        client.close()

    def stop(self) -> None:
        """Stop following."""
        self._stop_asked.set()
        self.join(5.0)
