"""The chaos against the sandbox is no decoration: each weakness that live execution could have is found by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from services.cdb_execution.adapters import desk, perpetual, spot
from services.cdb_execution.adapters.desk import ExchangeDesk
from services.cdb_execution.adapters.shells import LiveShell
from services.cdb_execution.exchange import PlaceOutcome
from services.cdb_execution.live import execution, intake, reconciling
from services.cdb_execution.live.tracking import LiveOrder
from services.cdb_execution.order_state import TERMINAL
from services.common.journal.entry import Cause, Entry
from services.common.runtime.publisher import Publisher
from services.common.runtime.shell import MachineShell
from tests.unit.execution.test_live_sandbox_chaos import play

pytestmark = [pytest.mark.unit, pytest.mark.risk, pytest.mark.chaos, pytest.mark.slow]

MOST_SEEDS = 600
TELLING = (199, 117, 95, 11, 1, 12, 20, 143, 939, 25, 32, 57, 3, 6, 15, 31)
"""Seeds that have found something before are tried first."""
Patch = pytest.MonkeyPatch


def never_arrived_at_once(patch: Patch) -> None:
    """The first answer that the order is not known is enough."""
    patch.setattr(LiveOrder, "never_arrived", lambda self, _now, _window: self.not_found >= 1)


def never_arrived_without_the_window(patch: Patch) -> None:
    """Three answers that the order is not known are enough, without the time in which it may still arrive."""
    patch.setattr(LiveOrder, "never_arrived", lambda self, _now, _window: self.not_found >= 3)


def resent_on_time_out(patch: Patch) -> None:
    """An order without an answer is sent again."""
    for client in (spot.MexcSpot, perpetual.MexcPerpetual):
        place = client.place

        def twice(self: Any, request: Any, place: Callable[..., PlaceOutcome] = place) -> PlaceOutcome:
            outcome = place(self, request)
            return place(self, request) if outcome.verdict == "unknown" else outcome

        patch.setattr(client, "place", twice)


def fills_counted_twice(patch: Patch) -> None:
    """A fill that is told twice is booked twice."""
    patch.setattr(intake, "_is_known", lambda _state, order, trade: trade.quantity > order.remaining)


def sent_again_after_a_restart(patch: Patch) -> None:
    """Whether this process was the first to journal SUBMITTING is not looked at."""
    publish = Publisher.publish
    patch.setattr(Publisher, "publish", lambda self, *given: replace(publish(self, *given), status="new"))


def five_hundreds_are_refusals(patch: Patch) -> None:
    """An answer of 502 counts as the exchange's refusal."""
    _reread(patch, lambda outcome: (outcome.code or "").startswith("http_5"), "refused")


def time_outs_are_refusals(patch: Patch) -> None:
    """An order without an answer counts as not sent."""
    _reread(patch, lambda outcome: outcome.code == "timeout", "not_sent")


def cuts_are_refusals(patch: Patch) -> None:
    """A connection that is cut counts as not sent."""
    _reread(patch, lambda outcome: outcome.code == "cut", "not_sent")


def _reread(patch: Patch, meant: Callable[[PlaceOutcome], bool], verdict: Any) -> None:
    for module, name in ((spot, "spot_outcome"), (perpetual, "perpetual_outcome")):
        read = getattr(module, name)

        def again(*given: Any, read: Callable[..., PlaceOutcome] = read, **named: Any) -> PlaceOutcome:
            outcome = read(*given, **named)
            return replace(outcome, verdict=verdict) if meant(outcome) else outcome

        patch.setattr(module, name, again)


def not_asked_after_a_restart(patch: Patch) -> None:
    """Only orders that this life of the process has sent are asked for, and missed fills are not looked for."""
    send, look_at = ExchangeDesk.send, ExchangeDesk._look_at

    def remember(self: Any, order: Any, refusal: Any = None) -> None:
        self.__dict__.setdefault("mine", set()).add(order.order_id)
        send(self, order, refusal)

    def mine_alone(self: Any, order: Any, now: int, *, nudged: bool) -> None:
        if order.order_id in self.__dict__.get("mine", ()):
            look_at(self, order, now, nudged=nudged)

    patch.setattr(ExchangeDesk, "send", remember)
    patch.setattr(ExchangeDesk, "_look_at", mine_alone)


