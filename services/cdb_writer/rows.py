"""The rows of every table, as values that PostgreSQL takes; fields are columns, in order.

Money is Decimal (NUMERIC), times are canonical ISO texts (TIMESTAMPTZ), free-form objects are JSON texts (JSONB).
Nothing in the five tables depends on journal numbers, epochs or the wall clock: the same input gives the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

from services.cdb_writer.envelope import Envelope
from services.common.codec import encode_value
from services.common.decimals import ZERO
from services.common.journal.entry import Entry, JournalId

__all__ = [
    "TABLES",
    "EventRow",
    "OrderRow",
    "PositionRow",
    "Row",
    "SignalRow",
    "SnapshotRow",
    "TradeRow",
    "json_text",
    "plain_text",
]


def plain_text(text: str) -> str:
    """Return text as PostgreSQL can hold it: a NUL becomes U+FFFD (the exact bytes stay in the event store)."""
    return text.replace("\x00", "\ufffd")


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, Mapping):
        return {plain_text(key): _without_nul(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(item) for item in value]
    return value


def json_text(value: Mapping[str, Any]) -> str:
    """Return a free-form object as JSON text that a JSONB column takes."""
    return encode_value(_without_nul(value))


class EventRow(NamedTuple):
    """One row of `event_store.events`."""

    day: str
    seq: int
    epoch: int
    channel: str
    type: str
    event_id: str
    producer: str
    cause: str
    timestamp: str
    correlation_id: str | None
    causation_id: str | None
    data: bytes
    hash: bytes

    @classmethod
    def of(cls, entry: Entry, envelope: Envelope, digest: bytes) -> EventRow:
        """Return the row of a journal entry with its chain hash; the day is that of the event's own timestamp."""
        correlation_id, causation_id = envelope.correlation_id, envelope.causation_id
        return cls(
            envelope.timestamp[:10],
            entry.id.n,
            entry.id.epoch,
            entry.channel,
            envelope.type,
            plain_text(envelope.event_id),
            entry.producer,
            entry.cause,
            envelope.timestamp,
            None if correlation_id is None else plain_text(correlation_id),
            None if causation_id is None else plain_text(causation_id),
            entry.data,
            digest,
        )

    @property
    def entry(self) -> Entry:
        """The journal entry of this row."""
        return Entry(JournalId(self.epoch, self.seq), self.channel, self.producer, self.cause, self.data)


@dataclass
class Row:
    """A row of one of the five tables."""

    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]
    replaces: ClassVar[bool]
    """Whether a later row of the same key takes the place of the earlier (else the first one stays)."""

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Return the column names, in order."""
        return tuple(item.name for item in fields(cls))

    @property
    def identity(self) -> tuple[Any, ...]:
        """The values of the key."""
        return tuple(getattr(self, name) for name in self.key)

    def values(self) -> tuple[Any, ...]:
        """Return the values, in the order of the columns, as PostgreSQL can hold them."""
        return tuple(_stored(getattr(self, item.name)) for item in fields(self))


def _stored(value: Any) -> Any:
    """Write a number in one form only: PostgreSQL keeps trailing zeros, and a restored ledger has other ones."""
    if isinstance(value, Decimal):
        text = format(value, "f") if value else "0"
        return Decimal(text.rstrip("0") if "." in text else text)
    return plain_text(value) if isinstance(value, str) else value


@dataclass
class SignalRow(Row):
    """A signal of the strategy, whatever became of it."""

    table: ClassVar[str] = "signals"
    key: ClassVar[tuple[str, ...]] = ("signal_id",)
    replaces: ClassVar[bool] = False

    signal_id: str
    run_id: str
    venue: str
    symbol: str
    signal_type: str
    intent: str
    price: Decimal
    confidence: Decimal
    timestamp: str
    source: str
    strategy: str
    reason: str
    pct_change: Decimal | None
    correlation_id: str | None
    metadata: str


@dataclass
class OrderRow(Row):
    """An order and how far it has come. `size` and `filled_size` are base units, `fees` quote currency."""

    table: ClassVar[str] = "orders"
    key: ClassVar[tuple[str, ...]] = ("order_id",)
    replaces: ClassVar[bool] = True

    order_id: str
    client_order_id: str
    run_id: str
    signal_id: str | None
    decision_id: str
    venue: str
    symbol: str
    side: str
    order_type: str
    time_in_force: str
    purpose: str
    price: Decimal | None
    reference_price: Decimal | None
    size: Decimal
    reduce_only: bool
    leverage: int
    approved: bool
    rejection_reason: str | None
    status: str
    status_reason: str | None
    filled_size: Decimal
    avg_fill_price: Decimal | None
    fees: Decimal
    slippage_bps: Decimal | None
    exchange_order_id: str | None
    mode: str | None
    created_at: str
    submitted_at: str | None
    filled_at: str | None
    updated_at: str
    correlation_id: str | None


@dataclass
class TradeRow(Row):
    """One fill. `price` is what the decision saw (mid), `execution_price` what was paid or received."""

    table: ClassVar[str] = "trades"
    key: ClassVar[tuple[str, ...]] = ("trade_id",)
    replaces: ClassVar[bool] = False

    trade_id: str
    run_id: str
    order_id: str
    venue: str
    symbol: str
    side: str
    purpose: str | None
    price: Decimal
    size: Decimal
    execution_price: Decimal
    slippage_bps: Decimal | None
    fees: Decimal
    fee_currency: str | None
    liquidity: str | None
    realized_pnl: Decimal
    status: str
    timestamp: str
    exchange: str
    exchange_trade_id: str
    mode: str
    metadata: str


@dataclass
class PositionRow(Row):
    """What is held of one instrument in one run; flat ones stay with side `none`."""

    table: ClassVar[str] = "positions"
    key: ClassVar[tuple[str, ...]] = ("run_id", "venue", "symbol")
    replaces: ClassVar[bool] = True

    run_id: str
    venue: str
    symbol: str
    side: str
    size: Decimal
    entry_price: Decimal | None
    current_price: Decimal | None
    unrealized_pnl: Decimal | None
    realized_pnl: Decimal
    fees: Decimal
    stop_loss_price: Decimal | None
    take_profit_price: Decimal | None
    liquidation_price: Decimal | None
    opened_at: str | None
    updated_at: str
    closed_at: str | None
    margin: Decimal = ZERO
    funding: Decimal = ZERO


@dataclass
class SnapshotRow(Row):
    """The portfolio at one moment; ratios are fractions, money is in quote currency."""

    table: ClassVar[str] = "portfolio_snapshots"
    key: ClassVar[tuple[str, ...]] = ("run_id", "timestamp")
    replaces: ClassVar[bool] = True

    run_id: str
    timestamp: str
    total_equity: Decimal
    cash: Decimal
    available_balance: Decimal
    daily_pnl: Decimal
    total_unrealized_pnl: Decimal
    total_realized_pnl: Decimal
    total_fees: Decimal
    total_exposure: Decimal
    total_exposure_pct: Decimal | None
    drawdown_pct: Decimal
    max_drawdown_pct: Decimal
    open_positions: int
    total_margin: Decimal = ZERO
    total_funding: Decimal = ZERO


TABLES: tuple[type[Row], ...] = (SignalRow, OrderRow, TradeRow, PositionRow, SnapshotRow)
"""The five tables, parents before children."""
