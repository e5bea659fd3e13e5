"""When a person is told what: at once, counted, after the quiet hours, or in a digest. Time comes in with each call.

| rule | what it does |
|---|---|
| least level | what is below NOTIFY_MIN_LEVEL is only counted, for the daily summary |
| repetition | the same code and context within NOTIFY_REPEAT_MIN is counted; a CRITICAL one that came again is told again then |
| all-clear | ends the alarm, and the alarm the all-clear: what comes again after it is no repetition |
| quiet hours | what is not CRITICAL is withheld and comes as one digest when they are over |
| burst | more than NOTIFY_BURST of a level within NOTIFY_REPEAT_MIN come as one digest |
"""  # noqa: E501 -- a table

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from services.cdb_notifier.message import Level, Message, Notice, at_least, highest
from services.common.timestamps import MINUTE_US, format_timestamp

__all__ = ["Counted", "Planner", "PlannerState", "Rules", "clock_text", "listed"]

MOST_KINDS: Final = 50
"""Lines of a digest; what is of yet another kind is only counted."""
MOST_KEYS: Final = 1_000
"""Kinds of notices whose repetition is remembered."""
OTHERS: Final = "OTHERS"
STATE_CODES: Final = "TRADING_"
"""Alerts of a changed trading state are told also when they are good news: whoever got the alarm gets the all-clear."""


@dataclass(frozen=True)
class Rules:
    """The settings in the units of this module.

    Attributes:
        quiet: begin and end as minutes of the local day; None: no quiet hours.
        repeat_us: microseconds.
    """

    least: Level = "WARNING"
    quiet: tuple[int, int] | None = None
    repeat_us: int = 15 * MINUTE_US
    burst: int = 20


@dataclass
class Told:
    """A notice that was told at `sent_at`, and how often it came since (microseconds)."""

    level: Level
    code: str
    text: str
    sent_at: int
    count: int = 0
    last_at: int = 0


@dataclass
class Counted:
    """Notices of one kind that nobody was told of one by one."""

    level: Level
    code: str
    text: str
    first_at: int
    last_at: int
    count: int = 1


@dataclass
class PlannerState:
    """What the planner remembers.

    Attributes:
        told: by key, what was told within the repetition time.
        quiet, crowd, daily: by code and level: withheld by quiet hours, by the burst limit, and for the day's summary.
        window_at: when the current stretch of NOTIFY_REPEAT_MIN began.
        window_sent: messages in it by level.
        waiting: whole messages that wait for the end of the quiet hours.
    """

    told: dict[str, Told] = field(default_factory=dict)
    quiet: dict[str, Counted] = field(default_factory=dict)
    crowd: dict[str, Counted] = field(default_factory=dict)
    daily: dict[str, Counted] = field(default_factory=dict)
    window_at: int | None = None
    window_sent: dict[str, int] = field(default_factory=dict)
    waiting: list[Message] = field(default_factory=list)


