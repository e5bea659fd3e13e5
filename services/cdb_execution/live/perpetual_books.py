"""The books of perpetuals against the exchange: what the account is worth, and each position with its terms.

What exact arithmetic can say is compared exactly: how much is held, with which leverage, in which margin mode. The rest
has room for what the exchange rounds or counts otherwise: the margin holds a fee for closing, too (about 0.1 % of the
value), and its mark is not from the moment of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.cdb_execution.codes import shown
from services.cdb_execution.live.account import Account, Difference, DifferenceKind, Held
from services.common.decimals import ONE, ZERO, divide
from services.common.instruments import InstrumentSpec
from services.common.portfolio import Position

__all__ = ["PerpetualBooks", "compare_perpetuals", "price_of_change"]

_CENT: Final = Decimal("0.01")
_MARGIN_ROOM: Final = Decimal("0.02")
_VALUE_ROOM: Final = Decimal("0.01")


@dataclass(frozen=True)
class PerpetualBooks:
    """What the fills and settlements say.

    Attributes:
        currency: that everything is settled in.
        wallet: cash and margin in it, unrealised profit not counted.
        positions: by symbol.
        leverages: of the last entries, by symbol.
        marks: by symbol, the fresh ones.
    """

    currency: str
    wallet: Decimal
    positions: Mapping[str, Position]
    leverages: Mapping[str, int]
    marks: Mapping[str, Decimal]


def compare_perpetuals(
    account: Account, books: PerpetualBooks, specs: Mapping[str, InstrumentSpec]
) -> list[Difference]:
    """Return where the exchange is not what the books say: positions first, then the money.

    Args:
        account: taken while nothing worked.
        books: of all fills and settlements so far.
        specs: grids by symbol.
    """
    actual = {held.symbol: held for held in account.positions}
    symbols = sorted({*books.positions, *actual})
    sizes = [found for symbol in symbols for found in _size(symbol, actual.get(symbol), books)]
    if sizes:
        return [*sizes, *_wallet(account, books, books.wallet, _CENT)]
    worth = sum((held.quantity * held.entry_price for held in account.positions), ZERO)
    expected = books.wallet - sum((position.cost for position in books.positions.values()), ZERO) + worth
    room = _CENT + sum((abs(held.quantity) * _tick(held.symbol, specs) for held in account.positions), ZERO)
    money = list(_wallet(account, books, expected, room))
    open_positions = (held for held in actual.values() if held.quantity)
    terms = [
        found
        for held in open_positions
        for found in _terms(held, books, _tick(held.symbol, specs), unexplained=bool(money))
    ]
    return [*terms, *money, *_value(account, books)]


def _tick(symbol: str, specs: Mapping[str, InstrumentSpec]) -> Decimal:
    return specs[symbol].tick_size if symbol in specs else _CENT


def price_of_change(held: Held | None, ours: Position, change: Decimal) -> Decimal | None:
    """Return the price at which a change makes our entry price the exchange's; None when it opens nothing.

    Args:
        held: as the exchange has it.
        ours: before the change.
        change: base units, signed.
    """
    if held is None or held.quantity * change <= 0:
        return None
    if ours.quantity * change < 0:
        return held.entry_price or None
    price = divide(held.entry_price * held.quantity - ours.cost, change)
    return price if price > 0 else None


def _size(symbol: str, held: Held | None, books: PerpetualBooks) -> Iterator[Difference]:
    ours = books.positions.get(symbol) or Position("", symbol)
    quantity = ZERO if held is None else held.quantity
    if quantity != ours.quantity:
        detail = f"the exchange has {shown(quantity)} {symbol}, the fills say {shown(ours.quantity)}"
        price = price_of_change(held, ours, quantity - ours.quantity)
        leverage = None if held is None else held.leverage
        yield Difference("position", symbol, detail, ours.quantity, quantity, price, leverage)


def _terms(held: Held, books: PerpetualBooks, tick: Decimal, *, unexplained: bool) -> Iterator[Difference]:
    """Compare a position that agrees in quantity.

    Another entry price alone is no difference: fills that were told in another order than they were made divide what
    was won into realised and open in another way, and wallet and entry make up for each other.
    """
    symbol, ours = held.symbol, books.positions[held.symbol]
    entry = ours.entry_price or ZERO
    if unexplained and abs(held.entry_price - entry) > tick:
        yield _unequal("entry", symbol, entry, held.entry_price, "entry price")
    if held.isolated is False:
        yield _unequal("margin_mode", symbol, ZERO, ONE, "cross margin (1; isolated is 0)")
    leverage = books.leverages.get(symbol)
    if held.leverage is not None and leverage is not None and held.leverage != leverage:
        yield _unequal("leverage", symbol, Decimal(leverage), Decimal(held.leverage), "leverage")
    elif held.margin is not None and abs(held.margin - ours.margin) > _CENT + _MARGIN_ROOM * abs(ours.cost):
        yield _unequal("margin", symbol, ours.margin, held.margin, "margin")


def _wallet(account: Account, books: PerpetualBooks, expected: Decimal, room: Decimal) -> Iterator[Difference]:
    currency, wallet = books.currency, account.balances.get(books.currency, ZERO)
    if abs(wallet - expected) >= room:
        detail = f"the exchange has {shown(wallet)} {currency}, fills and funding say {shown(expected)}"
        yield Difference("balance", currency, detail, expected, wallet)


def _value(account: Account, books: PerpetualBooks) -> Iterator[Difference]:
    """Compare what follows from wallet and positions."""
    currency, wallet = books.currency, account.balances.get(books.currency, ZERO)
    room = _CENT + _VALUE_ROOM * sum((abs(position.cost) for position in books.positions.values()), ZERO)
    available = account.available.get(currency)
    margins = [held.margin for held in account.positions]
    if available is not None and None not in margins:
        free = wallet - sum((margin for margin in margins if margin is not None), ZERO)
        if abs(available - free) > room:
            yield _unequal("available", currency, free, available, f"{currency} available")
    equity = account.equity.get(currency)
    if equity is not None and all(held.symbol in books.marks for held in account.positions):
        values = ((books.marks[held.symbol] - held.entry_price) * held.quantity for held in account.positions)
        expected = wallet + sum(values, ZERO)
        if abs(equity - expected) > room:
            yield _unequal("equity", currency, expected, equity, f"{currency} of equity")


def _unequal(kind: DifferenceKind, subject: str, expected: Decimal, actual: Decimal, what: str) -> Difference:
    detail = f"{subject}: the exchange says {shown(actual)} {what}, the books {shown(expected)}"
    return Difference(kind, subject, detail, expected, actual)
