"""Cameras that are a little wrong are put right from their pictures, and a world's up, ground and size from what is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from keepworld.camera import PoseSource, Units
from keepworld.capture import Capture
from keepworld.errors import ExportError
from keepworld_exporters.ingest import recapture
from keepworld_exporters.ingest.prepare import prepared
from keepworld_exporters.ingest.sources import Asked
from keepworld_exporters.ingest.wanted import Wanted
from keepworld_exporters.stages import align, anchor
from keepworld_exporters.stages.epipolar import epipolar_errors
from keepworld_exporters.stages.features import match_frames
from keepworld_exporters.stages.ground import UP, find_ground, level, up_axis
from keepworld_exporters.stages.quality import consistency, passes
from keepworld_exporters.stages.scale import Mark, parse_mark, place_of
from scipy.spatial.transform import Rotation

from tests import scenes
from tests.exporters.room import BALL, GROUND, WALL, mottled, sideways

SIZE = (256, 192)
DEGREES, METRES = 0.5, 0.01
SLAB = scenes.Solid((-1.4, -0.2, 1.2), (-0.8, 1.0, 1.8), mottled)


def quiet(*_):
    """Progress nobody listens to."""


def disturbed(c2ws, seed=0, degrees=DEGREES, metres=METRES):
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(len(c2ws), 3))
    axes *= np.deg2rad(degrees) * rng.normal(size=(len(c2ws), 1)) / np.linalg.norm(axes, axis=1, keepdims=True)
    moved = np.array(c2ws)
    moved[:, :3, :3] = moved[:, :3, :3] @ Rotation.from_rotvec(axes).as_matrix()
    moved[:, :3, 3] += rng.normal(size=(len(c2ws), 3)) * metres
    return moved


def as_given(capture, folder, c2ws, source=PoseSource.GIVEN):
    """The capture with cameras of someone else, and no depth."""
    capture = Capture(capture.folder)
    recapture.with_cameras(capture, c2ws, np.ones(len(c2ws), bool))
    capture.provenance = replace(capture.provenance, pose_source=source)
    saved = recapture.save(capture, folder)
    for path in (folder / "depth").iterdir():
        path.unlink()
    return saved


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """A room walked past sideways, 16 frames, with exact cameras."""
    path = sideways(16, 0.1)
    return scenes.write(tmp_path_factory.mktemp("align") / "walk", [WALL, GROUND, BALL, SLAB], path, size=SIZE)


@pytest.fixture(scope="module")
def matches(walk, tmp_path_factory):
    return match_frames(walk.frames, tmp_path_factory.mktemp("features"))


def with_cameras(walk, c2ws):
    return [replace(f, camera=replace(f.camera, c2w=c)) for f, c in zip(walk.frames, c2ws, strict=True)]


def off(a, b):
    return np.rad2deg(align.angles(a[:, :3, :3], b[:, :3, :3])), np.linalg.norm(a[:, :3, 3] - b[:, :3, 3], axis=1)


def test_exact_cameras_agree_with_their_pictures_and_disturbed_ones_do_not(walk, matches):
    assert align.disagreement(walk.frames, walk.c2ws, matches) < 0.2
    assert align.disagreement(walk.frames, disturbed(walk.c2ws), matches) > 0.6


def test_disturbed_cameras_are_put_right(walk, matches):
    given = disturbed(walk.c2ws)
    found = align.refine(with_cameras(walk, given), matches, on_step=quiet)
    assert found.moved.all()
    turned, shifted = off(found.c2ws, walk.c2ws)
    before_turned, before_shifted = off(given, walk.c2ws)
    # Sixteen frames average the disturbance to a quarter: nearer than that the given path is not known.
    assert np.median(turned) < 0.5 * np.median(before_turned)
    assert np.median(shifted) < 0.5 * np.median(before_shifted)
    # What pictures cannot tell left out (where the world lies, how it is turned, how large it is), they are all but exact.
    laid = align.moved_by(found.c2ws, *align.similarity(found.c2ws, walk.c2ws))
    turned, shifted = off(laid, walk.c2ws)
    assert np.median(turned) < 0.06 and np.median(shifted) < 0.003


def test_known_depth_tells_the_shape_of_the_path_all_but_exactly(walk, matches):
    """What it leaves open, where the world lies and how it is turned, is as near as the given path says, with its scale known."""
    given = disturbed(walk.c2ws)
    found = align.refine(with_cameras(walk, given), matches, on_step=quiet).c2ws
    laid = anchor.anchor(walk.frames, found, given, matches, on_step=quiet)
    R, scale, t = align.similarity(laid, walk.c2ws)
    assert scale == pytest.approx(1, abs=1e-4)
    turned, shifted = off(align.moved_by(laid, R, 1.0, t), walk.c2ws)
    assert turned.max() < 0.005 and shifted.max() < 5e-4
    turned, shifted = off(laid, walk.c2ws)
    assert np.median(turned) < 2 * DEGREES / 4 and np.median(shifted) < 2 * 3**0.5 * METRES / 4  # of 16 frames


def test_depth_that_is_off_moves_cameras_less_than_it_is_off(walk, matches, tmp_path, rng):
    """One per cent of noise in every pixel's depth: cameras at 2 m are still right to millimetres."""
    rough = Capture(recapture.save(walk, tmp_path / "rough").folder)
    for frame in rough.frames:
        path = rough.folder / f"depth/{frame.number:06d}.npy"
        depth = np.load(path)
        np.save(path, (depth * (1 + 0.01 * rng.standard_normal(depth.shape))).astype(np.float32))
    given = disturbed(walk.c2ws)
    found = align.refine(with_cameras(walk, given), matches, on_step=quiet).c2ws
    laid = anchor.anchor(rough.frames, found, given, matches, on_step=quiet)
    turned, shifted = off(align.moved_by(laid, *align.similarity(laid, walk.c2ws)), walk.c2ws)
    assert np.median(turned) < 0.06 and np.median(shifted) < 0.003


