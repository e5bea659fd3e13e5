"""The process of cdb_execution: `python -m services.cdb_execution.service`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from services.cdb_execution.adapters.access import require_access
from services.cdb_execution.adapters.connect import connect
from services.cdb_execution.adapters.keys import MexcAddresses
from services.cdb_execution.adapters.shells import ExecutionShell, LiveShell
from services.cdb_execution.settings import ExchangeAccess, ExecutionSettings
from services.common import channels
from services.common.runtime.lifecycle import Lifecycle
from services.common.runtime.process import run_service

__all__ = ["main"]


def main(environ: Mapping[str, str] | None = None) -> int:
    """Run the service until it is stopped; returns its exit code."""
    return run_service(
        channels.EXECUTION,
        _work,
        settings=(ExecutionSettings, ExchangeAccess, MexcAddresses),
        environ=os.environ if environ is None else environ,
        before_lease=_require_access,
    )


def _require_access(life: Lifecycle) -> None:
    require_access(life.settings_of(ExecutionSettings).TRADING_MODE, life.settings_of(ExchangeAccess))


def _work(life: Lifecycle) -> None:
    settings = life.settings_of(ExecutionSettings)
    if settings.TRADING_MODE == "paper":
        ExecutionShell(life).run()
        return
    exchange, stream = connect(settings, life.settings_of(ExchangeAccess), life.settings_of(MexcAddresses))
    LiveShell(life, exchange, stream if settings.TRADING_MODE == "live" else None).run()


if __name__ == "__main__":
    sys.exit(main())
