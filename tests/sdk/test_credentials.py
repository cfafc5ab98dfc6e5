"""What a client shows, to whom, and what it does not."""

from __future__ import annotations

import pytest
from keepworld import AsyncClient
from keepworld.credentials import Credentials

KEY = "kw_0123_secret"


@pytest.mark.parametrize("address", ["example.org:1", "grpc://10.0.0.1:1", "[::2]:1"])
def test_a_key_never_crosses_a_network_that_can_be_read(address: str) -> None:
    with pytest.raises(ValueError, match="grpcs"):
        AsyncClient(address, api_key=KEY)


@pytest.mark.parametrize("address", ["grpcs://example.org:1", "localhost:1", "127.0.0.1:1", "grpc://[::1]:1"])
def test_a_key_goes_where_it_cannot_be_read(address: str) -> None:
    assert AsyncClient(address, api_key=KEY).address == address.rpartition("//")[2]


def test_the_environments_key_is_kept_to_the_same_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPWORLD_API_KEY", KEY)
    with pytest.raises(ValueError, match="grpcs") as refusal:
        AsyncClient("example.org:1")
    assert KEY not in str(refusal.value)


@pytest.mark.parametrize("trust", [{"root_certificates": "ca.pem"}, {"client_certificate": ("a.pem", "a.key")}])
def test_certificates_that_nobody_would_look_at_are_refused(trust: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="grpcs"):
        AsyncClient("localhost:1", **trust)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", "a\nb", "ключ", "x" * 513])
def test_what_cannot_be_sent_as_a_key_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match="api_key") as refusal:
        Credentials(api_key=key)
    assert not key or key not in str(refusal.value)


def test_a_key_is_not_part_of_what_is_printed() -> None:
    assert KEY not in repr(Credentials(api_key=KEY))