def test_two_refinements_are_the_same_to_the_bit(walk, matches):
    frames = with_cameras(walk, disturbed(walk.c2ws))
    one, two = (align.refine(frames, matches, on_step=quiet) for _ in range(2))
    np.testing.assert_array_equal(one.c2ws, two.c2ws)


def test_features_lie_on_the_surfaces_of_the_world(walk, matches):
    points = align.triangulate(walk.frames, matches)
    assert len(points) > 200
    on_wall, on_ground = np.abs(points[:, 2] - 3.0), np.abs(points[:, 1] - 1.0)
    on_ball = np.abs(np.linalg.norm(points - [-0.1, 0, 2], axis=1) - 0.5)
    on_slab = np.minimum(np.abs(points[:, 2] - 1.2), np.abs(points[:, 0] + 0.8))
    assert np.median(np.min([on_wall, on_ground, on_ball, on_slab], axis=0)) < 0.02


def test_the_similarity_that_was_applied_is_found(walk):
    turn, scale, shift = Rotation.from_rotvec([0.3, -1.2, 0.4]).as_matrix(), 2.5, np.array([1.0, -4, 9])
    R, s, t = align.similarity(walk.c2ws, align.moved_by(walk.c2ws, turn, scale, shift))
    np.testing.assert_allclose(R, turn, atol=1e-9)
    np.testing.assert_allclose([s, *t], [scale, *shift], atol=1e-8)


def test_cameras_on_one_line_are_turned_by_their_directions():
    """Places on a line leave it open how the world is turned about that line; directions do not."""
    c2ws = np.tile(np.eye(4), (6, 1, 1))
    c2ws[:, 0, 3] = np.arange(6)
    turn = Rotation.from_rotvec([1.1, 0, 0]).as_matrix()  # about the line
    R, _, _ = align.similarity(c2ws, align.moved_by(c2ws, turn, 1.0, np.zeros(3)))
    np.testing.assert_allclose(R, turn, atol=1e-9)


def test_small_angles_are_exact():
    turned = Rotation.from_rotvec([[1e-9, 0, 0], [0, 1.0, 0]]).as_matrix()
    np.testing.assert_allclose(align.angles(turned, np.stack([np.eye(3)] * 2)), [1e-9, 1.0], rtol=1e-6)


