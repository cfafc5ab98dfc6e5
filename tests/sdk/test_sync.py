"""The calls without async are the same calls."""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import Iterator

import pytest
from keepworld import AsyncClient, AsyncSession, Client, Session
from keepworld.client import AsyncSessions
from keepworld.errors import InvalidRequestError, UnavailableError
from keepworld.exports import AsyncExport, AsyncExports
from keepworld.sync import Sessions
from keepworld.sync_exports import Export, Exports

from tests.sdk.scripted_server import SIZE, served_apart

TWINS = [
    (AsyncClient, Client),
    (AsyncSession, Session),
    (AsyncSessions, Sessions),
    (AsyncExport, Export),
    (AsyncExports, Exports),
]


@pytest.fixture
def address() -> Iterator[str]:
    """A scripted server on a loop of its own."""
    with served_apart() as address:
        yield address


@pytest.mark.parametrize(("there", "here"), TWINS)
def test_twins_have_the_same_calls_with_the_same_arguments(there: type, here: type) -> None:
    calls = {name: call for name, call in vars(there).items() if not name.startswith("_") and inspect.isfunction(call)}
    own = {name for name, call in vars(here).items() if not name.startswith("_") and inspect.isfunction(call)}
    assert set(calls) == own
    for name, call in calls.items():
        assert inspect.signature(call).parameters == inspect.signature(getattr(here, name)).parameters
    assert inspect.signature(there).parameters == inspect.signature(here).parameters or there is not AsyncClient


def test_a_session_has_the_attributes_of_its_twin(address: str) -> None:
    with Client(address) as client, client.sessions.open("meadow", size=SIZE, seed=4) as session:
        twin = session._session
        public = [name for name in vars(twin) if not name.startswith("_")]
        assert public
        for name in public:
            assert getattr(session, name) == getattr(twin, name)


def test_a_walk_without_async(address: str) -> None:
    with Client(address) as client:
        assert client.capabilities().family("diorama").has_depth
        with client.sessions.open("meadow", size=SIZE) as session:
            for chunk in session.stream(pace="fast"):
                session.event("rain")
                if chunk.index == 2:
                    break
            assert session.steer("forward 1s").first_frame >= 45
            with pytest.raises(InvalidRequestError):
                session.event("nonsense")
            assert len(session.capture()) > 0
            assert next(session.frames(pace="fast")).number > 45
        assert [info.id for info in client.sessions.list()] == [session.id]


def test_closing_ends_the_thread(address: str) -> None:
    before = threading.active_count()
    client = Client(address)
    client.sessions.open("meadow", size=SIZE)
    assert threading.active_count() > before
    client.close()
    client.close()
    assert "keepworld" not in [thread.name for thread in threading.enumerate()]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as a terminal's programs have it: those started in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_a_wait_and_the_session_can_still_be_used(address: str) -> None:
    with Client(address) as client, client.sessions.open("meadow", size=SIZE) as session:
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            for _ in session.stream(pace="pause"):
                threading.Event().wait(0.01)
        assert session.event("rain").applies_to_chunk > 0


def test_a_client_without_a_server_fails_when_it_is_used() -> None:
    with pytest.raises(UnavailableError), Client("127.0.0.1:1") as client:
        client.capabilities()
