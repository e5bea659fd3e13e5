"""A journal to test with: a run of the pipeline told as entries, repeatable for a seed, with fills that balance."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

from services.common.events import (
    LAYERS,
    Alert,
    Control,
    Event,
    LayerVerdict,
    MarketData,
    Order,
    OrderResult,
    PortfolioView,
    RiskDecision,
    Signal,
    Sizing,
)
from services.common.identity import client_order_id, derive_id, order_id
from services.common.journal.entry import Entry, JournalId
from services.common.timestamps import MINUTE_US, SECOND_US, parse_timestamp

__all__ = ["START", "Story", "tell"]

START = parse_timestamp("2021-05-19T23:40:00.000000Z")
VENUE = "mexc_spot"
CASH = Decimal(100_000)


@dataclass
class Story:
    """Appends events as journal entries."""

    run_id: str = "run-1"
    now: int = START
    epoch: int = 1
    first: int = 1
    entries: list[Entry] = field(default_factory=list)
    sequence: int = 0

    def add(self, event: Event, cause: str = "feed:1") -> Event:
        """Append one event."""
        number = self.first + len(self.entries)
        self.entries.append(Entry(JournalId(self.epoch, number), event.channel, event.producer, cause, event.data))
        return event

    def common(self, producer: str, **given: Any) -> dict[str, Any]:
        """The fields that every event has."""
        number = len(self.entries)
        return {
            "event_id": derive_id(self.run_id, producer, number),
            "timestamp": self.now,
            "producer": producer,
            **given,
        }

    def control(self, producer: str, action: str, **fields: Any) -> Event:
        """Append a control event."""
        return self.add(Control(**self.common(producer), action=action, **fields))

    def begin(self, cash: Decimal = CASH) -> None:
        """Start the run: clock, run id, and risk's configuration."""
        self.control("cdb_ws", "started", service="cdb_ws", run_id=self.run_id)
        settings = {"ACCOUNT_EQUITY": cash, "STOP_LOSS_PCT": Decimal("0.02"), "SYMBOLS": ["BTCUSDT"]}
        self.control(
            "cdb_risk",
            "config",
            service="cdb_risk",
            details={"settings": settings, "settings_hash": "0" * 64, "code_version": "test"},
        )

    def tick(self, seconds: int = 1) -> None:
        """Let time pass and say so."""
        self.now += seconds * SECOND_US
        self.control("cdb_ws", "tick", details={"pressure": "none"})

    def quote(self, price: Decimal, symbol: str = "BTCUSDT", **fields: Any) -> Event:
        """Append market data around a mid price."""
        self.sequence += 1
        values: dict[str, Any] = {
            "venue": VENUE,
            "symbol": symbol,
            "price": price,
            "volume": Decimal("0.5"),
            "high": price,
            "low": price,
            "bid": price - Decimal("0.5"),
            "ask": price + Decimal("0.5"),
            "bid_size": Decimal(3),
            "ask_size": Decimal(3),
            "sequence": self.sequence,
            **fields,
        }
        return self.add(MarketData(**self.common("cdb_ws"), **values))

    def signal(self, price: Decimal, side: str = "buy", symbol: str = "BTCUSDT", **fields: Any) -> Event:
        """Append a signal."""
        values: dict[str, Any] = {
            "venue": VENUE,
            "symbol": symbol,
            "signal_type": side,
            "intent": "entry" if side == "buy" else "exit",
            "price": price,
            "confidence": Decimal("0.6"),
            "pct_change": Decimal("0.0123"),
            "inputs": {"m": Decimal("0.0123"), "window": 60},
            "correlation_id": "c" * 32,
            **fields,
        }
        return self.add(Signal(**self.common("cdb_core"), **values))

    def decision(self, signal_id: str | None, side: str, purpose: str, symbol: str, *, approved: bool = True) -> Event:
        """Append a risk decision."""
        layers = tuple(
            LayerVerdict(layer=layer, code="OK" if approved else "LIMIT", status="pass" if approved else "fail")
            for layer in LAYERS
        )
        view = PortfolioView(
            equity=CASH,
            cash=CASH,
            exposure=Decimal(0),
            daily_pnl=Decimal(0),
            drawdown=Decimal(0),
            position=Decimal(0),
            position_notional=Decimal(0),
            trading_state="ACTIVE",
        )
        return self.add(
            RiskDecision(
                **self.common("cdb_risk"),
                signal_id=signal_id,
                venue=VENUE,
                symbol=symbol,
                side=side,
                purpose=purpose,
                approved=approved,
                reason="approved" if approved else "position_limits",
                layers=layers,
                sizing=Sizing(method="fixed_fractional", requested=Decimal(1), approved=Decimal(1)),
                portfolio=view,
            )
        )

    def order(self, quantity: Decimal, price: Decimal, side: str = "BUY", symbol: str = "BTCUSDT") -> Order:
        """Append signal, decision and order."""
        signal = self.signal(price, side.lower(), symbol)
        purpose = "entry" if side == "BUY" else "exit"
        decision = self.decision(signal.event_id, side, purpose, symbol)
        order = Order(
            **self.common("cdb_risk"),
            order_id=order_id(decision.event_id),
            client_order_id=client_order_id(decision.event_id),
            signal_id=signal.event_id,
            decision_id=decision.event_id,
            venue=VENUE,
            symbol=symbol,
            side=side,
            order_type="LIMIT",
            quantity=quantity,
            price=price * Decimal("1.01") if side == "BUY" else price * Decimal("0.99"),
            reduce_only=side == "SELL",
            purpose=purpose,
            reference_price=price,
        )
        self.add(order)
        return order

    def result(self, order: Order, status: str, filled: Decimal = Decimal(0), **fields: Any) -> Event:
        """Append an order result."""
        values: dict[str, Any] = {
            "order_id": order.order_id,
            "client_order_id": order.client_order_id,
            "status": status,
            "venue": order.venue,
            "symbol": order.symbol,
            "side": order.side,
            "quantity": order.quantity,
            "filled_quantity": filled,
            **fields,
        }
        return self.add(OrderResult(**self.common("cdb_execution"), **values))

    def fill(
        self, order: Order, quantity: Decimal, price: Decimal, before: Decimal = Decimal(0), **fields: Any
    ) -> Event:
        """Append the result of one fill; the fee is 5 bp of its value unless given."""
        filled = before + quantity
        values: dict[str, Any] = {
            "average_price": price,
            "last_quantity": quantity,
            "last_price": price,
            "fee": quantity * price * Decimal("0.0005"),
            "fee_currency": "USDT",
            "liquidity": "taker",
            "slippage_bps": Decimal("1.25"),
            "trade_id": derive_id(order.order_id, str(filled)),
            "fill": {"rule": "top_of_book", "touch": price},
            **fields,
        }
        status = "FILLED" if filled == order.quantity else "PARTIALLY_FILLED"
        return self.result(order, values.pop("status", status), filled, **values)

    def alert(self, code: str = "TEST", **fields: Any) -> Event:
        """Append an alert."""
        return self.add(Alert(**self.common("cdb_risk"), level="INFO", code=code, message="only a test", **fields))