def test_epipolar_distances_are_what_a_shift_of_the_pixels_makes_them():
    """Two cameras side by side: epipolar lines are rows; a feature d rows off lies d / sqrt 2 off by Sampson's measure."""
    c2ws = np.tile(np.eye(4), (2, 1, 1))
    c2ws[1, 0, 3] = 0.2
    K = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    here = np.array([[10.0, 20], [30, 30]])
    there = here + np.array([[-5, 0.0], [-9, 3.0]])
    (errors,) = epipolar_errors(c2ws, np.stack([K, K]), (here, there), {(0, 1): np.array([[0, 0], [1, 1]])}).values()
    np.testing.assert_allclose(errors, [0, 3 / np.sqrt(2)], atol=1e-9)


def test_a_frame_of_another_place_does_not_pass_the_gate(walk, tmp_path):
    """One frame shows the room mirrored: much in it is alike, nothing lies where the cameras say."""
    from keepworld import png

    odd = as_given(walk, tmp_path / "odd", walk.c2ws)
    path = odd.folder / "frames/000007.png"
    path.write_bytes(png.encode(np.ascontiguousarray(png.decode(path.read_bytes())[::-1, ::-1])))
    with prepared(odd.folder, Wanted(refine="off"), quiet) as ready:
        assert ready.told["frames_left_out"] in ([7], [])
        numbers = [frame.number for frame in ready.capture.frames]
    with prepared(odd.folder, Wanted(refine="off", quality="strict"), quiet) as ready:
        assert 7 in ready.told["frames_left_out"]
        assert len(ready.capture.frames) >= 12
    with prepared(odd.folder, Wanted(refine="off", quality="off"), quiet) as ready:
        assert len(ready.capture.frames) == 16
    assert len(numbers) >= 15


def test_cameras_that_are_all_wrong_are_told_of_and_refused_when_strict(walk, tmp_path):
    """Each frame with the camera of another: nothing lies where they say."""
    given = as_given(walk, tmp_path / "given", walk.c2ws[np.random.default_rng(1).permutation(16)])
    with prepared(given.folder, Wanted(refine="off"), quiet) as ready:
        assert "not of one place" in str(ready.told["consistency_note"]) and len(ready.capture.frames) == 16
    with (
        pytest.raises(ExportError, match="--quality normal"),
        prepared(given.folder, Wanted(refine="off", quality="strict"), quiet),
    ):
        pass


def test_scores_are_shares_and_what_cannot_be_judged_passes_all_but_strict():
    errors = {(0, 1): np.r_[np.zeros(60), np.full(40, 50.0)], (1, 2): np.full(100, 50.0)}
    scores = consistency(errors, 4, 500)
    np.testing.assert_allclose(scores[:3], [0.6, 0.3, 0.0])
    assert np.isnan(scores[3])
    assert passes(scores, "normal").tolist() == [True, False, False, True]
    assert passes(scores, "strict").tolist() == [False, False, False, False]
    assert passes(scores, "off").all()


def test_given_cameras_that_are_off_are_refined_before_an_export_and_marked_so(walk, tmp_path):
    given = as_given(walk, tmp_path / "given", disturbed(walk.c2ws))
    with prepared(given.folder, Wanted(), quiet) as ready:
        frames = ready.capture.frames
        turned, _ = off(ready.capture.c2ws, walk.c2ws)
        assert ready.told["cameras"].startswith("refined from given, 16 of 16")
        assert ready.told["camera_error_px_refined"] < 0.3 * ready.told["camera_error_px"]
    assert np.median(turned) < 0.5 * DEGREES * 0.67
    assert {frame.camera.source for frame in frames} == {PoseSource.REFINED}
    assert ready.capture.provenance.pose_source is PoseSource.REFINED
    json.dumps(ready.told)


def test_given_cameras_that_fit_are_left_as_they_are(walk, tmp_path):
    given = as_given(walk, tmp_path / "given", walk.c2ws)
    with prepared(given.folder, Wanted(), quiet) as ready:
        np.testing.assert_array_equal(ready.capture.c2ws, walk.c2ws)
        assert "they fit" in ready.told["cameras"]


