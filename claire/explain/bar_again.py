"""Evaluates a bar again under other settings of the strategy, for a signal that was not given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from claire.explain.lookup import Lookup
from claire.explain.redecide import changed_services, reconfigure
from claire.explain.screen import heading, lines
from claire.explain.why_not import Condition, WhyNot, bar_dict, conditions_of
from claire.history.span import Span
from services.cdb_core.evaluation import Action, Evaluation
from services.cdb_core.machine import CoreMachine
from services.cdb_core.settings import CoreSettings
from services.common import channels
from services.common.errors import SettingsInvalid
from services.common.events import Control
from services.common.instruments import instrument_key
from services.common.journal.entry import Entry
from services.common.runtime.announcement import settings_hash
from services.common.settings import canonical_settings, load_settings
from services.common.timestamps import format_timestamp

__all__ = ["BarAgain", "evaluate_again", "render_bar_again"]


@dataclass(frozen=True)
class BarAgain:
    """The bar under other settings.

    Attributes:
        changes: settings by name, as they were given.
        from_start: in force from the start of the run instead of at this bar alone.
        recorded, bar: the bar as it was, and as it would be (None: it is not evaluated).
        conditions: of an entry at the bar as it would be.
    """

    changes: Mapping[str, str]
    from_start: bool
    recorded: Evaluation
    bar: Evaluation | None
    conditions: tuple[Condition, ...]

    @property
    def signal_given(self) -> bool:
        """Whether an entry signal would be given."""
        return self.bar is not None and self.bar.action is Action.ENTRY

    def as_dict(self) -> dict[str, Any]:
        """Return everything for `--json`."""
        return {
            "kind": "bar_again",
            "changes": dict(self.changes),
            "in_force": "from_start" if self.from_start else "at_decision",
            "signal_given": self.signal_given,
            "bar": None if self.bar is None else bar_dict(self.bar),
            "conditions": [condition.as_dict() for condition in self.conditions],
        }


def evaluate_again(lookup: Lookup, found: WhyNot, changes: Mapping[str, str], *, from_start: bool) -> BarAgain:
    """Return the bar of an answer under other settings.

    Raises:
        SettingsInvalid: the strategy does not read one of them, or a value is wrong, or there is no bar.
    """
    for name in changes:
        if channels.CORE not in changed_services({name: changes[name]}):
            raise SettingsInvalid(f"--if {name}: no signal was given here, and the strategy does not read {name}")
    if found.bar is None:
        raise SettingsInvalid("--if: no bar had closed by then, so there is nothing to evaluate again")
    core, changed = CoreMachine(), False
    for entry in lookup.history.entries(Span(until=format_timestamp(found.asked_us))):
        lookup.tell(entry.id.n)
        if entry.channel not in {channels.MARKET_DATA, channels.CONTROL}:
            continue
        event = entry.event
        if not from_start and not changed and event.producer == channels.WS:
            changed = event.timestamp >= found.bar.close_time_us
            if changed and core.fold.settings is not None:
                reconfigure(core, _changed(core.fold.settings, changes))
        core.handle(_reconfigured(entry, changes) if from_start else entry)
    track = core.state.tracks.get(instrument_key(found.venue, found.symbol))
    bars = core.evaluations(found.venue, found.symbol)
    bar = next((bar for bar in bars if bar.minute == found.bar.minute), None)
    wanted = bar is not None and track is not None and bar.action is Action.NONE
    conditions = conditions_of(bar, track, core) if wanted and bar is not None and track is not None else ()
    return BarAgain(changes, from_start, found.bar, bar, conditions)


def _changed(settings: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    model = load_settings(CoreSettings, {**settings, **changes})
    return {"settings": canonical_settings(model), "settings_hash": settings_hash(model)}


def _reconfigured(entry: Entry, changes: Mapping[str, str]) -> Entry:
    event = entry.event
    if not isinstance(event, Control) or event.action != "config" or event.service != channels.CORE:
        return entry
    details = {**event.details, **_changed(event.details["settings"], changes)}
    return Entry.of(entry.id, entry.producer, entry.cause, event.model_copy(update={"details": details}))


def render_bar_again(again: BarAgain) -> RenderableType:
    """Return the comparison for a person."""
    when = "from the start of the run" if again.from_start else "at this bar alone (--from-start: the whole run)"
    if again.signal_given:
        then = Text("  then: an entry signal would be given", style="bold green")
    else:
        then = Text("  then: still no entry signal", style="bold yellow")
    missing = [f"missing: {condition.detail}" for condition in again.conditions if not condition.met]
    return Group(
        heading("If " + ", ".join(f"{name} were {value}" for name, value in again.changes.items())),
        lines(f"in force {when}"),
        lines(f"recorded: {again.recorded.text()}"),
        then,
        lines("" if again.bar is None else again.bar.text(), *missing),
    )
