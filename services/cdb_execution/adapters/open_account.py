"""From keys to an account at MEXC and its user stream."""

from __future__ import annotations

from typing import Any

from services.cdb_execution.adapters.caller import MexcCaller
from services.cdb_execution.adapters.dialects import PerpetualDialect, SpotDialect
from services.cdb_execution.adapters.keys import Keys, MexcAddresses
from services.cdb_execution.adapters.limits import PERPETUAL_LIMITS, SPOT_LIMITS, RateLimiter
from services.cdb_execution.adapters.perpetual import PERPETUAL_TIME, MexcPerpetual
from services.cdb_execution.adapters.spot import SPOT_TIME, MexcSpot
from services.cdb_execution.adapters.stream import MexcUserStream
from services.cdb_execution.adapters.stream_dialects import PerpetualStreamDialect, SpotStreamDialect
from services.cdb_execution.adapters.transport import RequestsTransport, Transport
from services.cdb_execution.exchange import Exchange, UserStream
from services.common.errors import ExchangeAnswerInvalid
from services.common.instruments import PERPETUAL, Venue
from services.common.mexc.rows import as_row, integer

__all__ = ["open_account"]


def open_account(
    venue: Venue,
    keys: Keys,
    addresses: MexcAddresses,
    *,
    recv_window_ms: int = 5_000,
    longest_wait_sec: float = 1.0,
    transport: Transport | None = None,
) -> tuple[Exchange, UserStream]:
    """Return one account and its stream; nothing is asked yet.

    Args:
        venue: spot or perpetual.
        keys: of the account.
        addresses: of the exchange or of the sandbox.
        recv_window_ms: how long after its stamp a spot request may still be accepted; perpetuals have 10 s.
        longest_wait_sec: an order whose turn within the rate limit comes later is not sent.
        transport: how requests travel; over the network by default.
    """
    transport = transport or RequestsTransport()
    timeout_sec = addresses.MEXC_TIMEOUT_SEC
    if venue == PERPETUAL:
        caller = MexcCaller(
            PerpetualDialect(),
            transport,
            keys,
            addresses.MEXC_PERPETUAL_REST_URL,
            RateLimiter(PERPETUAL_LIMITS),
            timeout_sec=timeout_sec,
            read_time=(PERPETUAL_TIME, _perpetual_time),
        )
        perpetual = MexcPerpetual(caller, longest_wait_sec=longest_wait_sec)
        dialect = PerpetualStreamDialect(caller, addresses.MEXC_PERPETUAL_WS_URL, keys, perpetual.contract_size)
        return perpetual, MexcUserStream(dialect)
    caller = MexcCaller(
        SpotDialect(recv_window_ms),
        transport,
        keys,
        addresses.MEXC_REST_URL,
        RateLimiter(SPOT_LIMITS),
        timeout_sec=timeout_sec,
        read_time=(SPOT_TIME, _spot_time),
    )
    spot = MexcSpot(caller, longest_wait_sec=longest_wait_sec)
    return spot, MexcUserStream(SpotStreamDialect(caller, addresses.MEXC_WS_URL))


def _spot_time(body: Any) -> int:
    return integer(as_row(body, "time"), "serverTime")


def _perpetual_time(data: Any) -> int:
    if not isinstance(data, int) or isinstance(data, bool):
        raise ExchangeAnswerInvalid(f"data={data!r:.80}: milliseconds since the epoch are meant")
    return data
