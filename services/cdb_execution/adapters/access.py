"""What live trading needs beside its settings: the account's keys and a person's word. Never journalled or shown."""

from __future__ import annotations

from services.cdb_execution.settings import ExchangeAccess
from services.common.errors import SettingsInvalid
from services.common.live_settings import TradingMode

__all__ = ["require_access"]


def require_access(mode: TradingMode, access: ExchangeAccess) -> None:
    """Refuse a mode that lacks something.

    Raises:
        SettingsInvalid: naming all that lacks, one a line.
    """
    lacking = []
    if mode != "paper":
        lacking = [
            f"{name}: TRADING_MODE={mode} needs the account's key; set {name}, or {name}_FILE to a file that holds it"
            for name in ("MEXC_API_KEY", "MEXC_API_SECRET")
            if not getattr(access, name).get_secret_value()
        ]
    if mode == "live" and access.CONFIRM_LIVE_TRADING != "yes":
        lacking.append(
            f"CONFIRM_LIVE_TRADING={access.CONFIRM_LIVE_TRADING}: TRADING_MODE=live sends orders with real money; "
            "set CONFIRM_LIVE_TRADING=yes if that is meant, else TRADING_MODE=paper"
        )
    if lacking:
        raise SettingsInvalid("\n".join(lacking))
