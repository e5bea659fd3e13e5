"""Which texts must never be shown: secrets among the settings, and what else in the environment is called one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, SecretStr

__all__ = ["secrets_of"]

SHORTEST: Final = 4
"""A shorter text would be masked in the middle of words; no secret is that short."""

LARGEST_FILE_BYTES: Final = 65_536
_NAME: Final = re.compile(r"PASS(WORD|WD)?|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|CREDENTIAL|NOTIFY_URLS", re.IGNORECASE)


def secrets_of(environ: Mapping[str, str], settings: Iterable[BaseModel]) -> list[str]:
    """Return every secret that this process can know of.

    Args:
        environ: its environment; a name like `…PASSWORD` or `…API_KEY` is a secret, `NAME_FILE` the file of one.
        settings: its settings; a field of type SecretStr is a secret.
    """
    found = {
        value.get_secret_value()
        for model in settings
        for value in model.__dict__.values()
        if isinstance(value, SecretStr)
    }
    for name, value in environ.items():
        if value and _NAME.search(name):
            found.add(_content(Path(value)) if name.endswith("_FILE") else value)
    found |= {part for secret in found for part in secret.replace(",", " ").split()}  # lists of addresses
    return sorted(secret for secret in found if len(secret) >= SHORTEST)


def _content(path: Path) -> str:
    try:
        return path.read_bytes()[:LARGEST_FILE_BYTES].decode("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