def test_exact_cameras_are_never_touched(walk):
    with prepared(walk.folder, Wanted(quality="strict"), quiet) as ready:
        assert ready.told == {} and ready.capture.folder == walk.folder
        np.testing.assert_array_equal(ready.capture.c2ws, walk.c2ws)


def test_pictures_with_nothing_in_common_keep_their_cameras_and_it_is_told(tmp_path):
    plain = [scenes.Solid((-4, -3, 3.0), (4, 1.0, 3.4), scenes.plain(90, 90, 90))]
    walk = scenes.write(tmp_path / "walk", plain, sideways(5, 0.1), size=SIZE)
    given = as_given(walk, tmp_path / "given", walk.c2ws)
    with prepared(given.folder, Wanted(), quiet) as ready:
        assert "as given" in ready.told["cameras"] and len(ready.capture.frames) == 5
    with pytest.raises(ExportError, match="cannot be refined"), prepared(given.folder, Wanted(refine="on"), quiet):
        pass


def test_cameras_are_found_from_pictures_alone(walk, tmp_path):
    """Up to where the world lies, how it is turned and how large it is they are those the pictures were taken with."""
    from tests.exporters.ingest.datasets import save_pictures

    save_pictures(walk, tmp_path / "photos")
    with prepared(tmp_path / "photos", Wanted(asked=Asked(fov=70)), quiet) as ready:
        found = ready.capture
    assert len(found.frames) == len(walk.frames)
    assert found.provenance.pose_source is PoseSource.REFINED and found.provenance.units is Units.MODEL
    laid = align.moved_by(found.c2ws, *align.similarity(found.c2ws, walk.c2ws))
    turned, shifted = off(laid, walk.c2ws)
    assert np.median(turned) < 0.5 and np.median(shifted) < 0.02
    # Up is up: these cameras look level.
    assert (-found.c2ws[:, :3, 1] @ UP).mean() > 0.98
    assert abs(found.frames[0].camera.K[0, 0] / walk.frames[0].camera.K[0, 0] - 1) < 0.05


def looking(yaws, pitches):
    return np.stack(
        [
            np.block([[Rotation.from_euler("YX", [y, p]).as_matrix(), np.zeros((3, 1))], [0, 0, 0, 1]])
            for y, p in zip(yaws, pitches, strict=True)
        ]
    )


@pytest.mark.parametrize("pitch", [0.0, -0.6, 0.6])
def test_up_is_found_however_the_cameras_look_up_or_down(pitch):
    yaws = np.linspace(0, 2, 12)
    turn = Rotation.from_rotvec([0.7, 0.3, -0.9]).as_matrix()
    c2ws = align.moved_by(looking(yaws, np.full(12, pitch)), turn, 1.0, np.zeros(3))
    np.testing.assert_allclose(up_axis(c2ws), turn @ UP, atol=1e-9)
    np.testing.assert_allclose(level(turn @ UP) @ turn @ UP, UP, atol=1e-12)


def test_upside_down_is_turned_round():
    np.testing.assert_allclose(level(-UP) @ -UP, UP, atol=1e-12)
    assert np.linalg.det(level(-UP)) == pytest.approx(1)


def test_the_ground_is_the_floor_and_not_the_table():
    rng = np.random.default_rng(3)
    floor = np.c_[rng.uniform(-4, 4, 900), np.full(900, 1.5), rng.uniform(0, 8, 900)]
    floor[:, 1] += 0.05 * floor[:, 0] + rng.normal(0, 0.004, 900)  # a slope of 3 degrees
    table = np.c_[rng.uniform(-1, 1, 800), np.full(800, 0.7), rng.uniform(2, 4, 800)]
    wall = np.c_[rng.uniform(-4, 4, 900), rng.uniform(-2, 1.5, 900), np.full(900, 8.0)]
    centres = np.c_[np.linspace(-1, 1, 9), np.zeros(9), np.zeros(9)]
    ground = find_ground(np.concatenate([floor, table, wall]), centres)
    assert np.median(ground.height(centres)) == pytest.approx(1.5 * np.cos(0.05), abs=0.02)
    assert np.rad2deg(np.arccos(ground.normal @ UP)) == pytest.approx(np.rad2deg(np.arctan(0.05)), abs=0.3)


