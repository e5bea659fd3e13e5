"""The yardstick: four processes that forward the same bytes over plain Redis pub/sub and do nothing else.

The measuring process publishes (as cdb_ws would), three processes forward (as cdb_core, cdb_risk and cdb_execution
would), and the measuring process reads the last channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from multiprocessing.synchronize import Event as ReadyEvent

import redis
from redis.client import PubSub

from tests.benchmarks.latency import Latency, Stopwatch, running, time_series

__all__ = ["connect", "listening", "measure_bare_chain"]

HOPS = ("bare:0", "bare:1", "bare:2", "bare:3")


def connect(environment: Mapping[str, str]) -> redis.Redis:
    """Return a connection to the server that an environment names."""
    if environment.get("REDIS_SOCKET"):
        return redis.Redis(unix_socket_path=environment["REDIS_SOCKET"])
    return redis.Redis(host=environment["REDIS_HOST"], port=int(environment["REDIS_PORT"]))


def listening(environment: Mapping[str, str], channel: str) -> PubSub:
    """Return a connection that has been subscribed to a channel."""
    listener = connect(environment).pubsub(ignore_subscribe_messages=True)
    listener.subscribe(channel)
    listener.get_message(timeout=1)
    return listener


def _forward(environment: dict[str, str], source: str, target: str, ready: ReadyEvent) -> None:
    client, listener = connect(environment), connect(environment).pubsub(ignore_subscribe_messages=True)
    listener.subscribe(source)
    while listener.get_message(timeout=0.05) is not None:
        pass
    ready.set()
    for message in listener.listen():
        client.publish(target, message["data"])


def measure_bare_chain(environment: Mapping[str, str], payload: bytes, *, rate: float, count: int) -> Latency:
    """Send `count` messages of the payload's size through the chain and return their latency."""
    forwarders = [(dict(environment), source, target) for source, target in pairwise(HOPS)]
    with running(_forward, forwarders):
        watch, client = Stopwatch(), connect(environment)

        def send(number: int) -> None:
            key = f"{number:010d}"
            watch.sending(key)
            client.publish(HOPS[0], key.encode() + payload[10:])

        return time_series(
            listening(environment, HOPS[-1]),
            watch,
            lambda data: data[:10].decode(),
            send,
            rate=rate,
            count=count,
            expected=count,
        )
