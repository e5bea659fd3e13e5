"""No way to the exchange: host and cause are named, whatever stands in between."""

from __future__ import annotations

import datetime
import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import urllib3.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.exceptions import ProxyError

from services.cdb_ws.adapters.causes import cause_of
from services.cdb_ws.adapters.live_wire import LiveWire
from services.cdb_ws.live.pages import describe, is_page
from services.cdb_ws.live.words import Answer, Ask
from tests.unit.ws.live_desk import LiveDesk

pytestmark = pytest.mark.unit

PAGE = b"<!DOCTYPE html><html><head><title>Hotel &amp; Bar:\n please log in</title></head></html>"


class Portal(BaseHTTPRequestHandler):
    """Answers everything with its own page, or leads there."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        leads_on = "away" in self.path
        body = b"" if leads_on else PAGE
        self.send_response(302 if leads_on else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location" if leads_on else "Content-Type", "http://portal/login" if leads_on else "text/html")
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        """Be a proxy that wants a password."""
        self.send_response(407, "Proxy Authentication Required")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def portal() -> Iterator[Callable[..., int]]:
    """Open a portal, with TLS if a certificate is given; returns its port."""
    servers: list[ThreadingHTTPServer] = []

    def open_it(certificate: Path | None = None) -> int:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return int(server.server_address[1])

    yield open_it
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def ask(socket_url: str, rest_url: str, path: str = "/api/v3/time") -> tuple[str, str]:
    """Return what comes of a connection and of a question, in words."""
    wire = LiveWire(socket_url, rest_url, lambda: 0)
    wire.ask(Ask("time", "", path))
    wire.open(1, 0)
    said: dict[str, str] = {}
    while len(said) < 2:
        came = wire.take(20)
        assert came is not None
        value = came.value
        said[came.kind] = describe(value.status, value.body) if isinstance(value, Answer) else str(value)
    wire.stop()
    return said["closed"], said["answer"]


def test_a_captive_portal_is_named_with_the_title_of_its_page(portal: Callable[..., int]) -> None:
    """A page where data were meant, over both ways: its title is told."""
    port = portal()
    page = "HTTP 200 with a page ('Hotel & Bar: please log in') instead of data"
    told = f"{page}: is a proxy or a captive portal in between?"

    assert ask(f"ws://127.0.0.1:{port}/ws", f"http://127.0.0.1:{port}") == (told, told)


def test_a_portal_that_leads_away_is_not_followed(portal: Callable[..., int]) -> None:
    """The address that it leads to is told."""
    port = portal()

    closed, answer = ask(f"ws://127.0.0.1:{port}/away", f"http://127.0.0.1:{port}", "/away")

    assert closed.startswith("HTTP 302")
    assert answer == "HTTP 302: it leads on to http://portal/login: is a proxy or a captive portal in between?"


def test_a_certificate_that_is_not_the_exchanges_is_named(portal: Callable[..., int], certificate: Path) -> None:
    """What inspects TLS, and a clock that is wrong, show here."""
    port = portal(certificate)

    for said in ask(f"wss://127.0.0.1:{port}/ws", f"https://127.0.0.1:{port}"):
        assert said.startswith("TLS: the certificate is not trusted (self-signed certificate)")
        assert said.endswith("Is the clock right?")


def test_plain_text_where_tls_is_meant_is_named(portal: Callable[..., int]) -> None:
    """Somebody else answers on the exchange's port."""
    port = portal()

    for said in ask(f"wss://127.0.0.1:{port}/ws", f"https://127.0.0.1:{port}"):
        assert said == "TLS fails (WRONG_VERSION_NUMBER): is a proxy or a captive portal in between?"


def test_a_proxy_that_refuses_is_named(portal: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the exchange that refuses."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{portal()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    for said in ask("wss://mexc.invalid/ws", "https://mexc.invalid"):
        assert said.startswith("the proxy of this machine (HTTPS_PROXY, HTTP_PROXY): ")
        assert "407" in said


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "the host's name cannot be resolved"),
        (ConnectionRefusedError(111, "x"), "connection refused"),
        (ConnectionResetError(104, "x"), "the connection was cut"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "no route to the host (Network is unreachable)"),
        (TimeoutError(), "no answer in time"),
        (urllib3.exceptions.ConnectTimeoutError("x"), "no connection in time"),
        (urllib3.exceptions.ReadTimeoutError(None, "/", "x"), "no answer in time"),  # type: ignore[arg-type]
        (requests.exceptions.ProxyError(ConnectionRefusedError()), "the proxy of this machine"),
        (ProxyError("x"), "the proxy of this machine"),
        (ValueError("odd"), "ValueError: odd"),
        (ValueError(), "ValueError"),
    ],
)
def test_each_cause_has_its_words(error: Exception, words: str) -> None:
    """Also below two layers of other errors."""
    below = requests.exceptions.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", error))  # type: ignore[arg-type]
    above = RuntimeError("above")
    above.__cause__ = error

    for one in (error, below, above):
        assert cause_of(one).startswith(words)


def test_pages_are_told_from_data() -> None:
    """Data are never taken for a page; a page without a title and a server's own page are told shortly."""
    assert not any(map(is_page, (b'{"a":"<html>"}', b"[]", b"", b"<", b"pong")))
    assert is_page(b"\xef\xbb\xbf\n <HTML>")
    assert describe(503, b"<html><title>Down</title>") == "HTTP 503 with a page ('Down')"
    assert describe(403, b"<html>").startswith("HTTP 403 with a page instead of data")
    assert describe(429, b"") == "HTTP 429"


def test_a_page_that_comes_with_200_is_trouble_and_is_asked_again() -> None:
    """Health names the address and the page; the next good answer ends it."""
    desk = LiveDesk()
    desk.take(desk.feed.begin(desk.now_us))
    desk.answer("instruments", PAGE)

    trouble = desk.feed.problems(desk.now_us)["rest_instruments"]
    assert trouble.startswith("GET https://api.mexc.com/api/v3/exchangeInfo: HTTP 200 with a page ('Hotel & Bar")
    assert [one.attempt for one in desk.asks if one.kind == "instruments"] == [1]
