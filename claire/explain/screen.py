"""What `claire explain` shows of a story to a person: 80 columns are enough, wider ones show more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from claire.explain.fill_rule import fill_lines
from claire.explain.lookup import chain_id
from claire.explain.story import Path, Story, tell
from claire.explain.wording import (
    amount,
    base_of,
    clock,
    day_clock,
    duration,
    instrument_name,
    layer_number,
    money,
    number,
    percent,
    price,
    quantity,
    quote_line,
    rounded,
    short,
    unit_of,
)
from services.common.events import Alert, Control, Event, MarketData, Order, OrderResult, RiskDecision, Signal

__all__ = ["STATUS_STYLES", "VERDICT_STYLES", "heading", "lines", "render_story", "story_head"]

WIDE: Final = 110
STATUS_STYLES: Final = {"pass": "green", "fail": "bold red", "bypass": "yellow", "not_evaluated": "dim"}
VERDICT_STYLES: Final = {"filled": "bold green", "partly_filled": "bold green", "refused": "bold yellow"}
_LABELS: Final = frozenset(
    (
        "because",
        "cost",
        "decision",
        "fill",
        "momentum",
        "order",
        "portfolio",
        "price",
        "quantity",
        "quote",
        "recorded",
        "result",
        "rule",
        "signal",
        "size",
        "stop",
        "then",
        "threshold",
        "volume",
    )
)
_STATUS: Final = {"not_evaluated": "not evaluated"}
_WITHOUT_REASON: Final = {"SUBMITTING": "journalled, and then sent to the exchange"}
_DETAILED_PATHS: Final = 3


def render_story(story: Story, width: int) -> RenderableType:
    """Return the story for a terminal of so many columns."""
    return Group(*_parts(story, width))


def heading(text: str, at_us: int | None = None, after: str = "") -> Text:
    """Return the line above a part of a story."""
    line = Text.assemble((text, "bold cyan"))
    if at_us is not None:
        line.append(f"  {clock(at_us)}", style="dim")
    if after:
        line.append(f"  {after}", style="dim")
    return line


def lines(*texts: str) -> RenderableType:
    """Return indented lines, long ones broken between words; what begins with a label stands beside it."""
    table = Table.grid(padding=(0, 1, 0, 0))
    parts: list[RenderableType] = []
    for text in texts:
        label, colon, rest = text.partition(": ")
        if colon and label in _LABELS:
            if not parts or parts[-1] is not table:
                table = Table.grid(padding=(0, 1, 0, 0))
                table.add_column(style="dim", no_wrap=True, min_width=9)
                table.add_column()
                parts.append(table)
            table.add_row(label, Text(rest))
        elif text:
            parts.append(Text(text))
    return Padding(Group(*parts), (0, 0, 0, 2))


def _parts(story: Story, width: int) -> Iterator[RenderableType]:
    yield from story_head(story)
    yield Text()
    last_us = None
    if story.began is not None:
        yield from _began(story.began)
        last_us = story.began.timestamp
    elif isinstance(story.subject, Signal | RiskDecision | Order | OrderResult) and story.subject.correlation_id:
        yield heading("Market data")
        yield lines("not in this history (past retention, or the file begins later)")
    if isinstance(story.subject, Alert):
        yield heading(f"Alert {story.subject.level} {story.subject.code}", story.subject.timestamp)
        yield lines(rounded(story.subject.message))
    yield from _rest(story, last_us, width)


def story_head(story: Story) -> Iterator[RenderableType]:
    """Yield what the story is about, and in a sentence what came of it."""
    about = story.signal or (story.paths[0].decision if story.paths else story.subject)
    name = instrument_name(about.venue, about.symbol) if hasattr(about, "venue") and hasattr(about, "symbol") else ""
    first = story.entries[0].event if story.entries else story.subject
    yield Text.assemble(
        (f"{story.kind.replace('_', ' ').capitalize()} {short(story.id)}", "bold"),
        f"  {name}  " if name else "  ",
        f"{day_clock(first.timestamp)} UTC",
    )
    yield Text(tell(story), style=VERDICT_STYLES.get(story.verdict, "bold"))


def _rest(story: Story, last_us: int | None, width: int) -> Iterator[RenderableType]:
    if story.signal is not None:
        yield from _signal(story.signal, last_us)
        last_us = story.signal.timestamp
    for place, path in enumerate(story.paths):
        if place >= _DETAILED_PATHS:
            left = len(story.paths) - place
            yield Text(f"and {left} more decision{'s' if left > 1 else ''}: --json has them all", style="dim")
            break
        yield from _path(path, last_us, width)
        last_us = (path.results[-1] if path.results else path.decision).timestamp
    yield from _times(story)
    yield _ids(story)


def _after(event: Event, last_us: int | None) -> str:
    return "" if last_us is None else f"+{duration(event.timestamp - last_us)}"


def _began(event: Event) -> Iterator[RenderableType]:
    if isinstance(event, MarketData):
        yield heading("Market data", event.timestamp)
        told = [quote_line(event)]
        if event.exchange_timestamp is not None:
            told.append(f"the exchange's time was {clock(event.exchange_timestamp)}, received "
                        f"{duration(event.timestamp - event.exchange_timestamp)} later")  # fmt: skip
        yield lines(*told)
    elif isinstance(event, Control):
        yield heading("Operator" if event.by else "Control", event.timestamp)
        yield lines(f"{event.action} by {event.by or event.producer}" + (f": {event.reason}" if event.reason else ""))


def _signal(signal: Signal, last_us: int | None) -> Iterator[RenderableType]:
    yield heading("Signal", signal.timestamp, _after(signal, last_us))
    inputs = signal.inputs
    told = [f"{signal.signal_type} to {'enter' if signal.intent == 'entry' else 'exit'} at {price(signal.price)}"]
    if signal.intent == "entry":
        told[0] += f", confidence {signal.confidence:.2f}"
    if signal.producer != "cdb_core":
        told[0] += f", published by hand (admitted by {signal.producer})"
    if "threshold_pct" in inputs:
        told.extend(_momentum(signal))
    elif signal.reason:
        told.append(signal.reason)
    yield lines(*told)


def _momentum(signal: Signal) -> Iterator[str]:
    inputs = signal.inputs
    momentum, threshold = _decimal(inputs, "momentum_pct"), _decimal(inputs, "threshold_pct")
    lookback = inputs.get("lookback_min")
    way = ""
    if momentum is not None and threshold:
        way = f", {number(abs(momentum) / threshold * 100, 0)} % of the threshold {percent(threshold)}"
    yield (
        f"momentum: m {percent(momentum, signed=True)} over {lookback} min "
        f"({price(_decimal(inputs, 'reference_close'))} to {price(_decimal(inputs, 'close'))}){way}"
    )
    volatility = f"one-minute volatility s {percent(_decimal(inputs, 'volatility_pct'))}"
    traded = f"volume: in {lookback} min {money(_decimal(inputs, 'volume_usdt'))}"
    if signal.intent == "entry":
        floor, multiple = _decimal(inputs, "threshold_floor_pct"), _decimal(inputs, "volatility_multiple")
        yield (
            f"threshold: the larger of {percent(floor)} and {number(multiple or Decimal(0), 6)} · s · √{lookback}; "
            f"{volatility} over {inputs.get('volatility_bars')} bars"
        )
        yield f"{traded}, at least {money(_decimal(inputs, 'min_volume_usdt'))} is needed"
    else:
        triggers = ", ".join(map(str, inputs.get("triggers", ())))
        yield (
            f"because: {triggers}; held {inputs.get('held_min')} of at most {inputs.get('max_hold_min')} min since "
            f"{price(_decimal(inputs, 'entry_price'))}, virtual stop {price(_decimal(inputs, 'stop_price'))}, "
            f"exit at m {percent(_decimal(inputs, 'exit_pct'))}"
        )


def _decimal(inputs: Mapping[str, Any], name: str) -> Decimal | None:
    value = inputs.get(name)
    return Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


def _path(path: Path, last_us: int | None, width: int) -> Iterator[RenderableType]:
    decision = path.decision
    verdict = "approved" if decision.approved else "nothing to do" if path.verdict == "nothing_to_do" else "refused"
    what = f"{decision.purpose.replace('_', ' ')} {decision.side.lower()}"
    yield heading(f"Risk: {what} {verdict}", decision.timestamp, _after(decision, last_us))
    yield Padding(layer_table(decision, wide=width >= WIDE), (0, 0, 0, 2))
    if width < WIDE:
        notable = [layer for layer in decision.layers if layer.status == "fail"]
        yield lines(*(f"{layer.layer}: {rounded(layer.detail)}" for layer in notable))
    yield lines(_portfolio(decision), *_sizing(decision))
    if path.order is None:
        return
    order = path.order
    yield heading(f"Order {short(order.order_id)}", order.timestamp, _after(order, decision.timestamp))
    yield lines(_order(order))
    before = order.timestamp
    for result in path.results:
        after = _after(result, before)
        before = result.timestamp
        if result.status == "NEW":
            yield heading("Execution: accepted", result.timestamp, after)
            continue
        title = "fill" if result.last_quantity else result.status.lower()
        yield heading(f"Execution: {title}", result.timestamp, after)
        yield lines(
            *(
                fill_lines(result)
                if result.last_quantity
                else [rounded(result.reason or _WITHOUT_REASON.get(result.status, "no reason given"))]
            )
        )


def layer_table(decision: RiskDecision, *, wide: bool) -> Table:
    """Return the verdicts of all seven layers with their numbers."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    table.add_column("layer", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name in ("value", "limit", "headroom"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("what it looked at")
    for layer in decision.layers:
        unit = unit_of(layer, decision.purpose)
        style = STATUS_STYLES[layer.status]
        verdict = _STATUS.get(layer.status, layer.status) + ("" if layer.code == "OK" else f" {layer.code}")
        cells: list[str | Text] = [layer.layer, Text(verdict, style=style)]
        cells += [layer_number(value, unit) for value in (layer.value, layer.limit, layer.headroom)]
        table.add_row(*cells, *([Text(rounded(layer.detail), style="dim")] if wide else []))
    return table


