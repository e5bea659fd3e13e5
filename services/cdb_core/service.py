"""The process of cdb_core: `python -m services.cdb_core.service`."""

from __future__ import annotations

import sys

from services.cdb_core.adapters.metrics import CoreMetrics
from services.cdb_core.machine import CoreMachine
from services.common.runtime.shell import run_machine

__all__ = ["main"]


def main() -> int:
    """Run the service until it is stopped; returns its exit code."""
    return run_machine(CoreMachine, metrics=CoreMetrics)


if __name__ == "__main__":
    sys.exit(main())
