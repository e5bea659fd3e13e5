"""Spot balances: free and locked, each change told with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from services.cdb_sandbox.core.facts import WalletChanged, WalletReason
from services.cdb_sandbox.core.records import Records
from services.common.decimals import ZERO
from services.common.errors import SandboxRefusal

__all__ = ["Wallet"]


class Wallet:
    """The spot account of one customer; no balance is ever negative."""

    def __init__(self, account: str, balances: Mapping[str, Decimal], records: Records) -> None:
        self._account = account
        self._records = records
        self.free: dict[str, Decimal] = dict(balances)
        self.locked: dict[str, Decimal] = dict.fromkeys(balances, ZERO)

    def lock(self, asset: str, amount: Decimal, now_ms: int) -> None:
        """Lock an amount for an order.

        Raises:
            SandboxRefusal: 30004, there is not so much.
        """
        if self.free.get(asset, ZERO) < amount:
            raise SandboxRefusal(30004, "Insufficient position")
        self._change(asset, -amount, amount, "ENTRUST_PLACE", now_ms)

    def unlock(self, asset: str, amount: Decimal, now_ms: int, reason: WalletReason = "ENTRUST_CANCEL") -> None:
        """Give back what an order does not need any more."""
        if amount:
            self._change(asset, amount, -amount, reason, now_ms)

    def spend(self, asset: str, amount: Decimal, now_ms: int) -> None:
        """Hand over what was locked."""
        self._change(asset, ZERO, -amount, "ENTRUST", now_ms)

    def receive(self, asset: str, amount: Decimal, now_ms: int, reason: WalletReason = "ENTRUST") -> None:
        """Take in an amount, or pay one when it is negative."""
        if amount:
            self._change(asset, amount, ZERO, reason, now_ms)

    def _change(self, asset: str, free: Decimal, locked: Decimal, reason: WalletReason, now_ms: int) -> None:
        now_free, now_locked = self.free.get(asset, ZERO) + free, self.locked.get(asset, ZERO) + locked
        assert now_free >= ZERO, f"{asset}: {now_free} free"
        assert now_locked >= ZERO, f"{asset}: {now_locked} locked"
        self.free[asset], self.locked[asset] = now_free, now_locked
        self._records.tell(
            WalletChanged(
                account=self._account,
                asset=asset,
                free=now_free,
                free_change=free,
                locked=now_locked,
                locked_change=locked,
                reason=reason,
                time_ms=now_ms,
            )
        )
