"""From the account's keys to the account."""

from __future__ import annotations

from services.cdb_execution.adapters.access import ExchangeAccess
from services.cdb_execution.exchange import Exchange, UserStream
from services.common.errors import SettingsInvalid
from services.common.runtime.lifecycle import Lifecycle

__all__ = ["connect"]


def connect(life: Lifecycle, access: ExchangeAccess) -> tuple[Exchange, UserStream | None]:
    """Return the account that the keys open, and its stream.

    Raises:
        SettingsInvalid: there is no client of an exchange.
    """
    raise SettingsInvalid(
        f"TRADING_MODE={life.infra.TRADING_MODE}: the client of the exchange is not part of this build"
    )
