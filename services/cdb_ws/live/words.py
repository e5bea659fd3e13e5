"""What an exchange says to a feed, whatever protocol it says it in, and what the feed wants done."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.recorded import Fact
from services.cdb_ws.warmup import MinuteBar
from services.common.book import Side

__all__ = [
    "Acknowledged",
    "Answer",
    "Ask",
    "AskKind",
    "Bad",
    "Close",
    "Deal",
    "Deals",
    "Mark",
    "News",
    "Open",
    "Other",
    "Ping",
    "Pong",
    "Quote",
    "Refused",
    "Send",
    "Sight",
    "Step",
    "Warmup",
]


@dataclass(frozen=True, slots=True)
class Deal:
    """One trade.

    Attributes:
        quantity: in the exchange's unit: base units on spot, contracts of a perpetual.
        buy: whether the taker bought.
        time_ms: the exchange's time.
        trade_id: None where the exchange gives none.
    """

    price: Decimal
    quantity: Decimal
    buy: bool
    time_ms: int
    trade_id: str | None = None


@dataclass(frozen=True, slots=True)
class Deals:
    """Trades of one instrument; `bad` says what was wrong with those that are left out."""

    symbol: str
    topic: str
    deals: tuple[Deal, ...]
    bad: str = ""


@dataclass(frozen=True, slots=True)
class Quote:
    """The top of a book; a side that is empty has neither price nor size. Sizes in the exchange's unit.

    Attributes:
        version: grows within the topic; None where there is none.
        time_ms: the exchange's time; None where there is none.
        bids, asks: the levels, best first, where the message has more than the top.
    """

    symbol: str
    topic: str
    bid: Decimal | None
    ask: Decimal | None
    bid_size: Decimal | None
    ask_size: Decimal | None
    version: int | None = None
    time_ms: int | None = None
    bids: Side = ()
    asks: Side = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """Mark price, funding rate or index price of a perpetual: what a message has of them."""

    symbol: str
    topic: str
    mark_price: Decimal | None = None
    funding_rate: Decimal | None = None
    index_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Topics that the exchange echoed as subscribed; `deal` alone stands for the oldest `deal@…` that is waiting."""

    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Topics that the exchange will not serve, whatever code it said so with; none named: all that are waiting."""

    topics: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Ping:
    """The exchange asks whether we are there."""


@dataclass(frozen=True, slots=True)
class Pong:
    """The exchange answers our ping."""


@dataclass(frozen=True, slots=True)
class Other:
    """A message that is well formed and of no use here."""

    what: str


@dataclass(frozen=True, slots=True)
class Bad:
    """A frame that cannot be used.

    Attributes:
        symbol: whose it was; empty when that cannot be told.
        lost: whether market data may have been in it.
    """

    reason: str
    symbol: str = ""
    lost: bool = True


Sight = Deals | Quote | Mark | Acknowledged | Refused | Ping | Pong | Other | Bad

AskKind = Literal["time", "instruments", "klines", "trades", "tickers", "age", "bar", "recount"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the REST interface.

    Attributes:
        symbol: whom it is about; empty: everybody.
        after_ms: wait so long before it is sent (after failures).
        attempt: 0, 1, 2 ...
    """

    kind: AskKind
    symbol: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    after_ms: int = 0
    attempt: int = 0

    def of_kind(self, kind: AskKind) -> Ask:
        """Return the same question asked for another purpose."""
        return replace(self, kind=kind)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question.

    Attributes:
        sent_us: feed time at which it was sent.
        status: of HTTP; 0 when there was no answer.
        body: as it came; the cause in words when there was none.
    """

    ask: Ask
    sent_us: int
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Open:
    """Connect after a while (the adapter shortens it at random)."""

    connection: int
    after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Send:
    """Send a text frame."""

    connection: int
    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """Give a connection up; nothing that it still brings counts."""

    connection: int
    reason: str


@dataclass(frozen=True, slots=True)
class News:
    """An alert."""

    level: Literal["INFO", "WARNING", "CRITICAL"]
    code: str
    message: str
    context: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Warmup:
    """Closed one-minute bars of an instrument from before its first observation."""

    symbol: str
    bars: tuple[MinuteBar, ...]


@dataclass(slots=True)
class Step:
    """What follows from one input.

    Attributes:
        facts: (action, details) of control events, in order.
    """

    observations: list[Observation] = field(default_factory=list)
    rejected: list[RejectedRow] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    warmups: list[Warmup] = field(default_factory=list)
    actions: list[Ask | Open | Send | Close] = field(default_factory=list)
    news: list[News] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether anything follows at all."""
        return bool(self.observations or self.rejected or self.facts or self.warmups or self.actions or self.news)
