"""The bare chain with the journal underneath: the same four hops, and nothing is decided.

Between the bare chain and the pipeline: what exactly-once publishing and a cursor of one's own cost by themselves. Each
process reads through its bus and publishes one ready event for each that it reads.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
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
from tests.benchmarks.bare_chain import connect
from tests.benchmarks.latency import Latency, Stopwatch, pace
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
    context = multiprocessing.get_context("spawn")
    events = [context.Event() for _ in HOPS]
    processes = [
        context.Process(target=_forward, args=(dict(environment), *hop, ready), daemon=True)
        for hop, ready in zip(HOPS, events, strict=True)
    ]
    for process in processes:
        process.start()
    for event in events:
        event.wait(30)
    watch = Stopwatch()
    listener = connect(environment).pubsub(ignore_subscribe_messages=True)
    listener.subscribe(ORDER_RESULTS)
    listener.get_message(timeout=1)
    watch.expect(count)

    def read() -> None:
        while not watch.done.is_set():
            message = listener.get_message(timeout=0.2)
            at_ns = time.perf_counter_ns()
            if message is not None:
                watch.arrived(decode(message["data"])["correlation_id"], at_ns)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    sent = [feed.event(number) for number in range(count)]
    assert all(event.data for event in sent), "encoded before the clock runs"

    def send(number: int) -> None:
        watch.sending(sent[number].event_id)
        feed.send(sent[number])

    pace(send, count, rate)
    watch.done.wait(30)
    watch.done.set()
    reader.join()
    for process in processes:
        process.kill()
        process.join()
    listener.close()
    return watch.result(rate, skip=count // 10)
