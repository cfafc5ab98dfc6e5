"""Clients and servers agree on how often a quiet connection may be tried."""

from __future__ import annotations

from keepworld import keepalive
from keepworld_runtime.serving.server import MIN_PING_MS


def test_a_server_bears_being_asked_as_often_as_was_agreed() -> None:
    assert int(keepalive.SERVER_MIN_PING_S * 1000) == MIN_PING_MS


def test_clients_ask_well_less_often_than_they_may() -> None:
    assert keepalive.PING_S >= 2 * keepalive.SERVER_MIN_PING_S
