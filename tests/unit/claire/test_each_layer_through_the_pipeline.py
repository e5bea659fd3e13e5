"""Each of the seven layers, tripped through the real machines: what it refuses, execution never sees."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from claire.kernel import Kernel, deciding_machines
from services.cdb_core.settings import CoreSettings
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk.settings import RiskSettings
from services.common import channels
from services.common.events import Control, Event, MarketData, Order, OrderResult, RiskDecision
from services.common.journal.entry import Cause
from services.common.journal.foreign import admit
from services.common.timestamps import SECOND_US

pytestmark = [pytest.mark.unit, pytest.mark.risk]

START_US = 1_621_425_600_000_000
BIG = {
    # one entry of about 80 % of the equity, whose stop is far away
    "RISK_PER_TRADE_PCT": "0.4",
    "STOP_LOSS_PCT": "0.5",
    "MAX_POSITION_PCT": "1",
    "MAX_TOTAL_EXPOSURE_PCT": "1",
    "MAX_ORDER_NOTIONAL_USDT": "1000000",
    "MAX_SLIPPAGE_PCT": "0.02",
}


class Pipeline:
    """Core, risk and execution around one journal, fed with quotes, seconds and signals from outside."""

    def __init__(self, **risk: str) -> None:
        """Begin a run; `risk` are settings that differ from the defaults."""
        self.kernel = Kernel(deciding_machines())
        self.now = START_US
        self.number = 0
        self.journal: list[Event] = []
        self._feed(Control, action="started", service=channels.WS, run_id="run")
        settings = {
            channels.CORE: CoreSettings(),
            channels.RISK: RiskSettings.model_validate(risk),
            channels.EXECUTION: ExecutionSettings(),
        }
        self.journal += [entry.event for entry in self.kernel.announce(settings, code_version="test")]

    def _step(self, producer: str, source: str, event: Event) -> list[Event]:
        follows = [entry.event for entry in self.kernel.step(producer, Cause(source, self.number), [event])]
        self.journal += follows
        return follows

    def _feed(self, model: type[Event], **fields: Any) -> list[Event]:
        self.number += 1
        event = model(event_id=f"ws-{self.number}", timestamp=self.now, producer=channels.WS, **fields)
        return self._step(channels.WS, "feed", event)

    def seconds(self, count: int) -> None:
        """Let the clock tick on."""
        for _ in range(count):
            self.now += SECOND_US
            self._feed(Control, action="tick", details={"pressure": "none"})

    def quote(self, mid: str, *, symbol: str = "BTCUSDT", half_spread: str = "0.5") -> list[Event]:
        """Quote around `mid`, one second later."""
        self.now += SECOND_US
        price = Decimal(mid)
        return self._feed(
            MarketData,
            venue="mexc_spot",
            symbol=symbol,
            price=price,
            volume=Decimal(100),
            high=price,
            low=price,
            bid=price - Decimal(half_spread),
            ask=price + Decimal(half_spread),
            bid_size=Decimal(100),
            ask_size=Decimal(100),
            sequence=self.number + 1,
        )

    def buy(self, price: str, symbol: str = "BTCUSDT") -> tuple[RiskDecision, list[Event]]:
        """Publish a buy signal as a trader would; returns the decision on it and all that followed from it."""
        self.number += 1
        raw = json.dumps({"type": "signal", "symbol": symbol, "signal_type": "buy", "price": float(price)}).encode()
        signal = admit(
            channels.SIGNALS,
            raw,
            owner=channels.RISK,
            counter=self.number,
            now=self.now,
            run_id="run",
            default_venue="mexc_spot",
        )
        follows = self._step(channels.RISK, "foreign", signal)
        follows += self.quote(price, symbol=symbol)  # what was ordered would fill now
        (decision,) = [event for event in follows if isinstance(event, RiskDecision) and event.signal_id]
        return decision, follows

    @property
    def filled(self) -> Decimal:
        """Base units bought so far."""
        return sum(
            (event.last_quantity or Decimal(0) for event in self.journal if isinstance(event, OrderResult)), Decimal(0)
        )


def calls(events: list[Event]) -> list[str]:
    """Return what reached execution, and what it did."""
    return [event.type for event in events if isinstance(event, Order | OrderResult)]


def clean() -> Pipeline:
    """Nothing stands against an entry."""
    pipeline = Pipeline()
    pipeline.quote("50000")
    return pipeline


def crossed() -> Pipeline:
    """Bid above ask."""
    pipeline = clean()
    pipeline.quote("50000", half_spread="-1")
    return pipeline


def positioned() -> Pipeline:
    """The instrument is held already."""
    pipeline = clean()
    pipeline.buy("50000")
    assert pipeline.filled > 0
    pipeline.seconds(61)
    pipeline.quote("50000")
    return pipeline


def fallen(to: tuple[str, ...], **changed: str) -> Pipeline:
    """About 80 % of the equity is in bitcoin, whose price falls; ether is quoted calmly."""
    pipeline = Pipeline(**BIG, **changed)
    pipeline.quote("50000")
    pipeline.buy("50000")
    assert pipeline.filled > 1
    pipeline.seconds(61)
    for price in to:
        pipeline.quote(price)
    pipeline.quote(to[-1])
    pipeline.quote("3000", symbol="ETHUSDT")
    return pipeline


def day_lost() -> Pipeline:
    """A fall of 7 % on 80 % of the equity is over 5 % of the day's start."""
    return fallen(("48000", "46500"))


