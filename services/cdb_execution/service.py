"""The process of cdb_execution: `python -m services.cdb_execution.service`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from services.cdb_execution.adapters.access import ExchangeAccess, require_access
from services.cdb_execution.adapters.connect import connect
from services.cdb_execution.adapters.shells import ExecutionShell, LiveShell
from services.cdb_execution.settings import ExecutionSettings
from services.common import channels
from services.common.runtime.lifecycle import Lifecycle
from services.common.runtime.process import run_service

__all__ = ["main"]


def main(environ: Mapping[str, str] | None = None) -> int:
    """Run the service until it is stopped; returns its exit code."""
    return run_service(
        channels.EXECUTION,
        _work,
        settings=(ExecutionSettings, ExchangeAccess),
        environ=os.environ if environ is None else environ,
        before_lease=_require_access,
    )


def _require_access(life: Lifecycle) -> None:
    require_access(life.settings_of(ExecutionSettings).TRADING_MODE, life.settings_of(ExchangeAccess))


def _work(life: Lifecycle) -> None:
    if life.settings_of(ExecutionSettings).TRADING_MODE == "paper":
        ExecutionShell(life).run()
        return
    exchange, stream = connect(life, life.settings_of(ExchangeAccess))
    LiveShell(life, exchange, stream).run()


if __name__ == "__main__":
    sys.exit(main())
