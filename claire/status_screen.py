"""The one screen that `claire status` draws: fits 80 columns, shows more on wider ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from claire.operator_screen import MODE_STYLES, UNDONE_BY
from claire.statistics.numbers import counted

__all__ = ["feed_words", "render_status"]

WIDE: Final = 100
BAR: Final = 10
UNKNOWN: Final = "?"
SILENT_SEC: Final = 5
OLD_QUOTE_SEC: Final = 60
FROM_FILES: Final = frozenset({"recorded", "raw"})

REASONS: Final = {
    "IN_POSITION": "in position",
    "WARMING_UP": "warming up",
    "NOT_IN_SYMBOLS": "not in SYMBOLS",
    "GAP": "gap in the data",
    "STALE_BAR": "bar closed late",
    "BELOW_THRESHOLD": "|m| under T",
    "SHORT_NOT_ALLOWED": "m down, no shorts",
    "NOT_ARMED": "not re-armed",
    "COOLDOWN": "cooling down",
    "VOLUME": "too little volume",
}
LIMIT_NAMES: Final = {
    "daily_drawdown": "daily loss",
    "circuit_breaker": "loss from the peak",
    "rolling_drawdown": "rolling loss",
    "total_exposure": "exposure",
    "largest_position": "largest position",
    "positions": "positions",
    "losses_in_a_row": "lost in a row",
    "ramp_position": "live position, USDT",
    "ramp_daily_loss": "live daily loss, USDT",
}
COUNTS: Final = frozenset({"positions", "losses_in_a_row", "ramp_position", "ramp_daily_loss"})


def render_status(status: Mapping[str, Any], width: int) -> RenderableType:
    """Return the screen for a terminal of so many columns."""
    wide = width >= WIDE
    parts: list[RenderableType] = [
        *_head(status),
        Text(),
        _money(status["money"], wide=wide),
        Text(),
        _limits(status["limits"]),
    ]
    parts.append(Text())
    if status["positions"]:
        parts.append(_positions(status["positions"], wide=wide))
    elif status["trading_state"] is not None:
        parts.append(Text("no position", style="dim"))
    parts.extend(_exits(status))
    parts.extend(_orders(status, wide=wide))
    parts.extend([Text(), _symbols(status["symbols"], wide=wide), *_outside(status), *_services(status["services"])])
    return Group(*parts)


def _head(status: Mapping[str, Any]) -> list[Text]:
    state = status["trading_state"]
    shown = (f" {state} ", MODE_STYLES.get(state, "bold")) if state else (" state unknown ", "bold white on red")
    at = _time(status["now"]) or "no clock yet"
    head = Text.assemble(("Claire de Binare", "bold"), f"  {status['mode']}  ", shown, f"  {at} UTC (run's clock)")
    lines = [head]
    for name, cause in status["causes"].items():
        since = _time(cause.get("since"))
        lines.append(Text(f"  {name} since {since} by {cause.get('by')}: {cause.get('reason')}", style="yellow"))
        lines.append(Text(f"    lifted by {UNDONE_BY.get(name, 'nothing known')}", style="dim"))
    if status["risk_silent"]:
        lines.append(Text("  risk does not answer the clock: execution refuses entries", style="bold red"))
    own = status["execution_state"]
    if own is not None and own != state and not (own == "ACTIVE" and state in {"REDUCING", "HALTED"}):
        lines.append(Text(f"  execution's own key says {own}, risk says {state or 'nothing'}", style="bold red"))
    return lines


def _money(money: Mapping[str, Decimal | None], *, wide: bool) -> Text:
    pnl, fall = money["daily_pnl"], money["drawdown"]
    words: list[str | tuple[str, str]] = [
        "equity ",
        (_amount(money["equity"]), "bold"),
        " USDT   day ",
        (_signed(pnl), _colour(pnl)),
        f" ({_percent(money['daily_pnl_pct'], signed=True)})   {_percent(fall)} under the peak",
    ]
    if wide:
        words.append(f"   cash {_amount(money['cash'])}   exposure {_amount(money['exposure'])}")
    return Text.assemble(*words)


def _limits(limits: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("limit", ">used", ">of", ">left", "")
    for limit in limits:
        count = limit["limit"] in COUNTS
        used, most, left = (limit[name] for name in ("used", "of", "headroom"))
        if used is not None:
            used = max(used, Decimal(0))  # a gain uses nothing of a limit of losses
        shown = [UNKNOWN if n is None else f"{n:f}" if count else _percent(n) for n in (used, most, left)]
        table.add_row(LIMIT_NAMES.get(limit["limit"], limit["limit"]), *shown, _bar(used, most))
    return table


def _bar(used: Decimal | None, most: Decimal | None) -> Text:
    if used is None or not most:
        return Text(UNKNOWN, style="red")
    share = max(Decimal(0), min(Decimal(1), used / most))
    full = int(share * BAR)
    style = "red" if share >= Decimal("0.8") else "yellow" if share >= Decimal("0.5") else "green"
    return Text.assemble(("█" * full, style), ("░" * (BAR - full), "dim"))


def _positions(positions: Sequence[Mapping[str, Any]], *, wide: bool) -> Table:
    extra = (">entry", ">value", ">share") if wide else ()
    table = _table("=position", ">quantity", *extra, ">mark", ">gross PnL", ">stop", ">liquidation")
    for position in positions:
        more = (
            (_price(position["entry_price"]), _amount(position["value"]), _percent(position["share"])) if wide else ()
        )
        pnl = position["unrealized_pnl"]
        name = _instrument(position["instrument"]) + (" (dust)" if position.get("dust") else "")
        table.add_row(
            name,
            _plain(position["quantity"]),
            *more,
            _price(position["mark_price"]),
            Text(_signed(pnl), style=_colour(pnl)),
            _distance(position["nearest_stop"], position["stop_distance"], wide=wide),
            _distance(position["liquidation_price"], position["liquidation_distance"], wide=wide),
        )
    return table


def _distance(price: Decimal | None, away: Decimal | None, *, wide: bool) -> str:
    if price is None:
        return "-"
    return f"{_price(price)} ({_percent(away)})" if wide else f"{_percent(away)} away"


def _exits(status: Mapping[str, Any]) -> list[Text]:
    lines = [
        Text(
            f"exit latched: {latched.get('purpose')} of {_instrument(latched.get('instrument'))} since "
            f"{_time(latched.get('since'))}, {counted(latched.get('attempts'), 'order')} so far",
            style="bold yellow",
        )
        for latched in status["latched_exits"]
    ]
    if status["stale_marks"]:
        names = ", ".join(_instrument(name) for name in status["stale_marks"])
        lines.append(Text(f"no mark for over 60 s: {names}; entries are blocked", style="bold red"))
    return lines


def _orders(status: Mapping[str, Any], *, wide: bool) -> list[RenderableType]:
    if not status["orders"]:
        known = status["trading_state"] is not None
        return [Text("no working order" if known else "working orders unknown", style="dim" if known else "red")]
    table = _table("=order", "what", ">filled", "status", *(("since", "hindered by") if wide else ()))
    for order in status["orders"]:
        what = f"{order.get('purpose')} {str(order.get('side')).lower()} {_instrument(order.get('instrument'))}"
        filled = f"{_plain(_decimal(order.get('filled')))} of {_plain(_decimal(order.get('quantity')))}"
        style = "bold red" if order.get("status") == "UNKNOWN" else ""
        more = (_time(order.get("since")), str(order.get("obstacle") or "")) if wide else ()
        table.add_row(str(order["order_id"]), what, filled, Text(str(order.get("status")), style=style), *more)
    return [table]


def _symbols(symbols: Sequence[Mapping[str, Any]], *, wide: bool) -> RenderableType:
    if not symbols:
        return Text("why no trade now: unknown, cdb_core does not answer", style="bold red")
    names = (
        (">momentum m", ">threshold T", ">way to T", ">volume / least, USDT")
        if wide
        else (">m", ">T", ">way", ">vol. USDT")
    )
    table = _table("=symbol", *names, ">cooldown", "why no trade now")
    for symbol in symbols:
        name = _instrument(symbol["instrument"])
        if "momentum" not in symbol:
            table.add_row(name, "-", "-", "-", "-", "-", Text(str(symbol["why"]), style="dim"))
            continue
        volume = _short(symbol["volume_usdt"]) + (f" / {_short(symbol['min_volume_usdt'])}" if wide else "")
        way = symbol["way"]
        table.add_row(
            name,
            _percent(symbol["momentum"], signed=True),
            _percent(symbol["threshold"]),
            UNKNOWN if way is None else f"{way * 100:.0f} %",
            volume,
            f"{symbol['cooldown_left_min']} min" if symbol["cooldown_left_min"] else "-",
            _why(symbol),
        )
    return table


def _why(symbol: Mapping[str, Any]) -> Text:
    """Return why the last closed bar gave no entry, in a few words."""
    if symbol["action"] in {"entry", "exit"}:
        return Text(f"{symbol['action']} signal at the last bar", style="bold green")
    if not symbol["reasons"]:
        return Text("no bar closed yet", style="dim")
    words = [REASONS.get(reason, reason) for reason in symbol["reasons"]]
    if symbol["warmup_left_bars"] and "WARMING_UP" in symbol["reasons"]:
        words[symbol["reasons"].index("WARMING_UP")] = f"warming up, {counted(symbol['warmup_left_bars'], 'bar')} left"
    return Text(", ".join(words))


def feed_words(feed: Mapping[str, Any]) -> str:
    """Return what is known of the feed, in words; what is unknown is left out, never shown as zero."""
    words = ["feed unknown: cdb_ws does not answer"] if feed["kind"] is None else [f"feed {feed['kind']}"]
    files, ticks_alone = feed["kind"] in FROM_FILES, feed["kind"] == "external"
    if files and feed["age_sec"] is not None:
        words.append(f"age {feed['age_sec']:f} s")
    elif not files and feed["quotes_known"]:
        age = feed["quote_age_sec"]
        words.append("no quote yet" if age is None else f"last quote {age:,.1f} s ago")
    if not files and _stands(feed):
        words.append(f"its clock has stood for {feed['age_sec']:f} s")
    if feed["events_per_sec"] is not None and not ticks_alone:
        words.append(f"{feed['events_per_sec']:f} events/s")
    if feed["finished"]:
        words.append("finished")
    if feed["waiting_for"]:
        words.append(f"waiting for {', '.join(feed['waiting_for'])}")
    return ", ".join(words)


def _stands(feed: Mapping[str, Any]) -> bool:
    """Whether cdb_ws publishes nothing, not even its clock, though there is something left to publish."""
    return feed["age_sec"] is not None and feed["age_sec"] > SILENT_SEC and not feed["finished"]


def _outside(status: Mapping[str, Any]) -> list[Text]:
    feed = status["feed"]
    old = feed["kind"] not in FROM_FILES and (feed["quote_age_sec"] or 0) > OLD_QUOTE_SEC
    style = "bold red" if feed["kind"] is None or old or _stands(feed) else ""
    last = status["last_reconciliation"]
    lines = [Text(feed_words(feed), style=style)]
    lines.append(Text(f"last reconciliation: {_time(last) or last or 'unknown'}"))
    if status["next_funding"] is not None:
        lines.append(Text(f"next funding: {_time(status['next_funding'])} UTC"))
    return lines


def _services(services: Mapping[str, Mapping[str, Any]]) -> list[Text]:
    line = Text("  ").join(
        Text.assemble(("● ", "green" if service["healthy"] else "red"), name) for name, service in services.items()
    )
    lines = [Text(), line]
    for name, service in services.items():
        if not service["answers"]:
            lines.append(Text(f"{name} does not answer", style="bold red"))
        lines.extend(Text(f"{name}: {what}: {why}", style="red") for what, why in service["failing"].items())
        if service["lag"]:
            lines.append(Text(f"{name} is {counted(service['lag'], 'entry', 'entries')} behind", style="yellow"))
    return lines


# how things are written


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    for column in columns:  # numbers (>) and names (=) are never broken, words are
        right, whole = column.startswith(">"), column[:1] in {">", "="}
        table.add_column(column[whole:], justify="right" if right else "left", no_wrap=whole)
    return table


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _instrument(key: Any) -> str:
    venue, colon, symbol = str(key).partition(":")
    if not colon:
        return venue
    return f"{symbol} perp" if venue == "mexc_perpetual" else symbol


def _time(text: Any) -> str:
    return str(text)[:19].replace("T", " ") if text and str(text)[:1].isdigit() else ""


def _amount(value: Decimal | None) -> str:
    return UNKNOWN if value is None else f"{value:,.2f}"


def _signed(value: Decimal | None) -> str:
    return UNKNOWN if value is None else f"{value:+,.2f}"


def _plain(value: Decimal | None) -> str:
    return UNKNOWN if value is None else f"{value.normalize():f}"


def _price(value: Decimal | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,.2f}" if value >= 1 else f"{value.normalize():f}"


def _percent(value: Decimal | None, *, signed: bool = False) -> str:
    return UNKNOWN if value is None else f"{value * 100:{'+' if signed else ''}.2f} %"


def _colour(value: Decimal | None) -> str:
    return "" if not value else "green" if value > 0 else "red"


def _short(value: Decimal | None) -> str:
    if value is None:
        return UNKNOWN
    for unit, name in ((Decimal(10**9), "G"), (Decimal(10**6), "M"), (Decimal(10**3), "k")):
        if abs(value) >= unit:
            return f"{value / unit:.1f} {name}"
    return f"{value:.0f}"
