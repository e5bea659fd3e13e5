"""The books against the exchange: a snapshot of the account comes in, a verdict goes out, a difference freezes.

The first snapshot of a run is the starting ledger. Later ones must be what the fills make of it; a difference that two
snapshots in a row show (one that no order of ours explains: at once) freezes trading in risk and execution until an
operator accepts it by name, which adjusts all ledgers by an event of its own.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from services.cdb_execution.codes import shown
from services.cdb_execution.live.account import (
    NEVER_ACCEPTED,
    Account,
    Difference,
    OpenOrder,
    compare_balances,
    read_account,
    strangers,
)
from services.cdb_execution.live.books import LiveBooks
from services.cdb_execution.live.intake import find_order
from services.cdb_execution.live.perpetual_books import PerpetualBooks, compare_perpetuals
from services.cdb_execution.live.state import RECONCILE_AGAIN_US, RECONCILE_EVERY_US, Reconciliation
from services.common.decimals import ZERO, clamp
from services.common.events import Alert, Control
from services.common.instruments import PERPETUAL, InstrumentSpec, instrument_key
from services.common.timestamps import SECOND_US, format_timestamp

__all__ = ["Reconciling"]

_ACCEPTED_REMEMBERED: Final = 1_000
_TOLD_OTHERWISE: Final = Decimal("0.01")
"""So much (quote currency) an entry price has to be off before the exchange's is taken over."""
_MARK_FRESH_US: Final = 10 * SECOND_US
"""An older mark of ours says nothing about what the account is worth now."""
_MONEY: Final = frozenset({"balance", "available", "equity"})
"""What a settlement changes that the exchange has not told yet."""


