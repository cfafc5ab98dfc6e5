"""Timelines: what is saved is what is loaded, and what is wrong in a file is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from keepworld import MissingExtraError, PlannedEvent, Timeline
from keepworld.timeline import MAX_EVENTS

STORM = Timeline(
    [
        PlannedEvent("rain", at=2.0),
        PlannedEvent("night falls", chunk=9, ramp=5.0, duration=30.0),
        PlannedEvent("fireworks – grün", ramp=0.0),
    ]
)


@pytest.mark.parametrize("name", ["storm.json", "storm.yaml", "storm.yml"])
def test_a_timeline_comes_back_from_its_file(tmp_path: Path, name: str) -> None:
    if not name.endswith("json"):
        pytest.importorskip("yaml")
    STORM.save(tmp_path / name)
    assert Timeline.load(tmp_path / name) == STORM


def test_the_file_is_what_a_person_would_write(tmp_path: Path) -> None:
    STORM.save(tmp_path / "storm.json")
    assert json.loads((tmp_path / "storm.json").read_text())[1] == {
        "text": "night falls", "chunk": 9, "ramp": 5.0, "duration": 30.0
    }  # fmt: skip


def test_times_and_texts_are_enough() -> None:
    assert Timeline([(2, "rain")]) == Timeline([PlannedEvent("rain", at=2)])
    assert len(Timeline()) == 0


def test_without_pyyaml_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        STORM.save(tmp_path / "storm.yaml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "not JSON"),
        ("{}", "must hold a list"),
        ('[{"at": 1}]', "event 1: .*no text"),
        ('[{"text": "a"}, {"text": "b", "when": 1}]', "event 2: .*'when'"),
        ('[{"text": "a", "at": 1, "chunk": 1}]', "at or chunk"),
        ('[{"text": "a", "at": NaN}]', "at of 'a' must be seconds"),
        ('[{"text": "a", "at": "soon"}]', "at of 'a' must be seconds"),
        ('[{"text": "a", "ramp": null}]', "ramp of 'a' must be seconds"),
        ('[{"text": "a", "duration": -1}]', "duration of 'a' must be seconds"),
        ('[{"text": "a", "chunk": 1.5}]', "chunk of 'a' must be a whole number"),
        ('[{"text": 5}]', "text must be some words"),
        ('[{"text": " "}]', "text must be some words"),
        ("[5]", "must be an object"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        Timeline.load(tmp_path / "bad.json")


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "bad.yaml").write_text("!!python/object/apply:os.system ['touch canary']")
    with pytest.raises(ValueError, match="not YAML"):
        Timeline.load(tmp_path / "bad.yaml")


def test_there_is_a_most() -> None:
    with pytest.raises(ValueError, match=str(MAX_EVENTS)):
        Timeline((1.0, "rain") for _ in iter(int, 1))
