"""Listen keys: what a spot account opens its private streams with. Valid 60 minutes from the last refresh."""

from __future__ import annotations

import hashlib
from typing import Final

from services.common.errors import SandboxRefusal

__all__ = ["ListenKeys"]

_VALID_MS: Final = 60 * 60 * 1000
_MOST_KEYS: Final = 60


class ListenKeys:
    """The keys in force, each with its account and its end."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, int]] = {}
        self._count = 0

    def create(self, account: str, now_ms: int) -> str:
        """Return a new key.

        Raises:
            SandboxRefusal: the account has 60 already.
        """
        if len(self.of_account(account, now_ms)) >= _MOST_KEYS:
            raise SandboxRefusal(26, "operation not allowed: too many listen keys")
        self._count += 1
        key = hashlib.sha256(f"listen {account} {self._count}".encode()).hexdigest()
        self._keys[key] = (account, now_ms + _VALID_MS)
        return key

    def of_account(self, account: str, now_ms: int) -> list[str]:
        """Return an account's keys in force."""
        return [key for key, (owner, end) in self._keys.items() if owner == account and end > now_ms]

    def refresh(self, account: str, key: str, now_ms: int) -> None:
        """Let a key live another 60 minutes.

        Raises:
            SandboxRefusal: it is not in force or not this account's.
        """
        if self.account_of(key, now_ms) != account:
            raise SandboxRefusal(730002, "Parameter error: listenKey")
        self._keys[key] = (account, now_ms + _VALID_MS)

    def close(self, account: str, key: str, now_ms: int) -> None:
        """End a key.

        Raises:
            SandboxRefusal: it is not in force or not this account's.
        """
        self.refresh(account, key, now_ms)
        del self._keys[key]

    def account_of(self, key: str, now_ms: int) -> str | None:
        """Return whose key this is; None when it is not in force."""
        account, end = self._keys.get(key, (None, 0))
        return account if end > now_ms else None

    def expire_all(self) -> None:
        """End all keys at once."""
        self._keys.clear()
