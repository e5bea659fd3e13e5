"""The processes around the machine: on paper the common shell, in shadow and live mode one that speaks to an exchange.

An order leaves only from here, only when this process was the first to publish its SUBMITTING, and only once: a restart
finds that publish repeated and asks the exchange instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import ClassVar, Final

from services.cdb_execution.adapters.desk import ExchangeDesk
from services.cdb_execution.adapters.lanes import Lanes
from services.cdb_execution.adapters.metrics import ExecutionMetrics
from services.cdb_execution.exchange import Exchange, UserStream
from services.cdb_execution.live.facts import SOURCE, state_next
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import ExecutionSettings
from services.common import channels
from services.common.errors import SettingsInvalid
from services.common.events import Event, Order, OrderResult
from services.common.journal.entry import Entry
from services.common.runtime.lifecycle import Lifecycle
from services.common.runtime.shell import MachineShell

__all__ = ["ExecutionShell", "LiveShell", "silence"]

_LEFT_OUT_KNOWN: Final = 256
_LONG_SILENCE_SEC: Final = 10.0


def silence(seconds: float) -> str | None:
    """Return what `/health` says of a silence that the exchange has asked for; nothing of a short one."""
    if seconds <= _LONG_SILENCE_SEC:
        return None
    return f"the exchange has banned us for another {seconds:.0f} s: nothing is asked, and no order leaves"


class ExecutionShell(MachineShell):
    """Drives the machine on paper, and refuses to go on with a run of another trading mode."""

    def __init__(self, life: Lifecycle) -> None:
        """Drive a machine of execution."""
        super().__init__(life, ExecutionMachine, ExecutionMetrics)
        self._mode = life.settings_of(ExecutionSettings).TRADING_MODE

    @property
    def _execution(self) -> ExecutionMachine:
        assert isinstance(self._machine, ExecutionMachine)
        return self._machine

    def _idle(self) -> None:
        if self._bus.at_head:
            self._require_mode()
        super()._idle()

    def _require_mode(self) -> None:
        """Refuse to take over the orders and positions of another mode: they are elsewhere, or nowhere.

        Raises:
            SettingsInvalid: with the fix.
        """
        machine = self._execution
        before = None if machine.fold.settings is None else machine.fold.settings.get("TRADING_MODE")
        traded = bool(machine.state.counts) or machine.state.live.opened
        if before is not None and before != self._mode and traded:
            raise SettingsInvalid(
                f"TRADING_MODE={self._mode}: run {machine.fold.run_id} of this journal has traded in mode {before}, "
                "and its positions are not those of another mode; begin a new run (RUN_ID=…, `claire up --new-run`), "
                f"use another data folder, or set TRADING_MODE={before}"
            )


class LiveShell(ExecutionShell):
    """Drives the machine and speaks to the exchange for it."""

    _busy_sec: ClassVar[float] = 0.0
    """What the exchange says waits for no market data."""

    def __init__(self, life: Lifecycle, exchange: Exchange, stream: UserStream | None) -> None:
        """Take the account; without a stream everything is learnt by asking."""
        super().__init__(life)
        self._stream = stream
        self._lanes = Lanes(life)
        self._desk = ExchangeDesk(
            exchange,
            life.settings_of(ExecutionSettings),
            wall_us=self._lanes.wall_us,
            hindrance=self._hindrance,
            dispatch=self._lanes.dispatch,
        )
        assert isinstance(self._metrics, ExecutionMetrics)
        self._metrics.clock_offset.set_function(lambda: exchange.clock_offset_ms() / 1_000)
        self._left_out: deque[bytes] = deque(maxlen=_LEFT_OUT_KNOWN)
        self._stated = 0  # the journal number up to which what was stated has to be folded before the next
        life.check("user_stream", lambda: "not connected" if self._desk.interrupted else None)
        life.check("exchange_silence", lambda: silence(exchange.silent_for_sec()))

    def _hindrance(self) -> str | None:
        """Return why nothing may be sent now; asks the clock of the moment, since every restore brings another."""
        return self._life.clock.stalled()

    def run(self) -> None:
        """Work until the process shall stop."""
        self._lanes.start()
        if self._stream is not None:
            self._stream.start(self._desk.deliver)
        try:
            super().run()
        finally:
            if self._stream is not None:
                self._stream.stop()
            self._lanes.stop()

    def _start_over(self) -> None:
        self._require_durable_redis()
        self._stated = 0
        super()._start_over()

    def _require_durable_redis(self) -> None:
        """Refuse a Redis that may forget what it has confirmed: an order could be sent and not be known.

        Raises:
            SettingsInvalid: with the fix.
        """
        policy = self._publisher.patiently(self._life.client.append_fsync)
        if self._mode == "live" and policy != "always":
            raise SettingsInvalid(
                f"TRADING_MODE=live: Redis writes its log with appendfsync {policy}; start it with "
                "--appendonly yes --appendfsync always"
            )

    def _published(self, entry: Entry, outputs: list[Event]) -> None:
        super()._published(entry, outputs)
        if not any(isinstance(event, OrderResult) and event.status == "SUBMITTING" for event in outputs):
            return
        order = entry.event
        assert isinstance(order, Order), "only an order is submitted"
        self._require_durable_redis()  # it may have been started again otherwise, or told to be quicker
        starting = order.purpose == "entry" and channels.EXECUTION not in self._life.clock.announced
        self._desk.send(order, "the process has just started and not compared its books" if starting else None)

    def _idle(self) -> None:
        super()._idle()
        machine, folded = self._execution, self._folded
        if not self._bus.at_head or folded is None or folded.n < self._stated or not self._takes_part():
            return
        self._desk.look(machine.state, machine.now)
        inbox = self._desk.inbox
        while inbox:
            stated = state_next(machine, inbox[0], self._publisher.next_number(SOURCE))
            if stated.event is not None:
                number = self._publisher.next_number(SOURCE)
                self._stated = self._publisher.publish_numbered(SOURCE, number, [stated.event]).head
            if stated.fault is not None:
                self._leave_out(stated.left_out or [inbox[0]], stated.fault)
            if stated.instead is not None:
                inbox[0] = stated.instead
            if stated.done:
                inbox.popleft()
            if stated.event is not None:
                return

    def _leave_out(self, said: Sequence[object], reason: str) -> None:
        """Keep what the exchange said and no event can say, count it and tell it: once in the life of this process."""
        life, channel = self._life, channels.ORDER_RESULTS
        reason, raw = reason.encode(errors="replace").decode(), repr(said)[1:-1].encode(errors="replace")
        if raw in self._left_out:
            return
        self._left_out.append(raw)
        life.log.error("exchange_message_left_out", reason=reason)
        life.metrics.dead_letters.labels(channel).inc()
        self._publisher.patiently(lambda: life.client.keep_dead_letter(channels.EXECUTION, channel, reason, raw))
        self._publisher.alert(
            "CRITICAL",
            "EXCHANGE_MESSAGE_LEFT_OUT",
            f"what the exchange said cannot be booked and is left out: {reason}"[:500],
            {"reason": reason, "size": len(raw)},
        )

    def _takes_part(self) -> bool:
        """Whether the machine works in this run under these settings."""
        fold = self._machine.fold
        return fold.now is not None and fold.settings is not None and fold.settings.get("TRADING_MODE") == self._mode
