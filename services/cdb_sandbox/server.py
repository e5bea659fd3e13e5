"""The sockets: one aiohttp application serves REST, both WebSockets and the control endpoints on one port."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from services.cdb_sandbox import control
from services.cdb_sandbox.faults import STREAM_FAULTS, Fault, FaultKind
from services.cdb_sandbox.house import House
from services.cdb_sandbox.rest.gate import answer, particulars
from services.cdb_sandbox.rest.request import Answer, RawRequest
from services.cdb_sandbox.streams.perpetual import PerpetualConnection
from services.cdb_sandbox.streams.spot import SpotConnection

__all__ = ["make_application"]

_TICK_SEC: Final = 0.02
_REST_FAULTS: Final = frozenset(FaultKind) - STREAM_FAULTS
_AFTER: Final = frozenset({FaultKind.TIMEOUT_AFTER, FaultKind.CUT_AFTER, FaultKind.SERVER_ERROR_AFTER, FaultKind.SLOW})
_BEFORE: Final = frozenset({FaultKind.TIMEOUT_BEFORE, FaultKind.CUT_BEFORE, FaultKind.SERVER_ERROR_BEFORE})
_HTML: Final = "<html>\r\n<head><title>{0}</title></head>\r\n<body><center><h1>{0}</h1></center></body>\r\n</html>\r\n"

HOUSE: Final = web.AppKey("house", House)


def make_application(house: House) -> web.Application:
    """Return the application; while it runs, the market plays."""
    app = web.Application(client_max_size=1 << 20)
    app[HOUSE] = house
    app.router.add_get("/ws", _spot_socket)
    app.router.add_get("/edge", _perpetual_socket)
    app.router.add_get("/health", _health)
    app.router.add_route("*", "/sandbox/{what:.*}", _control)
    app.router.add_route("*", "/api/{rest:.*}", _rest)
    app.cleanup_ctx.append(_playing)
    app.on_shutdown.append(_close_all)
    return app


async def _playing(app: web.Application):  # type: ignore[no-untyped-def]
    async def play() -> None:
        while True:
            more = app[HOUSE].tick()
            await asyncio.sleep(0 if more else _TICK_SEC)

    task = asyncio.create_task(play())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _close_all(app: web.Application) -> None:
    app[HOUSE].hub.close_all(cut=True)


async def _health(request: web.Request) -> web.Response:
    """Tell that the exchange is open and has a market."""
    house = request.app[HOUSE]
    ok = any(book.quote is not None for book in house.exchange.books.values())
    status = {"status": "ok" if ok else "degraded", "service": "cdb_sandbox"}
    if house.held_up_ms:
        status["held_up_sec"] = f"{house.held_up_ms / 1000:.1f}"  # the market plays slower than it was asked to
    return web.json_response(status if ok else status | {"failing": "market"}, status=200 if ok else 503)


async def _raw(request: web.Request) -> RawRequest:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return RawRequest(
        method=request.method,
        path=request.path,
        query=request.raw_path.partition("?")[2],
        body=(await request.read()).decode(errors="replace"),
        headers={name.lower(): value for name, value in request.headers.items()},
        address=peer[0] if peer else "",
    )


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _rest(request: web.Request) -> web.StreamResponse:
    house, raw = request.app[HOUSE], await _raw(request)
    symbol, client_id = particulars(raw)
    where = f"{raw.method} {raw.path}"
    fault = house.faults.strike(_REST_FAULTS, where, symbol=symbol, client_id=client_id, at_ms=house.now_ms())
    if fault is not None and fault.kind is FaultKind.LATE:
        asyncio.get_running_loop().call_later(fault.delay_ms / 1000, answer, house, raw)
        return _cut(request)
    if fault is not None and fault.kind in _BEFORE:
        return await _spoil(request, fault, None)
    answered = answer(house, raw, fault)
    if fault is not None and fault.kind in _AFTER:
        return await _spoil(request, fault, answered)
    return _response(answered)


def _response(answered: Answer) -> web.Response:
    return web.Response(
        status=answered.status, text=answered.body, headers=dict(answered.headers), content_type=answered.content_type
    )


async def _spoil(request: web.Request, fault: Fault, answered: Answer | None) -> web.StreamResponse:
    """Let go wrong what is to go wrong with the answer (None: the exchange has not acted)."""
    if fault.kind in {FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER, FaultKind.SLOW}:
        await asyncio.sleep(fault.delay_ms / 1000)
    if fault.kind is FaultKind.SLOW and answered is not None:
        return _response(answered)
    if fault.kind in {FaultKind.SERVER_ERROR_BEFORE, FaultKind.SERVER_ERROR_AFTER}:
        status = fault.status or 502
        return web.Response(status=status, text=_HTML.format(f"{status} Server Error"), content_type="text/html")
    if fault.kind is FaultKind.CUT_AFTER and answered is not None:
        body = answered.body.encode()
        torn = web.StreamResponse(status=answered.status, headers={"Content-Length": str(len(body))})
        torn.content_type = answered.content_type
        await torn.prepare(request)
        await torn.write(body[: len(body) // 2])
    return _cut(request)


async def _control(request: web.Request) -> web.Response:
    body = (await request.read()).decode(errors="replace")
    status, text = control.handle(request.app[HOUSE], request.method, request.match_info["what"], body)
    return web.Response(status=status, text=text, content_type="application/json")


class _Socket:
    """A prepared WebSocket, the queue of what goes out, and the task that sends it."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._request = request
        self._socket = socket
        self._queue: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._write())

    def send(self, frame: str | bytes) -> None:
        self._queue.put_nowait(frame)

    def close(self, cut: bool) -> None:  # noqa: FBT001 - a callback of Connection
        if cut and self._request.transport is not None:
            self._request.transport.abort()
        self._queue.put_nowait(None)

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):  # the peer has gone
            while (frame := await self._queue.get()) is not None:
                if isinstance(frame, str):
                    await self._socket.send_str(frame)
                else:
                    await self._socket.send_bytes(frame)
            await self._socket.close(code=WSCloseCode.GOING_AWAY, drain=False)

    async def end(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def _spot_socket(request: web.Request) -> web.WebSocketResponse:
    house, key = request.app[HOUSE], request.query.get("listenKey")
    account = None
    invalid = False
    if key is not None:
        account = house.listen_keys.account_of(key, house.now_ms())
        kinds = frozenset({FaultKind.INVALID_LISTEN_KEY})
        invalid = account is None or house.faults.strike(kinds, "/ws", at_ms=house.now_ms()) is not None
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    if invalid:
        await socket.send_str("Invalid listen key")
        await socket.close()
        return socket
    pipe = _Socket(request, socket)
    connection = SpotConnection(house, pipe.send, pipe.close, account, key)
    return await _serve(house, socket, pipe, connection)


async def _perpetual_socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    pipe = _Socket(request, socket)
    house = request.app[HOUSE]
    return await _serve(house, socket, pipe, PerpetualConnection(house, pipe.send, pipe.close))


async def _serve(
    house: House, socket: web.WebSocketResponse, pipe: _Socket, connection: SpotConnection | PerpetualConnection
) -> web.WebSocketResponse:
    house.hub.join(connection)
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                connection.on_text(message.data)
    finally:
        house.hub.leave(connection)
        await pipe.end()
    return socket