def exposed() -> Pipeline:
    """What is held has grown to more than all that may be exposed."""
    pipeline = Pipeline(
        RISK_PER_TRADE_PCT="0.05", STOP_LOSS_PCT="0.5", MAX_TOTAL_EXPOSURE_PCT="0.10", MAX_POSITION_PCT="0.10"
    )
    pipeline.quote("50000")
    pipeline.buy("50000")
    assert pipeline.filled > 0
    pipeline.seconds(61)
    pipeline.quote("51500")
    pipeline.quote("3000", symbol="ETHUSDT")
    return pipeline


def broken() -> Pipeline:
    """A fall of 14 % on 80 % of the equity is over 10 % of the peak; the day's limit is out of the way."""
    return fallen(("48000", "46000", "44500", "43000"), MAX_DAILY_DRAWDOWN_PCT="1")


def wide() -> Pipeline:
    """The spread is 1 % of the mid."""
    pipeline = clean()
    pipeline.quote("50000", half_spread="250")
    return pipeline


def silent() -> Pipeline:
    """No market data for over a minute, while the clock ticks on."""
    pipeline = clean()
    pipeline.seconds(61)
    return pipeline


def test_without_an_objection_the_signal_becomes_a_fill() -> None:
    """The same signal in a clean market is approved, ordered and filled: the refusals below have one cause each."""
    decision, follows = clean().buy("50000")

    assert decision.approved
    assert [verdict.status for verdict in decision.layers] == ["pass"] * 7
    assert calls(follows) == ["order", "order_result", "order_result"]


@pytest.mark.parametrize(
    ("situation", "symbol", "price", "layer", "code"),
    [
        (crossed, "BTCUSDT", "50000", "data_quality", "CROSSED_BOOK"),
        (positioned, "BTCUSDT", "50000", "position_limits", "ALREADY_POSITIONED"),
        (day_lost, "ETHUSDT", "3000", "daily_drawdown", "DAILY_DRAWDOWN_LATCHED"),
        (exposed, "ETHUSDT", "3000", "total_exposure", "EXPOSURE_LIMIT"),
        (broken, "ETHUSDT", "3000", "circuit_breaker", "BREAKER_LATCHED"),
        (wide, "BTCUSDT", "50000", "spread_check", "SPREAD_LIMIT"),
        (silent, "BTCUSDT", "50000", "timeout_check", "DATA_STALE"),
    ],
)
def test_what_a_layer_refuses_execution_never_sees(
    situation: Any, symbol: str, price: str, layer: str, code: str
) -> None:
    """The layer alone is named, with its code, all seven are recorded, and no order and no result follows."""
    pipeline = situation()
    held = pipeline.filled

    decision, follows = pipeline.buy(price, symbol)

    assert not decision.approved
    assert decision.reason == layer
    assert len(decision.layers) == 7
    assert next(verdict.code for verdict in decision.layers if verdict.layer == layer) == code
    assert calls(follows) == []
    assert pipeline.filled == held
