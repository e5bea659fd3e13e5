"""The account at the exchange as the event that states it, under a numbered source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any, Final, Literal

from services.cdb_execution.exchange import Balance, OrderRules, Trade
from services.cdb_execution.live.account import describe
from services.cdb_execution.live.intake import find_order, more_than_told, own_trades
from services.cdb_execution.live.said import Snapshot
from services.cdb_execution.live.state import trade_name
from services.cdb_execution.live.tracking import LiveOrder
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.order_state import WorkingOrder
from services.cdb_execution.state import ExecutionState
from services.common import channels
from services.common.decimals import ZERO, quantise
from services.common.events import Control
from services.common.identity import derive_id
from services.common.instruments import PERPETUAL

__all__ = ["SOURCE", "account_event", "followed", "on_the_wire", "statement"]

SOURCE: Final = "exchange"
"""The numbered source under which execution journals what the exchange says."""

_DECIMALS: Final = 18
_DIGITS: Final = 28
_FOREIGN_SHOWN: Final = 50


def statement(
    machine: ExecutionMachine,
    number: int,
    action: Literal["account", "funding", "liquidation", "halt"],
    details: dict[str, Any],
    *,
    reason: str | None = None,
) -> Control:
    """Return the control event in which execution states what the exchange says.

    Args:
        machine: of whose run and time it is.
        number: of the statement, in its source.
        action: what is stated.
        details: of it.
        reason: of what execution commands by it.
    """
    return Control(
        event_id=derive_id(str(machine.fold.run_id), channels.EXECUTION, SOURCE, number),
        timestamp=machine.now,
        producer=channels.EXECUTION,
        action=action,
        service=channels.EXECUTION,
        by=None if reason is None else channels.EXECUTION,
        reason=reason,
        details=details,
    )


def account_event(machine: ExecutionMachine, snapshot: Snapshot, number: int) -> Control:
    """Return what a snapshot says of the account, when everything that moved it is stated."""
    totals: dict[str, Decimal] = {}
    for balance in snapshot.balances:
        total = totals.get(balance.currency, ZERO) + balance.free + balance.locked
        totals[balance.currency] = on_the_wire(total)
    foreign = [trade for trade in snapshot.trades if _is_foreign(machine.state, trade, snapshot.trades)]
    covered = _covered(machine.state, snapshot.trades)
    return statement(
        machine,
        number,
        "account",
        {
            "venue": machine.settings.VENUE,
            "revision": snapshot.revision,
            "balances": {currency: totals[currency] for currency in sorted(totals)},
            "open_orders": [
                {
                    "symbol": order.symbol,
                    "exchange_order_id": order.exchange_order_id,
                    "client_order_id": order.client_order_id,
                    "quantity": order.quantity,
                    "filled_quantity": order.filled_quantity,
                }
                for order in snapshot.open_orders
            ],
            "positions": [
                {
                    "symbol": held.symbol,
                    "quantity": held.quantity,
                    "entry_price": held.entry_price,
                    "margin": held.margin,
                    "leverage": held.leverage,
                    "isolated": held.isolated,
                }
                for held in snapshot.positions
            ],
            "foreign_trades": {
                **{trade.trade_id: describe(trade) for trade in foreign[:_FOREIGN_SHOWN]},
                **snapshot.absurd,
            },
            **({"covered": covered} if covered else {}),
            **({"hedge_mode": True} if snapshot.hedged else {}),
            **_new_rules(machine.state, snapshot.rules),
            **(_money(snapshot.balances) if machine.settings.VENUE == PERPETUAL else {}),
        },
    )


def on_the_wire(amount: Decimal) -> Decimal:
    """Return an amount with the digits that the wire carries; of a coin there may be more than ten billion."""
    return quantise(amount, max(0, min(_DECIMALS, _DIGITS - 1 - amount.adjusted())))


def _new_rules(state: ExecutionState, rules: Sequence[OrderRules] | None) -> dict[str, list[dict[str, Any]]]:
    """Return the rules as they stand in the snapshot, if they are not known so."""
    if rules is None or {each.symbol: each for each in rules} == state.live.rules:
        return {}
    return {"rules": [asdict(each) for each in rules]}


def _money(balances: Iterable[Balance]) -> dict[str, dict[str, Decimal]]:
    """Return what else a perpetual account says of its money."""
    told = {"available": {}, "equity": {}}  # type: dict[str, dict[str, Decimal]]
    for balance in balances:
        told["available"][balance.currency] = on_the_wire(balance.free)
        if balance.equity is not None:
            told["equity"][balance.currency] = on_the_wire(balance.equity)
    return told


def _covered(state: ExecutionState, trades: Iterable[Trade]) -> dict[str, list[str]]:
    """Return, by order id, the fills that an operator's word has booked without knowing their ids."""
    covered: dict[str, list[str]] = {}
    for trade in trades:
        order = find_order(state.ended.values(), trade.client_order_id, trade.exchange_order_id)
        if order is not None and followed(order).settled and trade.trade_id not in followed(order).trades:
            covered.setdefault(order.order_id, []).append(trade_name(trade.trade_id, trade.exchange_order_id))
    return covered


def _is_foreign(state: ExecutionState, trade: Trade, trades: Iterable[Trade]) -> bool:
    """Whether a fill is none of ours, or one that the books cannot hold.

    One that may be of an order whose id at the exchange is not known yet is left for later.
    """
    order = find_order(state.sent(), trade.client_order_id, trade.exchange_order_id)
    if order is not None:
        return _is_refused(order, trade, trades)
    if trade_name(trade.trade_id, trade.exchange_order_id) in state.live.booked:
        return False  # of an order that is not followed any more
    if trade.client_order_id in state.known_orders.values():
        return True
    working = [order.live for order in state.working if order.live is not None and order.symbol == trade.symbol]
    return not any(live.exchange_order_id is None for live in working)


def _is_refused(order: WorkingOrder, trade: Trade, trades: Iterable[Trade]) -> bool:
    """Whether a fill of an order of ours is not booked although everything that fits has been."""
    if followed(order).settled:
        more = more_than_told(order, own_trades(order, trades))
        return more is not None and more[0] == trade
    return trade.trade_id not in followed(order).trades


def followed(order: WorkingOrder) -> LiveOrder:
    """Return what is known of an order at the exchange."""
    assert order.live is not None, "orders at the exchange are followed"
    return order.live
