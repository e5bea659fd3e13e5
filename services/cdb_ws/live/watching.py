"""What is watched: named symbols or the screener's choice, each with its grid, then its bars, then its connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from services.cdb_ws.live.instrument import InstrumentFeed
from services.cdb_ws.live.listing import Listing, closed_listing
from services.cdb_ws.live.screening import Screening
from services.cdb_ws.live.state import FeedState
from services.cdb_ws.live.wiring import Wiring
from services.cdb_ws.live.words import Answer, Warmup
from services.cdb_ws.warmup import MinuteBar
from services.common.errors import FeedInputInvalid
from services.common.timestamps import MINUTE_US

__all__ = ["Watching"]


class Watching:
    """Begins and ends to watch.

    Args:
        state: of the feed.
        wiring: where symbols are connected.
        symbols: what is watched when there is no screener.
        screening: what chooses; None: nobody does.

    Attributes:
        missing: named symbols that are not listed.
    """

    def __init__(self, state: FeedState, wiring: Wiring, symbols: tuple[str, ...], screening: Screening | None) -> None:
        self._state = state
        self._wiring = wiring
        self._wanted = symbols
        self._screening = screening
        self._bars: dict[str, dict[int, MinuteBar]] = {}
        self._bars_missing: dict[str, int] = {}
        self._held: Mapping[str, Decimal | None] = {}
        self.missing: list[str] = []

    def on_instruments(self, answer: Answer, now_us: int) -> None:
        """Take over what is listed, and watch what is wanted of it.

        Raises:
            FeedInputInvalid: nothing of it can be used.
        """
        state = self._state
        listings = state.market.rest.read_instruments(answer.body)
        if not listings:
            raise FeedInputInvalid("the exchange lists nothing that can be used")
        first = not state.listings
        self._renew(listings)
        if self._screening is not None:
            self.choose(self._screening, now_us)
            self.keep(self._held, now_us)
            return
        unknown = {symbol: "not listed" for symbol in self._wanted if symbol not in listings}
        closed = {s: listings[s].closed for s in self._wanted if s in listings and listings[s].closed}
        self.missing = sorted(unknown)
        for symbol, why in {**unknown, **closed}.items() if first else ():
            state.tell("CRITICAL", "SYMBOL_NOT_TRADED", f"{symbol} on {state.market.venue}: {why}", symbol=symbol)
        self._watch([symbol for symbol in self._wanted if symbol in listings], now_us)
        self.keep(self._held, now_us)

    def _renew(self, listings: dict[str, Listing]) -> None:
        """Take listings over, and tell what has changed of the instruments that are watched."""
        state = self._state
        before, state.listings = state.listings, listings
        changed = []
        for symbol in state.instruments:
            old = before[symbol]
            new = listings.setdefault(symbol, closed_listing(old, "not listed any more"))
            if new.spec != old.spec:
                changed.append(symbol)
            if new.closed and not old.closed:
                text = f"{symbol} on {state.market.venue}: {new.closed}"
                state.tell("CRITICAL", "SYMBOL_NOT_TRADED", text, symbol=symbol)
        state.tell_instruments(changed)

    def keep(self, held: Mapping[str, Decimal | None], now_us: int) -> None:
        """Watch what is held, whether it is wanted or not: an exit needs its market data.

        Args:
            held: symbols with the quantity held, base units; None: an order is working.
            now_us: feed time.
        """
        state = self._state
        self._held = held
        if not state.listings:
            return
        new = [
            symbol
            for symbol, quantity in held.items()
            if symbol not in state.instruments and self._is_more(symbol, quantity)
        ]
        for symbol in new:
            if symbol in state.listings:
                text = f"{symbol} is not among the symbols, but something of it is held: its market data go on"
                state.tell("WARNING", "SYMBOL_HELD", text, symbol=symbol)
            elif symbol not in self.missing:
                self.missing.append(symbol)
                text = f"{symbol} is held and not listed on {state.market.venue}: there are no market data for an exit"
                state.tell("CRITICAL", "SYMBOL_NOT_TRADED", text, symbol=symbol)
        self._watch([symbol for symbol in new if symbol in state.listings], now_us)

    def _is_more(self, symbol: str, quantity: Decimal | None) -> bool:
        """Whether a holding is more than dust that nobody could sell."""
        listing = self._state.listings.get(symbol)
        return quantity is None or listing is None or abs(quantity) >= listing.spec.lot_size

    def needed(self) -> frozenset[str]:
        """Return the symbols that are held, without dust."""
        return frozenset(symbol for symbol, quantity in self._held.items() if self._is_more(symbol, quantity))

    def choose(self, screening: Screening, now_us: int) -> None:
        """Let the screener choose when it knows enough, and take its choice over."""
        state = self._state
        asks, choice = screening.choose(state.listings, now_us)
        for ask in asks:
            state.ask(ask)
        if choice is None:
            return
        new = [s for s in choice.watched if s not in state.instruments and s in state.listings]
        state.tell_instruments(new)
        state.step.facts.append(("symbols", {"venue": state.market.venue, **choice.details()}))
        state.tell("INFO", "SYMBOLS_CHOSEN", choice.sentence(), symbols=list(choice.symbols))
        self._watch(new, now_us, told=True)

    def _watch(self, symbols: Iterable[str], now_us: int, *, told: bool = False) -> None:
        """Begin to watch instruments: their grids, then their bars, then their connection."""
        state = self._state
        new = [symbol for symbol in symbols if symbol not in state.instruments]
        if not told:
            state.tell_instruments(new)
        end_us = now_us // MINUTE_US * MINUTE_US
        for symbol in new:
            state.instruments[symbol] = InstrumentFeed(
                state.listings[symbol].spec,
                state.topics(symbol),
                resumed=state.resumed,
                levels=state.settings.MARKET_DATA_DEPTH_LEVELS,
            )
            chunk_us = state.market.rest.bars_per_answer * MINUTE_US
            starts = list(range(end_us - state.settings.FEED_WARMUP_MIN * MINUTE_US, end_us, chunk_us))
            self._bars_missing[symbol] = len(starts)
            for start_us in starts:
                state.ask(state.market.rest.klines(symbol, start_us, min(start_us + chunk_us, end_us)))
            if not starts:
                self._bars_missing[symbol] = 1
                self.bars_came(symbol, now_us)

    def on_klines(self, answer: Answer, now_us: int) -> None:
        """Take bars over.

        Raises:
            FeedInputInvalid: they are none.
        """
        symbol = answer.ask.symbol
        listing = self._state.listings.get(symbol)
        bars = self._state.market.rest.read_klines(answer.body, None if listing is None else listing.spec)
        open_us = now_us // MINUTE_US * MINUTE_US
        self._bars.setdefault(symbol, {}).update((bar.start_us, bar) for bar in bars if bar.start_us < open_us)
        self.bars_came(symbol, now_us)

    def bars_came(self, symbol: str, now_us: int) -> None:
        """One question for bars is settled; with the last one the symbol is connected."""
        if symbol not in self._bars_missing:
            return
        self._bars_missing[symbol] -= 1
        if self._bars_missing[symbol] > 0:
            return
        del self._bars_missing[symbol]
        bars = self._bars.pop(symbol, {})
        self._state.step.warmups.append(Warmup(symbol, tuple(bars[start_us] for start_us in sorted(bars))))
        self._wiring.connect(symbol, now_us)

    def drop(self, symbol: str) -> None:
        """End to watch a symbol."""
        slot = self._wiring.slot_of(symbol)
        self._state.instruments.pop(symbol, None)
        self._state.silent.discard(symbol)
        if slot is not None:
            self._wiring.leave(slot, symbol)
