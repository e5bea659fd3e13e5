"""The state of the risk machine: everything that a restart must bring back."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.cdb_risk.account import Account
from services.cdb_risk.alarms import Alarms
from services.cdb_risk.estimators import Estimator
from services.cdb_risk.market import InstrumentMarket
from services.cdb_risk.protective import LatchedExit
from services.cdb_risk.reservations import Reservations
from services.cdb_risk.round_trips import RoundTrips
from services.cdb_risk.trading_state import TradingState
from services.cdb_risk.triggers import Best
from services.cdb_risk.virtual_trips import VirtualTrips
from services.common.timestamps import MINUTE_US

__all__ = ["COMMANDS_REMEMBERED", "EntryLog", "RiskState"]

COMMANDS_REMEMBERED = 256


@dataclass
class EntryLog:
    """When orders were approved, microseconds.

    Attributes:
        recent: entries within the last minute, by instrument.
        last: the last entry per side.
        orders: entries and exits of all instruments within the last minute.
    """

    recent: dict[str, list[int]] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    orders: list[int] = field(default_factory=list)

    def count(self, now: int) -> None:
        """Note an approved order of whatever purpose."""
        self.orders = [at for at in self.orders if now - at < MINUTE_US] + [now]

    def orders_within_minute(self, now: int) -> int:
        """Return how many orders of all instruments were approved within the last minute."""
        return sum(1 for at in self.orders if now - at < MINUTE_US)

    def add(self, key: str, side: str, now: int) -> None:
        """Note an approved entry."""
        self.recent[key] = [at for at in self.recent.get(key, ()) if now - at < MINUTE_US] + [now]
        self.last[side] = now

    def within_minute(self, key: str, now: int) -> int:
        """Return how many entries of an instrument were approved within the last minute."""
        return sum(1 for at in self.recent.get(key, ()) if now - at < MINUTE_US)

    def since_last(self, side: str, now: int) -> int | None:
        """Return the microseconds since the last entry in this direction; None before the first."""
        last = self.last.get(side)
        return None if last is None else now - last


@dataclass
class RiskState:
    """What the risk manager folds over a run.

    Attributes:
        opened: whether the account has been opened with the configured cash.
        trips: open round trips and the losses in a row.
        best: the best price since entry of each position, for the trailing stop.
        estimators: volatility and true range of each instrument; only sizing reads them.
        virtual_trips: what core's intents would have made; only sizing reads them.
        pressure: memory pressure of the journal as the last tick said it: `none`, `market_data` or `entries`.
        heartbeat_at: when the clock was last answered, microseconds; None before the first tick.
        commands: ids of the last operator commands, so that each is done once.
        differences: names of what books and exchange do not agree on; `resume` has to accept them.
        approved, refused: counts of decisions; refusals by failing layer or reason.
    """

    opened: bool = False
    account: Account = field(default_factory=Account)
    market: dict[str, InstrumentMarket] = field(default_factory=dict)
    reservations: Reservations = field(default_factory=Reservations)
    exits: dict[str, LatchedExit] = field(default_factory=dict)
    trips: RoundTrips = field(default_factory=RoundTrips)
    best: dict[str, Best] = field(default_factory=dict)
    trading: TradingState = field(default_factory=TradingState)
    entries: EntryLog = field(default_factory=EntryLog)
    estimators: dict[str, Estimator] = field(default_factory=dict)
    virtual_trips: VirtualTrips = field(default_factory=VirtualTrips)
    alarms: Alarms = field(default_factory=Alarms)
    pressure: str = "none"
    heartbeat_at: int | None = None
    commands: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    approved: int = 0
    refused: dict[str, int] = field(default_factory=dict)