def sent_before_it_is_journalled(patch: Patch) -> None:
    """The order leaves first, and SUBMITTING is journalled after it."""

    def handle(self: Any, entry: Entry) -> bool:
        outputs = self._machine.handle(entry)
        self._life.clock.fold(entry)
        self._folded = entry.id
        if outputs:
            LiveShell._published(self, entry, outputs)
            self._publisher.publish(Cause.of(entry.id), outputs)
        self._since_snapshot += 1
        return True

    patch.setattr(MachineShell, "_handle", handle)


def ended_before_its_fills_are_told(patch: Patch) -> None:
    """An order ends when the exchange says so, and fills that are told after that are not booked."""
    reported, is_known = intake._reported, intake._is_known

    def at_its_word(order: Any, report: Any) -> Any:
        return reported(order, replace(report, filled_quantity=order.filled_quantity))

    def ended_or_known(state: Any, order: Any, trade: Any) -> bool:
        return order.status in TERMINAL or is_known(state, order, trade)

    patch.setattr(intake, "_is_known", ended_or_known)
    patch.setattr(intake, "_reported", at_its_word)


def clocks_are_the_same(patch: Patch) -> None:
    """Fills are asked for from the moment of sending on, by our clock."""
    patch.setattr(ExchangeDesk, "_there", lambda _self, at: at)
    patch.setattr(desk, "_CLOCKS_APART_US", 0)


def balances_compared_while_orders_work(patch: Patch) -> None:
    """A snapshot that was begun before the last fill is compared all the same."""
    on_account, read = reconciling.Reconciling._on_account, reconciling.read_account

    def at_any_time(self: Any, event: Any) -> None:
        state = self.state

        def of_now(event: Any) -> Any:
            return read(event).model_copy(update={"revision": state.live.revision})

        patch.setattr(reconciling, "read_account", of_now)
        working, state.working = state.working, []
        on_account(self, event)
        state.working = working

    patch.setattr(reconciling.Reconciling, "_on_account", at_any_time)


def fees_forgotten(patch: Patch) -> None:
    """Fees stand in the journal, and not in the books."""
    patch.setattr(execution.LiveExecution, "_book_live", _without_fee(execution.LiveExecution._book_live))


def _without_fee(book: Callable[..., None]) -> Callable[..., None]:
    return lambda self, order, quantity, price, fee, currency: book(self, order, quantity, price, fee * 0, currency)


def never_frozen(patch: Patch) -> None:
    """An order may be UNKNOWN for ever."""
    patch.setattr(execution, "FREEZE_AFTER_US", 10**15)


def never_lost(patch: Patch) -> None:
    """An order without an answer stays SUBMITTING."""
    patch.setattr(execution, "ACKNOWLEDGED_WITHIN_US", 10**15)


def exits_never_leave(patch: Patch) -> None:
    """What risk calls reduce-only is not sent."""
    for client in (spot.MexcSpot, perpetual.MexcPerpetual):
        place = client.place

        def entries(self: Any, request: Any, place: Callable[..., PlaceOutcome] = place) -> PlaceOutcome:
            return PlaceOutcome(verdict="not_sent") if request.reduce_only else place(self, request)

        patch.setattr(client, "place", entries)


WEAKNESSES = [
    exits_never_leave,
    never_arrived_at_once,
    never_arrived_without_the_window,
    resent_on_time_out,
    fills_counted_twice,
    sent_again_after_a_restart,
    five_hundreds_are_refusals,
    time_outs_are_refusals,
    cuts_are_refusals,
    not_asked_after_a_restart,
    sent_before_it_is_journalled,
    ended_before_its_fills_are_told,
    clocks_are_the_same,
    balances_compared_while_orders_work,
    fees_forgotten,
    never_frozen,
    never_lost,
]


@contextmanager
def weakened(weakness: Callable[[Patch], None]) -> Iterator[None]:
    """Weaken live execution for a while."""
    with pytest.MonkeyPatch.context() as patch:
        weakness(patch)
        yield


def first_seed_that_finds(weakness: Callable[[Patch], None], most: int = MOST_SEEDS) -> int | None:
    """Return the first seed whose history does not come out right."""
    for seed in (*TELLING, *range(most)):
        with weakened(weakness):
            try:
                play(seed)
            except Exception:
                return seed
    return None


@pytest.mark.parametrize("weakness", WEAKNESSES, ids=lambda weakness: weakness.__name__)
def test_the_chaos_finds(weakness: Callable[[Patch], None]) -> None:
    """One of the histories fails when live execution has this weakness."""
    assert first_seed_that_finds(weakness) is not None
