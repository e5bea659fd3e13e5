"""The yardstick's side of the replay benchmark: NautilusTrader on the same ticks with the same rule.

A program of its own, run by the Python of the yardstick's own environment: it imports nothing of ours. It reads one
JSON object of options from standard input and writes one with its measurements to standard output. The rule decides on
closed bars and looks at its stop with every quote, as ours does. Times are of the CPU, of all threads.
"""

from __future__ import annotations

import csv
import gzip
import json
import resource
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig, StrategyConfig
from nautilus_trader.model.currencies import BTC, ETH, USDT
from nautilus_trader.model.data import Bar, BarType, QuoteTick, TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, OmsType, OrderSide, TimeInForce
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, Venue
from nautilus_trader.model.instruments import CurrencyPair, Instrument
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("SIM")
NS_PER_MS = 1_000_000


class MomentumConfig(StrategyConfig, frozen=True):
    """The rule of `momentum_v1` with a fixed threshold."""

    instrument_id: InstrumentId
    bar_type: BarType
    threshold: float
    stop: float
    max_hold_min: int
    min_volume: float
    notional: float
    rearm: float


class Momentum(Strategy):  # type: ignore[misc]
    """Enter on the momentum of one minute, exit when it fades, after the longest hold, or at the stop."""

    def __init__(self, config: MomentumConfig) -> None:
        super().__init__(config)
        self._last = 0.0
        self._held: tuple[float, int] | None = None
        self._armed = True
        self._stop_price: Price | None = None
        self.orders = 0

    def on_start(self) -> None:
        """Ask for ticks, and for the bars that the engine makes of them."""
        self.instrument = self.cache.instrument(self.config.instrument_id)
        self.subscribe_quote_ticks(self.config.instrument_id)
        self.subscribe_bars(self.config.bar_type)

    def on_quote_tick(self, tick: QuoteTick) -> None:
        """Sell at the stop, which is looked at with every quote."""
        if self._stop_price is not None and tick.bid_price <= self._stop_price:
            self._held = self._stop_price = None
            self._sell()

    def on_bar(self, bar: Bar) -> None:
        """Decide on a closed minute."""
        close, before = float(bar.close), self._last
        self._last = close
        if not before:
            return
        momentum = close / before - 1.0
        if self._held is not None:
            entry, minutes = self._held
            self._held = entry, minutes + 1
            if (
                momentum <= 0
                or minutes + 1 >= self.config.max_hold_min
                or float(bar.low) <= entry * (1 - self.config.stop)
            ):
                self._held = self._stop_price = None
                self._armed = abs(momentum) < self.config.rearm * self.config.threshold
                self._sell()
            return
        self._armed = self._armed or abs(momentum) < self.config.rearm * self.config.threshold
        volume = float(bar.volume) * close
        if momentum >= self.config.threshold and self._armed and volume >= self.config.min_volume:
            self._held, self._armed = (close, 0), False
            self._stop_price = self.instrument.make_price(close * (1 - self.config.stop))
            self._submit(OrderSide.BUY, self.instrument.make_qty(Decimal(str(self.config.notional / close))))

    def _sell(self) -> None:
        held = self.portfolio.net_position(self.config.instrument_id)
        if held > 0:
            self._submit(OrderSide.SELL, self.instrument.make_qty(held))

    def _submit(self, side: OrderSide, quantity: Any) -> None:
        self.orders += 1
        self.submit_order(
            self.order_factory.market(self.config.instrument_id, side, quantity, time_in_force=TimeInForce.IOC)
        )


def instruments() -> dict[str, Instrument]:
    """Return BTCUSDT and ETHUSDT as spot pairs."""
    made = {}
    for name, base, size_decimals in (("BTCUSDT", BTC, 5), ("ETHUSDT", ETH, 4)):
        made[name] = CurrencyPair(
            instrument_id=InstrumentId(Symbol(name), VENUE),
            raw_symbol=Symbol(name),
            base_currency=base,
            quote_currency=USDT,
            price_precision=2,
            size_precision=size_decimals,
            price_increment=Price(0.01, 2),
            size_increment=Quantity(10**-size_decimals, size_decimals),
            lot_size=None,
            max_quantity=None,
            min_quantity=None,
            max_notional=None,
            min_notional=None,
            max_price=None,
            min_price=None,
            margin_init=Decimal(0),
            margin_maint=Decimal(0),
            maker_fee=Decimal(0),
            taker_fee=Decimal("0.0005"),
            ts_event=0,
            ts_init=0,
        )
    return made