class Planner:
    """Decides about notices. A fold: equal calls on an equal state give equal messages."""

    def __init__(self, rules: Rules, minute_of_day: Callable[[int], int]) -> None:
        """Take the rules and how a time (microseconds, UTC) becomes a minute of the operator's day."""
        self._rules = rules
        self._minute_of_day = minute_of_day
        self.state = PlannerState()

    def hear(self, notice: Notice, now: int) -> list[Message]:
        """Take a notice and return what is told because of it at once."""
        state, level = self.state, notice.level
        if notice.code.startswith(STATE_CODES) and level == "INFO":
            level = "WARNING"
        if not at_least(level, self._rules.least):
            _count(state.daily, notice, notice.level, now)
            return []
        if notice.ends is not None:
            self._end(notice.ends)
        told = state.told.get(notice.key)
        if told is not None and now - told.sent_at < self._rules.repeat_us:
            told.count, told.last_at, told.text = told.count + 1, now, notice.text
            return []
        if level != "CRITICAL" and self.is_quiet(now):
            _count(state.quiet, notice, level, now)
            return []
        if not self._room(level, now):
            _count(state.crowd, notice, level, now)
            return []
        before = state.told.pop(notice.key, None)
        state.told[notice.key] = Told(level, notice.code, notice.text, now)
        while len(state.told) > MOST_KEYS:
            del state.told[next(iter(state.told))]
        return [_message(notice, level, now, before)]

    def deliver(self, message: Message, now: int) -> list[Message]:
        """Return a message that is ready, unless it has to wait for the end of the quiet hours."""
        if message.level != "CRITICAL" and self.is_quiet(now):
            self.state.waiting.append(message)
            return []
        return [message]

    def tick(self, now: int) -> list[Message]:
        """Return what is due because time has passed."""
        state, due = self.state, []
        if (state.quiet or state.waiting) and not self.is_quiet(now):
            if state.quiet:
                due.append(_digest(list(state.quiet.values()), "came in the quiet hours", now))
            due += state.waiting
            state.quiet, state.waiting = {}, []
        if state.crowd and state.window_at is not None and now - state.window_at >= self._rules.repeat_us:
            due.append(_digest(list(state.crowd.values()), "came too fast to be told one by one", now))
            state.crowd = {}
        over = [key for key, told in state.told.items() if now - told.sent_at >= self._rules.repeat_us]
        for key in over:
            due += self._over(key, now)
        return due

    def take_daily(self) -> list[Counted]:
        """Return what was only counted since the last call."""
        counted, self.state.daily = list(self.state.daily.values()), {}
        return counted

    def begin_again(self, now: int) -> list[Message]:
        """Forget when things were told (a new run has begun, with its own clock); return what was withheld."""
        state = self.state
        withheld = [*state.quiet.values(), *state.crowd.values()]
        waiting = state.waiting
        self.state = PlannerState(daily=state.daily)
        return ([_digest(withheld, "were withheld when a new run began", now)] if withheld else []) + waiting

    def is_quiet(self, now: int) -> bool:
        """Return whether `now` is in the quiet hours."""
        if self._rules.quiet is None:
            return False
        begin, end = self._rules.quiet
        minute = self._minute_of_day(now)
        return begin <= minute < end if begin < end else minute >= begin or minute < end

    def _room(self, level: Level, now: int) -> bool:
        """Count one message of a level against the burst limit; False when it is used up."""
        state = self.state
        if state.window_at is None or now - state.window_at >= self._rules.repeat_us:
            state.window_at, state.window_sent = now, {}
        sent = state.window_sent.get(level, 0)
        if sent >= self._rules.burst:
            return False
        state.window_sent[level] = sent + 1
        return True

    def _end(self, key: str) -> None:
        """Forget that something was told: it is over, and when it comes again a person hears of it at once."""
        told = self.state.told.pop(key, None)
        if told is not None and told.count:
            self._count_repetitions(told)

    def _count_repetitions(self, told: Told) -> None:
        notice = Notice(told.level, told.code, told.text, {}, "")
        _count(self.state.daily, notice, told.level, told.last_at, told.count)

    def _over(self, key: str, now: int) -> list[Message]:
        """The repetition time of what was told is over: tell a CRITICAL one again if it came again, count the rest."""
        state = self.state
        told = state.told.pop(key)
        if not told.count:
            return []
        if told.level != "CRITICAL" or not self._room(told.level, now):
            self._count_repetitions(told)
            return []
        state.told[key] = Told(told.level, told.code, told.text, now)
        times = f"{told.count} more since {clock_text(told.sent_at)}, the last at {clock_text(told.last_at)}"
        return [Message(told.level, f"{told.level} {told.code}", f"{told.text}\n{times}", now)]


def _count(kinds: dict[str, Counted], notice: Notice, level: Level, now: int, times: int = 1) -> None:
    key = f"{level}|{notice.code}"
    if key not in kinds and len(kinds) >= MOST_KINDS:
        key, notice = f"{level}|{OTHERS}", Notice(level, OTHERS, "of further kinds", {}, "")
    counted = kinds.get(key)
    if counted is None:
        kinds[key] = Counted(level, notice.code, notice.text, now, now, times)
    else:
        counted.count, counted.last_at, counted.text = counted.count + times, now, notice.text


def _message(notice: Notice, level: Level, now: int, before: Told | None) -> Message:
    lines = [notice.text]
    if before is not None and before.count:
        lines.append(f"{before.count + 1} times since {clock_text(before.sent_at)}")
    about = [f"{name}: {value}" for name, value in sorted(notice.context.items()) if value is not None]
    lines += [line[:300] for line in about[:12]]
    lines.append(f"{clock_text(now)}, from {notice.source}")
    return Message(level, f"{level} {notice.code}", "\n".join(lines), now)


def _digest(kinds: list[Counted], why: str, now: int) -> Message:
    total = sum(counted.count for counted in kinds)
    level = highest([counted.level for counted in kinds])
    return Message(level, f"{level} {total} notices {why}", "\n".join(listed(kinds)), now)


def listed(kinds: list[Counted]) -> list[str]:
    """Return a line for each kind, the most serious first."""
    lines = []
    for counted in sorted(kinds, key=lambda one: (one.level != "CRITICAL", one.level != "WARNING", one.first_at)):
        begin, end = clock_text(counted.first_at), clock_text(counted.last_at)
        when = begin if begin == end else f"{begin} to {end}"
        lines.append(f"{counted.count} x {counted.level} {counted.code} ({when}): {counted.text[:200]}")
    return lines


def clock_text(at: int) -> str:
    """Return a time as people read it: `2021-05-19 13:05 UTC`."""
    return f"{format_timestamp(at)[:16].replace('T', ' ')} UTC"
