"""The yardstick: four processes that forward the same bytes over plain Redis pub/sub and do nothing else.

The measuring process publishes (as cdb_ws would), three processes forward (as cdb_core, cdb_risk and cdb_execution
would), and the measuring process reads the last channel.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Mapping

import redis

from tests.benchmarks.latency import Latency, Stopwatch, pace

__all__ = ["measure_bare_chain"]

HOPS = ("bare:0", "bare:1", "bare:2", "bare:3")


def connect(environment: Mapping[str, str]) -> redis.Redis:
    """Return a connection to the server that an environment names."""
    if environment.get("REDIS_SOCKET"):
        return redis.Redis(unix_socket_path=environment["REDIS_SOCKET"])
    return redis.Redis(host=environment["REDIS_HOST"], port=int(environment["REDIS_PORT"]))


def _forward(environment: dict[str, str], source: str, target: str, ready: multiprocessing.synchronize.Event) -> None:
    client, listener = connect(environment), connect(environment).pubsub(ignore_subscribe_messages=True)
    listener.subscribe(source)
    while listener.get_message(timeout=0.05) is not None:
        pass
    ready.set()
    for message in listener.listen():
        client.publish(target, message["data"])


def measure_bare_chain(environment: Mapping[str, str], payload: bytes, *, rate: float, count: int) -> Latency:
    """Send `count` messages of the payload's size through the chain and return their latency."""
    context = multiprocessing.get_context("spawn")
    events = [context.Event() for _ in HOPS[:-1]]
    processes = [
        context.Process(target=_forward, args=(dict(environment), HOPS[i], HOPS[i + 1], events[i]), daemon=True)
        for i in range(len(HOPS) - 1)
    ]
    for process in processes:
        process.start()
    for event in events:
        event.wait(30)
    watch = Stopwatch()
    listener = connect(environment).pubsub(ignore_subscribe_messages=True)
    listener.subscribe(HOPS[-1])
    listener.get_message(timeout=1)
    watch.expect(count)

    def read() -> None:
        while not watch.done.is_set():
            message = listener.get_message(timeout=0.2)
            if message is not None:
                watch.arrived(message["data"][:10].decode(), time.perf_counter_ns())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    client = connect(environment)

    def send(number: int) -> None:
        key = f"{number:010d}"
        watch.sending(key)
        client.publish(HOPS[0], key.encode() + payload[10:])

    pace(send, count, rate)
    watch.done.wait(30)
    watch.done.set()
    reader.join()
    for process in processes:
        process.kill()
        process.join()
    listener.close()
    return watch.result(rate, skip=count // 10)
