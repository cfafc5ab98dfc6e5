"""``keepworld exports`` against a server: started, listed, fetched, cancelled, forgotten."""

import json

import pytest
from keepworld import Client
from keepworld.cli import main

from tests.end_to_end.test_resume import server
from tests.end_to_end.test_server_export import OPEN
from tests.runtime.serving.exporting import stand_in


@pytest.fixture
def address(tmp_path, monkeypatch):
    (tmp_path / "stand-in").mkdir()
    stand_in(tmp_path / "stand-in", monkeypatch)
    with server("--port", "0") as address:
        monkeypatch.setenv("KEEPWORLD_URL", address)
        yield address


def test_from_a_snapshot_to_files(address, tmp_path, capsys):
    with Client(address) as client, client.sessions.open(**OPEN) as session:
        session.steer("forward 0.5s")
        kept = session.snapshot().id

    def run(*words: str) -> str:
        assert main(["exports", *words]) == 0
        return capsys.readouterr().out

    assert run("list") == "none is kept\n"
    said = run("start", kept, str(tmp_path / "made"), "--files", "world.glb")
    assert "world.glb  1.0 MB" in said and "31.5 dB" in said
    assert (tmp_path / "made" / "world.glb").stat().st_size == 1 << 20
    later = run("start", kept, "--files", "hang.glb").strip()
    assert "cancelled" in run("cancel", later)
    lines = [json.loads(line) for line in run("list", "--json").splitlines()]
    assert sorted(line["state"] for line in lines if line["kind"] == "export") == ["cancelled", "done"]
    assert all(line["state"] in ("cancelled", "done") for line in lines)
    assert later in run("list")
    run("delete", *(line["id"] for line in lines if line["kind"] == "export"))
    assert run("list") == "none is kept\n"
    assert main(["exports", "fetch", later, str(tmp_path / "none")]) == 1
    assert not (tmp_path / "none").exists()


def test_it_asks_which_server(capsys, monkeypatch):
    monkeypatch.delenv("KEEPWORLD_URL", raising=False)
    assert main(["exports", "list"]) == 2
    assert "--url" in capsys.readouterr().out
