"""The process of cdb_execution: `python -m services.cdb_execution.service`."""

from __future__ import annotations

import sys

from services.cdb_execution.adapters.metrics import ExecutionMetrics
from services.cdb_execution.machine import ExecutionMachine
from services.common.runtime.shell import run_machine

__all__ = ["main"]


def main() -> int:
    """Run the service until it is stopped; returns its exit code."""
    return run_machine(ExecutionMachine, metrics=ExecutionMetrics)


if __name__ == "__main__":
    sys.exit(main())
