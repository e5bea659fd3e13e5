"""From the account's keys to the account."""

from __future__ import annotations

from services.cdb_execution.adapters.keys import Keys, MexcAddresses
from services.cdb_execution.adapters.open_account import open_account
from services.cdb_execution.exchange import Exchange, UserStream
from services.cdb_execution.settings import ExchangeAccess, ExecutionSettings

__all__ = ["connect"]


def connect(
    settings: ExecutionSettings, access: ExchangeAccess, addresses: MexcAddresses
) -> tuple[Exchange, UserStream]:
    """Return the account that the keys open, and its stream; nothing is asked yet."""
    keys = Keys(access.MEXC_API_KEY.get_secret_value(), access.MEXC_API_SECRET.get_secret_value())
    return open_account(settings.VENUE, keys, addresses, recv_window_ms=settings.MEXC_RECV_WINDOW_MS)
