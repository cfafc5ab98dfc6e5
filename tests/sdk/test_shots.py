"""Shot files: what is read, and what is refused before a server is asked anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from keepworld import jobs, shots
from keepworld.timeline import Timeline

GOOD = {
    "name": "abbey",
    "prompt": "ruined abbey",
    "walk": "forward 2s",
    "size": "256x144",
    "events": [{"text": "night falls", "at_s": 1}],
}


def write(tmp_path: Path, content: object, name: str = "shots.json") -> Path:
    file = tmp_path / name
    file.write_text(json.dumps(content))
    return file


def test_a_file_of_one_shot(tmp_path: Path) -> None:
    (shot,) = shots.read(write(tmp_path, GOOD))
    assert (shot.name, shot.size, shot.walk) == ("abbey", (256, 144), "forward 2s")
    assert shot.events[0].text == "night falls"


def test_a_shot_may_begin_with_a_picture_or_go_on_from_a_capture(tmp_path: Path) -> None:
    assert shots.read(write(tmp_path, {**GOOD, "image": "a.png"}))[0].image == "a.png"
    assert shots.read(write(tmp_path, {**GOOD, "clip": "walk"}))[0].clip == "walk"


def test_jsonl_and_lists_give_the_same_shots(tmp_path: Path) -> None:
    second = {**GOOD, "name": "again"}
    lines = tmp_path / "shots.jsonl"
    lines.write_text(json.dumps(GOOD) + "\n\n" + json.dumps(second) + "\n")
    assert shots.read(lines) == shots.read(write(tmp_path, [GOOD, second]))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "../../etc"}, "name"),
        ({"name": ""}, "name"),
        ({"prompt": " "}, "prompt"),
        ({"walk": None}, "walk and path"),
        ({"path": "cameras.json"}, "walk and path"),
        ({"size": "wide"}, "size"),
        ({"speed": 3}, "speed"),
        ({"image": "a.png", "clip": "walk"}, "image or clip"),
        ({"events": [{"text": "x", "at_s": -1}]}, "at of 'x'"),
        ({"events": [[1.0]]}, "event"),
        ({"id": "twice"}, "twice"),
        ({"events": [{"text": "x", "when": 1}]}, "when"),
    ],
)
def test_a_wrong_shot_is_refused_and_the_field_named(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        shots.read(write(tmp_path, {**GOOD, **change}))


def test_two_shots_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same name"):
        shots.read(write(tmp_path, [GOOD, GOOD]))


def test_what_is_not_json_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "shots.json"
    file.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        shots.read(file)


def test_jobs_are_shots_by_other_words(tmp_path: Path) -> None:
    lines = tmp_path / "shots.jsonl"
    entry = {"id": "a1", "text": "a lake", "camera": "way.json", "seed": 3, "events": [[1.5, "night falls"]]}
    lines.write_text(json.dumps(entry) + "\n")
    (job,) = jobs.read(lines)
    assert (job.id, job.text, job.camera, job.seed, job.image) == ("a1", "a lake", "way.json", 3, None)
    assert Timeline(job.events) == Timeline([(1.5, "night falls")])
    spelled = {"name": "a1", "prompt": "a lake", "path": "way.json", "seed": 3}
    also = write(tmp_path, {**spelled, "events": [{"text": "night falls", "at_s": 1.5}]})
    assert shots.read(also) == [job]


def test_a_shot_from_a_picture_needs_no_words(tmp_path: Path) -> None:
    (shot,) = shots.read(write(tmp_path, {"name": "a", "image": "a.png", "path": "way.json"}))
    assert shot.prompt == ""