def tell(seed: int, events: int, run_id: str = "run-1", first: int = 1, start: int = START) -> Story:
    """Return a story of at least `events` entries: quotes, ticks, refused signals, orders, partial fills, stops."""
    random = Random(seed)
    story = Story(run_id=run_id, first=first, now=start)
    story.begin()
    price = {"BTCUSDT": Decimal(40_000), "ETHUSDT": Decimal(2_500)}
    held = dict.fromkeys(price, Decimal(0))
    day = story.now // (1440 * MINUTE_US)
    while len(story.entries) < events:
        story.tick(random.choice([1, 1, 5, 30]))
        if story.now // (1440 * MINUTE_US) != day:
            day = story.now // (1440 * MINUTE_US)
            story.control("cdb_risk", "start_of_day", service="cdb_risk", details={"equity": Decimal("100123.25")})
        for symbol, last in price.items():
            price[symbol] = last + Decimal(random.randint(-200, 200)) / 100
            story.quote(price[symbol], symbol)
        symbol = random.choice(list(price))
        choice = random.random()
        if choice < 0.1:
            refused = story.signal(price[symbol], "buy", symbol)
            story.decision(refused.event_id, "BUY", "entry", symbol, approved=False)
        elif choice < 0.2:
            _trade(story, random, symbol, price[symbol], held)
        elif choice < 0.25:
            story.alert()
    return story


def _trade(story: Story, random: Random, symbol: str, price: Decimal, held: dict[str, Decimal]) -> None:
    side = "SELL" if held[symbol] else "BUY"
    quantity = held[symbol] if side == "SELL" else Decimal(random.randint(2, 400)) / 1000
    order = story.order(quantity, price, side, symbol)
    story.result(order, "NEW")
    story.tick()
    parts = random.choice([1, 2])
    sign = 1 if side == "BUY" else -1
    if random.random() < 0.15:
        story.result(order, "EXPIRED", reason="NO_SIZE")
        return
    first = quantity if parts == 1 else Decimal(1) / 1000
    story.fill(order, first, price)
    held[symbol] += sign * first
    if parts == 2:
        story.tick()
        if random.random() < 0.3:
            last = {"average_price": price, "reason": "REMAINDER"}
            story.result(order, "CANCELED", first, **last)
        else:
            story.fill(order, quantity - first, price + Decimal("0.37"), first, average_price=price)
            held[symbol] += sign * (quantity - first)
