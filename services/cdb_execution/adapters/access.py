"""What live trading needs beside its settings: the account's keys and a person's word. Never journalled or shown."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, SecretStr

from services.common.errors import SettingsInvalid
from services.common.live_settings import TradingMode

__all__ = ["ExchangeAccess", "require_access"]


class ExchangeAccess(BaseModel):
    """Keys of the account, from the environment or from files (`MEXC_API_KEY_FILE`).

    Attributes:
        MEXC_API_KEY, MEXC_API_SECRET: of a key that may trade and may not withdraw.
        CONFIRM_LIVE_TRADING: `yes` is a person's word that orders with real money are meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    MEXC_API_KEY: SecretStr = SecretStr("")
    MEXC_API_SECRET: SecretStr = SecretStr("")
    CONFIRM_LIVE_TRADING: str = ""


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
