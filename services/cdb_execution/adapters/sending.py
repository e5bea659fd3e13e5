"""The last look at the clock before an order leaves."""

from __future__ import annotations

from time import time_ns

from services.cdb_execution.exchange import OrderRequest

__all__ = ["may_still_leave"]


def may_still_leave(request: OrderRequest) -> bool:
    """Whether an order is still wanted, and young enough by this machine's clock; it may have waited for its turn."""
    return request.wanted() and (request.not_after is None or time_ns() // 1_000 <= request.not_after)
