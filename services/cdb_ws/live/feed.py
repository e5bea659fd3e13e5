"""The live feed as a state machine: frames, answers and times in; observations, facts and things to do out.

It opens no socket and reads no clock. `now_us` is the feed's time and never goes back. What follows is a function of
the inputs in their order, so a recorded session that is played into it gives the same observations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from services.cdb_ws.live.instrument import InstrumentFeed, round_sec
from services.cdb_ws.live.links import PING_US, Connection, Slot, backoff_ms, free_slot
from services.cdb_ws.live.listing import Listing
from services.cdb_ws.live.protocols import Market
from services.cdb_ws.live.screening import Screening
from services.cdb_ws.live.words import (
    Acknowledged,
    Answer,
    Ask,
    Bad,
    Close,
    Deal,
    Deals,
    Mark,
    News,
    Open,
    Ping,
    Quote,
    Refused,
    Send,
    Sight,
    Step,
    Warmup,
)
from services.cdb_ws.live_settings import LiveSettings
from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.warmup import MinuteBar
from services.common.errors import FeedInputInvalid
from services.common.market_facts import instrument_details
from services.common.settings import AUTO
from services.common.timestamps import MINUTE_US, MS_US, SECOND_US

__all__ = ["LiveFeed"]

ATTEMPTS: Final = 6
"""Of questions that others can do without."""
DEAD_US: Final = 60 * SECOND_US
OPEN_US: Final = 30 * SECOND_US
QUIET_TRADES_MS: Final = 5_000
REFUSED_AGAIN_US: Final = 30 * SECOND_US


class LiveFeed:
    """One market of the exchange, watched.

    Args:
        market: how it speaks.
        settings: how it is watched.
        symbols: what is watched; `AUTO`: what the screener chooses.
        resumed: the journal has market data of this feed already, so the first of each instrument comes after a gap.
        chosen, leaving: what the screener chose before a restart.
    """

    def __init__(
        self,
        market: Market,
        settings: LiveSettings,
        symbols: tuple[str, ...],
        *,
        resumed: bool,
        chosen: Sequence[str] | None = None,
        leaving: Sequence[str] = (),
    ) -> None:
        self._market = market
        self._settings = settings
        self._wanted = symbols
        self._resumed = resumed
        self._listings: dict[str, Listing] = {}
        self.instruments: dict[str, InstrumentFeed] = {}
        self._bars: dict[str, dict[int, MinuteBar]] = {}
        self._bars_missing: dict[str, int] = {}
        self.slots: list[Slot] = []
        self._connections: dict[int, Connection] = {}
        self._numbers = self._slot_numbers = 0
        self._offset_us: int | None = None
        self._time_asked_us: int | None = None
        self._rest_trouble: dict[str, str] = {}
        self._missing: list[str] = []
        self._answers = 0
        self._refused_at: int | None = None
        self._silent: set[str] = set()
        self.frames = self.bad_frames = self.reconnects = self.refusals = 0
        self.screening = Screening(market.rest, settings, chosen, leaving) if symbols == AUTO else None
        self._step = Step()
        self._per_slot = max(1, settings.MEXC_WS_TOPICS // len(market.socket.topics("BTCUSDT")))

    # inputs

    def begin(self, now_us: int) -> Step:
        """Ask for what must be known first."""
        self._ask(self._market.rest.instruments())
        self._ask_time(now_us)
        if self.screening is not None:
            self._ask(self.screening.begin(now_us))
        return self._take()

    def opened(self, number: int, now_us: int) -> Step:
        """A connection is open: subscribe."""
        connection = self._connections.get(number)
        if connection is None:
            self._do(Close(number, "nobody wants it any more"))
            return self._take()
        connection.opened_us = connection.heard_us = connection.pinged_us = now_us
        for symbol in connection.slot.symbols:
            self._subscribe(connection, symbol, now_us)
        return self._take()

    def closed(self, number: int, reason: str, now_us: int) -> Step:
        """A connection is gone, or could not be made."""
        connection = self._connections.get(number)
        if connection is not None:
            self._lose(connection, reason, now_us)
        return self._take()

    def frame(self, number: int, frame: bytes | str, now_us: int) -> Step:
        """A frame came."""
        connection = self._connections.get(number)
        if connection is None:
            return self._take()
        self.frames += 1
        connection.heard_us = now_us
        for sight in self._market.socket.decode(frame):
            self._see(connection, sight, frame, now_us)
        return self._take()

    def answered(self, answer: Answer, now_us: int) -> Step:
        """An answer came, or the cause why there is none."""
        ask = answer.ask
        readers: dict[str, Callable[[Answer, int], None]] = {
            "time": self._on_time,
            "instruments": self._on_instruments,
            "klines": self._on_klines,
            "trades": self._on_trades,
            "tickers": self._on_screening,
            "age": self._on_screening,
        }
        try:
            if answer.status != 200:
                text = answer.body[:200].decode(errors="replace")
                raise FeedInputInvalid(f"HTTP {answer.status}: {text}" if answer.status else text)
            readers[ask.kind](answer, now_us)
        except FeedInputInvalid as error:
            self._failed(answer, str(error), now_us)
        else:
            self._answers += 1
            self._rest_trouble.pop(ask.kind, None)
        return self._take()

    def tick(self, now_us: int) -> Step:
        """Time has passed: ping, look for silence, replace old connections, measure the clock, choose again."""
        for connection in list(self._connections.values()):
            self._look_after(connection, now_us)
        for slot in self.slots:
            self._look_for_silence(slot, now_us)
            self._rotate(slot, now_us)
        if (
            self._time_asked_us is not None
            and now_us - self._time_asked_us >= self._settings.FEED_TIME_EVERY_SEC * SECOND_US
        ):
            self._ask_time(now_us)
        if self.screening is not None and self._listings:
            for ask in self.screening.due(now_us):
                self._ask(ask)
            for symbol in self.screening.forgotten(now_us):
                self._drop(symbol)
        return self._take()

    # answers

    def _on_time(self, answer: Answer, now_us: int) -> None:
        exchange_us = self._market.rest.read_time(answer.body) * MS_US
        self._offset_us = exchange_us - (answer.sent_us + now_us) // 2

    def _on_instruments(self, answer: Answer, now_us: int) -> None:
        listings = self._market.rest.read_instruments(answer.body)
        if not listings:
            raise FeedInputInvalid("the exchange lists nothing that can be used")
        self._listings = listings
        if self.screening is not None:
            self._choose(now_us)
            return
        unknown = {symbol: "not listed" for symbol in self._wanted if symbol not in listings}
        closed = {s: listings[s].closed for s in self._wanted if s in listings and listings[s].closed}
        self._missing = sorted(unknown)
        for symbol, why in {**unknown, **closed}.items():
            self._tell("CRITICAL", "SYMBOL_NOT_TRADED", f"{symbol} on {self._market.venue}: {why}", symbol=symbol)
        self._watch([symbol for symbol in self._wanted if symbol in listings], now_us)

    def _on_klines(self, answer: Answer, now_us: int) -> None:
        symbol = answer.ask.symbol
        listing = self._listings.get(symbol)
        bars = self._market.rest.read_klines(answer.body, None if listing is None else listing.spec)
        open_us = now_us // MINUTE_US * MINUTE_US
        self._bars.setdefault(symbol, {}).update((bar.start_us, bar) for bar in bars if bar.start_us < open_us)
        self._bars_came(symbol, now_us)

    def _bars_came(self, symbol: str, now_us: int) -> None:
        if symbol not in self._bars_missing:
            return
        self._bars_missing[symbol] -= 1
        if self._bars_missing[symbol] > 0:
            return
        del self._bars_missing[symbol]
        bars = self._bars.pop(symbol, {})
        self._step.warmups.append(Warmup(symbol, tuple(bars[start_us] for start_us in sorted(bars))))
        self._connect(symbol, now_us)

    def _on_trades(self, answer: Answer, now_us: int) -> None:
        instrument = self.instruments.get(answer.ask.symbol)
        if instrument is None:
            return
        deals = self._market.rest.read_trades(answer.body)
        settled_ms = (answer.sent_us + (self._offset_us or 0)) // MS_US - QUIET_TRADES_MS
        if not instrument.healing:
            self._check_quiet(instrument, deals, settled_ms, now_us)
            return
        from_ms, way = instrument.heal_from_ms or 0, f"r{answer.sent_us}"
        if len(deals) >= self._market.rest.trades_per_answer and deals[0].time_ms >= from_ms:
            if from_ms < deals[-1].time_ms < settled_ms:  # the oldest of them: there are more
                self._observe(instrument.heal_some(way, deals, now_us))
                self._ask_trades(instrument.symbol, now_us)
                return
            self._tell(
                "CRITICAL",
                "FEED_GAP_UNHEALED",
                f"{instrument.symbol}: trades are lost for good: the exchange's answer does not reach back far enough",
                symbol=instrument.symbol,
            )
        self._observe(instrument.heal(way, deals, now_us))

    def _check_quiet(self, instrument: InstrumentFeed, deals: list[Deal], settled_ms: int, now_us: int) -> None:
        """The trades' topic was quiet: did the exchange have trades that it did not push?"""
        slot = self._slot_of(instrument.symbol)
        if slot is None or slot.current is None or slot.current.opened_us is None:
            return
        since_ms = instrument.ledger.last_ms or (slot.current.opened_us + (self._offset_us or 0)) // MS_US
        missed = sum(since_ms < deal.time_ms < settled_ms for deal in deals)
        if not missed:
            return
        reason = f"{instrument.deals_topic} is subscribed and silent: {missed} trades were not pushed"
        self._tell("WARNING", "FEED_SILENT", reason, symbol=instrument.symbol)
        self._silent.add(instrument.symbol)
        self._give_up(slot.current, reason, now_us)

    def _on_screening(self, answer: Answer, now_us: int) -> None:
        assert self.screening is not None
        self.screening.take(answer)
        self._choose(now_us)

    def _failed(self, answer: Answer, why: str, now_us: int) -> None:
        ask, attempt = answer.ask, answer.ask.attempt + 1
        trouble = f"GET {self._market.rest_url}{ask.path}: {why}"
        self._rest_trouble[ask.kind] = trouble
        needed = ask.kind in {"time", "instruments", "tickers"}
        if attempt == 1 or attempt % 10 == 0:
            self._tell("WARNING", "EXCHANGE_UNREACHABLE", trouble, kind=ask.kind, attempt=attempt)
        if needed or attempt < ATTEMPTS:
            wait_ms = max(backoff_ms(attempt), 5_000 if answer.status in {418, 429, 510} else 0)
            self._do(Ask(ask.kind, ask.symbol, ask.path, ask.params, wait_ms, attempt))
            return
        del self._rest_trouble[ask.kind]
        if ask.kind == "klines":
            self._tell("WARNING", "FEED_WARMUP_MISSING", f"{ask.symbol}: {trouble}", symbol=ask.symbol)
            self._bars_came(ask.symbol, now_us)
        elif ask.kind == "trades":
            self._give_up_healing(ask.symbol, trouble)
        elif self.screening is not None:
            self.screening.fail(answer.ask)
            self._choose(now_us)

    def _give_up_healing(self, symbol: str, trouble: str) -> None:
        instrument = self.instruments.get(symbol)
        if instrument is not None and instrument.healing:
            instrument.end_healing()
            self._tell("CRITICAL", "FEED_GAP_UNHEALED", f"{symbol}: trades are lost for good: {trouble}", symbol=symbol)

    # what is watched

    def _choose(self, now_us: int) -> None:
        """Let the screener choose when it knows enough, and take its choice over."""
        screening = self.screening
        assert screening is not None
        asks, choice = screening.choose(self._listings, now_us)
        for ask in asks:
            self._ask(ask)
        if choice is None:
            return
        new = [symbol for symbol in choice.watched if symbol not in self.instruments]
        self._tell_instruments(new)
        self._step.facts.append(("symbols", {"venue": self._market.venue, **choice.details()}))
        self._tell("INFO", "SYMBOLS_CHOSEN", choice.sentence(), symbols=list(choice.symbols))
        self._watch(new, now_us, told=True)

    def _tell_instruments(self, symbols: Iterable[str]) -> None:
        specs = [self._listings[symbol].spec for symbol in symbols]
        if specs:
            self._step.facts.append(("instruments", {"venue": self._market.venue, **instrument_details(specs)}))

    def _watch(self, symbols: Iterable[str], now_us: int, *, told: bool = False) -> None:
        """Begin to watch instruments: their grids, then their bars, then their connection."""
        new = [symbol for symbol in symbols if symbol not in self.instruments]
        if not told:
            self._tell_instruments(new)
        minutes = self._settings.FEED_WARMUP_MIN
        end_us = now_us // MINUTE_US * MINUTE_US
        for symbol in new:
            topics = self._market.socket.topics(symbol)
            self.instruments[symbol] = InstrumentFeed(self._listings[symbol].spec, topics, resumed=self._resumed)
            chunk_us = self._market.rest.bars_per_answer * MINUTE_US
            starts = list(range(end_us - minutes * MINUTE_US, end_us, chunk_us))
            self._bars_missing[symbol] = len(starts)
            for start_us in starts:
                self._ask(self._market.rest.klines(symbol, start_us, min(start_us + chunk_us, end_us)))
            if not starts:
                self._bars_missing[symbol] = 1
                self._bars_came(symbol, now_us)

    def _drop(self, symbol: str) -> None:
        slot = self._slot_of(symbol)
        self.instruments.pop(symbol, None)
        self._silent.discard(symbol)
        if slot is not None:
            self._leave(slot, symbol)

    def _leave(self, slot: Slot, symbol: str) -> None:
        """Take a symbol off a connection; one that carries nothing any more is closed."""
        slot.symbols.remove(symbol)
        if not slot.symbols:
            self.slots.remove(slot)
            for connection in (slot.current, slot.next):
                if connection is not None:
                    del self._connections[connection.number]
                    self._do(Close(connection.number, "nothing is watched over it any more"))
            return
        for connection in (slot.current, slot.next):
            if connection is not None and connection.opened_us is not None:
                topics = self._market.socket.topics(symbol)
                connection.subscriptions.ended(topics)
                self._send(connection, self._market.socket.unsubscribe(topics, self._number(connection)))

    # connections

    def _connect(self, symbol: str, now_us: int, *, alone: bool = False) -> None:
        slot = None if alone else free_slot(self.slots, self._per_slot)
        if slot is None:
            self._slot_numbers += 1
            slot = Slot(self._slot_numbers, alone=alone)
            self.slots.append(slot)
        slot.symbols.append(symbol)
        if slot.current is None:
            slot.current = self._open(slot, now_us)
            return
        for connection in (slot.current, slot.next):
            if connection is not None and connection.opened_us is not None:
                self._subscribe(connection, symbol, now_us)

    def _open(self, slot: Slot, now_us: int) -> Connection:
        self._numbers += 1
        connection = Connection(self._numbers, slot, now_us)
        self._connections[connection.number] = connection
        self._do(Open(connection.number, backoff_ms(slot.attempt)))
        return connection

    def _subscribe(self, connection: Connection, symbol: str, now_us: int) -> None:
        topics = self._market.socket.topics(symbol)
        connection.subscriptions.asked(topics, now_us)
        self._send(connection, self._market.socket.subscribe(topics, self._number(connection)))

    @staticmethod
    def _number(connection: Connection) -> int:
        connection.sent += 1
        return connection.sent

    def _give_up(self, connection: Connection, reason: str, now_us: int) -> None:
        self._do(Close(connection.number, reason))
        self._lose(connection, reason, now_us)

    def _lose(self, connection: Connection, reason: str, now_us: int) -> None:
        """A connection is gone: what it carried is lost from here on, unless its replacement carries it already."""
        slot = connection.slot
        del self._connections[connection.number]
        if slot.next is connection:
            slot.next = None
            slot.rotate_after_us = now_us + MINUTE_US
            return
        self.reconnects += 1
        slot.attempt += 1
        slot.trouble = f"{self._market.socket_url}: {reason}"
        self._tell(
            "WARNING", "FEED_DISCONNECTED", slot.trouble, connection=connection.number, symbols=list(slot.symbols)
        )
        since_ms = ((connection.opened_us or now_us) + (self._offset_us or 0)) // MS_US
        for symbol in slot.symbols:
            if connection.opened_us is not None:
                self.instruments[symbol].lose(since_ms)
            self.instruments[symbol].cut()
        slot.current, slot.next = slot.next, None
        if slot.current is None:
            slot.current = self._open(slot, now_us)
        elif slot.current.opened_us is not None:
            for symbol in slot.symbols:
                self._ask_trades(symbol, now_us)

    def _look_after(self, connection: Connection, now_us: int) -> None:
        if connection.opened_us is None:
            return
        if now_us - connection.heard_us > DEAD_US:
            self._give_up(connection, f"not a frame for {DEAD_US // SECOND_US} s", now_us)
            return
        if now_us - connection.pinged_us >= PING_US:
            connection.pinged_us = now_us
            self._send(connection, [self._market.socket.ping])
        if (
            connection.subscriptions.refusals()
            and self._refused_at is not None
            and (now_us - self._refused_at >= REFUSED_AGAIN_US)
        ):
            topics = list(connection.subscriptions.refusals())
            self._refused_at = now_us
            connection.subscriptions.asked(topics, now_us)
            self._send(connection, self._market.socket.subscribe(topics, self._number(connection)))

    def _look_for_silence(self, slot: Slot, now_us: int) -> None:
        connection = slot.current
        if connection is None or connection.opened_us is None:
            return
        limit_us = self._settings.FEED_SILENCE_SEC * SECOND_US
        refused = connection.subscriptions.refusals()
        silent = []
        for symbol in slot.symbols:
            instrument = self.instruments[symbol]
            if refused.keys() & set(self._market.socket.topics(symbol)):
                continue  # asked for again by itself
            if now_us - max(instrument.heard_us or 0, connection.opened_us) > limit_us:
                silent.append(symbol)
            elif now_us - max(instrument.deals_us or 0, connection.opened_us) > limit_us and not instrument.healing:
                instrument.deals_us = now_us
                self._ask_trades(symbol, now_us)
        if silent:
            self._on_silence(slot, connection, silent, now_us)

    def _on_silence(self, slot: Slot, connection: Connection, silent: list[str], now_us: int) -> None:
        """Connect anew: the whole connection when all of it is silent, otherwise the silent symbols on their own."""
        self._silent.update(silent)
        reason = f"{', '.join(silent)}: not a message for {self._settings.FEED_SILENCE_SEC} s"
        self._tell("WARNING", "FEED_SILENT", reason, symbols=silent)
        if len(silent) == len(slot.symbols):
            self._give_up(connection, reason, now_us)
            return
        since_ms = (now_us + (self._offset_us or 0)) // MS_US - self._settings.FEED_SILENCE_SEC * 1_000
        for symbol in silent:
            self.reconnects += 1
            self._leave(slot, symbol)
            self.instruments[symbol].lose(since_ms)
            self.instruments[symbol].cut()
            self._connect(symbol, now_us, alone=True)

    def _rotate(self, slot: Slot, now_us: int) -> None:
        """Open the successor of an old connection, and let it take over when it carries everything."""
        connection, successor = slot.current, slot.next
        if connection is None or connection.opened_us is None:
            return
        if successor is None:
            # slots one after the other, so that not all are doubled at once
            due_us = connection.opened_us + self._settings.FEED_ROTATE_MIN * MINUTE_US - slot.number % 10 * SECOND_US
            if now_us >= max(due_us, slot.rotate_after_us):
                attempt, slot.attempt = slot.attempt, 0
                slot.next = self._open(slot, now_us)
                slot.attempt = attempt
            return
        if successor.opened_us is not None and all(self._carries(successor, symbol) for symbol in slot.symbols):
            del self._connections[connection.number]
            self._do(Close(connection.number, "replaced"))
            slot.current, slot.next = successor, None
        elif now_us - successor.asked_us > 2 * OPEN_US:
            self._give_up(successor, "it has not taken over in time", now_us)

    def _carries(self, connection: Connection, symbol: str) -> bool:
        topics = self._market.socket.topics(symbol)
        return all(map(connection.subscriptions.is_echoed, topics)) and connection.subscriptions.counts(topics[1])

    def _slot_of(self, symbol: str) -> Slot | None:
        return next((slot for slot in self.slots if symbol in slot.symbols), None)

    # frames

    def _see(self, connection: Connection, sight: Sight, frame: bytes | str, now_us: int) -> None:
        match sight:
            case Deals() | Quote() | Mark():
                self._data(connection, sight, frame, now_us)
            case Acknowledged(names):
                self._echoed(connection, names, now_us)
            case Refused(names, reason):
                self._refused(connection, names, reason, now_us)
            case Bad(reason, symbol, lost):
                self._bad(connection, symbol, reason, frame, now_us, lost=lost)
            case Ping():
                self._send(connection, [self._market.socket.pong()])
            case _:
                pass

    def _data(self, connection: Connection, sight: Deals | Quote | Mark, frame: bytes | str, now_us: int) -> None:
        connection.subscriptions.data(sight.topic)
        instrument = self.instruments.get(sight.symbol)
        if instrument is None or sight.topic not in connection.subscriptions:
            return
        slot = connection.slot
        if slot.current is connection:
            self._silent.discard(sight.symbol)
            if slot.trouble and all(self.instruments[s].heard_us is not None for s in slot.symbols):
                slot.trouble, slot.attempt = "", 0
        if isinstance(sight, Deals):
            self._observe(instrument.see_deals(connection.way, sight.deals, now_us))
            if sight.bad:
                self._bad(connection, sight.symbol, sight.bad, frame, now_us)
        elif isinstance(sight, Quote):
            self._observe(instrument.see_quote(sight, now_us))
        else:
            self._observe(instrument.see_mark(sight, now_us))

    def _echoed(self, connection: Connection, names: Iterable[str], now_us: int) -> None:
        for topic in connection.subscriptions.echoed(names):
            for symbol in connection.slot.symbols:
                instrument = self.instruments[symbol]
                if topic == instrument.deals_topic and instrument.healing and connection.slot.current is connection:
                    self._ask_trades(symbol, now_us)

    def _refused(self, connection: Connection, names: Iterable[str], reason: str, now_us: int) -> None:
        topics = connection.subscriptions.refused(names, reason)
        self.refusals += 1
        self._refused_at = now_us
        listed = ", ".join(topics) or "a subscription"
        self._tell("CRITICAL", "SUBSCRIPTION_REFUSED", f"{self._market.socket_url} refuses {listed}: {reason}")

    def _bad(
        self, connection: Connection, symbol: str, reason: str, frame: bytes | str, now_us: int, *, lost: bool = True
    ) -> None:
        """A frame cannot be used: it is kept, and what it may have said is lost until it is healed."""
        self.bad_frames += 1
        raw = frame if isinstance(frame, bytes) else frame.encode(errors="replace")
        self._step.rejected.append(RejectedRow(now_us, reason, raw))
        slot = connection.slot
        if not lost or slot.current is not connection:
            return
        since_ms = (now_us + (self._offset_us or 0)) // MS_US - MINUTE_US // MS_US
        for name in [symbol] if symbol else list(slot.symbols):
            instrument = self.instruments.get(name)
            if instrument is not None and name in slot.symbols and not instrument.healing:
                instrument.lose(since_ms)
                self._ask_trades(name, now_us)

    def _observe(self, observation: Observation | None) -> None:
        if observation is not None:
            self._step.observations.append(observation)

    # things to do

    def _ask_time(self, now_us: int) -> None:
        self._time_asked_us = now_us
        self._ask(self._market.rest.time())

    def _ask_trades(self, symbol: str, now_us: int) -> None:
        instrument = self.instruments[symbol]
        until_ms = (now_us + (self._offset_us or 0)) // MS_US + MINUTE_US // MS_US
        from_ms = instrument.heal_from_ms or instrument.ledger.last_ms or until_ms - 2 * MINUTE_US // MS_US
        self._ask(self._market.rest.trades(symbol, from_ms, until_ms))

    def _ask(self, ask: Ask) -> None:
        self._step.actions.append(ask)

    def _send(self, connection: Connection, frames: Iterable[str]) -> None:
        self._step.actions.extend(Send(connection.number, frame) for frame in frames)

    def _do(self, action: Ask | Open | Close) -> None:
        self._step.actions.append(action)

    def _tell(self, level: Any, code: str, message: str, **context: Any) -> None:
        self._step.news.append(News(level, code, message, context))

    def _take(self) -> Step:
        step, self._step = self._step, Step()
        return step

    # what it shows

    @property
    def offset_ms(self) -> int | None:
        """The exchange's clock less ours, milliseconds; None before it was measured."""
        return None if self._offset_us is None else self._offset_us // MS_US

    def problems(self, now_us: int) -> dict[str, str]:
        """Return what is wrong now, by what it is about; empty when everything is watched."""
        found = {f"rest_{kind}": trouble for kind, trouble in self._rest_trouble.items()}
        if not self._answers and not found:
            found["rest"] = f"waiting for the first answer of {self._market.rest_url}"
        if self._missing:
            found["symbols"] = f"{', '.join(self._missing)}: not listed on {self._market.venue}"
        for slot in self.slots:
            connection = slot.current
            if slot.trouble:
                found[f"connection_{slot.number}"] = slot.trouble
            elif connection is None or connection.opened_us is None:
                found[f"connection_{slot.number}"] = f"{self._market.socket_url}: connecting"
            if connection is not None:
                found.update(self._unsubscribed(connection, now_us))
        found.update((f"silent_{symbol}", f"{symbol}: no data come") for symbol in sorted(self._silent))
        return found

    def _unsubscribed(self, connection: Connection, now_us: int) -> dict[str, str]:
        found = {topic: f"refused: {reason}" for topic, reason in connection.subscriptions.refusals().items()}
        for topic in connection.subscriptions.unconfirmed(now_us):
            found.setdefault(topic, "subscribed, and never echoed")
        return found

    def status(self, now_us: int) -> dict[str, Any]:
        """Return what `/status` shows."""
        return {
            "venue": self._market.venue,
            "rest": self._market.rest_url,
            "websocket": self._market.socket_url,
            "clock_offset_ms": self.offset_ms,
            "problems": self.problems(now_us),
            "connections": [
                {
                    "number": None if slot.current is None else slot.current.number,
                    "age_sec": None
                    if slot.current is None or slot.current.opened_us is None
                    else round_sec(now_us - slot.current.opened_us),
                    "symbols": list(slot.symbols),
                    "attempt": slot.attempt,
                }
                for slot in self.slots
            ],
            "frames": self.frames,
            "frames_bad": self.bad_frames,
            "reconnects": self.reconnects,
            "refusals": self.refusals,
            "instruments": {symbol: one.status(now_us) for symbol, one in self.instruments.items()},
        }
