"""Addresses, capabilities, and what a client holds."""

from __future__ import annotations

import numpy as np
import pytest
from keepworld import AsyncClient
from keepworld.errors import UnavailableError

from tests.sdk.scripted_server import SIZE, ScriptedWorld, serving


@pytest.mark.parametrize("form", ["{}", "grpc://{}", "grpc://{}/"])
async def test_an_address_may_be_written_in_two_ways(form: str) -> None:
    async with serving(ScriptedWorld()) as address, AsyncClient(form.format(address)) as client:
        assert (await client.capabilities()).family("diorama").fps == 24
        assert client.address == address


@pytest.mark.parametrize(
    "address", ["grpcs://a", "http://a:1", "host", "grpc://host", "host:port", "grpc://:5", "", "a:1/x", "u@a:1"]
)
async def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="grpc"):
        AsyncClient(address)


async def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(ScriptedWorld()) as address:
        monkeypatch.setenv("KEEPWORLD_URL", f"grpc://{address}")
        async with AsyncClient() as client:
            assert (await client.capabilities()).server_version == "0"


async def test_an_unknown_model_is_a_slip_of_the_caller() -> None:
    async with serving(ScriptedWorld()) as address, AsyncClient(address) as client:
        with pytest.raises(ValueError, match="diorama"):
            await client.sessions.open("meadow", model="dioramma")


@pytest.mark.parametrize("name", ["image", "clip"])
async def test_a_model_that_takes_no_picture_is_not_sent_one(name: str) -> None:
    world = ScriptedWorld()
    async with serving(world) as address, AsyncClient(address) as client:
        with pytest.raises(ValueError, match=f"diorama takes no {name}"):
            await client.sessions.open("meadow", **{name: np.zeros((2, 8, 8, 3), np.uint8)})
    assert not world.opened


async def test_without_a_size_and_a_mode_the_family_chooses() -> None:
    world = ScriptedWorld()
    async with serving(world) as address, AsyncClient(address) as client:
        session = await client.sessions.open("meadow")
        assert (session.size, session.mode) == (SIZE, "walk")
    assert (world.opened[0].HasField("size"), world.opened[0].mode) == (False, "")


async def test_a_session_can_be_awaited_and_is_closed_with_its_client() -> None:
    world = ScriptedWorld()
    async with serving(world) as address:
        async with AsyncClient(address) as client:
            session = await client.sessions.open("meadow", size=SIZE)
            await session.event("rain")
            assert [info.id for info in await client.sessions.list()] == [session.id]
        assert session.is_closed
        assert world.closed == [session.id]
        with pytest.raises(UnavailableError):
            await client.capabilities()


async def test_closing_survives_a_server_that_is_gone() -> None:
    async with serving(ScriptedWorld()) as address:
        client = AsyncClient(address, deadline_s=2)
        session = await client.sessions.open("meadow", size=SIZE)
        await session.event("rain")
    await client.close()
