"""The notifier as a pure fold: entries of the journal and notices from outside in, messages to people out.

It publishes nothing. What comes from the journal lives by the run's clock, what comes from outside (Alertmanager) by
the time it was received, so that an alarm about a clock that stands still is repeated, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from services.cdb_notifier.curve import Curve
from services.cdb_notifier.day import Day, summary
from services.cdb_notifier.message import Message, Notice
from services.cdb_notifier.planner import Planner, PlannerState, Rules
from services.common import channels
from services.common.errors import StateMismatch
from services.common.events import Alert, Control, MarketData, OrderResult, RiskDecision
from services.common.instruments import instrument_key
from services.common.journal.entry import Entry
from services.common.timestamps import MINUTE_US, format_timestamp

__all__ = ["CONSUMES", "NotifierMachine"]

CONSUMES = frozenset(
    {channels.ALERTS, channels.CONTROL, channels.MARKET_DATA, channels.ORDER_RESULTS, channels.RISK_DECISIONS}
)


@dataclass
class Folded:
    """What was read from the journal.

    Attributes:
        now: the run's clock, microseconds; None before the first event of a run.
        minute: of `now`, since the epoch.
        trading: the last change of the trading state, and when a person was last reminded of it.
        seen: alerts so far.
    """

    now: int | None = None
    run_id: str | None = None
    minute: int = 0
    trading: dict[str, Any] = field(default_factory=dict)
    reminded_at: int = 0
    seen: int = 0
    day: Day | None = None
    curve: Curve = field(default_factory=Curve)


@dataclass
class Whole:
    """Everything that has to survive."""

    folded: Folded
    inside: PlannerState
    outside: PlannerState


class NotifierMachine:
    """Folds the journal and notices from outside."""

    _adapter: ClassVar[TypeAdapter[Whole]] = TypeAdapter(Whole)

    def __init__(self, rules: Rules, minute_of_day: Callable[[int], int], *, daily: bool = True) -> None:
        """Take the rules; `daily` asks for a summary of each day."""
        self._rules = rules
        self._daily = daily
        self._inside = Planner(rules, minute_of_day)
        self._outside = Planner(rules, minute_of_day)
        self.folded = Folded()

    # what comes in

    def handle(self, entry: Entry) -> list[Message]:
        """Fold one entry and return what people are told because of it."""
        channel, folded = entry.channel, self.folded
        if channel == channels.MARKET_DATA:
            if folded.curve.wanted:  # decoding each event would cost more than all of the rest
                assert isinstance(entry.event, MarketData)
                folded.curve.mark(entry.event)
            return []
        if channel not in CONSUMES:
            return []
        event = entry.event
        if isinstance(event, Control):
            return self._control(event)
        if isinstance(event, Alert):
            return self._alert(event)
        if folded.day is not None:
            if isinstance(event, RiskDecision) and event.producer == channels.RISK:
                folded.day.decide(event)
                folded.curve.anchor(event.portfolio.equity, event.timestamp)
            elif isinstance(event, OrderResult) and event.producer == channels.EXECUTION:
                value = folded.curve.book(event)
                if value:
                    folded.day.fill(event, value)
        return []

    def outside(self, notices: list[Notice], received_at: int) -> list[Message]:
        """Take notices that did not come through the journal."""
        return [message for notice in notices for message in self._outside.hear(notice, received_at)]

    def outside_tick(self, now: int) -> list[Message]:
        """Return what is due of the outside's notices (`now` as `received_at`)."""
        return self._outside.tick(now)

    def missing(self, first: int, last: int) -> list[Message]:
        """Say that entries of the journal cannot be read any more."""
        self.folded.curve, self.folded.day = Curve(), None
        text = f"journal entries {first} to {last} are gone: alerts among them were not told"
        return [Message("CRITICAL", "CRITICAL NOTIFIER_MISSED_EVENTS", text, self.folded.now or 0)]

    def _alert(self, event: Alert) -> list[Message]:
        self.folded.seen += 1
        now = max(event.timestamp, self.folded.now or 0)
        notice = Notice(event.level, event.code, event.message, dict(event.context), event.producer)
        if event.code.startswith("TRADING_"):
            self.folded.reminded_at = now
        return self._inside.hear(notice, now)

    def _control(self, event: Control) -> list[Message]:
        folded = self.folded
        if event.producer == channels.WS:
            if event.action == "started" and event.run_id != folded.run_id:
                return self._begin_run(event)
            folded.now = max(event.timestamp, folded.now or 0)
            if event.action == "tick":
                return self._tick(folded.now)
            if event.action == "finished":
                return self._close_day(folded.now, folded.curve.equity, "The recording has ended.")
        elif event.producer == channels.RISK and event.action == "start_of_day":
            return self._start_day(event)
        elif event.producer == channels.RISK and event.action == "trading_state":
            folded.trading = {**_plain(event.details), "since": event.timestamp, "reason": event.reason}
        elif event.producer == channels.EXECUTION and event.action == "funding":
            amount = event.details["amount"]
            folded.curve.fund(amount)
            if folded.day is not None:
                folded.day.funding += amount
        elif event.producer == channels.EXECUTION and event.action == "liquidation":
            folded.curve.liquidated(instrument_key(event.details["venue"], event.details["symbol"]))
        return []

    def _begin_run(self, event: Control) -> list[Message]:
        withheld = self._inside.begin_again(event.timestamp)
        at = event.timestamp
        self.folded = Folded(now=at, run_id=event.run_id, minute=at // MINUTE_US, seen=self.folded.seen)
        return withheld

    def _tick(self, now: int) -> list[Message]:
        folded = self.folded
        minute = now // MINUTE_US
        if minute != folded.minute:
            folded.minute = minute
            folded.curve.minute(now, minute)
        return [*self._reminder(now), *self._inside.tick(now)]

    def _reminder(self, now: int) -> list[Message]:
        """While trading is frozen, or halted by the breaker, a person is reminded."""
        folded, trading = self.folded, self.folded.trading
        pages = trading.get("state") == "FROZEN" or "breaker" in trading.get("causes", ())
        if not pages or now - max(folded.reminded_at, trading["since"]) < self._rules.repeat_us:
            return []
        folded.reminded_at = now
        since = format_timestamp(trading["since"])[:16].replace("T", " ")
        text = f"trading is still {trading['state']} since {since} UTC: {trading['reason']}"
        return [Message("CRITICAL", f"CRITICAL TRADING_{trading['state']}", text, now)]

    # the day

    def _start_day(self, event: Control) -> list[Message]:
        folded = self.folded
        equity, peak = event.details.get("equity"), event.details.get("peak_equity")
        told = self._close_day(event.timestamp, equity, "") if folded.day is not None else []
        folded.day = Day(str(event.details.get("day")), event.timestamp, equity)
        folded.curve.begin_day(equity, peak, event.timestamp)
        return told

    def _close_day(self, at: int, equity: Decimal | None, note: str) -> list[Message]:
        day, self.folded.day = self.folded.day, None
        if day is None:
            return []
        counted = self._inside.take_daily() + self._outside.take_daily()
        if not self._daily:
            return []
        return self._inside.deliver(summary(day, self.folded.curve, equity, at, counted=counted, note=note), at)

    # what survives

    def dump(self) -> Whole:
        """Return everything that has to survive, for the encoder."""
        return Whole(self.folded, self._inside.state, self._outside.state)

    def restore(self, value: Any) -> None:
        """Take over what `dump` returned, decoded.

        Raises:
            StateMismatch: it is not a state of this machine.
        """
        try:
            whole = self._adapter.validate_python(value)
        except ValidationError as error:
            raise StateMismatch(f"not a state of the notifier: {error}") from error
        self.folded, self._inside.state, self._outside.state = whole.folded, whole.inside, whole.outside

    def summary(self) -> dict[str, Any]:
        """Return what `/status` shows."""
        inside, outside = self._inside.state, self._outside.state
        return {
            "alerts_seen": self.folded.seen,
            "withheld_by_quiet_hours": sum(kind.count for kind in (*inside.quiet.values(), *outside.quiet.values())),
            "withheld_by_burst": sum(kind.count for kind in (*inside.crowd.values(), *outside.crowd.values())),
            "day": None if self.folded.day is None else self.folded.day.name,
            "equity": self.folded.curve.equity,
        }


def _plain(details: Mapping[str, Any]) -> dict[str, Any]:
    return {"state": str(details.get("state")), "causes": [str(cause) for cause in details.get("causes") or ()]}
