"""Cameras come back from every file; pycolmap and OpenUSD, where they are installed, see what a camera of ours sees."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from keepworld.errors import ExportError
from keepworld_exporters.convert import convert
from keepworld_exporters.convert_path import read_path
from keepworld_exporters.formats import colmap, nerfstudio
from keepworld_exporters.formats.paths import MODELS, PATHS

from tests import scenes
from tests.exporters.formats.made import some_views


def assert_same_cameras(one, other, *, atol=1e-12):
    assert [shot.name for shot in one.shots] == [shot.name for shot in other.shots]
    for a, b in zip(one.shots, other.shots, strict=True):
        np.testing.assert_allclose(a.camera.c2w, b.camera.c2w, atol=atol)
        np.testing.assert_allclose(a.camera.K, b.camera.K, rtol=1e-12)
        assert (a.camera.width, a.camera.height) == (b.camera.width, b.camera.height)


@pytest.mark.parametrize("suffix", PATHS)
def test_a_path_comes_back_from_every_file(suffix):
    views = some_views()
    data = PATHS[suffix].write(views, {"prompt": 'a "garden" } \\ '})
    back = PATHS[suffix].read(data)
    assert_same_cameras(back, views, atol=1e-6 if suffix == ".cameras.glb" else 1e-12)  # glTF animates in float32
    np.testing.assert_allclose([shot.time_s for shot in back.shots], [k / 24 for k in range(5)], atol=1e-6)
    assert PATHS[suffix].write(views, {}) == PATHS[suffix].write(views, {})


@pytest.mark.parametrize("encode", MODELS.values(), ids=MODELS)
def test_a_model_comes_back_with_its_points(encode):
    views = some_views()
    back = colmap.decode(encode(views, {"prompt": "a garden\n9 PINHOLE"}))
    assert_same_cameras(back, views)
    np.testing.assert_array_equal(back.points.positions, views.points.positions)
    np.testing.assert_array_equal(back.points.colours, views.points.colours)


@pytest.mark.parametrize("suffix", [*PATHS, *MODELS])
def test_a_captures_cameras_come_through_every_file(suffix, letter_capture, tmp_path):
    target, _ = convert(letter_capture.folder, tmp_path / f"walk{suffix}")
    back = read_path(target)
    np.testing.assert_allclose([shot.camera.c2w for shot in back.shots], letter_capture.c2ws, atol=1e-5)
    folder = "" if suffix in MODELS else "frames/"
    assert [shot.name for shot in back.shots][:2] == [f"{folder}000000.png", f"{folder}000001.png"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_captures_own_transforms_hold_the_same_cameras(letter_capture):
    back = nerfstudio.decode((letter_capture.folder / "transforms.json").read_bytes())
    np.testing.assert_allclose([shot.camera.c2w for shot in back.shots], letter_capture.c2ws, atol=1e-9)


def test_a_capture_becomes_a_dataset_that_trainers_of_splats_take_as_it_is(letter_capture, tmp_path):
    """Pictures and points: every point lies where the world's own surface is, the wall with the letter among them."""
    convert(letter_capture.folder, tmp_path / "walk.colmap")
    images = sorted((tmp_path / "walk.colmap/images").iterdir())
    assert images[3].read_bytes() == (letter_capture.folder / "frames/000003.png").read_bytes()
    assert len(images) == len(letter_capture.frames) and (tmp_path / "walk.colmap/sparse/0/cameras.bin").is_file()
    points = read_path(tmp_path / "walk.colmap").points
    assert 50_000 < len(points.positions) <= 100_000 + len(images)
    for place, dark in [(place, True) for place in scenes.F_DARK_PLACES] + [(p, False) for p in scenes.F_LIGHT_PLACES]:
        distances = np.linalg.norm(points.positions - np.array(place), axis=1)
        assert distances.min() < 0.05 and (points.colours[distances.argmin()].mean() < 90) == dark


def test_an_existing_model_is_not_written_over(letter_capture, tmp_path):
    (tmp_path / "walk.colmap").mkdir()
    (tmp_path / "walk.colmap/notes.txt").touch()
    for source in (letter_capture.folder, letter_capture.folder / "transforms.json"):
        with pytest.raises(ExportError, match="already exists"):
            convert(source, tmp_path / "walk.colmap")


@pytest.mark.parametrize("encode", MODELS.values(), ids=MODELS)
def test_pycolmap_projects_points_where_we_do(encode, tmp_path):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    views = some_views()
    for name, data in encode(views, {}).items():
        (tmp_path / name).write_bytes(data)
    model = pycolmap.Reconstruction(str(tmp_path))
    assert model.num_points3D() == len(views.points.positions)
    for image in model.images.values():
        ours = next(shot.camera for shot in views.shots if shot.name == image.name)
        place = ours.centre + ours.c2w[:3, :3] @ [0.2, -0.1, 3.0]
        np.testing.assert_allclose(image.project_point(place), ours.project(place)[:2], atol=1e-6)


def test_openusd_reads_where_the_camera_goes_and_looks(tmp_path):
    usd_of_pixar = pytest.importorskip("pxr.Usd", reason="OpenUSD (usd-core) is not installed")
    from pxr import UsdGeom

    views = some_views()
    (tmp_path / "x.usda").write_bytes(PATHS[".cameras.usda"].write(views, {}))
    stage = usd_of_pixar.Stage.Open(str(tmp_path / "x.usda"))
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/world"))
    for code, shot in enumerate(views.shots):
        place = shot.camera.centre + shot.camera.c2w[:3, :3] @ [0.2, -0.1, 3.0]
        frustum = camera.GetCamera(code).frustum
        seen = frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix()
        x, y, _ = seen.Transform(tuple(float(value) for value in place * [1, -1, -1]))
        u, v, _ = shot.camera.project(place)
        np.testing.assert_allclose([(x + 1) / 2 * 640, (1 - y) / 2 * 360], [u, v], atol=1e-3)


def lying_models():
    whole = colmap.encode_binary(some_views())
    many = struct.pack("<Q", 10**9)
    for name in colmap.BINARY:
        yield {**whole, name: many + whole[name][8:]}
        yield {**whole, name: whole[name][:-5]}
    yield {**whole, "images.bin": whole["images.bin"].replace(b"frames/000001", b"../../00/0001")}
    yield {**whole, "images.bin": whole["images.bin"].replace(b"frames/000001", b"/tmp/00000001")}
    yield {**whole, "cameras.bin": whole["cameras.bin"].replace(struct.pack("<Q", 640), struct.pack("<Q", 2**40))}
    yield {"points3D.bin": b""}


@pytest.mark.parametrize("files", list(lying_models()))
def test_a_lying_model_is_refused(files):
    with pytest.raises(ValueError):
        colmap.decode(files)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["frames"][0].update(file_path="../../etc/passwd"),
        lambda c: c["frames"][0].update(fl_x=float("nan")),
        lambda c: c["frames"][0].update(w=1e30),
        lambda c: c["frames"][0].update(transform_matrix=[[1]]),
        lambda c: c["frames"][0].update(k1=0.1),
        lambda c: c.update(frames=[]),
        lambda c: c.update(frames=3),
        lambda c: c["frames"][0].pop("cx"),
    ],
)
def test_hostile_transforms_are_refused(change):
    content = json.loads(nerfstudio.encode(some_views()))
    change(content)
    with pytest.raises(ValueError):
        nerfstudio.decode(json.dumps(content).encode())
