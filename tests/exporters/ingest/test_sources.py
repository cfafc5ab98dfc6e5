"""Data sets of other programs become captures with the same cameras and pictures."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from keepworld import png
from keepworld.camera import Camera, PoseSource, Units, convert_c2w, quat_from_rotation
from keepworld.capture import Capture
from keepworld.errors import ExportError
from keepworld_exporters.__main__ import main
from keepworld_exporters.formats import camera_json, decode
from keepworld_exporters.ingest.lens import Bend, Lens
from keepworld_exporters.scene import Shot, Views
from keepworld_exporters.video import write_video

from tests import scenes
from tests.exporters.ingest.datasets import (
    ROOM,
    SIZE,
    bent_pictures,
    opened,
    psnr,
    room,
    save_json,
    save_pictures,
    transforms,
)

NERFSTUDIO = [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]  # what its COLMAP import writes
OLDER = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]  # and what it wrote before
BROWN = Lens(
    fx=130, fy=128, cx=97, cy=71, width=192, height=144, bend=Bend.BROWN, radial=(-0.18, 0.05, 0.0), below=(0.0,),
    tangential=(0.002, -0.003),
)  # fmt: skip


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return room(tmp_path_factory.mktemp("walk") / "walk")


def assert_same_walk(got, walk, *, exact=True):
    np.testing.assert_allclose(got.c2ws, walk.c2ws, atol=1e-6)
    for frame, wanted in zip(got.frames, walk.frames, strict=True):
        np.testing.assert_allclose(frame.camera.K, wanted.camera.K, atol=1e-6)
        if exact:
            np.testing.assert_array_equal(frame.image(), wanted.image())


@pytest.mark.parametrize("applied", [None, NERFSTUDIO, OLDER])
@pytest.mark.parametrize("scale", [None, 0.25])
def test_a_nerfstudio_data_set_comes_back_in_its_first_frame_of_reference(walk, tmp_path, applied, scale):
    names = save_pictures(walk, tmp_path / "set/images")
    save_json(tmp_path / "set/transforms.json", transforms(walk, names, applied=applied, scale=scale))
    got = opened(tmp_path / "set", tmp_path)
    assert_same_walk(got, walk)
    assert got.provenance.pose_source is PoseSource.GIVEN and got.provenance.units is Units.MODEL


def test_a_capture_is_a_nerfstudio_data_set_and_is_read_as_one(walk, tmp_path):
    shutil.copytree(walk.folder, tmp_path / "copy")
    (tmp_path / "copy/capture.json").unlink()
    got = opened(tmp_path / "copy", tmp_path, units=Units.METRES)
    assert_same_walk(got, walk)
    assert got.provenance.units is Units.METRES
    for frame, wanted in zip(got.frames, walk.frames, strict=True):
        np.testing.assert_allclose(frame.depth(), wanted.depth(), atol=1e-5)
        np.testing.assert_array_equal(frame.lasting(), wanted.lasting())


def test_frames_may_have_lenses_of_their_own(walk, tmp_path):
    names = save_pictures(walk, tmp_path / "set/images")
    content = transforms(walk, names)
    for number, entry in enumerate(content["frames"]):
        entry |= {"fl_x": 100.0 + number, "fl_y": 101.0 + number, "cx": 90.0, "cy": 70.0}
    save_json(tmp_path / "set/transforms.json", content)
    got = opened(tmp_path / "set", tmp_path)
    assert [frame.camera.K[0, 0] for frame in got.frames] == [100.0 + number for number in range(len(names))]


def test_an_angle_of_view_will_do_and_a_suffix_may_be_missing(walk, tmp_path):
    names = save_pictures(walk, tmp_path / "set/images")
    content = transforms(walk, names)
    K = walk.frames[0].camera.K
    for key in ("fl_x", "fl_y", "cx", "cy"):
        del content[key]
    content["camera_angle_x"] = 2 * np.arctan(SIZE[0] / 2 / K[0, 0])
    for entry in content["frames"]:
        entry["file_path"] = entry["file_path"].removesuffix(".png")
    save_json(tmp_path / "set/transforms.json", content)
    assert_same_walk(opened(tmp_path / "set", tmp_path), walk)


def test_matrices_of_another_convention_are_read_when_told(walk, tmp_path):
    names = save_pictures(walk, tmp_path / "set/images")
    content = transforms(walk, names)
    for frame, entry in zip(walk.frames, content["frames"], strict=True):
        entry["transform_matrix"] = convert_c2w(frame.camera.c2w, to="opengl").tolist()
    save_json(tmp_path / "set/transforms.json", content)
    assert_same_walk(opened(tmp_path / "set", tmp_path, axes="opengl"), walk)


def test_pictures_through_a_lens_that_bends_become_what_a_straight_one_shows(walk, tmp_path):
    names = [f"{k:03d}.png" for k in range(len(walk.frames))]
    bent_pictures(walk, BROWN, tmp_path / "set/images", names)
    about = {"fl_x": 130, "fl_y": 128, "cx": 97, "cy": 71, "k1": -0.18, "k2": 0.05, "p1": 0.002, "p2": -0.003}
    save_json(tmp_path / "set/transforms.json", {**transforms(walk, names), **about})
    got = opened(tmp_path / "set", tmp_path)
    for frame in got.frames[::4]:
        straight, _, _ = scenes.render(ROOM, frame.camera)
        assert psnr(frame.image(), straight) > 30
        assert frame.image()[[0, 0, -1, -1], [0, -1, 0, -1]].min() > 0  # no black corners


def test_a_picture_of_another_size_is_cut_to_the_others_size(walk, tmp_path):
    names = save_pictures(walk, tmp_path / "set/images")
    K = np.array([[70.0, 0, 60], [0, 70.0, 80], [0, 0, 1]])  # upright, where the others lie
    other = Camera(c2w=walk.frames[4].camera.c2w, K=K, width=120, height=160)
    (tmp_path / "set/images/upright.png").write_bytes(png.encode(scenes.render(ROOM, other)[0]))
    content = transforms(walk, names)
    own = {"w": 120, "h": 160, "fl_x": 70, "fl_y": 70, "cx": 60, "cy": 80, "file_path": "images/upright.png"}
    content["frames"].append({**content["frames"][4], **own})
    save_json(tmp_path / "set/transforms.json", content)
    got = opened(tmp_path / "set", tmp_path)
    frame = got.frames[0]  # by its name the first
    assert frame.image().shape == (144, 192, 3)
    assert psnr(frame.image(), scenes.render(ROOM, frame.camera)[0]) > 28


def test_masks_and_transparent_places_are_no_lasting_world(walk, tmp_path):
    from PIL import Image

    names = save_pictures(walk, tmp_path / "set/images")
    content = transforms(walk, names)
    mask = np.full(SIZE[::-1], 255, np.uint8)
    mask[:40] = 0
    (tmp_path / "set/mask.png").write_bytes(png.encode(mask))
    content["frames"][0]["mask_path"] = "mask.png"
    alpha = np.full(SIZE[::-1], 255, np.uint8)
    alpha[:, :30] = 0
    Image.fromarray(np.dstack([walk.frames[1].image(), alpha])).save(tmp_path / "set/images" / names[1])
    save_json(tmp_path / "set/transforms.json", content)
    frames = opened(tmp_path / "set", tmp_path).frames
    np.testing.assert_array_equal(frames[0].lasting(), mask > 0)
    np.testing.assert_array_equal(frames[1].lasting(), alpha > 0)
    assert frames[2].lasting().all()


def colmap_model(walk, names, model, numbers):
    """Written by COLMAP's own library."""
    scene = pycolmap.Reconstruction()
    scene.add_camera_with_trivial_rig(
        pycolmap.Camera(camera_id=1, model=model, width=SIZE[0], height=SIZE[1], params=numbers)
    )
    for number, (frame, name) in enumerate(zip(walk.frames, names, strict=True), 1):
        image = pycolmap.Image(name=name, camera_id=1, image_id=number)
        scene.add_image_with_trivial_frame(image, pycolmap.Rigid3d(frame.camera.viewmat[:3]))
    scene.add_point3D(np.array([0.0, 0.0, 3.0]), pycolmap.Track(), np.array([200, 100, 50], np.uint8))
    return scene


