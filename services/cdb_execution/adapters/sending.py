"""The last look at the clock before an order leaves."""

from __future__ import annotations

from time import time_ns

from services.cdb_execution.exchange import OrderRequest

__all__ = ["may_still_leave"]


def may_still_leave(request: OrderRequest) -> bool:
    """Whether an order is still young enough by this machine's clock; waiting for its turn may have made it too old."""
    return request.not_after is None or time_ns() // 1_000 <= request.not_after
