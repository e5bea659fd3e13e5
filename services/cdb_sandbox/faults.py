"""Faults on request: what goes wrong, where, how often, and a list of what did go wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

__all__ = ["STREAM_FAULTS", "Fault", "FaultDesk", "FaultKind", "Injection"]


class FaultKind(StrEnum):
    """What goes wrong. "Before" means that the exchange has not acted on the request, "after" that it has."""

    TIMEOUT_BEFORE = "timeout_before"
    """REST: no answer for `delay_ms` (default 30 s), then the connection is cut; the request was never acted on."""
    TIMEOUT_AFTER = "timeout_after"
    """REST: the same, but it was acted on."""
    LATE = "late"
    """REST: the connection is cut at once; the request is acted on `delay_ms` later, if its time stamp still holds."""
    CUT_BEFORE = "cut_before"
    """REST: the connection is cut without an answer, the request was not acted on."""
    CUT_AFTER = "cut_after"
    """REST: acted on, then the connection is cut in the middle of the answer."""
    SLOW = "slow"
    """REST: the answer comes `delay_ms` late; acted on at arrival."""
    REJECT = "reject"
    """REST: refused with `code` and `message` (spot: HTTP `status`), not acted on."""
    RATE_LIMIT = "rate_limit"
    """REST: 429 with Retry-After `retry_after` (perpetual: code 510), not acted on."""
    BAN = "ban"
    """REST: 418 with Retry-After `retry_after`, not acted on."""
    SERVER_ERROR_BEFORE = "server_error_before"
    """REST: HTTP `status` (default 502) with an HTML page, not acted on."""
    SERVER_ERROR_AFTER = "server_error_after"
    """REST: the same, but acted on."""
    CLOCK_SKEW = "clock_skew"
    """REST: for this request the exchange's clock is `skew_ms` ahead."""
    PARTIAL_FILL = "partial_fill"
    """REST, placing: only `share` of the order trades at once, as if others had been faster."""
    DUPLICATE = "duplicate"
    """Streams: the message comes twice."""
    OUT_OF_ORDER = "out_of_order"
    """Streams: the message comes after the next one of its connection."""
    DROP = "drop"
    """Streams: the message is lost; of depth this is a gap in the versions."""
    DISCONNECT = "disconnect"
    """Streams: instead of the message the connection is cut."""
    SILENT = "silent"
    """Streams, at subscribing: acknowledged, but nothing ever comes."""
    BLOCKED = "blocked"
    """Streams, at subscribing: refused in words with code 0 (`Not Subscribed successfully! … Blocked!`)."""
    GZIP = "gzip"
    """Perpetual streams: the message comes as gzip in a binary frame."""
    INVALID_LISTEN_KEY = "invalid_listen_key"
    """Spot streams, at connecting with a listen key: the bare text `Invalid listen key`."""


STREAM_FAULTS: Final = frozenset(
    {
        FaultKind.DUPLICATE,
        FaultKind.OUT_OF_ORDER,
        FaultKind.DROP,
        FaultKind.DISCONNECT,
        FaultKind.SILENT,
        FaultKind.BLOCKED,
        FaultKind.GZIP,
        FaultKind.INVALID_LISTEN_KEY,
    }
)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault to inject.

    Attributes:
        kind: what goes wrong.
        where: pattern with `*` of the endpoint (`POST /api/v3/order`, `* /api/v1/private/order/*`) or, of a stream
            fault, of the channel (`spot@private.deals.v3.api.pb`, `push.personal.order`, `sub.depth`).
        symbol: only requests and messages of this symbol, as MEXC writes it.
        client_id: only of this client order id.
        skip: so many matching requests or messages pass first.
        count: so many are hit; None: all.
        probability: of each matching one to be hit (drawn from the desk's seeded source).
        delay_ms, code, message, status, retry_after, skew_ms, share: see the kinds.
    """

    kind: FaultKind
    where: str = "*"
    symbol: str | None = None
    client_id: str | None = None
    skip: int = 0
    count: int | None = 1
    probability: float = 1.0
    delay_ms: int = 30_000
    code: int = 500
    message: str = "Internal error"
    status: int | None = None
    retry_after: int = 1
    skew_ms: int = 0
    share: Decimal = Decimal("0.5")


@dataclass(frozen=True, kw_only=True)
class Injection:
    """One time that a fault struck."""

    fault_id: int
    kind: FaultKind
    where: str
    symbol: str | None
    client_id: str | None
    at_ms: int


class _Armed:
    def __init__(self, fault_id: int, fault: Fault) -> None:
        self.fault_id = fault_id
        self.fault = fault
        self.skip = fault.skip
        self.left = fault.count


class FaultDesk:
    """Holds the faults that are armed and lists what they did. Equal seeds and equal requests give equal faults."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._armed: list[_Armed] = []
        self._count = 0
        self.injected: list[Injection] = []

    def add(self, fault: Fault) -> int:
        """Arm a fault and return its number."""
        self._count += 1
        self._armed.append(_Armed(self._count, fault))
        return self._count

    def clear(self) -> None:
        """Disarm all; what was injected stays listed."""
        self._armed.clear()

    def armed(self) -> list[tuple[int, Fault, int | None]]:
        """Return what is armed: number, fault, how often it is still to strike."""
        return [(armed.fault_id, armed.fault, armed.left) for armed in self._armed if armed.left != 0]

    def strike(
        self,
        kinds: frozenset[FaultKind],
        where: str,
        *,
        symbol: str | None = None,
        client_id: str | None = None,
        at_ms: int,
    ) -> Fault | None:
        """Return the first armed fault of these kinds that hits here, and note it; None: all goes well."""
        for armed in self._armed:
            fault = armed.fault
            fits = (
                fault.kind in kinds
                and armed.left != 0
                and fnmatchcase(where, fault.where)
                and fault.symbol in {None, symbol}
                and fault.client_id in {None, client_id}
            )
            if not fits:
                continue
            if armed.skip > 0:
                armed.skip -= 1
                continue
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            if armed.left is not None:
                armed.left -= 1
            self.injected.append(
                Injection(
                    fault_id=armed.fault_id,
                    kind=fault.kind,
                    where=where,
                    symbol=symbol,
                    client_id=client_id,
                    at_ms=at_ms,
                )
            )
            return fault
        return None
