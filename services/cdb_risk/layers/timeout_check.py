"""Layer 7: how old is what the decision would rest on?"""

from __future__ import annotations

from decimal import Decimal

from services.cdb_risk.codes import Code
from services.cdb_risk.finding import Finding, compared
from services.common.decimals import divide
from services.common.timestamps import SECOND_US

__all__ = ["FUTURE_TOLERANCE_US", "check_age"]

FUTURE_TOLERANCE_US = 5 * SECOND_US


def check_age(what: str, timestamp: int | None, now: int, limit_sec: Decimal, stale: Code) -> Finding:
    """Compare the age of market data or of a signal with the limit; equality passes, the future beyond 5 s fails.

    Args:
        what: shown in the detail.
        timestamp: its time, microseconds; None when there is none.
        now: time of the decision, microseconds.
        limit_sec: DATA_STALE_TIMEOUT_SEC.
        stale: the code when it is too old.
    """
    if timestamp is None:
        return Finding(Code.TIMESTAMP_MISSING, f"{what} has no time", limit=limit_sec)
    age_us = now - timestamp
    age = divide(Decimal(age_us), Decimal(SECOND_US), 6)
    code = (
        Code.TIMESTAMP_IN_FUTURE
        if age_us < -FUTURE_TOLERANCE_US
        else stale
        if age_us > limit_sec * SECOND_US
        else Code.OK
    )
    return compared(code, f"{what} is {age:f} s old", age, limit_sec)