def _portfolio(decision: RiskDecision) -> str:
    seen = decision.portfolio
    today = "?" if seen.daily_pnl is None else f"{seen.daily_pnl:+,.2f} USDT"
    return (
        f"portfolio: equity {amount(seen.equity)}, cash {amount(seen.cash)}, exposure {money(seen.exposure)}, "
        f"today {today}, {percent(seen.drawdown)} under the peak, "
        f"position {quantity(seen.position)} {base_of(decision.symbol)}, state {seen.trading_state}"
    )


def _sizing(decision: RiskDecision) -> Iterator[str]:
    sizing, base = decision.sizing, base_of(decision.symbol)
    inputs = sizing.inputs
    if sizing.method == "fixed_fractional" and "notional" in inputs:
        yield (
            f"size: {percent(_decimal(inputs, 'risk_per_trade_pct'))} of {amount(_decimal(inputs, 'equity'))} at risk "
            f"with a stop of {percent(_decimal(inputs, 'stop_loss_pct'))} is {money(_decimal(inputs, 'notional'))}, at "
            f"{price(_decimal(inputs, 'price'))} {quantity(sizing.requested)} {base}"
        )
    elif sizing.method == "position":
        pending = _decimal(inputs, "pending_exits")
        attempt = inputs.get("attempt")
        yield (
            f"size: the position of {quantity(sizing.requested)} {base}, {quantity(pending)} of it being closed"
            + (f"; attempt {int(attempt) + 1}" if isinstance(attempt, int) and attempt else "")
        )
    else:
        told = ", ".join(f"{name} {number(Decimal(value), 6)}" for name, value in inputs.items()
                         if isinstance(value, int | Decimal))  # fmt: skip
        yield f"size: {sizing.method} asked for {quantity(sizing.requested)} {base}" + (f" ({told})" if told else "")
    if sizing.capped_by:
        yield f"size: capped by {sizing.capped_by} to {quantity(sizing.approved)} {base}"
    elif decision.approved:
        yield f"size: approved {quantity(sizing.approved)} {base} on the lot grid, capped by nothing"