@pytest.mark.parametrize("kind", ["write_binary", "write_text"])
@pytest.mark.parametrize("place", ["sparse/0", "sparse", "."])
def test_a_model_of_colmap_comes_back_as_it_was(walk, tmp_path, kind, place):
    names = save_pictures(walk, tmp_path / "set/images")
    K = walk.frames[0].camera.K
    (tmp_path / "set" / place).mkdir(parents=True, exist_ok=True)
    scene = colmap_model(walk, names, "PINHOLE", [K[0, 0], K[1, 1], K[0, 2], K[1, 2]])
    getattr(scene, kind)(tmp_path / "set" / place)
    assert_same_walk(opened(tmp_path / "set", tmp_path), walk)


def test_a_model_of_colmap_with_a_bent_lens_is_straightened(walk, tmp_path):
    names = [f"deep/{k:03d}.png" for k in range(len(walk.frames))]
    (tmp_path / "set/images/deep").parent.mkdir(parents=True)
    bent_pictures(walk, BROWN, tmp_path / "set/images/deep", [name[5:] for name in names])
    (tmp_path / "set/sparse/0").mkdir(parents=True)
    colmap_model(walk, names, "OPENCV", [130, 128, 97, 71, -0.18, 0.05, 0.002, -0.003]).write(tmp_path / "set/sparse/0")
    frame = opened(tmp_path / "set", tmp_path).frames[4]
    assert psnr(frame.image(), scenes.render(ROOM, frame.camera)[0]) > 30


