"""A risk machine with a journal of its own, for tests: events in, decisions, orders and alerts out."""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha256
from typing import Any

from services.cdb_risk.machine import RiskMachine
from services.cdb_risk.settings import RiskSettings
from services.common import channels
from services.common.codec import encode
from services.common.events import (
    Alert,
    Control,
    Event,
    LayerVerdict,
    MarketData,
    Order,
    OrderResult,
    RiskDecision,
    Signal,
)
from services.common.journal.entry import Entry, JournalId
from services.common.settings import canonical_settings
from services.common.timestamps import MS_US

__all__ = ["BTC", "SPOT", "START_US", "RiskDesk", "layer", "number"]

SPOT = "mexc_spot"
BTC = f"{SPOT}:BTCUSDT"
START_US = 1_621_425_600_000_000
"""2021-05-19 12:00:00 UTC; times of the desk are milliseconds after it."""

Amount = str | int | Decimal


def number(value: Amount | None) -> Decimal | None:
    """Return a Decimal of what a test writes."""
    return None if value is None else Decimal(value)


def layer(decision: RiskDecision, name: str) -> LayerVerdict:
    """Return one layer's verdict of a decision."""
    return next(verdict for verdict in decision.layers if verdict.layer == name)


class RiskDesk:
    """A risk machine, the entries that it was given and the events that it gave.

    Args:
        configured: whether the machine has its settings.
        restarting: dump and restore the machine before every entry.
        changed: settings that differ from the defaults.
    """

    def __init__(self, *, configured: bool = True, restarting: bool = False, **changed: Any) -> None:
        self.machine = RiskMachine()
        self.entries: list[Entry] = []
        self.outputs: list[Event] = []
        self.restarting = restarting
        self.now_ms = 0
        self.start("run-1")
        if configured:
            self.configure(**changed)

    def append(self, event: Event) -> list[Event]:
        """Journal one event as its canonical bytes and return what the machine makes of it."""
        entry = Entry(JournalId(1, len(self.entries) + 1), event.channel, event.producer, "1", event.data)
        self.entries.append(entry)
        if self.restarting:
            self.restart()
        outputs = self.machine.handle(entry)
        for output in outputs:
            assert output.data, "every output has canonical bytes"
        self.outputs.extend(outputs)
        return outputs

    def restart(self) -> None:
        """Replace the machine by one restored from its dump; the dump must not change by that."""
        dumped = self.machine.dump()
        self.machine = RiskMachine()
        self.machine.restore(dumped)
        assert self.machine.dump() == dumped

    # inputs

    def _control(self, action: str, producer: str = channels.WS, **fields: Any) -> list[Event]:
        return self.append(
            Control(
                event_id=f"control-{len(self.entries)}",
                timestamp=START_US + self.now_ms * MS_US,
                producer=producer,
                action=action,
                **fields,
            )
        )

    def start(self, run_id: str) -> list[Event]:
        """Begin a run."""
        return self._control("started", service=channels.WS, run_id=run_id)

    def configure(self, **changed: Any) -> list[Event]:
        """Put settings into force."""
        canonical = canonical_settings(RiskSettings.model_validate(changed))
        details = {"settings": canonical, "settings_hash": sha256(encode(canonical)).hexdigest(), "code_version": "t"}
        return self._control("config", channels.RISK, service=channels.RISK, details=details)

    def tick(self, at_ms: int | None = None, **details: Any) -> list[Event]:
        """Let the clock say that time is now `at_ms` (by default one second later)."""
        self.now_ms = self.now_ms + 1_000 if at_ms is None else at_ms
        return self._control("tick", details=details or {"pressure": "none"})

    def command(self, action: str, producer: str = channels.OPERATOR, **fields: Any) -> list[Event]:
        """Give an operator's command."""
        return self._control(action, producer, **fields)

    def quote(
        self,
        bid: Amount | None = "49999",
        ask: Amount | None = "50001",
        *,
        at_ms: int | None = None,
        symbol: str = "BTCUSDT",
        size: Amount | None = "10",
        volume: Amount = 0,
        price: Amount | None = None,
        **fields: Any,
    ) -> list[Event]:
        """Journal market data; the price is the mid unless it is given."""
        if at_ms is not None:
            self.now_ms = at_ms
        low, high = number(bid), number(ask)
        shown = number(price) or (Decimal(50_000) if low is None or high is None else (low + high) / 2)
        given: dict[str, Any] = {
            "event_id": f"md-{len(self.entries)}",
            "timestamp": START_US + self.now_ms * MS_US,
            "producer": channels.WS,
            "venue": SPOT,
            "symbol": symbol,
            "price": shown,
            "volume": number(volume),
            "high": shown,
            "low": shown,
            "bid": low,
            "ask": high,
            "bid_size": number(size),
            "ask_size": number(size),
            "sequence": len(self.entries),
        }
        return self.append(MarketData.model_validate({**given, **fields}))

    def signal(
        self,
        signal_type: str = "buy",
        intent: str = "entry",
        *,
        symbol: str = "BTCUSDT",
        price: Amount = 50_000,
        at_ms: int | None = None,
        **fields: Any,
    ) -> RiskDecision:
        """Journal a signal and return the decision on it."""
        given: dict[str, Any] = {
            "event_id": f"signal-{len(self.entries)}",
            "timestamp": START_US + (self.now_ms if at_ms is None else at_ms) * MS_US,
            "producer": channels.CORE,
            "correlation_id": "md-chain",
            "venue": SPOT,
            "symbol": symbol,
            "signal_type": signal_type,
            "intent": intent,
            "price": number(price),
            "confidence": Decimal(1),
        }
        outputs = self.append(Signal.model_validate({**given, **fields}))
        decisions = [event for event in outputs if isinstance(event, RiskDecision)]
        assert len(decisions) == 1, "one decision per signal"
        return decisions[0]

    def buy(self, **fields: Any) -> Order:
        """Give an entry signal that must be approved, and return its order."""
        decision = self.signal(**fields)
        assert decision.approved, decision.layers
        return self.orders[-1]

    def exit(self, **fields: Any) -> RiskDecision:
        """Give an exit signal and return the decision on it."""
        return self.signal("sell", "exit", **fields)

    def result(
        self,
        order: Order,
        status: str = "FILLED",
        *,
        filled: Amount | None = None,
        last: Amount | None = None,
        price: Amount | None = None,
        fee: Amount | None = None,
        **fields: Any,
    ) -> list[Event]:
        """Journal an order result; a FILLED fills everything at the order's price unless told otherwise."""
        cumulative = (order.quantity if status == "FILLED" else Decimal(0)) if filled is None else Decimal(filled)
        last_quantity = number(last) if last is not None else (cumulative or None)
        given: dict[str, Any] = {
            "event_id": f"result-{len(self.entries)}",
            "timestamp": START_US + self.now_ms * MS_US,
            "producer": channels.EXECUTION,
            "order_id": order.order_id,
            "client_order_id": order.client_order_id,
            "status": status,
            "venue": order.venue,
            "symbol": order.symbol,
            "side": order.side,
            "quantity": order.quantity,
            "filled_quantity": cumulative,
            "last_quantity": last_quantity,
            "last_price": (number(price) or order.price or Decimal(50_000)) if last_quantity else None,
            "fee": number(fee),
            "fee_currency": None if fee is None else "USDT",
        }
        return self.append(OrderResult.model_validate({**given, **fields}))

    def hold(self, quantity: Amount | None = None, price: Amount = 50_000, **fields: Any) -> Order:
        """Enter and fill at `price`, and return the filled entry order; BTC is quoted first.

        With a quantity the fill is partial and the rest is cancelled.
        """
        if "symbol" not in fields:
            self.quote()
        order = self.buy(price=price, **fields)
        if quantity is None:
            self.result(order, price=price)
        else:
            self.result(order, "PARTIALLY_FILLED", filled=quantity, price=price)
            self.result(order, "CANCELED", filled=quantity, last=0)
        return order

    # outputs

    @property
    def decisions(self) -> list[RiskDecision]:
        """All decisions so far."""
        return [event for event in self.outputs if isinstance(event, RiskDecision)]

    @property
    def orders(self) -> list[Order]:
        """All orders so far."""
        return [event for event in self.outputs if isinstance(event, Order)]

    @property
    def alerts(self) -> list[Alert]:
        """All alerts so far."""
        return [event for event in self.outputs if isinstance(event, Alert)]

    def alert_codes(self) -> list[str]:
        """Return the codes of all alerts so far."""
        return [alert.code for alert in self.alerts]

    @property
    def states(self) -> list[str]:
        """All trading states that were announced, in order."""
        return [
            event.details["state"]
            for event in self.outputs
            if isinstance(event, Control) and event.action == "trading_state"
        ]
