"""What `claire explain SYMBOL` shows of a position to a person."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from claire.explain.position import Holding
from claire.explain.screen import heading, lines
from claire.explain.story import Story, tell
from claire.explain.wording import (
    amount,
    base_of,
    bps,
    day_clock,
    duration,
    instrument_name,
    money,
    percent,
    price,
    quantity,
    quote_line,
    short,
)
from services.common.decimals import divide
from services.common.events import MarketData

__all__ = ["render_holding"]


def render_holding(holding: Holding) -> RenderableType:
    """Return the story of a position."""
    return Group(*_parts(holding))


def _parts(holding: Holding) -> Iterator[RenderableType]:
    closed = holding.closed
    direction = "long" if holding.direction > 0 else "short"
    name = instrument_name(holding.venue, holding.symbol)
    state = "open" if closed is None else "closed"
    yield Text(f"Position {name}: round trip {holding.number}, {direction}, {state}", style="bold")
    if closed is None:
        yield from _open(holding)
    else:
        held = duration(closed.closed_at - closed.opened_at)
        style = "bold green" if closed.net > 0 else "bold red"
        yield Text(
            f"Net {closed.net:+,.2f} USDT ({percent(closed.net_pct, signed=True)}) in {held}, ended by "
            f"{closed.exit_purpose.replace('_', ' ')}",
            style=style,
        )
        yield lines(
            f"entered at {price(closed.entry_price)}, left at {price(closed.exit_price)}",
            f"price result {closed.gross:+,.2f}, fees -{amount(closed.fees)}, funding {closed.funding:+,.2f}, of the "
            f"price result slippage {-closed.slippage:+,.2f} USDT",
        )
    yield Text()
    yield _fills(holding)
    yield Text()
    yield from _why("Why it was entered", holding.entry)
    if holding.exit is not None:
        yield from _why("Why it was left", holding.exit, holding.stop_price)


def _open(holding: Holding) -> Iterator[RenderableType]:
    at = "" if holding.marked_at is None else f" at {day_clock(holding.marked_at)} UTC"
    pnl = holding.unrealized
    yield Text(
        f"{quantity(holding.held)} {base_of(holding.symbol)} since {day_clock(holding.fills[0].timestamp)} UTC, worth "
        f"{money(None if holding.mark is None else holding.held * holding.mark)}{at}; open result "
        f"{'?' if pnl is None else f'{pnl:+,.2f} USDT'} before fees of {money(holding.fees)}",
        style="bold",
    )
    stop, mark = holding.stop_price, holding.mark
    told = f"entered at {price(holding.entry_price)}, mark {price(mark)}"
    if stop is not None and mark:
        told += f", stop loss {price(stop)} ({percent(divide(abs(mark - stop), mark))} away)"
    yield lines(told)


def _fills(holding: Holding) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    for name in ("fill", "UTC", "what"):
        table.add_column(name, no_wrap=True)
    for name in ("quantity", "price", "fee", "slippage"):
        table.add_column(name, justify="right", no_wrap=True)
    for fill, result in zip(holding.fills, holding.results, strict=True):
        what = f"{fill.purpose.replace('_', ' ')} {fill.side.lower()}"
        table.add_row(
            (fill.trade_id or "-")[:8], day_clock(fill.timestamp)[5:], what, quantity(fill.quantity), price(fill.price),
            amount(fill.fee), bps(result.slippage_bps),
        )  # fmt: skip
    return table


def _why(title: str, story: Story, stop: Decimal | None = None) -> Iterator[RenderableType]:
    first = story.entries[0].event if story.entries else story.subject
    yield heading(title, first.timestamp)
    signal = story.signal
    told = []
    if signal is not None:
        told.append(f"signal: {short(signal.event_id)}, {signal.reason or f'{signal.signal_type} to {signal.intent}'}")
    if stop is not None and isinstance(story.began, MarketData) and story.paths[0].decision.purpose == "stop_loss":
        told.append(f"stop: it lay at {price(stop)}, and there came {quote_line(story.began)}")
    for path in story.paths:
        decision = path.decision
        told.append(f"decision: {short(decision.event_id)}, {decision.purpose.replace('_', ' ')}, {decision.reason}")
    told.append(f"result: {tell(story)}")
    told.append(f"all of it: claire explain {story.id[:10]}")
    yield lines(*told)
