"""One scenario as a piece of work that any process on any machine can do: plan in, outcome out, nothing raised."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from claire.paper.feed import open_feed
from claire.paper.output import report_of, run_and_write
from claire.paper.run import Progress, run_paper
from claire.paper.spec import PaperSpec
from claire.scenarios.plan import Scenario
from claire.up import to_json
from services.common import channels
from services.common.errors import ClaireError, FeedInputInvalid
from services.common.events import Alert
from services.common.journal.entry import Entry
from services.common.runtime.build import code_version

__all__ = ["Outcome", "Tell", "run_scenario"]

Tell = Callable[[float], None]
"""Takes how much of a run is done, 0 to 1."""


@dataclass(frozen=True)
class Outcome:
    """What one scenario came to.

    Attributes:
        number: of the scenario.
        reason: why it failed; empty if it did not.
        trace: of an error that nobody foresaw.
        files: what belongs into its folder, by name.
        alerts: how many of each code.
        code_version: of the process that ran it.
        wall_sec: how long it took.
    """

    number: int
    reason: str = ""
    trace: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    alerts: Mapping[str, int] = field(default_factory=dict)
    code_version: str = ""
    wall_sec: float = 0.0


def run_scenario(scenario: Scenario, *, keep_journal: bool = False, tell: Tell | None = None) -> Outcome:
    """Run a scenario and return what came of it; whatever goes wrong is its reason.

    Args:
        scenario: what to run.
        keep_journal: return the journal, the page and the tables, too.
        tell: called now and then.
    """
    begun = time.perf_counter()
    alerts: Counter[str] = Counter()

    def observe(entry: Entry) -> None:
        if entry.channel == channels.ALERTS:
            event = entry.event
            assert isinstance(event, Alert)
            alerts[event.code] += 1

    def show(progress: Progress) -> None:
        if tell is not None and progress.end_us is not None:
            tell((progress.now_us - progress.start_us) / max(progress.end_us - progress.start_us, 1))

    reason = trace = ""
    files: dict[str, bytes] = {}
    try:
        spec = _stressed(scenario)
        if keep_journal:
            with tempfile.TemporaryDirectory(prefix="claire-scenario-") as name:
                run_and_write(spec, Path(name), show, [observe])
                files = {path.name: path.read_bytes() for path in sorted(Path(name).iterdir())}
        else:
            report = report_of(spec, run_paper(spec, progress=show, sinks=[observe]))
            files = {"report.json": (to_json(report) + "\n").encode()}
    except FeedInputInvalid as error:
        reason = str(error) + ("; mind what its stresses have left of the recording" if scenario.stresses else "")
    except ClaireError as error:
        reason = str(error)
    except Exception as error:
        # the edge of the work: it must not take the other scenarios with it, and it is told in the table
        reason = f"{type(error).__name__}: {error}"
        trace = traceback.format_exc()
    return Outcome(
        scenario.number,
        reason=reason,
        trace=trace,
        files={} if reason else files,
        alerts=dict(sorted(alerts.items())),
        code_version=code_version(),
        wall_sec=time.perf_counter() - begun,
    )


def _stressed(scenario: Scenario) -> PaperSpec:
    """Return the spec with its stresses at absolute times."""
    stresses = scenario.stresses
    if any(stress.relative for stress in stresses):
        start_us = open_feed(scenario.spec).start_us
        stresses = tuple(stress.beginning(start_us) for stress in stresses)
    return replace(scenario.spec, stresses=(*scenario.spec.stresses, *stresses))
