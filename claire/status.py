"""The one screen of the operator, as data: what the services say about themselves, put together and nothing guessed.

Money and fractions are Decimal; None is unknown, which is not zero. A service that does not answer leaves its part
unknown and is named.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from claire.address import Services
from services.common import channels
from services.common.codec import decode
from services.common.errors import ContractViolation, NumberOutOfContract
from services.common.timestamps import HOUR_US, format_timestamp, parse_timestamp

__all__ = ["Answer", "ask", "put_together"]

TIMEOUT_SEC: Final = 2.0
FUNDING_EVERY_US: Final = 8 * HOUR_US
PERPETUAL: Final = "mexc_perpetual"
PRICES: Final = ("stop_price", "trailing_stop_price", "take_profit_price", "liquidation_price")
LIMITS: Final = (
    ("daily_drawdown", "MAX_DAILY_DRAWDOWN_PCT"),
    ("circuit_breaker", "CIRCUIT_BREAKER_THRESHOLD_PCT"),
    ("rolling_drawdown", "MAX_ROLLING_DRAWDOWN_PCT"),
    ("total_exposure", "MAX_TOTAL_EXPOSURE_PCT"),
)


@dataclass(frozen=True)
class Answer:
    """What one service says.

    Attributes:
        status: its `/status`; empty when it does not answer.
        failing: failing checks of its `/health` with their reasons; None when it does not answer.
    """

    status: Mapping[str, Any] = field(default_factory=dict)
    failing: Mapping[str, str] | None = None

    @property
    def machine(self) -> Mapping[str, Any]:
        """What its state machine says."""
        return self._part("machine")

    @property
    def config(self) -> Mapping[str, Any]:
        """Its settings in force."""
        return self._part("config")

    def _part(self, name: str) -> Mapping[str, Any]:
        part = self.status.get(name)
        return part if isinstance(part, Mapping) else {}


def ask(services: Services, timeout_sec: float = TIMEOUT_SEC) -> dict[str, Answer]:
    """Ask all services at once how they are."""

    def one(service: str) -> Answer:
        host, port = services[service]
        health = _read(host, port, "/health", timeout_sec)
        if health is None:
            return Answer()
        failing = health.get("failing")
        return Answer(
            _read(host, port, "/status", timeout_sec) or {},
            {name: str(reason) for name, reason in failing.items()} if isinstance(failing, Mapping) else {},
        )

    with ThreadPoolExecutor(len(services)) as pool:
        return dict(zip(services, pool.map(one, services), strict=True))


def _read(host: str, port: int, path: str, timeout_sec: float) -> dict[str, Any] | None:
    connection = http.client.HTTPConnection(host, port, timeout=timeout_sec)
    try:
        connection.request("GET", path)
        value = decode(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ContractViolation, NumberOutOfContract, ValueError):
        return None
    finally:
        connection.close()
    return value if isinstance(value, dict) else None


def put_together(answers: Mapping[str, Answer]) -> dict[str, Any]:
    """Return the screen as one record."""
    risk, execution = answers[channels.RISK], answers[channels.EXECUTION]
    now = risk.machine.get("now") or next(
        (answer.status["now"] for answer in answers.values() if "now" in answer.status), None
    )
    positions = [
        _position(position, _number(risk.machine.get("equity"))) for position in risk.machine.get("positions", ())
    ]
    return {
        "mode": str(
            risk.status.get("infrastructure", {}).get("TRADING_MODE")
            or execution.config.get("TRADING_MODE")
            or "unknown"
        ),
        "run_id": next(
            (answer.status.get("run_id") for answer in answers.values() if answer.status.get("run_id")), None
        ),
        "now": now,
        "trading_state": risk.machine.get("trading_state"),
        "causes": dict(risk.machine.get("causes") or {}),
        "execution_state": execution.machine.get("trading_state"),
        "risk_silent": bool(execution.machine.get("risk_silent")),
        "money": _money(risk.machine),
        "limits": _limits(risk),
        "positions": positions,
        "orders": _orders(risk.machine, execution.machine),
        "latched_exits": list(risk.machine.get("latched_exits") or ()),
        "stale_marks": list(risk.machine.get("stale_marks") or ()),
        "feed": _feed(answers[channels.WS], risk),
        "last_reconciliation": _reconciliation(execution),
        "next_funding": _next_funding(now, risk, positions),
        "symbols": _symbols(answers[channels.CORE], answers[channels.WS]),
        "decisions": dict(risk.machine.get("decisions") or {}),
        "services": {service: _service(answer) for service, answer in answers.items()},
    }


def _number(value: Any) -> Decimal | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _share(part: Decimal | None, whole: Decimal | None) -> Decimal | None:
    return None if part is None or not whole or whole < 0 else round(part / whole, 6)


def _money(machine: Mapping[str, Any]) -> dict[str, Decimal | None]:
    names = ("equity", "cash", "exposure", "daily_pnl", "drawdown", "peak_equity", "start_of_day_equity", "fees")
    money = {name: _number(machine.get(name)) for name in names}
    return {
        **money,
        "daily_pnl_pct": _share(money["daily_pnl"], money["start_of_day_equity"]),
        "exposure_pct": _share(money["exposure"], money["equity"]),
    }


def _limits(risk: Answer) -> list[dict[str, Any]]:
    """Return each limit with what is used of it; a fraction each, a count, or USDT of the live ramp."""
    left = risk.machine.get("headroom") or {}
    limits = []
    for name, setting in LIMITS:
        limit, headroom = _number(risk.config.get(setting)), _number(left.get(name))
        if name == "rolling_drawdown" and not limit:
            continue  # it is off
        used = None if limit is None or headroom is None else limit - headroom
        limits.append({"limit": name, "of": limit, "used": used, "headroom": headroom})
    held = risk.machine.get("positions")
    if held is None:
        return limits
    equity = _number(risk.machine.get("equity"))
    shares = [_share(abs(_number(position.get("value")) or Decimal(0)), equity) or Decimal(0) for position in held]
    count = sum(1 for position in held if not position.get("dust"))
    for name, setting, amount in (
        ("largest_position", "MAX_POSITION_PCT", max(shares, default=Decimal(0))),
        ("positions", "MAX_CONCURRENT_POSITIONS", Decimal(count)),
        ("losses_in_a_row", "MAX_LOSS_STREAK", _number(risk.machine.get("losses_in_a_row")) or Decimal(0)),
    ):
        most = _number(risk.config.get(setting))
        if most:
            limits.append({"limit": name, "of": most, "used": amount, "headroom": most - amount})
    return limits + _ramp(risk)


def _cents(value: Any) -> Decimal | None:
    exact = _number(value)
    return None if exact is None else round(exact, 2)


def _ramp(risk: Answer) -> list[dict[str, Any]]:
    """Return what is used of the live ramp, in USDT; nothing on paper."""
    ramp: Mapping[str, Any] = risk.machine.get("ramp") or {}
    limits = []
    for name, part in (("ramp_position", "position"), ("ramp_daily_loss", "daily_loss")):
        told = ramp.get(part)
        if told is not None:
            used, most, left = (_cents(told.get(number)) for number in ("value", "limit", "headroom"))
            limits.append({"limit": name, "of": most, "used": used, "headroom": left})
    return limits


def _position(position: Mapping[str, Any], equity: Decimal | None) -> dict[str, Any]:
    """Return a position with its mark and how far stop and liquidation are, as fractions of the mark."""
    quantity, value = _number(position.get("quantity")), _number(position.get("value"))
    entry = _number(position.get("entry_price"))
    mark = None if not quantity or value is None else value / quantity
    pnl = None if value is None or entry is None or quantity is None else value - entry * quantity

    def away(price: Decimal | None) -> Decimal | None:
        return None if price is None or not mark else round(abs(mark - price) / mark, 6)

    prices = {name: _number(position.get(name)) for name in PRICES}
    stops = [price for price in (prices["stop_price"], prices["trailing_stop_price"]) if price is not None]
    nearest = min(stops, key=lambda price: away(price) or price, default=None)
    return {
        **position,
        **prices,
        "quantity": quantity,
        "entry_price": entry,
        "mark_price": None if mark is None else round(mark, 8),
        "value": value,
        "share": None if value is None else _share(abs(value), equity),
        "unrealized_pnl": pnl,
        "nearest_stop": nearest,
        "stop_distance": away(nearest),
        "liquidation_distance": away(prices["liquidation_price"]),
    }


def _orders(risk: Mapping[str, Any], execution: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return working orders as risk has them reserved, with what execution says hinders each; the UNKNOWN first."""
    working = {order["order_id"]: order for order in execution.get("working_orders") or ()}
    orders = []
    for order in risk.get("working_orders") or ():
        there = working.pop(order["order_id"], {})
        orders.append({**order, "obstacle": there.get("obstacle"), "price": _number(there.get("price"))})
    for order in working.values():  # risk does not answer, or does not know of it
        filled = order.get("filled_quantity")
        orders.append(
            {
                **order,
                "instrument": order.get("symbol"),
                "filled": filled,
                "since": None,
                "price": _number(order.get("price")),
            }
        )
    return sorted(orders, key=lambda order: order.get("status") != "UNKNOWN")