def _order(order: Order) -> str:
    limit = "at the market" if order.price is None else f"at {price(order.price)} or better"
    reference = f", mid at decision {price(order.reference_price)}"
    leverage = f", leverage {order.leverage}" if order.leverage > 1 else ""
    kind = f"{order.order_type} {order.time_in_force}" + (", reduce only" if order.reduce_only else "")
    return (
        f"{order.side.lower()} {quantity(order.quantity)} {base_of(order.symbol)} {limit} ({kind}){reference}{leverage}"
    )


def _times(story: Story) -> Iterator[RenderableType]:
    events = [entry.event for entry in story.entries]
    if len(events) < 2:
        return
    whole = events[-1].timestamp - events[0].timestamp
    yield Text()
    yield Text(
        f"{duration(whole)} from {events[0].type.replace('_', ' ')} to the last event, by the run's clock "
        "(the journal holds no wall clock of the processes)",
        style="dim",
    )


def _ids(story: Story) -> Text:
    ids = [("chain", chain_id(story.subject))]
    if story.signal is not None:
        ids.append(("signal", story.signal.event_id))
    ids += [("decision", path.decision.event_id) for path in story.paths[:1]]
    return Text(", ".join(f"{name} {short(id_)}" for name, id_ in ids) + "; the tree: claire trace "
                + ids[0][1][:10], style="dim")  # fmt: skip
