"""A position that the exchange has taken over: what its fills say, and the fact that the books of everybody fold.

A liquidation is filled by an order of the exchange's own. Only one that explains a whole position of ours, which the
exchange does not have any more, becomes the fact; of any other the fill is told as a stranger, like every fill that no
order of ours has made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.cdb_execution.exchange import PositionReport, Trade
from services.cdb_execution.live.intake import find_order
from services.cdb_execution.live.state import trade_name
from services.cdb_execution.state import ExecutionState
from services.common.decimals import ZERO, divide
from services.common.instruments import PERPETUAL, InstrumentSpec, instrument_key
from services.common.perpetual_facts import Liquidation
from services.common.perpetuals import maintenance_fraction

__all__ = ["TakenOver", "taken_over"]


@dataclass(frozen=True)
class TakenOver:
    """A position of ours that is gone.

    Attributes:
        fact: as the books have to fold it: its isolated margin is lost.
        fills: names of the exchange's fills that took it over (see `trade_name`).
    """

    fact: Liquidation
    fills: list[str]


def taken_over(
    state: ExecutionState,
    trades: Iterable[Trade],
    positions: Iterable[PositionReport],
    specs: dict[str, InstrumentSpec],
) -> TakenOver | None:
    """Return the first position of ours that the exchange's liquidations have closed; mostly None.

    Args:
        state: with every fill of ours folded that the trades tell.
        trades: all fills of the account since it was last compared.
        positions: that the exchange still has.
        specs: by symbol; a position without one keeps nothing.
    """
    there = {held.symbol for held in positions if held.quantity}
    made: dict[str, list[Trade]] = {}
    for trade in trades:
        if _is_news(state, trade):
            made.setdefault(trade.symbol, []).append(trade)
    for symbol, fills in made.items():
        held = state.live.portfolio.positions.get(instrument_key(PERPETUAL, symbol))
        closed = sum((fill.quantity if fill.side == "BUY" else -fill.quantity for fill in fills), ZERO)
        if held is None or not held.quantity or closed != -held.quantity or symbol in there:
            continue
        entry, spec = held.entry_price, specs.get(symbol)
        assert entry is not None, "something is held"
        price = divide(sum((fill.quantity * fill.price for fill in fills), ZERO), abs(closed))
        mark = state.live.portfolio.marks.get(instrument_key(PERPETUAL, symbol))
        fact = Liquidation(
            symbol=symbol,
            entry=entry,
            price=price,
            mark=price if mark is None else mark.price,
            margin=held.margin,
            quantity=held.quantity,
            maintenance=ZERO if spec is None else maintenance_fraction(held.quantity, spec),
        )
        return TakenOver(fact, [trade_name(fill.trade_id, fill.exchange_order_id) for fill in fills])
    return None


def _is_news(state: ExecutionState, trade: Trade) -> bool:
    """Whether a fill is of a liquidation that is neither booked nor was accepted as a stranger's."""
    return (
        trade.kind == "liquidation"
        and trade_name(trade.trade_id, trade.exchange_order_id) not in state.live.booked
        and f"trade:{trade.trade_id}" not in state.live.accepted
        and find_order(state.sent(), trade.client_order_id, trade.exchange_order_id) is None
    )
