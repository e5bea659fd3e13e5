"""The bare chain with the journal underneath: the same four hops, and nothing is decided.

Between the bare chain and the pipeline: what exactly-once publishing and a cursor of one's own cost by themselves. Each
process reads through its bus and publishes one ready event for each that it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from multiprocessing.synchronize import Event as ReadyEvent
from typing import Final

from services.common import channels
from services.common.channels import MARKET_DATA, ORDER_RESULTS, ORDERS, SIGNALS
from services.common.codec import decode
from services.common.events import EVENT_BY_CHANNEL, Event
from services.common.journal.bus import Bus
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause
from services.common.journal.lease import Lease
from services.common.journal.opening import open_bus
from services.common.settings import Infrastructure, load_settings
from tests.benchmarks.bare_chain import listening
from tests.benchmarks.latency import Latency, Stopwatch, running, time_series
from tests.benchmarks.pipeline_chain import Feed

__all__ = ["measure_journal_chain"]

HOPS: Final = (
    (channels.CORE, MARKET_DATA, SIGNALS),
    (channels.RISK, SIGNALS, ORDERS),
    (channels.EXECUTION, ORDERS, ORDER_RESULTS),
)

_COMMON = {
    "event_id": "e", "timestamp": "2026-01-01T00:00:00.000000Z", "venue": "mexc_spot", "symbol": "BTCUSDT",
    "causation_id": "x" * 32,
}  # fmt: skip
_READY: Final = {
    SIGNALS: {"signal_type": "buy", "intent": "entry", "price": 50_000, "confidence": 1, "reason": "x" * 200},
    ORDERS: {
        "order_id": "o" * 32, "client_order_id": "o" * 32, "signal_id": "s" * 32, "decision_id": "d" * 32,
        "side": "BUY", "order_type": "LIMIT", "quantity": 1, "price": 50_000, "reduce_only": False,
        "purpose": "entry", "reference_price": 50_000,
    },
    ORDER_RESULTS: {
        "order_id": "o" * 32, "client_order_id": "o" * 32, "status": "NEW", "side": "BUY", "quantity": 1,
        "filled_quantity": 0,
    },
}  # fmt: skip


def _ready_event(channel: str, producer: str, correlation_id: str) -> Event:
    fields = {**_COMMON, "producer": producer, "correlation_id": correlation_id}
    return EVENT_BY_CHANNEL[channel].model_validate({**fields, **_READY[channel]})


def _forward(environment: dict[str, str], service: str, source: str, target: str, ready: ReadyEvent) -> None:
    infra = load_settings(Infrastructure, environment)
    client, fence = JournalClient(infra, name=service), Lease(infra, ttl_sec=600).acquire(service, "bench")
    bus = Bus(infra, service, frozenset({source}))
    bus.open(None)
    while not bus.at_head:
        bus.poll(0.05)
    template = _ready_event(target, service, "c" * 32)
    data = template.data
    key = b'"event_id":"' if source == MARKET_DATA else b'"correlation_id":"'
    ready.set()
    while True:
        for entry in bus.poll(0.1):
            root = entry.data.partition(key)[2][:32]
            event = template.model_copy()
            event.__dict__["data"] = data.replace(b"c" * 32, root, 1)
            client.publish(service, fence, Cause.of(entry.id), [event])


def measure_journal_chain(environment: Mapping[str, str], *, rate: float, count: int) -> Latency:
    """Send `count` market data events, each of them through all four hops, and return their latency."""
    infra = load_settings(Infrastructure, environment)
    open_bus(infra)
    feed = Feed(infra)
    with running(_forward, [(dict(environment), *hop) for hop in HOPS]):
        watch, sent = Stopwatch(), [feed.event(number) for number in range(count)]
        assert all(event.data for event in sent), "encoded before the clock runs"

        def send(number: int) -> None:
            watch.sending(sent[number].event_id)
            feed.send(sent[number])

        return time_series(
            listening(environment, ORDER_RESULTS),
            watch,
            lambda data: str(decode(data)["correlation_id"]),
            send,
            rate=rate,
            count=count,
            expected=count,
        )
