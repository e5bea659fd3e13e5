"""The base of every deciding state machine: a pure fold of the journal.

A machine reads no clock, draws no random number and does no I/O. `now` is the greatest timestamp of cdb_ws so far,
ids are derived from run id, producer and cause, and the configuration is an event. So the same entries give the same
outputs, byte for byte, live, in a restart, in a replay and in the kernel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from services.common import channels
from services.common.canonical import construct
from services.common.codec import decode, encode_state
from services.common.errors import ContractViolation, StateMismatch
from services.common.events import Control, Event, MarketData
from services.common.identity import derive_id
from services.common.instruments import instrument_key
from services.common.journal.entry import Entry
from services.common.market_facts import MarketFacts, instrument_details, read_instruments, read_symbols
from services.common.settings import MachineSettings
from services.common.state_copy import copy_state
from services.common.timestamps import MINUTE_US

__all__ = ["Fold", "StateMachine"]

_MARKET_FACTS = frozenset({"instruments", "symbols"})
_FOLDED = _MARKET_FACTS | {"started", "config"}
_COMMANDS = frozenset({"halt", "resume", "flatten", "reset_breaker", "resolve_order"})

SettingsT = TypeVar("SettingsT", bound=MachineSettings)
StateT = TypeVar("StateT")
EventT = TypeVar("EventT", bound=Event)


@dataclass
class Fold:
    """What every machine folds, whatever it decides.

    Attributes:
        n: journal number of the last entry handled (0: none).
        epoch: epoch of that entry.
        now: greatest timestamp of cdb_ws so far, microseconds; None before the first.
        run_id: of the last `started` of cdb_ws; None before it.
        settings: the machine's configuration in force, as it stands in its own `config` event; None before it.
        settings_hash: sha256 of the canonical settings.
        early_commands: bytes (as text) of control events that came before the machine could decide; they are folded
            as soon as it can, so that a `halt` is never lost.
        instruments: grids that the feed has told in this run, as in `control/instruments`, by instrument key.
        symbols: what the feed's screener has chosen; None before.
    """

    n: int = 0
    epoch: int = 0
    now: int | None = None
    run_id: str | None = None
    settings: dict[str, Any] | None = None
    settings_hash: str | None = None
    early_commands: list[str] = field(default_factory=list)
    instruments: dict[str, Any] = field(default_factory=dict)
    symbols: list[str] | None = None


@cache
def _adapter_of(state_type: Any) -> TypeAdapter[Any]:
    """Return what reads and writes a state; made once, since it takes tens of milliseconds and never changes."""
    return TypeAdapter(state_type)


class StateMachine(ABC, Generic[SettingsT, StateT]):
    """A pure fold of the journal with outputs.

    Subclasses name their `service`, the channels they consume, the type of their settings and a dataclass for their
    state (str-keyed dicts, lists, deques, nested dataclasses, Decimal, int, str, bool), and implement `on_event`.

    Attributes:
        now: the greatest timestamp of cdb_ws so far, microseconds; there before `on_event` is called.
        minute: number of the UTC minute (since the epoch) that contains `now`.
        settings: those in force; there before `on_event` is called.
    """

    now: int
    minute: int
    settings: SettingsT

    service: ClassVar[str]
    consumes: ClassVar[frozenset[str]]
    settings_type: ClassVar[type[MachineSettings]]
    state_type: ClassVar[type[Any]]

    def __init__(self) -> None:
        """Start with nothing folded: an unconfigured machine that has no outputs."""
        self.fold = Fold()
        self.state: StateT = self.initial_state()
        self._settings: SettingsT | None = None
        self._minute_ends = 0
        self._cause: Event | None = None
        self._outputs: list[Event] = []
        self._consumes = self.consumes  # of an instance: for every entry
        state_type: Any = self.state_type
        self._adapter = _adapter_of(state_type)

    # what subclasses provide

    def initial_state(self) -> StateT:
        """Return the state at the beginning of a run."""
        state: StateT = self.state_type()
        return state

    @abstractmethod
    def on_event(self, event: Event) -> None:
        """Fold one event of a consumed channel and `emit` what follows from it."""

    def on_settings(self) -> None:
        """Derive from settings that have just come into force (first ones, a change, restored ones) what is not state.

        What every event asks for is taken out of them here: reading a pydantic model costs.
        """

    # what subclasses use

    def emit(self, model: type[EventT], *, correlation_id: str | None = None, **fields: Any) -> EventT:
        """Produce one event that follows from the entry being handled.

        `event_id`, `timestamp`, `producer` and `causation_id` come from the fold; `correlation_id` is the cause's own
        unless given (market data begins a chain: then it is the market data's event_id).
        """
        cause = self._cause
        assert cause is not None, "emit is called only while an entry is handled"
        assert self.fold.run_id is not None
        if correlation_id is None:
            correlation_id = cause.event_id if isinstance(cause, MarketData) else cause.correlation_id
        event = model.make(
            event_id=derive_id(self.fold.run_id, self.service, cause.event_id, len(self._outputs)),
            timestamp=self.now,
            producer=self.service,
            correlation_id=correlation_id,
            causation_id=cause.event_id,
            **fields,
        )
        self._outputs.append(event)
        return event

    def emit_again(self, model: Event) -> None:
        """Produce an event of one's own that says the same as one that has been made before, as `emit` would."""
        cause = self._cause
        assert cause is not None, "emit_again is called only while an entry is handled"
        assert self.fold.run_id is not None
        fields = model.__dict__.copy()
        fields.pop("data", None)  # its bytes
        fields["event_id"] = derive_id(self.fold.run_id, self.service, cause.event_id, len(self._outputs))
        fields["timestamp"], fields["causation_id"] = self.now, cause.event_id
        fields["correlation_id"] = cause.event_id if type(cause) is MarketData else cause.correlation_id
        self._outputs.append(construct(type(model), fields))

    # what shells and the kernel call

    def handle(self, entry: Entry) -> list[Event]:
        """Fold one entry and return the events that follow from it, in order.

        Entries of channels that the machine does not consume only move its place in the journal.

        Raises:
            ContractViolation: the entry is not a valid event (a fault: the journal only admits valid events).
        """
        fold, channel = self.fold, entry.channel
        fold.epoch, fold.n = entry.id
        consumed = channel in self._consumes
        if not consumed and channel != channels.CONTROL:
            return []
        event = entry.event
        if channel == channels.CONTROL:  # asking for the class of another event costs more than all of this
            assert isinstance(event, Control)
            if event.action in _FOLDED:
                self._fold_control(event)
        # for every entry: other ways to a field of a pydantic model cost three times as much
        fields = event.__dict__
        if fields["producer"] == channels.WS:
            timestamp: int = fields["timestamp"]
            if fold.now is None or timestamp > fold.now:
                fold.now = self.now = timestamp
                if timestamp >= self._minute_ends:
                    self._begin_minute(timestamp)
        if not consumed:
            return []
        if self._settings is None or fold.run_id is None or fold.now is None:
            if isinstance(event, Control) and event.action in _COMMANDS:
                fold.early_commands.append(entry.data.decode())
            return []
        outputs: list[Event] = []
        self._cause, self._outputs = event, outputs
        try:
            while fold.early_commands:
                self.on_event(Control.parse(decode(fold.early_commands.pop(0))))
            self.on_event(event)
        finally:
            self._cause = None
        return outputs

    def _fold_control(self, event: Control) -> None:
        if event.action == "started" and event.producer == channels.WS and event.run_id != self.fold.run_id:
            self.fold.run_id, self.fold.now, self._minute_ends = event.run_id, None, 0
            self.fold.instruments, self.fold.symbols = {}, None
            self.state = self.initial_state()
            self._know()
        elif event.action == "config" and event.service == self.service == event.producer:
            self._configure(event.details)
        elif event.action in _MARKET_FACTS and event.producer == channels.WS:
            if event.action == "instruments":
                told = instrument_details(read_instruments(event.details).values())["instruments"]
                self.fold.instruments.update((instrument_key(row["venue"], row["symbol"]), row) for row in told)
            else:
                self.fold.symbols = list(read_symbols(event.details))
            self._know()

    def _know(self) -> None:
        """Let the settings in force know what the feed has told of the exchange."""
        if self._settings is not None:
            self._take(self._settings)

    def _facts(self) -> MarketFacts:
        fold = self.fold
        symbols = None if fold.symbols is None else tuple(fold.symbols)
        return MarketFacts(read_instruments({"instruments": list(fold.instruments.values())}), symbols)

    def _configure(self, details: dict[str, Any]) -> None:
        try:
            settings = self.settings_type.model_validate(details["settings"])
        except (KeyError, ValidationError) as error:
            raise ContractViolation(f"{self.service}: config event cannot be used: {error}") from error
        self.fold.settings, self.fold.settings_hash = details["settings"], details["settings_hash"]
        self._take(settings)  # type: ignore[arg-type]

    def _take(self, settings: SettingsT) -> None:
        self._settings = self.settings = settings.knowing(self._facts())
        self.on_settings()

    def _begin_minute(self, now: int) -> None:
        self.minute = now // MINUTE_US
        self._minute_ends = (self.minute + 1) * MINUTE_US

    def dump(self) -> bytes:
        """Return fold and state as bytes: machines that folded the same entries give the same bytes."""
        return encode_state({"fold": self.fold, "state": self.state})

    def restore(self, data: bytes) -> None:
        """Take over what `dump` returned.

        Raises:
            StateMismatch: the bytes are not a state of this machine.
        """
        try:
            value = decode(data)
            fold = Fold(**value["fold"])
            state = self._adapter.validate_python(value["state"])
            settings = None if fold.settings is None else self.settings_type.model_validate(fold.settings)
        except (ContractViolation, ValidationError, KeyError, TypeError) as error:
            raise StateMismatch(f"{self.service}: not a state of this machine: {error}") from error
        self.fold, self.state, self._settings = fold, state, None
        if settings is not None:
            self._take(settings)  # type: ignore[arg-type]
        if fold.now is not None:
            self.now = fold.now
            self._begin_minute(self.now)

    def twin(self) -> Self:
        """Return a machine that has folded the same, as if restored from a dump; what it folds then is its own."""
        twin = type(self)()
        try:
            twin.fold, twin.state = copy_state(self.fold), copy_state(self.state)
        except TypeError:  # something that only the long way can copy
            twin.restore(self.dump())
            return twin
        twin._settings = self._settings  # noqa: SLF001 - one of our own kind
        if self._settings is not None:
            twin.settings = self.settings
            twin.on_settings()
        if self.fold.now is not None:
            twin.now = self.fold.now
            twin._begin_minute(twin.now)  # noqa: SLF001 - the same
        return twin