class Reconciling(LiveBooks):
    """The comparison of the books with the account."""

    # when to look

    def _reconcile_in_time(self) -> None:
        live = self.state.live
        if self.settings.TRADING_MODE != "live":
            return
        if live.is_overdue(self.now):
            message = "the account could not be compared with the books for 5 minutes: nothing is entered until it is"
            self._tell("CRITICAL", "RECONCILIATION_OVERDUE", message, {"since": format_timestamp(live.waiting_since)})
        if live.reconcile_at is None or self.now >= live.reconcile_at:
            live.reconciles += 1
            live.reconcile_at = self.now + 2 * RECONCILE_AGAIN_US  # again, should no snapshot come

    def _after_own_start(self) -> None:
        """A process that has just started has missed what happened: nothing is entered before the books agree.

        Nor before the exchange has said anew which orders it takes.
        """
        live = self.state.live
        live.agreed_at, live.reconcile_at = None, None
        live.rules = {}
        live.waiting_since = self.now

    # what comes in

    def _on_account(self, event: Control) -> None:
        account = read_account(event)
        live = self.state.live
        if account.rules is not None:
            live.rules = {rules.symbol: rules for rules in account.rules}
        stale = account.revision != live.revision
        foreign = strangers(account, lambda order: self._explains(order, ended=stale), live.accepted)
        if not live.opened:
            self._open(account, foreign)
            return
        self._cancel_strays(account)
        busy = stale or any(order.live is not None for order in self.state.working)
        moved = [] if busy else self._compare(account)
        if live.awaits_funding(self.now) and moved and all(found.kind in _MONEY for found in moved):
            busy, moved = True, []
        names = [difference.name for difference in moved]
        certain = [difference for difference in moved if difference.name in live.suspected]
        live.suspected = names if not busy else live.suspected
        found = foreign + certain
        if found:
            self._differ(found)
        elif busy:
            self._say("incomplete", RECONCILE_AGAIN_US)
        elif names:
            self._say("suspected", RECONCILE_AGAIN_US, moved)
        else:
            settled = [order for order in self.state.ended.values() if order.live is not None and order.live.settled]
            live.agree(self.now, all_seen=not settled)
            if account.venue == PERPETUAL:
                self._follow_entries(account)
                self._take_rounding(account)
            self._note_covered(account)
            self._say("agreed", RECONCILE_EVERY_US)

    def _follow_entries(self, account: Account) -> None:
        """Take over entry prices that differ because fills were told in another order than they happened.

        What a closing fill has realised is by as much more or less: what is earned in all stays the same.
        """
        portfolio = self.state.live.portfolio
        for held in (held for held in account.positions if held.quantity):
            key = instrument_key(PERPETUAL, held.symbol)
            ours = portfolio.positions[key]
            moved = held.entry_price * held.quantity - ours.cost
            if abs(moved) >= _TOLD_OTHERWISE:
                ours.cost += moved
                ours.realized_pnl += moved
                portfolio.cash += moved
                self.state.perpetual(key, held.symbol).position = replace(ours)

    def _take_rounding(self, account: Account) -> None:
        """Begin anew from a wallet that agrees: what is left is rounding, and must not add up."""
        live = self.state.live
        positions = live.portfolio.positions.values()
        open_here = sum((position.cost for position in positions if position.venue == PERPETUAL), ZERO)
        open_there = sum((held.quantity * held.entry_price for held in account.positions), ZERO)
        live.ledger.totals[self._quote] = account.balances.get(self._quote, ZERO) - open_there + open_here

    def _compare(self, account: Account) -> list[Difference]:
        """Return where the account is not what the books say, but for what an operator has accepted as it is."""
        live, specs = self.state.live, self.specs()
        if account.venue != PERPETUAL:
            return compare_balances(account, live.ledger, specs)
        books = PerpetualBooks(
            currency=self._quote,
            wallet=live.ledger.totals.get(self._quote, ZERO),
            positions={p.symbol: p for p in live.portfolio.positions.values() if p.venue == PERPETUAL},
            leverages=live.leverages,
            marks={
                spec.symbol: mark.price
                for spec in specs.values()
                if (mark := live.portfolio.marks.get(instrument_key(PERPETUAL, spec.symbol))) is not None
                and self.now - mark.timestamp <= _MARK_FRESH_US
            },
        )
        return [found for found in compare_perpetuals(account, books, specs) if _as_it_is(found) not in live.accepted]

    def _open(self, account: Account, foreign: list[Difference]) -> None:
        """Take the balances as the starting ledger."""
        live, quote = self.state.live, self._quote
        live.opened, live.mode = True, self.settings.TRADING_MODE
        live.ledger.totals = dict(account.balances)
        live.trades_since = self.now
        live.agreed_at = self.now
        total = live.ledger.totals.get(quote, ZERO)
        capital = min(self.settings.LIVE_CAPITAL_USDT, total)
        self._say("opened", RECONCILE_EVERY_US, capital=capital, exchange_total=total)
        found = foreign + (self._compare(account) if account.venue == PERPETUAL else [])
        if found:
            self._differ(found)

    def _differ(self, found: list[Difference]) -> None:
        live = self.state.live
        known = live.difference_names()
        live.differences, live.agreed_at = found, None
        self._say("difference", RECONCILE_EVERY_US, found)
        new = [difference for difference in found if difference.name not in known]
        if not new and self.state.trading_state == "FROZEN":
            return
        names = ", ".join(difference.name for difference in found)
        detail = "; ".join(difference.detail for difference in found[:5])
        message = f"books and exchange differ ({names}): {detail}"
        context = {"differences": [difference.shown() for difference in found]}
        self.emit(Alert, level="CRITICAL", code="RECONCILIATION_DIFFERENCE", message=message[:1_000], context=context)
        self._freeze(f"books and exchange differ: {names}"[:500], {"differences": names.split(", ")})

    def _say(self, verdict: str, again_us: int, found: list[Difference] | None = None, **more: Any) -> None:
        live = self.state.live
        live.last = Reconciliation(self.now, verdict)
        live.waiting_since, live.overdue = self.now, False
        live.reconcile_at = self.now + again_us
        details = {
            "verdict": verdict,
            "venue": self.settings.VENUE,
            "revision": live.revision,
            "differences": [difference.shown() for difference in found or []],
            **more,
        }
        self.emit(Control, action="reconciliation", service=self.service, details=details)

    def _note_covered(self, account: Account) -> None:
        """Take the fills that an operator's word stood for as booked, now that all agrees; what comes then is new."""
        for order in self.state.ended.values():
            names = account.covered.get(order.order_id, [])
            if order.live is not None and names:
                order.live.settled = False
                order.live.trades += [name.partition("/")[0] for name in names]
                self.state.live.remember_trades(names)

    def _explains(self, found: OpenOrder, *, ended: bool) -> bool:
        """Whether an open order is one of ours; `ended` for a snapshot that may be older than an order's end."""
        sent = self.state.sent() if ended else (order for order in self.state.working if order.live is not None)
        return find_order(sent, found.client_order_id, found.exchange_order_id) is not None

    def _cancel_strays(self, account: Account) -> None:
        """Have orders of ours cancelled that work at the exchange although they have ended here."""
        open_ids = [order.client_order_id for order in account.open_orders]
        for order in self.state.ended.values():
            if order.live is not None and order.client_order_id in open_ids:
                order.live.cancel(self.now)

    def specs(self) -> dict[str, InstrumentSpec]:
        """Return the instruments of the venue that may be traded or were in this run, by symbol."""
        may = [instrument_key(self.settings.VENUE, symbol) for symbol in self.settings.LIVE_SYMBOLS]
        specs = [self.settings.spec(key) for key in dict.fromkeys([*may, *self.state.positions])]
        return {spec.symbol: spec for spec in specs if spec is not None and spec.venue == self.settings.VENUE}

    # an operator's word on a difference

    def _resume_objection(self, command: Control) -> str | None:
        """Return why an operator's `resume` is not enough; None when it names every difference there is.

        An order of which nobody knows what became is no difference to be accepted: it is resolved, or heard of.
        """
        lost = [order.order_id for order in self.state.working if order.live is not None and order.live.frozen]
        if lost:
            return (
                f"order {', '.join(lost)} has been UNKNOWN for over 60 s: see at the exchange what became of it, "
                "say so (claire resolve-order), then resume"
            )
        firm = [found.detail for found in self.state.live.differences if found.kind in NEVER_ACCEPTED]
        if firm:
            return "; ".join(firm)
        named = command.details.get("accept")
        accepted = list(named) if isinstance(named, list | tuple) else []
        missing = [name for name in self.state.live.difference_names() if name not in accepted]
        if missing:
            return f"resume has to accept the differences by name: {', '.join(missing)}"
        return None

    def _accept_differences(self) -> None:
        """Let the books follow what an operator has accepted."""
        live = self.state.live
        if not live.differences:
            return
        cash, before = ZERO, live.pnl
        positions: list[dict[str, Any]] = []
        for difference in live.differences:
            if difference.kind == "balance":
                cash += self._accept_balance(difference, positions)
            elif difference.kind == "position":
                cash += self._accept_position(difference, positions)
            elif difference.kind in {"open_order", "trade"}:
                live.accepted.append(difference.name)
            else:
                live.accepted.append(_as_it_is(difference))
        accepted = live.difference_names()
        live.accepted = live.accepted[-_ACCEPTED_REMEMBERED:]
        live.day.shift(before, live.pnl)
        live.differences, live.suspected, live.reconcile_at = [], [], None
        live.revision += 1
        details = {"venue": self.settings.VENUE, "accepted": accepted, "cash": cash, "positions": positions}
        self.emit(Control, action="adjustment", service=self.service, details=details)

    def _accept_balance(self, difference: Difference, positions: list[dict[str, Any]]) -> Decimal:
        """Take the exchange's word on a currency; return by how much our cash changes."""
        live, actual = self.state.live, difference.actual or ZERO
        change = actual - (difference.expected or ZERO)
        live.ledger.add(difference.subject, change)
        specs = self.specs()
        if any(spec.quote == difference.subject for spec in specs.values()):
            live.portfolio.cash += change
            return change
        spec = next((spec for spec in specs.values() if spec.base == difference.subject), None)
        if spec is None or change > 0:
            return ZERO  # coins that we do not trade, or more of them than are ours: theirs to keep
        gone = clamp(-change, ZERO, max(self.state.held(instrument_key(spec.venue, spec.symbol)), ZERO))
        if gone:
            self._adjust(spec, -gone, positions)
        return ZERO

    def _accept_position(self, difference: Difference, positions: list[dict[str, Any]]) -> Decimal:
        """Take the exchange's word on a position; return what that must not do to our cash.

        The money that the change cost or brought is in the balance: what the change alone would book is taken back.
        """
        spec, live = self.specs().get(difference.subject), self.state.live
        if spec is None:
            return ZERO
        wallet, leverage = live.wallet, difference.leverage or 1
        change = (difference.actual or ZERO) - (difference.expected or ZERO)
        self._adjust(spec, change, positions, price=difference.price, leverage=leverage)
        live.leverages[spec.symbol] = leverage
        back = wallet - live.wallet
        live.portfolio.cash += back
        return back

    def _adjust(
        self,
        spec: InstrumentSpec,
        change: Decimal,
        positions: list[dict[str, Any]],
        *,
        price: Decimal | None = None,
        leverage: int = 1,
    ) -> None:
        key = instrument_key(spec.venue, spec.symbol)
        market = self.state.markets.get(key)
        if price is None:
            price = spec.tick_size if market is None or not market.close else market.close
        self.state.positions[key] = self.state.held(key) + change
        self.state.live.portfolio.adjust(spec.venue, spec.symbol, change, price, self.now, leverage=leverage)
        if spec.venue == PERPETUAL:
            self.state.perpetual(key, spec.symbol).position = replace(self.state.live.portfolio.positions[key])
        terms = {} if leverage == 1 else {"leverage": leverage}
        positions.append({"symbol": spec.symbol, "change": change, "price": price, **terms})


def _as_it_is(difference: Difference) -> str:
    """Return a name that holds as long as the exchange says the same: accepted once, another value is told again."""
    return f"{difference.name}={shown(difference.actual or ZERO)}"
