"""The turnstile: the deciding services handle one journal entry at a time, in a fixed order.

Core handles entry n when core, risk and execution have done n - 1, risk when core has also done n, execution when both
have. So a run's journal is the same each time, whatever the machine does meanwhile. Progress is the hash `cursor`;
every step is also published on the channel `turnstile`, which only saves waiting: what is lost there is found by
looking.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from services.common import channels
from services.common.journal import keys
from services.common.settings import Infrastructure

__all__ = ["Turnstile", "WakeUps", "may_handle", "may_publish"]

LOOK_AGAIN_SEC = 0.05


def may_handle(service: str, n: int, cursors: Mapping[str, int]) -> bool:
    """Whether `service` may handle entry n now."""
    ahead = channels.TURNSTILE_ORDER[: channels.TURNSTILE_ORDER.index(service)]
    return all(
        cursors.get(peer, 0) >= (n if peer in ahead else n - 1) for peer in channels.TURNSTILE_ORDER if peer != service
    )


def may_publish(head: int, cursors: Mapping[str, int]) -> bool:
    """Whether the feed may publish its next batch: everybody has done the head."""
    return all(cursors.get(peer, 0) >= head for peer in channels.TURNSTILE_ORDER)


class WakeUps:
    """The channel `turnstile`, on a connection of its own that may fail at any time."""

    def __init__(self, infra: Infrastructure) -> None:
        """Name the server; the connection is made when first needed."""
        where: dict[str, object] = (
            {"unix_socket_path": infra.REDIS_SOCKET}
            if infra.REDIS_SOCKET
            else {"host": infra.REDIS_HOST, "port": infra.REDIS_PORT}
        )
        self._client = redis.Redis(
            **where,  # type: ignore[arg-type]
            db=infra.REDIS_DB,
            username=infra.REDIS_USERNAME or None,
            password=infra.REDIS_PASSWORD.get_secret_value() or None,
            socket_timeout=5.0,
            socket_connect_timeout=5.0,
            retry=Retry(NoBackoff(), 0),
        )
        self._subscription: redis.client.PubSub | None = None

    def wait(self, timeout_sec: float) -> tuple[str, int] | None:
        """Return the next `(service, n)`, None when none came or the connection is away."""
        try:
            if self._subscription is None:
                self._subscription = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
                self._subscription.subscribe(keys.TURNSTILE)
            message = self._subscription.get_message(timeout=timeout_sec)
        except (RedisError, OSError):
            self.close()
            time.sleep(timeout_sec)
            return None
        if not message or message["type"] != "message":
            return None
        service, _, n = message["data"].decode().partition(" ")
        return (service, int(n)) if n.isdigit() else None

    def close(self) -> None:
        """Drop the connection; the next wait makes a new one."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        self._client.close()


class Turnstile:
    """Progress of the deciding services, as far as this process knows; for one thread.

    A cursor only grows, so what was once allowed stays allowed and a late message does no harm. When Redis has lost its
    tail cursors fall back: `forget` before going on.
    """

    def __init__(self, cursors: Callable[[], Mapping[str, int]], wake_ups: WakeUps) -> None:
        """Ask `cursors` (service to the last entry done), be woken by `wake_ups`."""
        self._cursors = cursors
        self._wake_ups = wake_ups
        self._known: dict[str, int] = {}
        self._looked = 0.0

    def may_handle(self, service: str, n: int) -> bool:
        """Whether `service` may handle entry n now, as far as is known."""
        return may_handle(service, n, self._known)

    def may_publish(self, head: int) -> bool:
        """Whether the feed may publish after `head`, as far as is known."""
        return may_publish(head, self._known)

    def learn(self, timeout_sec: float = LOOK_AGAIN_SEC) -> None:
        """Wait for news at most `timeout_sec`; when none came, look at the cursors themselves.

        Raises:
            redis ConnectionError, TimeoutError: Redis is away.
        """
        news = self._wake_ups.wait(timeout_sec)
        if news is None:
            self.look()
            return
        service, n = news
        self._known[service] = max(n, self._known.get(service, 0))

    def look(self) -> None:
        """Read the cursors themselves."""
        self._known = dict(self._cursors())

    def forget(self) -> None:
        """Know nothing: Redis was restarted."""
        self._known.clear()

    def close(self) -> None:
        """Give the connection back."""
        self._wake_ups.close()
