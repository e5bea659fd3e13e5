"""One of each: a service holds a lease with a growing fence; whoever has an older fence is refused and must exit."""

from __future__ import annotations

import time
from typing import Any, Final

from services.common.errors import FenceLost, JournalClosed, LeaseHeld, PublishRefused
from services.common.journal import keys
from services.common.journal.attachment import attach
from services.common.journal.link import Link
from services.common.journal.scripts import ACQUIRE, RELEASE, RENEW, Script
from services.common.settings import Infrastructure

__all__ = ["LEASE_TTL_SEC", "RENEW_EVERY_SEC", "Lease"]

LEASE_TTL_SEC: Final = 5.0
RENEW_EVERY_SEC: Final = 1.0
ACQUIRE_TIMEOUT_SEC: Final = 10.0


class Lease:
    """The lease of one service, over a connection of its own.

    A holder is a random id that the service keeps in its state folder, under a lock of the operating system: whoever
    has that lock knows that the process before it is gone, and takes its lease over at once. Anybody else waits until
    the lease runs out.

    Args:
        infra: where Redis is.
        ttl_sec: how long the lease outlives its last renewal.
    """

    def __init__(self, infra: Infrastructure, *, ttl_sec: float = LEASE_TTL_SEC) -> None:
        self._link = Link(infra, name="lease", greet=self._greet)
        self._ttl_ms = int(ttl_sec * 1000)
        self._service = ""
        self._holder = ""
        self._fence: int | None = None

    def _greet(self) -> None:
        attach(self._link)

    @property
    def fence(self) -> int | None:
        """The fence held, None before `acquire` and after `release`."""
        return self._fence

    def acquire(self, service: str, holder: str, *, timeout_sec: float = ACQUIRE_TIMEOUT_SEC) -> int:
        """Take the lease and return its fence, which is greater than every one before.

        Raises:
            LeaseHeld: another instance still holds it after `timeout_sec`.
            JournalClosed: the bus is not open; try again.
            redis.ConnectionError, redis.TimeoutError: Redis cannot be reached; try again.
        """
        deadline = time.monotonic() + timeout_sec
        while True:
            reply = self._run(ACQUIRE, (keys.lease_key(service), keys.FENCE, keys.BUS), (service, holder, self._ttl_ms))
            if reply[0] == b"acquired":
                self._service, self._holder, self._fence = service, holder, int(reply[1])
                return self._fence
            if time.monotonic() >= deadline:
                raise LeaseHeld(
                    f"{service}: another instance holds the lease (fence and holder {reply[1].decode()}); stop it first"
                )
            time.sleep(min(max(int(reply[2]), 20) / 1000, 0.2))

    def renew(self) -> None:
        """Prolong the lease; call it every second.

        Raises:
            FenceLost: another instance has taken over; exit.
            JournalClosed, redis.ConnectionError, redis.TimeoutError: not renewed; try again in a second.
        """
        reply = self._run(
            RENEW,
            (keys.lease_key(self._service), keys.FENCE),
            (self._service, self._holder, self._held(), self._ttl_ms),
        )
        if reply[0] != b"ok":
            raise FenceLost(f"{self._service}: fence {self._fence} was lost to {reply[1].decode()}")

    def release(self) -> None:
        """Give the lease back, so that a successor need not wait; nothing happens when it is somebody else's."""
        self._run(RELEASE, (keys.lease_key(self._service),), (f"{self._held()}:{self._holder}",))
        self._fence = None

    def close(self) -> None:
        """Drop the connection; the lease runs out by itself."""
        self._link.close()

    def _run(self, script: Script, names: tuple[str, ...], arguments: tuple[Any, ...]) -> Any:
        try:
            return self._link.run(script, names, arguments)
        except PublishRefused as error:
            raise JournalClosed(str(error)) from error

    def _held(self) -> int:
        assert self._fence is not None, "a lease is acquired before it is renewed or released"
        return self._fence
