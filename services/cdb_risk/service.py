"""The risk manager as a process, and as a library: `RiskManager().validate_signal(signal, state, config)`."""

from __future__ import annotations

import sys
from typing import Any

from services.cdb_risk.dict_api import Verdict, validate

__all__ = ["RiskManager", "main"]


class RiskManager:
    """The seven layers over plain dicts, for notebooks, tests and other programs; the pipeline uses `RiskMachine`."""

    @staticmethod
    def validate_signal(signal: dict[str, Any], state: dict[str, Any], config: dict[str, Any]) -> Verdict:
        """Return what the seven layers say to a signal.

        Args:
            signal: `symbol`, `signal_type` (or `side`), `price`; optional `size` (base units), `intent`, `timestamp`,
                `bid`, `ask`.
            state: optional `equity`, `daily_pnl`, `start_of_day_equity`, `peak_equity`, `total_exposure_pct` (or
                `total_exposure` in USDT), `position` or `positions`, `open_positions`, `entries_last_minute`,
                `circuit_breaker`, `trading_state`, `last_price`, `now`, `market_timestamp`, `expected_slippage_pct`.
            config: the environment names, for example `ACCOUNT_EQUITY` and `MAX_POSITION_PCT`; the aliases
                `MAX_DRAWDOWN_PCT` and `MAX_EXPOSURE_PCT` are understood.

        Returns:
            `approved`, `reason` (the failing layers in their order, or `approved`), `layers` (all seven),
            `position_size` (base units, 0 when refused) and `sizing`. Never raises; garbage is never approved.
        """
        return validate(signal, state, config)


def main() -> int:
    """Run the risk manager until it is told to stop; return the exit code."""
    from services.cdb_risk.adapters.metrics import RiskMetrics
    from services.cdb_risk.machine import RiskMachine
    from services.common.runtime.shell import run_machine

    return run_machine(RiskMachine, metrics=RiskMetrics)


if __name__ == "__main__":
    sys.exit(main())