def test_a_models_pictures_may_lie_elsewhere_and_it_says_so_if_they_are_not_found(walk, tmp_path):
    names = save_pictures(walk, tmp_path / "photos")
    (tmp_path / "model").mkdir()
    K = walk.frames[0].camera.K
    colmap_model(walk, names, "PINHOLE", [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]).write(tmp_path / "model")
    with pytest.raises(ExportError, match="--images"):
        opened(tmp_path / "model", tmp_path)
    assert_same_walk(opened(tmp_path / "model", tmp_path, images=tmp_path / "photos"), walk)


@pytest.mark.parametrize("by", ["names", "order"])
def test_pictures_take_cameras_from_a_path_of_ours(walk, tmp_path, by):
    names = save_pictures(walk, tmp_path / "photos")
    shots = [
        Shot(name=name if by == "names" else f"{k}.x", camera=f.camera)
        for k, (name, f) in enumerate(zip(names, walk.frames, strict=True))
    ]
    if by == "names":
        shots = shots[::-1]
    (tmp_path / "path.cameras.json").write_bytes(camera_json.encode(Views(shots=tuple(shots))))
    assert_same_walk(opened(tmp_path / "photos", tmp_path, cameras=tmp_path / "path.cameras.json"), walk)


def test_pictures_named_by_their_times_take_cameras_from_a_trajectory(walk, tmp_path):
    save_pictures(walk, tmp_path / "photos")
    for k, path in enumerate(sorted((tmp_path / "photos").iterdir())):
        path.rename(path.with_name(f"{100 + k / 10:.2f}.png"))
    lines = ["# time x y z qx qy qz qw", "99.5 0 0 0 0 0 0 1"]  # a camera that no picture has
    for k, frame in enumerate(walk.frames):
        w, x, y, z = quat_from_rotation(frame.camera.c2w[:3, :3])
        place = " ".join(repr(float(value)) for value in frame.camera.centre)
        lines.append(f"{100.01 + k / 10} {place} {x} {y} {z} {w}")
    (tmp_path / "path.txt").write_text("\n".join(lines))
    got = opened(tmp_path / "photos", tmp_path, cameras=tmp_path / "path.txt", fov=70)
    assert_same_walk(got, walk)


def test_a_film_takes_cameras_one_to_one_or_by_their_times(walk, tmp_path):
    write_video(tmp_path / "film.mp4", walk.frames, 24.0, on_frame=lambda: None)
    for name, entries in (
        ("every", [{"transform_matrix": convert_c2w(f.camera.c2w, to="nerfstudio").tolist()} for f in walk.frames]),
        ("timed", [
            {"transform_matrix": convert_c2w(f.camera.c2w, to="nerfstudio").tolist(), "time": f.number / 24}
            for f in walk.frames[::2]
        ]),
    ):  # fmt: skip
        path = save_json(tmp_path / name / "transforms.json", {"frames": entries})
        got = opened(tmp_path / "film.mp4", tmp_path, cameras=path, fov=70)
        wanted = walk.frames if name == "every" else walk.frames[::2]
        np.testing.assert_allclose(got.c2ws, [f.camera.c2w for f in wanted], atol=1e-6)
        for frame, true in zip(got.frames, wanted, strict=True):
            assert psnr(frame.image(), true.image()) > 28


