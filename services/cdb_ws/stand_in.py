"""Which exchange a live feed listens to: MEXC, or the sandbox that compose has started beside it.

`docker compose --profile sandbox up` starts the sandbox and changes nothing else, so cdb_ws looks whether it is there.
A run stays with the exchange that it began on: invented prices never go on where real ones ended, nor the other way.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from services.cdb_ws.live_settings import LiveSettings

__all__ = ["ADDRESSES", "Exchange", "choose_exchange", "sandbox_settings"]

ADDRESSES: Final = ("MEXC_REST_URL", "MEXC_WS_URL", "MEXC_PERPETUAL_REST_URL", "MEXC_PERPETUAL_WS_URL")


class Exchange(NamedTuple):
    """What is listened to, and what a person should know of it; empty when there is nothing to know."""

    settings: LiveSettings
    notice: str = ""


def sandbox_settings(settings: LiveSettings, url: str) -> LiveSettings:
    """Return the settings with the addresses of a sandbox at this address."""
    socket = url.replace("http", "ws", 1)
    values = (url, f"{socket}/ws", url, f"{socket}/edge")
    return settings.model_copy(update=dict(zip(ADDRESSES, values, strict=True)))


def choose_exchange(
    settings: LiveSettings, sandbox: str, *, paper: bool, present: bool, began_on: str | None
) -> Exchange:
    """Return the exchange to listen to.

    Args:
        settings: as they were given.
        sandbox: address of compose's sandbox; empty: there is none to look for.
        paper: nothing is sent to an exchange.
        present: whether the sandbox is there.
        began_on: address of the exchange that the run has market data of; None: it has none yet.
    """
    named = any(getattr(settings, name) != LiveSettings.model_fields[name].default for name in ADDRESSES)
    if not sandbox or named or not paper:
        return Exchange(settings)
    invented = "the market data are the sandbox's, recorded or invented: nothing here is MEXC's market now"
    if began_on == sandbox:
        absent = (
            "" if present else f"; it does not answer at {sandbox}: start it (docker compose --profile sandbox up), or "
            "begin a run on MEXC (NEW_RUN=true, or docker compose down -v)"
        )  # fmt: skip
        return Exchange(sandbox_settings(settings, sandbox), invented + absent)
    if not present:
        return Exchange(settings)
    if began_on is None:
        return Exchange(sandbox_settings(settings, sandbox), invented)
    return Exchange(
        settings,
        f"the sandbox is there, but this run has market data of {began_on} and stays with it; beside it the sandbox "
        "runs as a project of its own: docker compose -p claire_sandbox --profile sandbox up",
    )
