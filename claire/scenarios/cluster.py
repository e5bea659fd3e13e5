"""Scenarios on a Dask cluster by address. Each worker needs this code, and the recordings under the same paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Final

from claire.scenarios.job import Outcome, run_scenario
from claire.scenarios.plan import Scenario
from services.common.errors import InputUnusable
from services.common.runtime.build import code_version

__all__ = ["ClusterUnusable", "run_on_cluster", "task_outcome"]

CONNECT_SEC: Final = 10


class ClusterUnusable(InputUnusable):
    """The Dask cluster cannot be reached, or Dask is not installed."""


def run_on_cluster(scenarios: Sequence[Scenario], *, scheduler: str, keep_journals: bool) -> Iterator[Outcome]:
    """Yield the outcome of each scenario as it is done.

    A worker that dies is replaced by another; a scenario that kills several is given up by Dask and has failed.

    Args:
        scenarios: what to run.
        scheduler: address, as tcp://127.0.0.1:8786.
        keep_journals: return journals, pages and tables, too.

    Raises:
        ClusterUnusable: there is no such cluster.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise ClusterUnusable(
            "--scheduler needs Dask, which is not installed: pip install 'claire-de-binare[dask]'"
        ) from error
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SEC, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterUnusable(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({error}); "
            "start one with `dask scheduler`, or leave the option out to run here"
        ) from error
    with client:
        futures: dict[Any, Scenario] = {
            client.submit(run_scenario, scenario, keep_journal=keep_journals, pure=False): scenario
            for scenario in scenarios
        }
        try:
            for future in distributed.as_completed(list(futures), loop=client.loop):
                yield task_outcome(future, futures[future])
        finally:
            client.cancel(list(futures))


def task_outcome(future: Any, scenario: Scenario) -> Outcome:
    """Return what a task came to; one that runs other code than this process has failed."""
    if future.status != "finished":
        error = future.exception() if future.status == "error" else None
        reason = f"{type(error).__name__}: {error}" if error is not None else "the cluster has cancelled it"
        return Outcome(scenario.number, reason=reason)
    outcome: Outcome = future.result()
    ours = code_version()
    if outcome.code_version != ours:
        return Outcome(
            scenario.number,
            reason=f"the worker runs code {outcome.code_version}, not {ours}; install the same on all of them",
        )
    return outcome
