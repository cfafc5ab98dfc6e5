"""An export whose depth comes from pictures, and from trained splats where a wall has no texture."""

import json

import numpy as np
import pytest
from keepworld_exporters.__main__ import main
from keepworld_exporters.estimate import estimate
from keepworld_exporters.export import begin
from keepworld_exporters.plan import Plan
from keepworld_exporters.reading import read_back
from keepworld_exporters.train.settings import Training
from keepworld_exporters.unfinished import Unfinished

from tests import scenes
from tests.exporters.room import GROUND, SIZE, WALL, bare, mottled, sideways

TRAINED = ["--preset", "standard", "--steps", "200", "--max-splats", "4000", "--texture", "0", "--voxel", "0.05"]


def patched(points):
    """The wall's colour, with a plain patch of 70 by 60 cm: no window within it looks like anything."""
    plain = (np.abs(points[:, 0] - 0.5) < 0.35) & (np.abs(points[:, 1] + 0.4) < 0.3)
    return np.where(plain[:, None], 120.0, mottled(points))


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    wall = scenes.Solid(WALL.low, WALL.high, patched)
    folder = tmp_path_factory.mktemp("patch") / "walk"
    return bare(scenes.write(folder, [wall, GROUND], sideways(9), size=SIZE))


def exported(walk, folder, depth):
    words = [
        str(walk.folder),
        str(folder / "x.glb"),
        "--depth",
        depth,
        "--holdout",
        "0",
        *TRAINED,
        "--progress",
        "none",
    ]
    return main([*words, "--json"])


def stop(*args, **named):
    """In place of a stage: a kill, but that Python lives on."""
    raise KilledError


class KilledError(BaseException):
    """Raised by `stop`."""


def on_the_patch(folder):
    places = read_back(folder / "x.glb").vertices
    return places[(np.abs(places[:, 0] - 0.5) < 0.25) & (np.abs(places[:, 1] + 0.4) < 0.2) & (places[:, 2] > 2)]


def test_what_no_picture_tells_splats_do_and_a_killed_export_goes_on_from_them(walk, tmp_path, monkeypatch, capsys):
    for name in ("sweep", "hybrid", "killed"):
        (tmp_path / name).mkdir()
    assert exported(walk, tmp_path / "sweep", "sweep") == 0
    assert exported(walk, tmp_path / "hybrid", "hybrid") == 0
    assert len(on_the_patch(tmp_path / "sweep")) < 10
    filled = on_the_patch(tmp_path / "hybrid")
    assert len(filled) > 40 and np.quantile(np.abs(filled[:, 2] - 3.0), 0.9) < 0.15  # 5 % of the distance
    with monkeypatch.context() as killing:
        killing.setattr("keepworld_exporters.stages.fuse.fuse_mesh", stop)
        killing.setattr(Unfinished, "forget", lambda self: None)
        with pytest.raises(KilledError):
            exported(walk, tmp_path / "killed", "hybrid")
    capsys.readouterr()
    assert exported(walk, tmp_path / "killed", "hybrid") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["resumed"] == ["depth", "points", "splats", "filled depth"]
    assert (tmp_path / "killed" / "x.glb").read_bytes() == (tmp_path / "hybrid" / "x.glb").read_bytes()


def test_it_is_expected_to_take_the_training_too_and_only_where_depth_is_found(walk, tmp_path):
    asked = {
        "files": (tmp_path / "x.glb", tmp_path / "x.points.ply"),
        "preset": "standard",
        "training": Training(steps=50),
    }
    plan = Plan(depth="hybrid", **asked)
    start = begin(walk, plan)
    stages = list(start.expected.processor_s)
    first = ["look", "read", "depth", "points", "splats", "standard", "filled depth", "filled points", "mesh"]
    assert stages[: len(first)] == first
    size = {"frames": 9, "heldout": 1}
    swept = estimate(Plan(depth="sweep", **asked), start.seen, **size, blind=True)
    assert "standard" not in swept.processor_s and swept.seconds < start.expected.seconds
    assert list(estimate(plan, start.seen, **size, blind=False).processor_s) == [
        name for name in swept.processor_s if name != "depth"
    ]


def test_it_is_refused_where_no_splats_are_trained(walk, tmp_path, capsys):
    assert main([str(walk.folder), str(tmp_path / "x.glb"), "--depth", "hybrid"]) == 2
    assert "--depth hybrid needs trained splats; add --preset standard" in capsys.readouterr().err
    assert main([str(walk.folder), str(tmp_path / "walk.colmap"), "--depth-maps", "--depth", "hybrid"]) == 2
    assert "--depth sweep" in capsys.readouterr().err and not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"another preset than preview, or training\.budget"):
        Plan(files=(tmp_path / "x.glb",), depth="hybrid")
