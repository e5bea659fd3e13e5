"""The targets of NOTIFY_URLS, and one message to one of them through apprise."""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, cast

from pydantic import SecretStr

from services.cdb_notifier.message import LEVELS, Level, Message
from services.common.errors import SettingsInvalid

__all__ = ["Target", "read_targets"]

SEND_SEC: Final = 30.0
_BETWEEN: Final = re.compile(r"[,\s]+(?=(?:(?:INFO|WARNING|CRITICAL)=)?[a-z][a-z0-9+.-]*://)", re.IGNORECASE | re.ASCII)
_TYPES: Final = {"INFO": "info", "WARNING": "warning", "CRITICAL": "failure"}


@dataclass(frozen=True)
class Target:
    """Somebody to tell.

    Attributes:
        key: names it in the outbox; says nothing about its address.
        name: for people: its place in NOTIFY_URLS and its kind, for example `2 (tgram)`.
        least: least level that it wants.
    """

    key: str
    name: str
    least: Level
    _sender: Any = field(repr=False, compare=False)

    def send(self, message: Message, *, picture: bool) -> bool:
        """Send one message; whether apprise says that it was taken.

        Args:
            message: what to tell.
            picture: whether to draw its curve and attach it.
        """
        attachment: Any = None
        if picture and message.curve:
            import apprise
            from apprise.attachment.memory import AttachMemory

            from services.cdb_notifier.adapters.picture import draw

            attachment = apprise.AppriseAttachment()
            drawn = AttachMemory(content=draw(message), name="equity.png", mimetype="image/png")  # type: ignore[no-untyped-call]
            attachment.add(drawn)
        return bool(
            self._sender.notify(
                title=message.title,
                body=message.body,
                notify_type=_TYPES[message.level],
                body_format="text",
                attach=attachment,
                timeout=SEND_SEC,
            )
        )


def read_targets(urls: SecretStr) -> list[Target]:
    """Return the targets that are named.

    Args:
        urls: apprise URLs, separated by commas or blanks, each perhaps with `LEVEL=` in front
            (without it the target gets every message that is made).

    Raises:
        SettingsInvalid: a part is no URL that apprise knows; it is named by its place, its text is secret.
    """
    if not urls.get_secret_value().strip():
        return []
    import apprise  # a tenth of a second that a notifier without targets need not spend

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it would write addresses and what servers answer
    targets: list[Target] = []
    mistakes = []
    parts = [part.strip(" ,\t\r\n") for part in _BETWEEN.split(urls.get_secret_value().strip())]
    for place, part in enumerate((part for part in parts if part), 1):
        prefix, equals, rest = part.partition("=")
        own = cast("Level", prefix.upper()) if equals and prefix.upper() in LEVELS else None
        url = rest if own else part
        sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="Claire de Binare", async_mode=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the library's modules, loaded with the first address
            known = sender.add(url)
        if not known:
            mistakes.append(
                f"NOTIFY_URLS=********: address {place} is none that apprise knows; "
                "see https://github.com/caronc/apprise/wiki, for example tgram://BOT_TOKEN/CHAT_ID"
            )
            continue
        kind = url.partition("://")[0].lower()
        key = sha256(url.encode()).hexdigest()[:12]
        if key not in {target.key for target in targets}:
            targets.append(Target(key, f"{place} ({kind})", own or "INFO", sender))
    if mistakes:
        raise SettingsInvalid("\n".join(mistakes))
    return targets