def test_without_ground_it_is_said_that_there_is_none():
    points = np.random.default_rng(0).normal(size=(400, 3)) * 5
    with pytest.raises(ExportError, match="ground"):
        find_ground(points, np.zeros((4, 3)))


def test_the_cameras_height_gives_the_scale(walk):
    """The ground lies at y = 1, the cameras between y = 0 and 0.1: 0.95 m in the middle; someone says 1.9."""
    with prepared(walk.folder, Wanted(height=1.9), quiet) as ready:
        scaled = Capture(ready.capture.folder)
        depth = scaled.frames[3].depth()
    height = 1 - float(np.median(walk.c2ws[:, 1, 3]))
    factor = 1.9 / height
    np.testing.assert_allclose(scaled.c2ws[:, :3, 3], factor * walk.c2ws[:, :3, 3], rtol=0.01, atol=1e-6)
    seen = depth > 0
    np.testing.assert_allclose(depth[seen], factor * walk.frames[3].depth()[seen], rtol=0.01)


@pytest.mark.parametrize(
    ("a", "b", "apart"),
    [("0", "15", 1.5), ("4:128,20", "9:128,20", None), ("0", "3:20,170", None)],
)
def test_a_known_distance_gives_the_scale(walk, a, b, apart):
    marks = [parse_mark(text) for text in (a, b)]
    places = [place_of(mark, walk.frames, None) for mark in marks]
    true = float(np.linalg.norm(places[0] - places[1]))
    if apart is not None:
        assert true == pytest.approx(apart, rel=0.01)
    with prepared(walk.folder, Wanted(distance=(*marks, 3 * true)), quiet) as ready:
        np.testing.assert_allclose(ready.capture.c2ws[:, :3, 3], 3 * walk.c2ws[:, :3, 3], atol=1e-6)
        assert ready.capture.provenance.units is Units.METRES
        np.testing.assert_allclose(np.array(ready.told["session_from_source"]), np.diag([3, 3, 3, 1.0]), atol=1e-9)


def test_a_pixel_without_depth_takes_that_of_a_feature_beside_it(walk):
    frames = [replace(frame, folder=frame.folder / "nowhere") for frame in walk.frames]
    point = np.array([0.3, 0.2, 3.0])
    u, v, _ = walk.frames[2].camera.project(point)
    place = place_of(Mark(frame=2, pixel=(float(u) + 3, float(v))), frames, point[None])
    assert np.linalg.norm(place - point) < 0.06
    with pytest.raises(ExportError, match="nothing is known"):
        place_of(Mark(frame=2, pixel=(5.0, 5.0)), frames, point[None])


def test_an_upright_world_stands_on_its_ground(walk, tmp_path):
    tilted = Capture(walk.folder)
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = Rotation.from_rotvec([0.4, 0.2, -0.5]).as_matrix(), [3, 4, 5]
    recapture.move(tilted, world)
    recapture.save(tilted, tmp_path / "tilted")
    with prepared(tmp_path / "tilted", Wanted(upright=True), quiet) as ready:
        up = -ready.capture.c2ws[:, :3, 1] @ UP
        true = -walk.c2ws[:, :3, 1] @ UP
        np.testing.assert_allclose(up, true, atol=0.01)
        np.testing.assert_allclose(ready.capture.c2ws[:, :3, 3] @ UP, 1 - walk.c2ws[:, 1, 3], atol=0.02)
        np.testing.assert_allclose(ready.capture.c2ws[0, [0, 2], 3], 0, atol=1e-9)
        moved = np.array(ready.told["session_from_source"])
        np.testing.assert_allclose(moved @ world @ walk.c2ws[5], ready.capture.c2ws[5], atol=1e-9)


@pytest.mark.parametrize("text", ["", "x", "1:2", "1:2,3,4", "1:nan,2"])
def test_a_mark_that_is_none_says_how_they_look(text):
    with pytest.raises(ValueError, match="FRAME:U,V"):
        parse_mark(text)
