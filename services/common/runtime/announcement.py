"""What a service says when it joins a run: that it has started, and its settings if they are not in force yet."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from pydantic import BaseModel

from services.common import channels
from services.common.codec import encode
from services.common.events import Control, Event
from services.common.identity import derive_id
from services.common.settings import canonical_settings

__all__ = ["announcement", "services_ahead", "settings_hash"]


def settings_hash(settings: BaseModel) -> str:
    """Return the sha256 of the canonical bytes of settings."""
    return sha256(encode(canonical_settings(settings))).hexdigest()


def services_ahead(service: str) -> tuple[str, ...]:
    """Return who announces itself before `service`, so that the journal of a repeatable run is the same each time."""
    return channels.SERVICES[: channels.SERVICES.index(service)]


def announcement(
    service: str,
    settings: BaseModel,
    *,
    run_id: str,
    now: int,
    number: int,
    in_force: str | None,
    code_version: str,
    details: dict[str, Any] | None = None,
) -> list[Event]:
    """Return the events of one announcement.

    Args:
        service: who joins.
        settings: configuration to be in force from now on.
        run_id: root of derived ids.
        now: the run's clock, microseconds.
        number: of the announcement in the service's own source `announce`.
        in_force: settings hash of the last `config` event of the service; equal settings are not said again.
        code_version: of the code that runs.
        details: what else belongs into the `config` event.
    """
    common: dict[str, Any] = {"timestamp": now, "producer": service, "service": service, "run_id": run_id}
    events: list[Event] = [
        Control(
            event_id=derive_id(run_id, service, "announce", number, 0),
            action="started",
            details={"code_version": code_version},
            **common,
        )
    ]
    wanted = settings_hash(settings)
    if in_force != wanted:
        events.append(
            Control(
                event_id=derive_id(run_id, service, "announce", number, 1),
                action="config",
                details={
                    **(details or {}),
                    "settings": canonical_settings(settings),
                    "settings_hash": wanted,
                    "code_version": code_version,
                },
                **common,
            )
        )
    return events