def test_cameras_that_fit_no_picture_are_an_error_that_counts_them(walk, tmp_path):
    save_pictures(walk, tmp_path / "photos")
    shots = tuple(Shot(name=f"{k}.x", camera=walk.frames[0].camera) for k in range(4))
    (tmp_path / "path.cameras.json").write_bytes(camera_json.encode(Views(shots=shots)))
    shots_timeless = [replace(shot, time_s=1000.0 + k) for k, shot in enumerate(shots)]
    (tmp_path / "path.cameras.json").write_bytes(camera_json.encode(Views(shots=tuple(shots_timeless))))
    with pytest.raises(ExportError, match="4 cameras and there are 9 pictures"):
        opened(tmp_path / "photos", tmp_path, cameras=tmp_path / "path.cameras.json")


def test_large_pictures_are_made_smaller_with_their_cameras(walk, tmp_path):
    names = save_pictures(walk, tmp_path / "set/images")
    save_json(tmp_path / "set/transforms.json", transforms(walk, names))
    got = opened(tmp_path / "set", tmp_path, max_side=96)
    assert got.frames[0].image().shape == (72, 96, 3)
    np.testing.assert_allclose(got.frames[0].camera.K[:2], walk.frames[0].camera.K[:2] / 2, rtol=2e-2)


def test_a_photo_on_its_side_is_held_upright_and_its_exif_says_the_focal_length(tmp_path):
    from keepworld_exporters.ingest.pictures import photos_in
    from PIL import ExifTags, Image

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 28
    picture = np.zeros((60, 90, 3), np.uint8)
    picture[:, :45] = 255  # left, which held upright is above
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif, quality=95)
    (photo,) = photos_in(tmp_path)
    assert photo.image().shape == (90, 60, 3) and photo.image()[:40].min() > 200 and photo.image()[50:].max() < 50
    # 28 mm on a frame of 36 x 24 mm, by its diagonal.
    assert photo.lens.fx == pytest.approx(28 / np.hypot(36, 24) * np.hypot(60, 90))


def test_two_openings_are_the_same_to_the_byte(walk, tmp_path):
    names = save_pictures(walk, tmp_path / "set/images")
    save_json(tmp_path / "set/transforms.json", {**transforms(walk, names), "k1": 0.1})
    one, two = opened(tmp_path / "set", tmp_path), opened(tmp_path / "set", tmp_path)
    for path in sorted(one.folder.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (two.folder / path.relative_to(one.folder)).read_bytes()


def test_what_is_written_is_a_capture(walk, tmp_path):
    names = save_pictures(walk, tmp_path / "set/images")
    save_json(tmp_path / "set/transforms.json", transforms(walk, names))
    got = Capture(opened(tmp_path / "set", tmp_path).folder)
    assert got.provenance.family == "pictures" and got.provenance.version == "nerfstudio dataset"
    assert got.provenance.prompt == "set"


def test_the_command_exports_a_data_set_and_its_files_say_what_was_done(walk, tmp_path, capsys):
    shutil.copytree(walk.folder, tmp_path / "copy")
    (tmp_path / "copy/capture.json").unlink()
    flags = ["--units", "metres", "--max-side", "0", "--json", "--progress", "json"]
    assert main([str(tmp_path / "copy"), str(tmp_path / "x.points.ply"), *flags]) == 0
    told = capsys.readouterr()
    shares = [json.loads(line)["share"] for line in told.err.splitlines() if line.startswith("{")]
    assert shares == sorted(shares) and shares[-1] == 1.0
    manifest = json.loads(told.out.splitlines()[-1])["manifest"]
    assert manifest["source"] == "nerfstudio dataset" and manifest["units"] == "metres" and "fit" in manifest["cameras"]
    positions = decode((tmp_path / "x.points.ply").read_bytes(), ".points.ply").positions
    # The wall, the ground and the ball, where they were.
    off = np.min([
        np.abs(positions[:, 2] - 3.0), np.abs(positions[:, 1] - 1.0),
        np.abs(np.linalg.norm(positions - [-0.1, 0, 2], axis=1) - 0.5),
    ], axis=0)  # fmt: skip
    assert np.quantile(off, 0.95) < 0.03
