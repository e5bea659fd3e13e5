"""From what the exchange has said to the events that state it: inputs of the journal, under a numbered source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from services.cdb_execution.exchange import FundingPayment
from services.cdb_execution.live.account import read_account
from services.cdb_execution.live.account_event import SOURCE, account_event, followed, on_the_wire, statement
from services.cdb_execution.live.intake import (
    Answered,
    Message,
    news_beyond,
    news_of,
    own_trades,
)
from services.cdb_execution.live.liquidations import TakenOver, taken_over
from services.cdb_execution.live.said import Piece, Said, Snapshot, Unhealed
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.state import ExecutionState
from services.common import channels
from services.common.decimals import ZERO
from services.common.errors import ClaireError
from services.common.events import Control, Event, OrderResult
from services.common.identity import derive_id
from services.common.instruments import PERPETUAL, instrument_key
from services.common.journal.entry import Entry, JournalId
from services.common.perpetual_facts import Funding

__all__ = ["SOURCE", "Said", "Snapshot", "Stated", "Unhealed", "state_next"]

_FAULT_SHOWN: Final = 500
_CANNOT: Final = (ArithmeticError, ValueError, ClaireError)


@dataclass(frozen=True)
class Stated:
    """What a message is worth.

    Attributes:
        event: to be journalled; None when there is nothing new in it.
        done: whether the message is used up; otherwise it is asked again when the event has been folded.
        fault: why something is left out although it says something: what cannot be folded must not be journalled.
        left_out: what that is; None: the whole message.
        instead: the rest of the message, which takes its place.
    """

    event: Event | None
    done: bool
    fault: str | None = None
    left_out: Sequence[Piece] | None = None
    instead: Snapshot | Answered | None = None


@dataclass(frozen=True)
class _Step:
    """One thing that a snapshot may be worth, made of `pieces`; `done`: nothing comes after it."""

    make: Callable[[], Event | None]
    pieces: Sequence[Piece] = ()
    done: bool = False


def state_next(machine: ExecutionMachine, message: Said, number: int) -> Stated:
    """Return what of a message has to be journalled next.

    Whatever the exchange says, it stops nobody: a number beyond all amounts, a text that is none, a transition that
    there is not. What no event can say, and what the machine could not fold, is left out with the reason, since in the
    journal it would be there for ever.

    Of what else is said in the same breath only the absurd part is left out. In an answer about an order these are
    fills; its end is then stated only if the sound ones are all that it filled. In an account a fill or settlement is
    named among the strangers, which freezes trading; a coin that we do not trade is dropped, and so are the rules of
    one instrument, without which nothing is entered. An account whose own money, positions or open orders cannot be
    said is none.

    Args:
        machine: that has folded everything journalled from messages before.
        message: of the exchange.
        number: the next of our source `exchange`.
    """
    if isinstance(message, Snapshot):
        return _of_snapshot(machine, message, number)
    try:
        stated = _next(machine, message, number)
        if stated.event is not None:
            _rehearse(machine, stated.event, number)
    except _CANNOT as error:
        if isinstance(message, Answered):
            odd = [trade for trade in message.trades if state_next(machine, trade, number).fault is not None]
            if odd:
                rest = replace(message, trades=tuple(trade for trade in message.trades if trade not in odd))
                return Stated(None, done=False, fault=_fault(error), left_out=odd, instead=rest)
        return Stated(None, done=True, fault=_fault(error))
    return stated


def _fault(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_FAULT_SHOWN]


def _rehearse(machine: ExecutionMachine, event: Event, number: int) -> None:
    """Fold an event in a copy of the machine, and write down what follows from it."""
    place = JournalId(machine.fold.epoch, machine.fold.n + 1)
    for output in machine.twin().handle(Entry(place, event.channel, event.producer, f"{SOURCE}:{number}", event.data)):
        assert output.data


def _of_snapshot(machine: ExecutionMachine, snapshot: Snapshot, number: int) -> Stated:
    tried = (_try(machine, snapshot, step, number) for step in _steps(machine, snapshot, number))
    return next(stated for stated in tried if stated is not None)


def _try(machine: ExecutionMachine, snapshot: Snapshot, step: _Step, number: int) -> Stated | None:
    """Return what a step is worth; None when there is nothing new in it."""
    try:
        event = step.make()
        if event is None:
            return None
        _rehearse(machine, event, number)
    except _CANNOT as error:
        fault = _fault(error)
        pieces = step.pieces or _absurd(machine, snapshot, number)
        instead = snapshot.without(pieces, fault) if pieces else None
        return Stated(None, done=instead is None, fault=fault, left_out=pieces or None, instead=instead)
    return Stated(event, done=step.done)


def _steps(machine: ExecutionMachine, snapshot: Snapshot, number: int) -> Iterator[_Step]:
    """Yield what has to be stated before the account itself: what it moved without our knowing."""
    state, trades = machine.state, snapshot.trades

    def result(news: list[dict[str, Any]]) -> OrderResult | None:
        return _result(machine, news[0], number) if news else None

    for trade in trades:
        yield _Step(lambda trade=trade: result(news_of(state, trade)), [trade])  # type: ignore[misc]
    for order in [order for order in state.ended.values() if followed(order).settled]:
        own = own_trades(order, trades)
        yield _Step(lambda order=order: result(news_beyond(state, order, trades)), own)  # type: ignore[misc]
    for payment in snapshot.funding:
        if payment.payment_id not in state.live.payments and _is_ours(state, payment):
            yield _Step(lambda payment=payment: _funding(machine, payment, number), [payment])  # type: ignore[misc]

    def liquidation() -> Control | None:
        gone = taken_over(state, trades, snapshot.positions, machine.specs())
        return None if gone is None else _liquidation(machine, gone, number)

    yield _Step(liquidation, [trade for trade in trades if trade.kind == "liquidation"])
    yield _Step(lambda: account_event(machine, snapshot, number), done=True)


def _absurd(machine: ExecutionMachine, snapshot: Snapshot, number: int) -> list[Piece]:
    """Return what makes an account impossible to state and may be left out of it."""
    specs = machine.specs().values()
    ours = {spec.base for spec in specs} | {spec.quote for spec in specs} | set(machine.state.live.ledger.fee_coins)
    bare = Snapshot(snapshot.revision, [], [], [], [])
    others = [balance for balance in snapshot.balances if balance.currency not in ours]
    parts: list[tuple[Piece, Snapshot]] = [(trade, replace(bare, trades=[trade])) for trade in snapshot.trades]
    parts += [(balance, replace(bare, balances=[balance])) for balance in others]
    parts += [(each, replace(bare, rules=[each])) for each in snapshot.rules or ()]
    return [piece for piece, part in parts if not _can_be_said(machine, part, number)]


def _can_be_said(machine: ExecutionMachine, snapshot: Snapshot, number: int) -> bool:
    try:
        return read_account(account_event(machine, snapshot, number)) is not None
    except _CANNOT:
        return False


def _next(machine: ExecutionMachine, message: Message | Unhealed, number: int) -> Stated:
    if isinstance(message, Unhealed):
        frozen = machine.state.trading_state == "FROZEN"
        return Stated(None if frozen else _freeze(machine, message, number), done=True)
    news = news_of(machine.state, message)
    if not news:
        return Stated(None, done=True)
    not_found = isinstance(message, Answered) and message.report is None
    return Stated(_result(machine, news[0], number), done=not_found)


def _result(machine: ExecutionMachine, fields: dict[str, Any], number: int) -> OrderResult:
    return OrderResult(
        event_id=derive_id(str(machine.fold.run_id), channels.EXECUTION, SOURCE, number),
        timestamp=machine.now,
        producer=channels.EXECUTION,
        mode=machine.settings.TRADING_MODE,
        **fields,
    )


def _is_ours(state: ExecutionState, payment: FundingPayment) -> bool:
    """Whether a settlement is of a position that we have traded; of another it shows in the balance."""
    return instrument_key(PERPETUAL, payment.symbol) in state.live.portfolio.positions


def _funding(machine: ExecutionMachine, payment: FundingPayment, number: int) -> Control:
    held = machine.state.live.portfolio.position(PERPETUAL, payment.symbol)
    mark = machine.state.live.portfolio.marks.get(instrument_key(PERPETUAL, payment.symbol))
    fact = Funding(
        symbol=payment.symbol,
        settlement=payment.time,
        rate=on_the_wire(payment.rate),
        rate_known=True,
        mark=ZERO if mark is None else mark.price,
        quantity=held.quantity,
        amount=on_the_wire(payment.amount),
    )
    return statement(machine, number, "funding", {**fact.details(), "payment_id": payment.payment_id})


def _freeze(machine: ExecutionMachine, unhealed: Unhealed, number: int) -> Control:
    """Return the halt of what has missed more than can be brought back, with the only way out."""
    reason = f"EXCHANGE_HISTORY_TOO_LONG: {unhealed.reason}; fills are missing, so close by hand and begin a new run"
    return statement(machine, number, "halt", {"freeze": True}, reason=reason)


def _liquidation(machine: ExecutionMachine, gone: TakenOver, number: int) -> Control:
    return statement(machine, number, "liquidation", {**gone.fact.details(), "fills": gone.fills})
