"""A client that has not noticed yet that Redis was restarted is behind, not on a lost tail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from journal_support import Server, feed, fence_of, signal

from services.common.channels import CORE, WS
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause
from services.common.journal.opening import open_bus

pytestmark = [pytest.mark.integration, pytest.mark.chaos]


@pytest.mark.parametrize(
    "call",
    [
        lambda client, fence, place: client.publish(CORE, fence, Cause.of(place), [signal(1, CORE)]),
        lambda client, fence, place: client.advance(CORE, fence, place),
    ],
    ids=["publish", "advance"],
)
def test_cause_of_a_newer_epoch_than_the_client_knows_is_not_lost(
    own_server: Server, clients: Any, call: Callable[[JournalClient, int, Any], Any]
) -> None:
    """The bus reads entry 2-4 over a new connection; the client, still on its dead one, looks again and goes on."""
    client = clients(own_server)
    feed(client, fence_of(own_server, WS), range(1, 4))
    fence = fence_of(own_server, CORE)
    own_server.restart()
    open_bus(own_server.infra)
    place = feed(clients(own_server), fence_of(own_server, WS), range(4, 5))[0]
    assert place.epoch == 2

    call(client, fence, place)

    assert client.cursors()[CORE] == place.n
