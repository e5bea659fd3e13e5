"""A copy of the deciding machines with a market, a strategy and an operator that the drill plays.

Everything happens in this process on machines of the drill's own: nothing is published, stored or written anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Literal, TypeVar

from claire.kernel import Kernel, deciding_machines
from services.cdb_core.machine import CoreMachine
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_risk.machine import RiskMachine
from services.cdb_risk.settings import RiskSettings
from services.common import channels
from services.common.decimals import divide, floor_to
from services.common.events import Control, Event, MarketData, Order, OrderResult, RiskDecision, Signal
from services.common.identity import derive_id
from services.common.instruments import DEFAULT_INSTRUMENTS, PERPETUAL, instrument_key
from services.common.journal.entry import Cause, JournalId
from services.common.machine import StateMachine
from services.common.portfolio import mid_price
from services.common.runtime.announcement import announcement
from services.common.runtime.build import code_version
from services.common.settings import canonical_settings
from services.common.timestamps import DAY_US, SECOND_US

__all__ = ["Desk", "Machines", "new_machines"]

HALF_SPREAD: Final = Decimal("0.00005")
PLENTY: Final = Decimal(1_000_000)
"""Base units at the touch, and traded with each quote, when there is liquidity."""
SEQUENCES_FROM: Final = 1_000_000_000
CALM_PRICES: Final = {"BTCUSDT": Decimal(50_000), "ETHUSDT": Decimal(2_500), "SOLUSDT": Decimal(150)}

Machines = tuple[CoreMachine, RiskMachine, ExecutionMachine]
EventT = TypeVar("EventT", bound=Event)


class Desk:
    """The copy.

    Attributes:
        now: the copy's clock, microseconds.
        journal: every event since the drill began.
        venue: where the drill trades: what VENUE of risk says.
        prices: mid of each symbol of the drill.
    """

    def __init__(self, machines: Machines, place: JournalId) -> None:
        """Take machines that have folded everything up to a place of the journal."""
        self.core, self.risk, self.execution = machines
        assert self.risk.fold.now is not None, "a drill begins after a run has begun"
        self.now = self.risk.fold.now
        self._kernel = Kernel(machines, epoch=place.epoch or 1, head=place.n)
        self._epoch = place.epoch or 1
        self._number = 0
        self.journal: list[Event] = []
        self.venue = self.risk.settings.VENUE
        self._specs = {spec.symbol: spec for spec in DEFAULT_INSTRUMENTS if spec.venue == self.venue}
        self.prices = {symbol: self._last_price(symbol) for symbol in self._specs}

    def _key(self, symbol: str) -> str:
        return instrument_key(self.venue, symbol)

    def _last_price(self, symbol: str) -> Decimal:
        market = self.risk.state.market.get(self._key(symbol))
        quote = None if market is None else market.quote
        return CALM_PRICES.get(symbol, Decimal(100)) if quote is None else mid_price(quote.bid, quote.ask)

    # what happens

    def _publish(self, producer: str, source: str, events: Sequence[Event]) -> list[Event]:
        follows = [entry.event for entry in self._kernel.step(producer, Cause(source, self._number), events)]
        self.journal += follows
        return follows

    def _make(self, model: type[EventT], producer: str, **fields: Any) -> EventT:
        self._number += 1
        event_id = derive_id(self.risk.fold.run_id or "", "drill", self._number)
        return model.make(event_id=event_id, timestamp=self.now, producer=producer, **fields)

    def tick(self, seconds: int = 1) -> list[Event]:
        """Let the clock tick on, second by second."""
        follows: list[Event] = []
        for _ in range(seconds):
            self.now += SECOND_US
            tick = self._make(Control, channels.WS, action="tick", service=channels.WS, details={"pressure": "none"})
            follows += self._publish(channels.WS, "feed", [tick])
        return follows

    def next_day(self) -> list[Event]:
        """Let the clock go to just after the next 00:00 UTC."""
        return self.skip(DAY_US - self.now % DAY_US)

    def skip(self, duration_us: int) -> list[Event]:
        """Let the clock jump forward."""
        self.now += duration_us
        return self.tick()

    def quote(self, *symbols: str, liquid: bool = True) -> list[Event]:
        """Quote symbols at their prices, a second later; without liquidity there is a price and nobody behind it."""
        follows = self.tick()
        for symbol in symbols:
            mid, half = self.prices[symbol], self.prices[symbol] * HALF_SPREAD
            size = PLENTY if liquid else Decimal(0)
            tick = self._specs[symbol].tick_size
            bid, ask = floor_to(mid - half, tick), floor_to(mid + half, tick) + tick
            price = mid_price(bid, ask)
            quote = self._make(
                MarketData,
                channels.WS,
                venue=self.venue,
                symbol=symbol,
                price=price,
                volume=size,
                high=ask,
                low=bid,
                bid=bid,
                ask=ask,
                bid_size=size,
                ask_size=size,
                sequence=SEQUENCES_FROM + self._number,
                mark_price=price if self.venue == PERPETUAL else None,
            )
            follows += self._publish(channels.WS, "feed", [quote])
        return follows

    def signal(self, symbol: str, intent: Literal["entry", "exit"]) -> RiskDecision:
        """Let the strategy want to buy, or to close what it has; returns risk's decision."""
        buys = intent == "entry" or self.held(symbol) < 0
        signal = self._make(
            Signal,
            channels.CORE,
            venue=self.venue,
            symbol=symbol,
            signal_type="buy" if buys else "sell",
            intent=intent,
            price=_on_cents(self.prices[symbol]),
            confidence=Decimal(1),
            reason="drill",
            strategy="drill",
        )
        follows = self._publish(channels.CORE, "drill", [signal])
        return next(
            event for event in follows if isinstance(event, RiskDecision) and event.signal_id == signal.event_id
        )

    def command(self, action: str, by: str = "", reason: str = "", **details: Any) -> list[Event]:
        """Give an operator's command."""
        command = self._make(
            Control,
            channels.OPERATOR,
            action=action,
            command_id=f"drill-{self._number}",
            by=by or None,
            reason=reason or None,
            details=details,
        )
        return self._publish(channels.OPERATOR, "drill", [command])

    # the copy alone

    def configure(self, **changed: Any) -> None:
        """Set limits of risk aside in the copy."""
        settings = RiskSettings.model_validate({**canonical_settings(self.risk.settings), **changed})
        self._number += 1
        events = announcement(
            channels.RISK,
            settings,
            run_id=self.risk.fold.run_id or "",
            now=self.now,
            number=self._number,
            in_force=None,
            code_version=code_version(),
        )
        self._publish(channels.RISK, "announce", events)

    def hold(self, symbol: str, share: Decimal) -> Decimal:
        """Top a position up to a share of equity at its price, with the copy's money; returns what was added."""
        key, price = self._key(symbol), _on_cents(self.prices[symbol])
        lot = self._specs[symbol].lot_size
        equity = self.risk.state.account.equity or Decimal(0)
        wanted = floor_to(divide(equity * share, price), lot) - self.held(symbol)
        if wanted <= 0:
            return Decimal(0)
        self._number += 1
        fill = OrderResult(
            event_id=derive_id(self.risk.fold.run_id or "", "drill", "virtual", self._number),
            timestamp=self.now,
            producer=channels.EXECUTION,
            order_id=f"drill-{self._number}",
            client_order_id=f"drill-{self._number}",
            status="FILLED",
            venue=self.venue,
            symbol=symbol,
            side="BUY",
            quantity=wanted,
            filled_quantity=wanted,
            average_price=price,
            last_quantity=wanted,
            last_price=price,
        )
        self.risk.state.account.portfolio.book(fill)
        state = self.execution.state
        state.positions[key] = state.positions.get(key, Decimal(0)) + wanted
        if self.venue == PERPETUAL:
            state.perpetuals[key].position.trade("BUY", wanted, price, 1)
        return wanted

    def restart(self) -> bool:
        """Kill all machines and restore new ones from their state; returns whether they are byte for byte the same."""
        head = self._kernel.head
        before = [machine.dump() for machine in _each((self.core, self.risk, self.execution))]
        machines = new_machines()
        for machine, state in zip(_each(machines), before, strict=True):
            machine.restore(state)
        self.core, self.risk, self.execution = machines
        self._kernel = Kernel(machines, epoch=self._epoch, head=head)
        return [machine.dump() for machine in _each(machines)] == before

    # what is seen

    @property
    def state(self) -> str:
        """Risk's trading state."""
        return self.risk.state.trading.mode

    @property
    def causes(self) -> list[str]:
        """Why it is not ACTIVE."""
        return self.risk.state.trading.causes

    def held(self, symbol: str) -> Decimal:
        """Base units held of a symbol."""
        position = self.risk.state.account.portfolio.positions.get(self._key(symbol))
        return Decimal(0) if position is None else position.quantity

    @property
    def settled(self) -> bool:
        """Whether no order works and no exit is latched."""
        return not self.risk.state.exits and not self.risk.state.reservations.orders

    def exit_latched(self, symbol: str) -> bool:
        """Whether risk wants out of a symbol."""
        return self._key(symbol) in self.risk.state.exits

    def order_of(self, decision: RiskDecision) -> Order | None:
        """Return the order of a decision; None when it was refused."""
        return next((event for event in self.of(Order) if event.decision_id == decision.event_id), None)

    def last_result(self, order: Order | None) -> OrderResult | None:
        """Return the last that execution reported of an order."""
        if order is None:
            return None
        return next((event for event in reversed(self.of(OrderResult)) if event.order_id == order.order_id), None)

    def of(self, kind: type[EventT]) -> list[EventT]:
        """Return all events of one kind so far."""
        return [event for event in self.journal if isinstance(event, kind)]


def _each(machines: Machines) -> tuple[StateMachine[Any, Any], ...]:
    return machines


def new_machines() -> Machines:
    """Return new machines of core, risk and execution."""
    core, risk, execution = deciding_machines()
    assert isinstance(core, CoreMachine)
    assert isinstance(risk, RiskMachine)
    assert isinstance(execution, ExecutionMachine)
    return core, risk, execution


def _on_cents(price: Decimal) -> Decimal:
    return price.quantize(Decimal("0.01"))