def _feed(ws: Answer, risk: Answer) -> dict[str, Any]:
    """Return what cdb_ws says of its feed, and the age of the youngest quote that risk has (`quote_age_sec`).

    `age_sec` is since cdb_ws published anything, its own ticks among it: that the market lives only a quote says.
    """
    feed, ages = ws.status.get("feed") or {}, risk.machine.get("quote_age_ms")
    youngest = min((_number(age) or Decimal(0) for age in (ages or {}).values() if age is not None), default=None)
    return {
        "kind": ws.config.get("FEED"),
        "files": list(feed.get("files") or ()),
        "age_sec": _number(feed.get("age_sec")),
        "quotes_known": ages is not None,
        "quote_age_sec": None if youngest is None else round(youngest / 1000, 1),
        "position": feed.get("position"),
        "events_per_sec": _number(feed.get("events_per_sec")),
        "waiting_for": list(feed.get("waiting_for") or ()),
        "finished": bool(feed.get("finished")),
    }


def _reconciliation(execution: Answer) -> str | None:
    """Return when execution last compared itself with the exchange; on paper there is none to compare with."""
    last = execution.machine.get("last_reconciliation")
    if last is not None:
        return str(last)
    mode = execution.config.get("TRADING_MODE") or execution.status.get("infrastructure", {}).get("TRADING_MODE")
    return "none on paper" if mode == "paper" else None