def ticks(path: str, known: dict[str, Instrument]) -> Iterator[QuoteTick | TradeTick]:
    """Yield the quotes and trades of a file in its order."""
    with gzip.open(path, "rt", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for number, (ts_ms, symbol, price, qty, side, bid, ask, bid_size, ask_size) in enumerate(rows):
            instrument = known[symbol]
            ts = int(ts_ms) * NS_PER_MS
            if price:
                yield TradeTick(
                    instrument.id,
                    Price(float(price), 2),
                    Quantity(float(qty), instrument.size_precision),
                    AggressorSide.BUYER if side == "buy" else AggressorSide.SELLER,
                    TradeId(str(number)),
                    ts,
                    ts,
                )
            else:
                yield QuoteTick(
                    instrument.id,
                    Price(float(bid), 2),
                    Price(float(ask), 2),
                    Quantity(float(bid_size), instrument.size_precision),
                    Quantity(float(ask_size), instrument.size_precision),
                    ts,
                    ts,
                )


def shifted(tick: QuoteTick | TradeTick, by_ns: int) -> QuoteTick | TradeTick:
    """Return the tick at a later time."""
    ts = tick.ts_event + by_ns
    if isinstance(tick, TradeTick):
        return TradeTick(tick.instrument_id, tick.price, tick.size, tick.aggressor_side, tick.trade_id, ts, ts)
    return QuoteTick(tick.instrument_id, tick.bid_price, tick.ask_price, tick.bid_size, tick.ask_size, ts, ts)


def build(options: dict[str, Any], known: dict[str, Instrument]) -> tuple[BacktestEngine, list[Momentum]]:
    """Return an engine with venue, instruments and one strategy an instrument."""
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(bypass=False), run_analysis=False
        )
    )
    engine.add_venue(VENUE, OmsType.NETTING, AccountType.CASH, [Money(100_000, USDT)], base_currency=None)
    strategies = []
    for name, instrument in known.items():
        engine.add_instrument(instrument)
        strategies.append(
            Momentum(
                MomentumConfig(
                    strategy_id=f"momentum-{name}",
                    order_id_tag=name,
                    instrument_id=instrument.id,
                    bar_type=BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-INTERNAL"),
                    threshold=options["threshold"],
                    stop=options["stop"],
                    max_hold_min=options["max_hold_min"],
                    min_volume=options["min_volume"],
                    notional=options["notional"],
                    rearm=options["rearm"],
                )
            )
        )
        engine.add_strategy(strategies[-1])
    return engine, strategies


def main() -> None:
    """Measure what the options ask for."""
    options = json.load(sys.stdin)
    known = instruments()
    began = time.process_time()
    base = sorted((tick for path in options["files"] for tick in ticks(path, known)), key=lambda tick: tick.ts_init)
    load_sec = time.process_time() - began
    engine, strategies = build(options, known)
    run_sec = add_sec = 0.0
    played = 0
    repeats = options["repeats"]
    for repeat in range(repeats):
        part = base if repeat == 0 else [shifted(tick, repeat * options["shift_ns"]) for tick in base]
        began = time.process_time()
        engine.add_data(part, sort=False)
        added = time.process_time()
        engine.run(streaming=True)
        run_sec += time.process_time() - added
        add_sec += added - began
        engine.clear_data()
        played += len(part)
    engine.end()
    json.dump(
        {
            "ticks": played,
            "load_sec": load_sec,
            "add_sec": add_sec,
            "run_sec": run_sec,
            "orders": sum(strategy.orders for strategy in strategies),
            "filled": len([order for order in engine.cache.orders() if str(order.status_string()) == "FILLED"]),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
