"""The connections of a live feed: opened, subscribed, looked after, lost, and replaced before they grow too old."""

from __future__ import annotations

from typing import Final

from services.cdb_ws.live.healing import Healing
from services.cdb_ws.live.links import PING_US, Connection, Slot, backoff_ms, free_slot
from services.cdb_ws.live.state import FeedState
from services.cdb_ws.live.words import Close, Open
from services.common.timestamps import MINUTE_US, SECOND_US

__all__ = ["Wiring"]

DEAD_US: Final = 60 * SECOND_US
OPEN_US: Final = 30 * SECOND_US
REFUSED_AGAIN_US: Final = 30 * SECOND_US


class Wiring:
    """Knows every connection and which symbols are on it.

    Attributes:
        slots: the symbols that share a connection, and that connection.
        connections: those asked for or open, by number.
        reconnects: connections lost, and symbols that were given one of their own.
        refused_at: when a subscription was refused last, or asked for again since.
    """

    def __init__(self, state: FeedState, healing: Healing) -> None:
        self._state = state
        self._healing = healing
        self._numbers = self._slot_numbers = 0
        self._per_slot = max(1, state.settings.MEXC_WS_TOPICS // len(state.topics("BTCUSDT")))
        self.slots: list[Slot] = []
        self.connections: dict[int, Connection] = {}
        self.reconnects = 0
        self.refused_at: int | None = None

    def slot_of(self, symbol: str) -> Slot | None:
        """Return the slot that a symbol is on."""
        return next((slot for slot in self.slots if symbol in slot.symbols), None)

    # what comes and goes

    def connect(self, symbol: str, now_us: int, *, alone: bool = False) -> None:
        """Put a symbol on a connection: one with room for it, or a new one."""
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

    def leave(self, slot: Slot, symbol: str) -> None:
        """Take a symbol off a connection; one that carries nothing any more is closed."""
        slot.symbols.remove(symbol)
        if not slot.symbols:
            self.slots.remove(slot)
            for connection in (slot.current, slot.next):
                if connection is not None:
                    del self.connections[connection.number]
                    self._state.do(Close(connection.number, "nothing is watched over it any more"))
            return
        for connection in (slot.current, slot.next):
            if connection is not None and connection.opened_us is not None:
                topics = self._state.topics(symbol)
                connection.subscriptions.ended(topics)
                self._state.send(
                    connection, self._state.market.socket.unsubscribe(topics, connection.next_message_number())
                )

    def _open(self, slot: Slot, now_us: int) -> Connection:
        self._numbers += 1
        connection = Connection(self._numbers, slot, now_us)
        self.connections[connection.number] = connection
        self._state.do(Open(connection.number, backoff_ms(slot.attempt)))
        return connection

    def opened(self, number: int, now_us: int) -> None:
        """Subscribe on a connection that is open."""
        connection = self.connections.get(number)
        if connection is None:
            self._state.do(Close(number, "nobody wants it any more"))
            return
        connection.opened_us = connection.heard_us = connection.pinged_us = now_us
        for symbol in connection.slot.symbols:
            self._subscribe(connection, symbol, now_us)

    def _subscribe(self, connection: Connection, symbol: str, now_us: int) -> None:
        self._ask_for(connection, self._state.topics(symbol), now_us)

    def _ask_for(self, connection: Connection, topics: tuple[str, ...], now_us: int) -> None:
        connection.subscriptions.asked(topics, now_us)
        self._state.send(connection, self._state.market.socket.subscribe(topics, connection.next_message_number()))

    def give_up(self, connection: Connection, reason: str, now_us: int) -> None:
        """Close a connection that is of no use, as if it were lost."""
        self._state.do(Close(connection.number, reason))
        self.lose(connection, reason, now_us)

    def lose(self, connection: Connection, reason: str, now_us: int) -> None:
        """A connection is gone: what it carried is lost from here on, unless its replacement carries it already."""
        state, slot = self._state, connection.slot
        del self.connections[connection.number]
        if slot.next is connection:
            slot.next = None
            slot.rotate_after_us = now_us + MINUTE_US
            return
        self.reconnects += 1
        slot.attempt += 1
        slot.trouble = f"{state.market.socket_url}: {reason}"
        state.tell(
            "WARNING", "FEED_DISCONNECTED", slot.trouble, connection=connection.number, symbols=list(slot.symbols)
        )
        since_ms = state.exchange_ms(connection.opened_us or now_us)
        for symbol in slot.symbols:
            if connection.opened_us is not None:
                state.instruments[symbol].lose(since_ms)
            state.instruments[symbol].cut()
        slot.current, slot.next = slot.next, None
        if slot.current is None:
            slot.current = self._open(slot, now_us)
        elif slot.current.opened_us is not None:
            for symbol in slot.symbols:
                self._healing.ask(symbol, now_us)

    def part(self, slot: Slot, symbol: str, now_us: int) -> None:
        """Give a symbol that is silent beside others a connection of its own."""
        self.reconnects += 1
        self.leave(slot, symbol)
        self._state.instruments[symbol].lose(
            self._state.exchange_ms(now_us) - self._state.settings.FEED_SILENCE_SEC * 1_000
        )
        self._state.instruments[symbol].cut()
        self.connect(symbol, now_us, alone=True)

    # while time passes

    def look_after(self, connection: Connection, now_us: int) -> None:
        """Ping a connection, give up one that is dead, and ask again for what it was refused."""
        if connection.opened_us is None:
            return
        if now_us - connection.heard_us > DEAD_US:
            self.give_up(connection, f"not a frame for {DEAD_US // SECOND_US} s", now_us)
            return
        if now_us - connection.pinged_us >= PING_US:
            connection.pinged_us = now_us
            self._state.send(connection, [self._state.market.socket.ping])
        refused = connection.subscriptions.refusals()
        if refused and self.refused_at is not None and now_us - self.refused_at >= REFUSED_AGAIN_US:
            self.refused_at = now_us
            self._ask_for(connection, tuple(refused), now_us)

    def rotate(self, slot: Slot, now_us: int) -> None:
        """Open the successor of an old connection, and let it take over when it carries everything."""
        connection, successor = slot.current, slot.next
        if connection is None or connection.opened_us is None:
            return
        if successor is None:
            # slots one after the other, so that not all are doubled at once
            rotate_us = self._state.settings.FEED_ROTATE_MIN * MINUTE_US
            due_us = connection.opened_us + rotate_us - slot.number % 10 * SECOND_US
            if now_us >= max(due_us, slot.rotate_after_us):
                attempt, slot.attempt = slot.attempt, 0
                slot.next = self._open(slot, now_us)
                slot.attempt = attempt
            return
        if successor.opened_us is not None and all(self._carries(successor, symbol) for symbol in slot.symbols):
            del self.connections[connection.number]
            self._state.do(Close(connection.number, "replaced"))
            slot.current, slot.next = successor, None
        elif now_us - successor.asked_us > 2 * OPEN_US:
            self.give_up(successor, "it has not taken over in time", now_us)

    def _carries(self, connection: Connection, symbol: str) -> bool:
        topics = self._state.topics(symbol)
        return all(map(connection.subscriptions.is_echoed, topics)) and connection.subscriptions.counts(topics[1])