def _next_funding(now: Any, risk: Answer, positions: list[dict[str, Any]]) -> str | None:
    """Return the next settlement of perpetuals (00, 08 and 16 UTC); None when there are only spot instruments."""
    on_perpetuals = risk.config.get("VENUE") == PERPETUAL or any(
        str(position.get("instrument")).startswith(PERPETUAL) for position in positions
    )
    if not on_perpetuals or not isinstance(now, str):
        return None
    return format_timestamp((parse_timestamp(now) // FUNDING_EVERY_US + 1) * FUNDING_EVERY_US)


def _symbols(core: Answer, ws: Answer) -> list[dict[str, Any]]:
    """Return for each symbol how far it is from an entry, also for those that no market data have come of."""
    instruments = core.machine.get("instruments") or {}
    venue = ws.config.get("VENUE") or "mexc_spot"
    symbols = []
    for name in sorted({*instruments, *(f"{venue}:{symbol}" for symbol in core.config.get("SYMBOLS") or ())}):
        track = instruments.get(name)
        if track is None:
            symbols.append({"instrument": name, "why": "no market data yet"})
            continue
        bar = track.get("last_bar") or {}
        momentum, threshold = _number(bar.get("momentum_pct")), _number(bar.get("threshold_pct"))
        way = _share(None if momentum is None else abs(momentum), threshold)
        if way is not None and "SHORT_NOT_ALLOWED" in (bar.get("reasons") or ()):
            way = Decimal(0)  # a fall leads nowhere where nothing is sold short
        symbols.append(
            {
                "instrument": name,
                "momentum": momentum,
                "threshold": threshold,
                "way": way,
                "volume_usdt": _number(bar.get("volume_usdt")),
                "min_volume_usdt": _number(track.get("min_volume_usdt")),
                "cooldown_left_min": track.get("cooldown_left_min"),
                "warmup_left_bars": track.get("warmup_left_bars"),
                "gap_left_min": track.get("gap_left_min"),
                "action": bar.get("action"),
                "reasons": list(bar.get("reasons") or ()),
                "bar_closed": bar.get("close_time"),
                "why": track.get("why"),
            }
        )
    return symbols


def _service(answer: Answer) -> dict[str, Any]:
    journal = answer.status.get("journal") or {}
    return {
        "answers": answer.failing is not None,
        "healthy": answer.failing is not None and not answer.failing,
        "failing": dict(answer.failing or {}),
        "lag": journal.get("lag"),
        "last_id": journal.get("last_id"),
    }
