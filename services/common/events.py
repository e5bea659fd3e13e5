"""The event contracts: one immutable definition per event, tolerant in what it reads, exact in what it writes.

`parse_event` reads what stands in the journal; `data` of an event are its canonical bytes. Field order here is key
order on the wire. Timestamps are integers in microseconds since the epoch inside and ISO 8601 on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from services.common import channels
from services.common.book import MAX_LEVELS, book_fault
from services.common.canonical import InstantMarker, OmittedMarker, Reader, compile_reader, construct, omitted_fields
from services.common.codec import ENCODERS, Encoder, decode, encode_value
from services.common.decimals import format_number
from services.common.errors import ContractViolation
from services.common.event_bytes import BytesReader, compile_bytes_reader
from services.common.exact import Checker, compile_checker
from services.common.frozen import FrozenObject, freeze
from services.common.instruments import SYMBOL_PATTERN, Venue, normalise_symbol
from services.common.market_bytes import read_market_data
from services.common.timestamps import format_timestamp, parse_timestamp

__all__ = [
    "EVENT_BY_CHANNEL",
    "LAYERS",
    "SCHEMA_VERSION",
    "Alert",
    "Control",
    "Event",
    "LayerVerdict",
    "MarketData",
    "Order",
    "OrderResult",
    "PortfolioView",
    "RiskDecision",
    "Signal",
    "Sizing",
    "parse_event",
]

SCHEMA_VERSION: Final = "1.0"


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool | float):
        raise ValueError(f"{value!r} is no exact number")
    return value


def _on_the_wire(value: Decimal) -> Decimal:
    format_number(value)
    return value


Instant = Annotated[
    int,
    BeforeValidator(parse_timestamp),
    PlainSerializer(format_timestamp, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
    InstantMarker(),
]
Number = Annotated[
    Decimal,
    BeforeValidator(_no_bool),
    Field(allow_inf_nan=False),
    AfterValidator(_on_the_wire),
    WithJsonSchema({"type": "number"}),
]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Symbol = Annotated[
    str,
    BeforeValidator(lambda raw: normalise_symbol(raw) if isinstance(raw, str) else raw),
    Field(pattern=SYMBOL_PATTERN.pattern),
]
Levels = Annotated[tuple[tuple[Positive, Positive], ...], Field(min_length=1, max_length=MAX_LEVELS)]
"""One side of a book, best first: (price, size in base units)."""
FreeForm = Annotated[dict[str, Any], AfterValidator(freeze)]
"""A JSON object without fixed fields; it is copied and frozen, so that the event does not change with its maker."""
Side = Literal["BUY", "SELL"]
Purpose = Literal["entry", "exit", "stop_loss", "take_profit", "trailing_stop", "liquidation_guard", "flatten"]
OrderStatus = Literal["SUBMITTING", "NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED", "UNKNOWN"]
LayerStatus = Literal["pass", "fail", "bypass", "not_evaluated"]
LayerName = Literal[
    "data_quality",
    "position_limits",
    "daily_drawdown",
    "total_exposure",
    "circuit_breaker",
    "spread_check",
    "timeout_check",
]
LAYERS: tuple[LayerName, ...] = (
    "data_quality",
    "position_limits",
    "daily_drawdown",
    "total_exposure",
    "circuit_breaker",
    "spread_check",
    "timeout_check",
)
Identifier = Annotated[str, Field(min_length=1, max_length=64)]


class _Record(BaseModel):
    """An immutable record that knows its canonical text."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, ignored_types=(cached_property,))
    _encoders: ClassVar[tuple[tuple[str, str, Encoder | None], ...]] = ()
    _omitted: ClassVar[tuple[str, ...]] = ()
    _check: ClassVar[Checker | None] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Prepare the key prefixes and encoders once per class."""
        super().__pydantic_init_subclass__(**kwargs)
        cls._omitted = omitted_fields(cls)
        assert tuple(cls.model_fields)[len(cls.model_fields) - len(cls._omitted) :] == cls._omitted, "they stand last"
        cls._encoders = tuple(
            (
                name,
                f'"{name}":',
                _instant_text
                if any(isinstance(m, InstantMarker) for m in field.metadata) or _is_optional_instant(field.annotation)
                else None,  # by its type
            )
            for name, field in cls.model_fields.items()
            if name not in cls._omitted
        )
        cls._check = compile_checker(cls)
        ENCODERS[cls] = cls.canonical_text

    @classmethod
    def make(cls, **fields: Any) -> Self:
        """Return a record of these fields, as the class itself does, but without paying for tolerance.

        What is exactly of its wire type and within its bounds is taken as it is; everything else goes through
        pydantic, which converts or refuses it.
        """
        values = None if cls._check is None else cls._check(fields)
        return cls(**fields) if values is None else construct(cls, values)

    def canonical_text(self) -> str:
        """Return this record as canonical JSON text, keys in schema order."""
        values = self.__dict__
        text = ",".join(
            [key + (encoder or ENCODERS[type(values[name])])(values[name]) for name, key, encoder in self._encoders]
        )
        for name in self._omitted:
            if values[name] is not None:
                text += f',"{name}":{encode_value(values[name])}'
        return "{" + text + "}"


def _instant_text(value: int | None) -> str:
    return "null" if value is None else f'"{format_timestamp(value)}"'


def _is_optional_instant(annotation: Any) -> bool:
    return any(
        isinstance(marker, InstantMarker)
        for argument in getattr(annotation, "__args__", ())
        for marker in getattr(argument, "__metadata__", ())
    )


class Event(_Record):
    """What every event carries.

    Attributes:
        event_id: derived from run id, producer and cause: the same cause gives the same id.
        timestamp: `now` of the fold when it was produced, in microseconds since the epoch (UTC).
        producer: the service that published it.
        correlation_id: event_id of the market data that began the chain.
        causation_id: event_id of the direct cause.
    """

    channel: ClassVar[str]
    _read: ClassVar[Reader | None] = None
    _read_bytes: ClassVar[BytesReader | None] = None

    type: str
    event_id: Identifier
    schema_version: Literal["1.0"] = SCHEMA_VERSION
    timestamp: Instant
    producer: Identifier
    correlation_id: Identifier | None = None
    causation_id: Identifier | None = None

    @cached_property
    def data(self) -> bytes:
        """The canonical bytes of this event, as they stand in the journal."""
        try:
            return self.canonical_text().encode()
        except UnicodeEncodeError as error:
            raise ContractViolation(f"text is not valid Unicode: {error}") from error

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed (not validated); its bytes are its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("data", None)
        return copied

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Self:
        """Validate a decoded JSON object.

        Raises:
            ContractViolation: naming every field that is wrong, its value and what is meant.
        """
        if cls._read is not None:
            values = cls._read(value)
            if values is not None:
                return construct(cls, values)
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise ContractViolation(f"{cls.__name__}: {_mistakes(error)}") from error


def _mistakes(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, m['loc'])) or 'event'}={m['input']!r:.80}: {m['msg']}"
        for m in error.errors(include_url=False, include_context=False)
    )


class MarketData(Event):
    """What happened to one instrument since its previous event.

    Attributes:
        price: last traded price (or mid when only quotes changed), in quote currency.
        volume: base units traded since the symbol's previous event.
        high, low: extreme prices since the symbol's previous event.
        bid, ask, bid_size, ask_size: the top of the book; null when the feed has none. Sizes in base units.
        exchange_timestamp: the exchange's own time, null when unknown; no machine compares it with `now`.
        sequence: grows by one or more with each event of the instrument.
        gap: true when the feed lost messages before this event.
        synthetic: true when quotes or times are constructed (candle files).
        mark_price, funding_rate: perpetual contracts only.
        bids, asks: levels of the book as they were seen, best first, the first of them the quote itself; left out of
            the bytes where the feed has none. `fault_of` says what must hold between them and the quote.
    """

    channel: ClassVar[str] = channels.MARKET_DATA

    type: Literal["market_data"] = "market_data"
    venue: Venue
    symbol: Symbol
    price: Positive
    volume: NonNegative = Decimal(0)
    high: Positive
    low: Positive
    bid: Positive | None = None
    ask: Positive | None = None
    bid_size: NonNegative | None = None
    ask_size: NonNegative | None = None
    exchange_timestamp: Instant | None = None
    sequence: Annotated[int, Field(ge=0)]
    gap: bool = False
    synthetic: bool = False
    mark_price: Positive | None = None
    funding_rate: Number | None = None
    bids: Annotated[Levels | None, OmittedMarker()] = None
    asks: Annotated[Levels | None, OmittedMarker()] = None

    @staticmethod
    def fault_of(values: Mapping[str, Any]) -> str | None:
        """Return what contradicts between levels and quote; None where all is well or there are no levels."""
        bids, asks = values["bids"], values["asks"]
        if bids is None and asks is None:
            return None
        return book_fault((values["bid"], values["bid_size"]), (values["ask"], values["ask_size"]), bids, asks)

    @model_validator(mode="after")
    def _levels_agree_with_the_quote(self) -> Self:
        fault = self.fault_of(self.__dict__)
        if fault is not None:
            raise ValueError(fault)
        return self


class Signal(Event):
    """What the strategy wants, before risk has looked at it.

    Attributes:
        intent: entry or exit, a fold of market data alone; risk maps it to the position.
        confidence: clamp(|m| / (2 T), 0, 1) for entries, 1 for exits. It does not scale the size.
        pct_change: momentum over the lookback, a fraction.
        inputs: the numbers that produced the signal.
    """

    channel: ClassVar[str] = channels.SIGNALS

    type: Literal["signal"] = "signal"
    venue: Venue
    symbol: Symbol
    signal_type: Literal["buy", "sell"]
    intent: Literal["entry", "exit"]
    price: Positive
    confidence: Annotated[Number, Field(ge=0, le=1)]
    reason: str = ""
    strategy: str = "momentum_v1"
    pct_change: Number | None = None
    inputs: FreeForm = Field(default_factory=FrozenObject)


class LayerVerdict(_Record):
    """What one of the seven risk layers found.

    Attributes:
        code: stable name of the finding, `OK` when the layer passes.
        value, limit, headroom: the number looked at, its limit, and what is left (same unit; negative when over).
        detail: one readable sentence.
    """

    layer: LayerName
    code: str
    status: LayerStatus
    value: Number | None = None
    limit: Number | None = None
    headroom: Number | None = None
    detail: str = ""


class Sizing(_Record):
    """How the quantity was found, in base units.

    Attributes:
        requested: what the method asked for.
        approved: what is left after caps and rounding (0 when refused).
        capped_by: the layer that cut it, or null.
        inputs: the numbers that the method used.
    """

    method: str
    requested: NonNegative
    approved: NonNegative
    capped_by: str | None = None
    inputs: FreeForm = Field(default_factory=FrozenObject)


class PortfolioView(_Record):
    """The portfolio as the decision saw it; money in quote currency, ratios as fractions.

    Attributes:
        exposure: worst case: sum of |positions| plus pending increasing orders, at mark.
        daily_pnl: equity less start-of-day equity.
        drawdown: 1 - equity / peak equity.
        position: base units held in the decided instrument, signed.
        position_notional: its worst-case value with pending entries, at mark.
    """

    equity: Number | None
    cash: Number | None
    exposure: Number | None
    daily_pnl: Number | None
    drawdown: Number | None
    position: Number | None
    position_notional: Number | None
    trading_state: str


class RiskDecision(Event):
    """The verdict of all seven layers on one signal or one protective exit, approved or not.

    Attributes:
        signal_id: event_id of the signal, null for protective exits.
        reason: names of the failing layers in their fixed order, or `approved`, or why nothing was to do.
    """

    channel: ClassVar[str] = channels.RISK_DECISIONS

    type: Literal["risk_decision"] = "risk_decision"
    signal_id: Identifier | None
    venue: Venue
    symbol: Symbol
    side: Side
    purpose: Purpose
    approved: bool
    reason: str
    layers: tuple[LayerVerdict, ...] = Field(min_length=7, max_length=7)
    sizing: Sizing
    portfolio: PortfolioView


class Order(Event):
    """An instruction to execution, named by an approved decision.

    Attributes:
        quantity: base units, on the lot grid.
        price: protective limit price; null only for MARKET.
        reference_price: mid at the decision, the base of slippage.
    """

    channel: ClassVar[str] = channels.ORDERS

    type: Literal["order"] = "order"
    order_id: Identifier
    client_order_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    signal_id: Identifier | None
    decision_id: Identifier
    venue: Venue
    symbol: Symbol
    side: Side
    order_type: Literal["LIMIT", "MARKET"]
    time_in_force: Literal["IOC", "GTC", "FOK"] = "IOC"
    quantity: Positive
    price: Positive | None
    reduce_only: bool
    leverage: Annotated[int, Field(ge=1, le=125)] = 1
    purpose: Purpose
    reference_price: Positive | None


class OrderResult(Event):
    """What became of an order; quantities in base units.

    Attributes:
        filled_quantity: cumulative.
        average_price: of everything filled so far, null before the first fill.
        last_quantity, last_price, fee, fee_currency, liquidity, trade_id: of the fill that this result reports.
        slippage_bps: direction * (average_price / mid at decision - 1) * 10^4; spread included, fee not.
        fill: rule and numbers of a paper fill.
        mode: paper, shadow or live.
    """

    channel: ClassVar[str] = channels.ORDER_RESULTS

    type: Literal["order_result"] = "order_result"
    order_id: Identifier
    client_order_id: str
    exchange_order_id: str | None = None
    status: OrderStatus
    venue: Venue
    symbol: Symbol
    side: Side
    quantity: Positive
    filled_quantity: NonNegative
    average_price: Positive | None = None
    last_quantity: NonNegative | None = None
    last_price: Positive | None = None
    fee: Number | None = None
    fee_currency: str | None = None
    liquidity: Literal["maker", "taker"] | None = None
    slippage_bps: Number | None = None
    trade_id: Identifier | None = None
    reason: str | None = None
    fill: FreeForm | None = None
    mode: Literal["paper", "shadow", "live"] = "paper"


class Alert(Event):
    """Something a person should know."""

    channel: ClassVar[str] = channels.ALERTS

    type: Literal["alert"] = "alert"
    level: Literal["INFO", "WARNING", "CRITICAL"]
    code: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{1,63}$")]
    message: str
    context: FreeForm = Field(default_factory=FrozenObject)


class Control(Event):
    """The clock, the life of services, and the operator's commands.

    Attributes:
        action: `tick` (the clock, by cdb_ws), `warmup` (closed bars before the first market data, by cdb_ws),
            `instruments` and `symbols` (grids and list as the exchange and the screener gave them, by cdb_ws),
            `finished` (a recorded feed has ended, by cdb_ws), `started` and `config` (every service),
            `start_of_day`, `trading_state` (`details.state`, `.previous`, `.causes`) and `heartbeat` (its answer to
            the clock, by cdb_risk), `funding` and `liquidation` (of a perpetual position, by cdb_execution), `account`
            (what the exchange holds for us), `reconciliation` (whether that is what the fills say: `details.verdict`,
            `.differences`) and `adjustment` (of the books, after an operator's word; all by cdb_execution, live), or an
            operator's command; a `resolve_order` is answered by cdb_risk with its own, and what trading freezes for is
            a `halt` with `details.freeze` by cdb_execution.
        service: whom it is about.
        run_id: root of all derived ids, on `started` of cdb_ws.
        command_id: an operator's command is done once.
        by, reason: who gave the command, and why.
        details: what belongs to the action.
    """

    channel: ClassVar[str] = channels.CONTROL

    type: Literal["control"] = "control"
    action: Literal[
        "tick",
        "warmup",
        "instruments",
        "symbols",
        "finished",
        "started",
        "config",
        "start_of_day",
        "trading_state",
        "heartbeat",
        "funding",
        "liquidation",
        "account",
        "reconciliation",
        "adjustment",
        "halt",
        "resume",
        "flatten",
        "reset_breaker",
        "resolve_order",
    ]
    service: str | None = None
    run_id: Identifier | None = None
    command_id: Identifier | None = None
    by: str | None = None
    reason: str | None = None
    details: FreeForm = Field(default_factory=FrozenObject)


EVENT_BY_CHANNEL: dict[str, type[Event]] = {
    model.channel: model for model in (MarketData, Signal, Order, OrderResult, Alert, RiskDecision, Control)
}
for _model in EVENT_BY_CHANNEL.values():
    _model._read = compile_reader(_model)  # noqa: SLF001 -- prepared here, where all contracts are complete
    _model._read_bytes = compile_bytes_reader(_model)  # noqa: SLF001
MarketData._read_bytes = read_market_data  # noqa: SLF001 -- by hand, for their levels


def parse_event(channel: str, data: bytes) -> Event:
    """Read one journalled event.

    Raises:
        ContractViolation: not the canonical bytes of an event of this channel.
    """
    model = EVENT_BY_CHANNEL.get(channel)
    if model is None:
        raise ContractViolation(f"{channel!r} is no channel of this system")
    read = model._read_bytes  # noqa: SLF001
    values = None if read is None else read(data)
    if values is not None and (model is not MarketData or MarketData.fault_of(values) is None):
        return construct(model, values)
    value = decode(data)
    if not isinstance(value, dict):
        raise ContractViolation(f"{channel}: an object is meant, not {type(value).__name__}")
    return model.parse(value)
