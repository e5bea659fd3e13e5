"""Names: derived ids, symbols, instruments, causes, journal ids, channels, public surfaces."""

from __future__ import annotations

import importlib
import pkgutil
import re
from decimal import Decimal

import pytest
from pydantic import ValidationError

import services.common
from services.common import channels
from services.common.errors import ContractViolation
from services.common.events import EVENT_BY_CHANNEL
from services.common.identity import client_order_id, derive_id, order_id
from services.common.instruments import DEFAULT_INSTRUMENTS, InstrumentSpec, instrument_key, normalise_symbol
from services.common.journal.entry import Cause, JournalId
from services.common.version import VERSION

pytestmark = pytest.mark.unit


def test_ids_are_functions_of_their_parts() -> None:
    """The same parts give the same 32 hex digits on every machine; the number is fixed here for ever."""
    assert derive_id("run", "cdb_risk", 7) == derive_id("run", "cdb_risk", "7")
    assert re.fullmatch(r"[0-9a-f]{32}", derive_id())
    assert derive_id("run-1", "cdb_core", "m", 0) == "1cb0e39ea0237c63d4c50ba6f11d0cf5"
    assert len({derive_id("ab", "c"), derive_id("a", "bc"), derive_id("abc"), derive_id("ab", "c", "")}) == 4


def test_order_ids_fit_the_exchange() -> None:
    """An order id and a client id per decision; the client id has 32 characters that MEXC takes."""
    decision = derive_id("d")
    assert order_id(decision) == f"ord-{decision[:28]}"
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", client_order_id(decision))


@pytest.mark.parametrize("raw", ["BTCUSDT", "btc_usdt", "BTC/USDT", "BTC-USDT", "btc:usdt", " BTC USDT "])
def test_symbols_have_one_form(raw: str) -> None:
    """However it is written, it is BTCUSDT on the wire."""
    assert normalise_symbol(raw) == "BTCUSDT"


@pytest.mark.parametrize("raw", ["", "BTC", "BTCUSDT!", "Ä" * 6, "A" * 21, "BTC\nUSDT"])
def test_other_symbols_are_refused(raw: str) -> None:
    """Too short, too long, or with characters that no symbol has."""
    with pytest.raises(ContractViolation, match="5 to 20 letters"):
        normalise_symbol(raw)


def test_instruments_are_venue_and_symbol() -> None:
    """Spot and perpetual of one name never merge; grids are positive."""
    assert instrument_key("mexc_spot", "BTCUSDT") != instrument_key("mexc_perpetual", "BTCUSDT")
    assert {spec.symbol for spec in DEFAULT_INSTRUMENTS} == {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
    good = DEFAULT_INSTRUMENTS[0].model_dump()
    for bad in (Decimal(0), Decimal(-1), Decimal("NaN")):
        with pytest.raises(ValidationError):
            InstrumentSpec.model_validate({**good, "lot_size": bad})


def test_causes_and_journal_ids_read_what_they_write() -> None:
    """`42` and `feed:42`, `<epoch>-<n>`; anything else is refused."""
    for cause in (Cause("", 42), Cause("feed", 0), Cause("a:b", 1)):
        assert Cause.parse(str(cause)) == cause
        assert Cause.parse(str(cause).encode()) == cause
    assert JournalId.parse(b"1-42") == JournalId(1, 42)
    assert str(JournalId(1, 42)) == "1-42"
    assert JournalId(2, 1) > JournalId(1, 42)
    for bad in ("", "x", ":4", "feed:", "feed:x", "-1"):
        with pytest.raises(ContractViolation):
            Cause.parse(bad)
    for bad in ("", "1", "1-", "-1", "1-x", "1-2-3"):
        with pytest.raises(ContractViolation):
            JournalId.parse(bad)


def test_every_channel_has_a_contract_and_an_owner_of_foreign_messages() -> None:
    """No channel without an event, none without somebody who looks at strangers."""
    assert set(EVENT_BY_CHANNEL) == set(channels.CHANNELS) == set(channels.FOREIGN_OWNER)
    assert set(channels.TURNSTILE_ORDER) < set(channels.SERVICES)
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)


@pytest.mark.parametrize("package", ["services.common", "services.cdb_risk"])
def test_public_surfaces_are_declared_and_complete(package: str) -> None:
    """Every module names its public things in `__all__`, and every name exists."""
    root = importlib.import_module(package)
    for found in pkgutil.walk_packages(root.__path__, f"{package}."):
        if found.name.startswith("services.common.runtime") or found.ispkg or found.name.endswith("_pb2"):
            continue
        module = importlib.import_module(found.name)
        assert module.__doc__, found.name
        names = module.__all__
        assert len(names) == len(set(names)), found.name
        assert all(hasattr(module, name) for name in names), found.name
    assert services.common.__doc__
