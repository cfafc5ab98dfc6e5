"""The golden letter and a ball that looks different from every side, drawn by Spark and three.js in a browser from our files.

Both draw y up, as the profile "web" has it; what they draw is compared with what our own rasteriser draws of the scene in memory.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from keepworld.camera import convert_c2w, intrinsics
from keepworld_exporters.formats import FORMATS, encode, encode_files
from keepworld_exporters.profiles import PROFILES
from keepworld_exporters.rasterize.cpu import render_splats
from PIL import Image

from tests import scenes
from tests.exporters.formats.made import lantern, letter_mesh, letter_points, letter_splats, tetrahedron
from tests.exporters.readers.node import draw, needs_browser

pytestmark = [pytest.mark.slow, needs_browser]
WIDTH, HEIGHT, FOV = 320, 240, math.radians(70)
K = intrinsics(WIDTH, HEIGHT, FOV)
WEB = PROFILES["web"].convention
# What a reader of this version does not know; the others draw these.
UNKNOWN = {
    "spark": {
        ".v4.spz": "Spark 2.2.0 knows SPZ up to version 3",
        ".splat.glb": "nor glTF",
        ".splat.usda": "nor USD",
        ".splat.usdc": "nor USD",
    },
    "three": {
        ".compressed.ply": "three r187 has no loader of it",
        ".sog": "nor of this",
        ".splat.usda": "its USD loader knows no splats",
        ".splat.usdc": "its USD loader knows no splats",
        ".laz": "nor LAZ",
        ".e57": "nor E57",
    },
}
SPLATS = [suffix for suffix, kind in FORMATS.items() if kind.holds == "splats"]


def known(reader: str, holds: str) -> list[str]:
    return [suffix for suffix, kind in FORMATS.items() if kind.holds == holds and suffix not in UNKNOWN[reader]]


def job(reader: str, file: Path, c2w=None) -> dict[str, object]:
    place = convert_c2w(np.eye(4) if c2w is None else c2w, to="gltf")
    fov_y = 2 * math.atan(HEIGHT / 2 / K[1, 1])
    size = {"width": WIDTH, "height": HEIGHT, "fovY": fov_y, "c2w": place.T.reshape(-1).tolist()}
    return {"reader": reader, "file": str(file), "out": f"{file}.{reader}.png", **size}


def drawn(jobs, folder):
    """The pictures [H, W, 3] of jobs, sRGB in [0, 1]."""
    for told in draw(jobs, folder):
        assert not told["errors"], told
    return [np.asarray(Image.open(str(entry["out"])).convert("RGB")) / 255.0 for entry in jobs]


def psnr(one, other):
    return -10 * math.log10(np.mean((one - other) ** 2) + 1e-12)


def assert_is_the_letter(picture, name, *, coloured=True):
    """Seen from the origin along z: ink and paper where they are, and each bar in its colour."""

    def near(place):
        u, v, w = K @ np.array(place)
        x, y = int(u / w), int(v / w)
        return 255 * picture[y - 4 : y + 5, x - 4 : x + 5].reshape(-1, 3)

    for place in scenes.F_LIGHT_PLACES:
        assert near(place).max(0).mean() > 180, (name, place)
    if coloured:
        for place in scenes.F_DARK_PLACES:
            assert near(place).mean() < 70, (name, place)
        for bar, place in scenes.BAR_PLACES.items():
            assert np.abs(near(place) - scenes.BARS[bar][2]).max(1).min() < 45, (name, bar)


def test_the_letter_of_splats_is_upright_and_true_to_scale(tmp_path):
    splats = letter_splats(0.05)
    jobs = []
    for suffix in SPLATS:
        (tmp_path / f"letter{suffix}").write_bytes(encode(splats, suffix, {}, convention=WEB))
        jobs += [job(name, tmp_path / f"letter{suffix}") for name, unknown in UNKNOWN.items() if suffix not in unknown]
    for entry, picture in zip(jobs, drawn(jobs, tmp_path), strict=True):
        assert_is_the_letter(picture, entry["out"])


@pytest.mark.parametrize("kind", ["mesh", "points"])
def test_the_letter_of_surfaces_and_points_is_upright_and_true_to_scale(kind, tmp_path):
    scene = letter_mesh(0.03) if kind == "mesh" else letter_points(0.011)
    jobs = []
    for suffix in known("three", kind):
        (tmp_path / f"letter{suffix}").write_bytes(encode(scene, suffix, {}, convention=WEB))
        jobs.append(job("three", tmp_path / f"letter{suffix}"))
    for entry, picture in zip(jobs, drawn(jobs, tmp_path), strict=True):
        # STL has no colours, and three shows but the first of USD's
        coloured = not str(entry["file"]).endswith((".stl", ".usda", ".usdc", ".usdz"))
        assert_is_the_letter(picture, entry["out"], coloured=coloured)


def test_what_looks_different_from_every_side_does_so_for_others(tmp_path):
    """Harmonics that were not turned with the world, or turned the wrong way, would change every colour."""
    splats = lantern()
    around = scenes.look((2.2, -1.5, 1.2), (0.1, -0.2, 3))
    jobs, wanted = [], []
    for suffix in SPLATS:
        if suffix == ".splat":
            continue  # has no harmonics
        (tmp_path / f"ball{suffix}").write_bytes(encode(splats, suffix, {}, convention=WEB))
        for reader in ("spark", "three"):
            for number, c2w in enumerate((np.eye(4), around)):
                if suffix not in UNKNOWN[reader]:
                    entry = job(reader, tmp_path / f"ball{suffix}", c2w)
                    jobs.append({**entry, "out": f"{entry['out']}.{number}.png"})
                    wanted.append(np.clip(render_splats(splats, np.linalg.inv(c2w), K, WIDTH, HEIGHT).image, 0, 1))
    assert psnr(wanted[0], wanted[1]) < 20
    found = {
        Path(str(entry["out"])).name: psnr(a, b)
        for entry, a, b in zip(jobs, drawn(jobs, tmp_path), wanted, strict=True)
    }
    for name, value in found.items():
        # SPZ keeps 4 and 5 bits of harmonics; three cuts each splat off at two deviations and keeps harmonics in bytes.
        assert value > (26 if ".three." in name else 30 if ".spz." in name else 40), found


def test_a_texture_lies_the_right_way_up(tmp_path):
    """The tetrahedron's corners have a colour each of the texture's four, seen from outside along its diagonal."""
    jobs = []
    c2w = scenes.look((1.2, 1.2, 1.2), (0.3, 0.3, 0.3))
    for name in ("t.glb", "t.obj", "t.usdz"):
        for file, data in encode_files(tetrahedron(textured=True), name, {}).items():
            (tmp_path / file).write_bytes(data)
        jobs.append(job("three", tmp_path / name, c2w))
    for entry, picture in zip(jobs, drawn(jobs, tmp_path), strict=True):
        for corner, colour in (((1, 0, 0), (0, 250, 0)), ((0, 1, 0), (0, 0, 250)), ((0, 0, 1), (250, 250, 0))):
            place = 0.94 * np.array(corner) + 0.06 / 3
            u, v, w = K @ (np.linalg.inv(c2w)[:3, :3] @ place + np.linalg.inv(c2w)[:3, 3])
            seen = 255 * picture[int(v / w), int(u / w)]
            assert np.abs(seen - colour).max() < 90, (entry["file"], corner, seen)
