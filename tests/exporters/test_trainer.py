"""Training: the loss against its formula, Adam against its paper, and laws of whole trainings of a small known scene."""

import itertools
from dataclasses import replace

import numba
import numpy as np
import pytest
from keepworld.camera import intrinsics
from keepworld.errors import ExportError
from keepworld_exporters.rasterize.cpu import CpuRasterizer, render_splats
from keepworld_exporters.rasterize.rasterizer import Pinhole
from keepworld_exporters.scene import Splats
from keepworld_exporters.stages.splats import discs
from keepworld_exporters.train import mcmc
from keepworld_exporters.train.loss import compare, photo
from keepworld_exporters.train.parameters import adam, opacity, parameters
from keepworld_exporters.train.settings import Settings
from keepworld_exporters.train.shots import KEPT_BYTES, Gallery, Shot
from keepworld_exporters.train.start import splats_from_points
from keepworld_exporters.train.state import begin, load, save
from keepworld_exporters.train.tidy import tidy
from keepworld_exporters.train.trainer import train
from PIL import Image
from scipy.signal import convolve2d
from scipy.spatial.transform import Rotation

from tests import scenes

WIDTH, HEIGHT = 48, 32


def camera(angle, unit=1.0):
    eye = unit * np.array([3 * np.sin(angle), -0.5, -3 * np.cos(angle)])
    viewmat = np.linalg.inv(scenes.look(eye, (0, 0, 0)))
    return Pinhole(viewmat=viewmat, K=intrinsics(WIDTH, HEIGHT, 1.0), width=WIDTH, height=HEIGHT)


@pytest.fixture(autouse=True)
def one_thread():
    """Pictures this small gain nothing from a second thread."""
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(threads)


@pytest.fixture(scope="module")
def balls():
    """Sixty soft balls of many colours."""
    rng = np.random.default_rng(5)
    return Splats(
        means=rng.uniform(-1, 1, (60, 3)).astype(np.float32), quats=np.tile(np.float32([1, 0, 0, 0]), (60, 1)),
        scales=np.full((60, 3), 0.15, np.float32), opacities=np.full(60, 0.8, np.float32),
        sh0=rng.normal(size=(60, 3)).astype(np.float32), shN=np.zeros((60, 0, 3), np.float32),
    )  # fmt: skip


def picture(splats, view):
    return np.clip(render_splats(splats, view.viewmat, view.K, WIDTH, HEIGHT).image, 0, 1)


def shots(balls, unit=1.0, gain=lambda number: 1.0):
    """Pictures of the balls from ten sides, those of a scene in other units being the same."""
    made = []
    for number, angle in enumerate(np.linspace(-0.8, 0.8, 10)):
        image = np.round(255 * np.clip(gain(number) * picture(balls, camera(angle)), 0, 1)).astype(np.uint8)
        made.append(Shot(image=image, camera=camera(angle, unit)))
    return made


def rough_start(balls, unit=1.0):
    """The balls' places and colours, all of them a little off, and nothing else of them."""
    rng = np.random.default_rng(6)
    places = unit * (balls.means + rng.normal(0, 0.05, balls.means.shape))
    colours = 255 * (0.5 + 0.282 * balls.sh0) + rng.normal(0, 30, balls.sh0.shape)
    return splats_from_points(places.astype(np.float32), np.clip(colours, 0, 255).astype(np.uint8), most=60)


def psnr(splats, balls, angle, unit=1.0):
    error = picture(splats, camera(angle, unit)) - picture(balls, camera(angle))
    return -10 * np.log10((error**2).mean())


def short(**changes):
    # The balls hang before nothing: their pictures are not opaque.
    return Settings(**({"iterations": 150, "cap": 90, "speed": 5.0, "seed": 3, "opaque": False} | changes))


def same(a, b):
    return all(
        getattr(a, k).tobytes() == getattr(b, k).tobytes()
        for k in ("means", "quats", "scales", "opacities", "sh0", "shN")
    )


def test_the_loss_is_its_formula_and_the_gradient_its_slope(rng):
    window = np.outer(*[np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)] * 2)
    window /= window.sum()

    def slow(x, y):
        total = 0.0
        for k in range(3):
            a, b = x[..., k], y[..., k]
            mean = [convolve2d(c, window, mode="same") for c in (a, b, a * a, b * b, a * b)]
            var_a, var_b, cov = mean[2] - mean[0] ** 2, mean[3] - mean[1] ** 2, mean[4] - mean[0] * mean[1]
            top = (2 * mean[0] * mean[1] + 1e-4) * (2 * cov + 9e-4)
            total += (top / ((mean[0] ** 2 + mean[1] ** 2 + 1e-4) * (var_a + var_b + 9e-4))).mean() / 3
        return 0.8 * np.abs(x - y).mean() + 0.2 * (1 - total)

    truth = rng.integers(0, 256, (19, 23, 3)).astype(np.uint8)
    image = np.clip(truth / 255 + rng.normal(0, 0.1, truth.shape), 0, 1).astype(np.float32)
    score = compare(image, photo(truth))
    assert score.loss == pytest.approx(slow(image.astype(float), truth / 255), rel=1e-5)
    for v, u, k in itertools.product((0, 9, 18), (0, 4, 22), (0, 2)):
        up, down = image.astype(float), image.astype(float)
        up[v, u, k] += 1e-5
        down[v, u, k] -= 1e-5
        slope = (slow(up, truth / 255) - slow(down, truth / 255)) / 2e-5
        assert score.gradient[v, u, k] == pytest.approx(slope, rel=2e-3, abs=1e-7)


def test_what_the_mask_leaves_out_changes_nothing(rng):
    truth = rng.integers(0, 256, (16, 20, 3)).astype(np.uint8)
    image = rng.random((16, 20, 3)).astype(np.float32)
    mask = np.ones((16, 20), bool)
    mask[:, 12:] = False
    score = compare(image, photo(truth, mask))
    image[:, 12:] = rng.random((16, 8, 3))
    other = compare(image, photo(truth, mask))
    assert score.loss == other.loss
    assert not score.gradient[:, 12:].any() and score.gradient[:, :12].any()


def test_adam_takes_the_papers_steps_where_something_was_seen_and_rests_elsewhere(rng):
    values, first, second = rng.normal(size=(3, 2)).astype(np.float32), *np.zeros((2, 3, 2), np.float32)
    x, m, v = values.astype(float), np.zeros((3, 2)), np.zeros((3, 2))
    for step in range(1, 6):
        gradient = rng.normal(size=(3, 2)).astype(np.float32)
        adam(values, gradient, first, second, np.array([0, 2]), 2, 0.1, step)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        change = 0.1 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-15)
        change[1] = 0
        x -= change
    np.testing.assert_allclose(values, x, rtol=1e-4)
    assert not first[1].any() and not second[1].any()


def test_a_splat_and_its_copies_let_through_the_light_that_it_alone_did(rng):
    """One living splat takes in two dead ones: three of opacity o' cover 1 - (1 - o')^3 = o."""
    start = Splats(
        means=np.float32([[0, 0, 0], [9, 9, 9], [8, 8, 8]]), quats=np.float32([[1, 0, 0, 0]] * 3),
        scales=np.full((3, 3), 0.2, np.float32), opacities=np.float32([0.7, 0.001, 0.001]),
        sh0=np.float32([[1, 0, 0], [0, 0, 0], [0, 0, 0]]), shN=np.zeros((3, 0, 3), np.float32),
    )  # fmt: skip
    state = begin(parameters(start), np.ones(3, bool), [np.eye(4)])
    assert mcmc.relocate(state.values, (state.first, state.second), state.free, rng) == 2
    after = opacity(state.values.logits[:, 0]).astype(float)
    np.testing.assert_allclose(1 - (1 - after) ** 3, 0.7, rtol=1e-5)
    assert not state.values.means.any()
    before, view = picture(start, camera(0)), camera(0)
    assert np.abs(picture(state.values.splats(antialiased=False), view) - before).max() < 0.05


def test_training_finds_the_scene_and_an_unseen_view_of_it(balls):
    start, told = rough_start(balls), []
    trained = train(shots(balls), start, short(iterations=1500), rasterizer=CpuRasterizer(), on_step=told.append)
    assert trained.whole and len(told) == 1500
    assert psnr(start, balls, 0.3) < 18
    assert psnr(trained.splats, balls, 0.3) > 25
    assert told[-1].psnr > told[20].psnr + 5
    assert 60 < max(step.splats for step in told) <= 90
    assert told[-1].left_s == 0 and [step.share for step in told] == sorted(step.share for step in told)


def test_a_training_that_was_stopped_and_went_on_is_one_that_was_not(balls, tmp_path):
    given = (shots(balls), rough_start(balls), short(exposure=True))
    whole = train(*given, rasterizer=CpuRasterizer())
    file, asked = tmp_path / "training.npz", itertools.count()
    part = train(*given, rasterizer=CpuRasterizer(), checkpoint=file, cancelled=lambda: next(asked) >= 120)
    assert not part.whole and part.last.iteration == 120 and file.exists()
    rest = train(*given, rasterizer=CpuRasterizer(), checkpoint=file)
    assert rest.whole and not file.exists()
    assert same(rest.splats, whole.splats)
    assert rest.last.psnr == whole.last.psnr


def test_a_checkpoint_of_another_training_is_not_gone_on_from(balls, tmp_path):
    file, asked = tmp_path / "training.npz", itertools.count()
    given = (shots(balls), rough_start(balls))
    train(*given, short(), rasterizer=CpuRasterizer(), checkpoint=file, cancelled=lambda: next(asked) >= 30)
    other = train(*given, short(seed=4, iterations=20), rasterizer=CpuRasterizer(), checkpoint=file)
    assert same(other.splats, train(*given, short(seed=4, iterations=20), rasterizer=CpuRasterizer()).splats)


@pytest.mark.parametrize(
    "harm", [lambda data: data[: len(data) // 2], lambda data: data.replace(b"(60, 3)", b"(99, 3)")]
)
def test_a_damaged_checkpoint_is_refused_by_its_name(balls, tmp_path, harm):
    file, asked = tmp_path / "training.npz", itertools.count()
    given = (shots(balls), rough_start(balls), short())
    train(*given, rasterizer=CpuRasterizer(), checkpoint=file, cancelled=lambda: next(asked) >= 3)
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(ExportError, match=r"training\.npz is no training that can go on"):
        train(*given, rasterizer=CpuRasterizer(), checkpoint=file)


def test_a_checkpoint_that_lies_about_its_counts_is_refused(balls, tmp_path):
    file, state = tmp_path / "training.npz", begin(parameters(balls), np.ones(60, bool), [np.eye(4)] * 10)
    state.spent_s = float("nan")
    save(file, state, "key")
    with pytest.raises(ExportError, match="counts must be finite"):
        load(file, "key", 10)


def test_a_training_whose_listener_ends_it_can_be_gone_on_with(balls, tmp_path):
    given = (shots(balls), rough_start(balls), short(refine_poses=True))
    whole = train(*given, rasterizer=CpuRasterizer())

    def interrupt(step):
        if step.iteration == 97:
            raise KeyboardInterrupt

    file = tmp_path / "training.npz"
    with pytest.raises(KeyboardInterrupt):
        train(*given, rasterizer=CpuRasterizer(), checkpoint=file, on_step=interrupt)
    told = []
    rest = train(*given, rasterizer=CpuRasterizer(), checkpoint=file, on_step=told.append)
    assert told[0].iteration == 98 and same(rest.splats, whole.splats)
    assert rest.viewmats.tobytes() == whole.viewmats.tobytes()


def test_cameras_that_are_off_are_moved_back(balls, rng):
    """Each camera is turned by about a degree and moved by 1 % of its distance; then they see things where they did."""
    true = shots(balls)
    off = []
    for shot in true:
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_rotvec(rng.normal(0, 0.012, 3)).as_matrix()
        turn[:3, 3] = rng.normal(0, 0.03, 3)
        off.append(replace(shot, camera=replace(shot.camera, viewmat=turn @ shot.camera.viewmat)))

    def miss(viewmats):
        """By how many pixels what the cameras see is displaced, once a motion of the whole scene is taken out."""
        found, centre = [], balls.means.astype(np.float64)
        centres = [np.linalg.inv(v)[:3, 3] for v in viewmats]
        wanted = [np.linalg.inv(shot.camera.viewmat)[:3, 3] for shot in true]
        R, _ = Rotation.align_vectors(np.array(centres) - np.mean(centres, 0), np.array(wanted) - np.mean(wanted, 0))
        moved = (centre - np.mean(wanted, 0)) @ R.as_matrix().T + np.mean(centres, 0)
        for viewmat, shot in zip(viewmats, true, strict=True):
            pair = []
            for points, V in ((moved, viewmat), (centre, shot.camera.viewmat)):
                seen = (points @ V[:3, :3].T + V[:3, 3]) @ shot.camera.K.T
                pair.append(seen[:, :2] / seen[:, 2:])
            found.append(np.linalg.norm(pair[0] - pair[1], axis=1).mean())
        return np.mean(found)

    trained = train(off, rough_start(balls), short(iterations=600, refine_poses=True), rasterizer=CpuRasterizer())
    kept = train(off, rough_start(balls), short(iterations=600), rasterizer=CpuRasterizer())
    np.testing.assert_array_equal(kept.viewmats, [shot.camera.viewmat for shot in off])
    assert miss(trained.viewmats) < 0.5 * miss(kept.viewmats)
    assert trained.last.psnr > kept.last.psnr + 1


def test_a_training_ends_when_its_frames_look_as_they_should(balls):
    aim = 22.0
    trained = train(
        shots(balls), rough_start(balls), short(iterations=1500, target_psnr=aim), rasterizer=CpuRasterizer()
    )
    assert trained.whole and 10 <= trained.last.iteration < 1500 and trained.last.psnr >= aim


@pytest.mark.parametrize("name", ["now.png", "now.jpg"])
def test_a_training_can_be_watched(balls, tmp_path, name):
    ticks = itertools.count()
    trained = train(
        shots(balls), rough_start(balls), short(iterations=30), rasterizer=CpuRasterizer(), watch=tmp_path / name,
        clock=lambda: float(next(ticks)),
    )  # fmt: skip
    with Image.open(tmp_path / name) as picture_file:
        assert picture_file.size == (2 * WIDTH, HEIGHT)
        left, right = np.split(np.asarray(picture_file.convert("RGB")), 2, axis=1)
    assert np.abs(right.astype(int) - shots(balls)[0].image).mean() < 6
    assert np.abs(left / 255 - picture(trained.splats, camera(-0.8))).mean() < 0.03
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_scene_in_other_units_trains_as_well(balls):
    found = []
    for unit in (1.0, 50.0):
        trained = train(shots(balls, unit), rough_start(balls, unit), short(), rasterizer=CpuRasterizer())
        found.append(psnr(trained.splats, balls, 0.3, unit))
    assert found[0] > 20.5
    assert found[1] == pytest.approx(found[0], abs=1)


def test_a_time_budget_paces_the_training_and_ends_it(balls):
    ticks, told = itertools.count(), []
    trained = train(
        shots(balls), rough_start(balls), short(iterations=None, budget_s=200.0), rasterizer=CpuRasterizer(),
        on_step=told.append, clock=lambda: float(next(ticks)),
    )  # fmt: skip
    assert trained.whole and 50 < trained.last.iteration <= 200
    assert told[len(told) // 2].share == pytest.approx(0.5, abs=0.05)
    assert told[len(told) // 2].left_s == pytest.approx(100, rel=0.1)


def test_a_sky_keeps_its_place_and_learns_its_colour(balls):
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    shell = np.stack([20 * np.sin(angles), 8 * np.sin(5 * angles), 20 * np.cos(angles)], 1).astype(np.float32)
    far = replace(
        splats_from_points(shell, np.full((200, 3), 60, np.uint8), most=200), opacities=np.full(200, 0.9, np.float32)
    )
    blue = [replace(shot, image=np.maximum(shot.image, np.uint8([0, 0, 150]))) for shot in shots(balls)]
    trained = train(blue, rough_start(balls), short(), rasterizer=CpuRasterizer(), far=far)
    places = {tuple(place) for place in trained.splats.means}
    assert places >= {tuple(place) for place in far.means}
    rows = [i for i, place in enumerate(trained.splats.means) if tuple(place) in {tuple(p) for p in far.means}]
    assert 60 < len(trained.splats.means) - len(rows) <= 90
    assert trained.splats.sh0[rows, 2].mean() > far.sh0[:, 2].mean() + 0.05


def test_what_is_dark_is_not_left_transparent():
    """A wall of dark and of bright tiles fills every picture: none of it lets a bright sky through."""
    rng = np.random.default_rng(9)
    across, down = np.meshgrid(np.linspace(-4, 4, 33), np.linspace(-3, 3, 25))
    places = np.stack([across.ravel(), down.ravel(), np.full(across.size, 0.5)], 1).astype(np.float32)
    colours = np.where(rng.random((len(places), 1)) < 0.5, 15, 200) + rng.integers(-10, 10, (len(places), 3))
    colours = np.clip(colours, 0, 255).astype(np.uint8)
    normals = np.tile(np.float32([0, 0, -1]), (len(places), 1))
    wall = discs(places, normals, colours, np.full(len(places), 0.2))
    wall = replace(wall, opacities=np.full(len(places), 0.999, np.float32))
    views = [camera(angle) for angle in np.linspace(-0.3, 0.3, 7)]
    given = [Shot(image=np.round(255 * picture(wall, view)).astype(np.uint8), camera=view) for view in views]
    assert min(render_splats(wall, v.viewmat, v.K, WIDTH, HEIGHT).alpha.min() for v in views) > 0.99
    start = splats_from_points(places, colours, most=len(places))
    through = {}
    for opaque in (True, False):
        settings = short(iterations=300, cap=len(places), opaque=opaque, opacity_cost=0.1)
        splats = train(given, start, settings, rasterizer=CpuRasterizer()).splats
        seen = render_splats(splats, views[3].viewmat, views[3].K, WIDTH, HEIGHT)
        through[opaque] = float((1 - seen.alpha)[given[3].image.mean(2) < 40].mean())
    assert through[True] < 0.01
    assert through[False] > 2 * through[True]


def test_photographs_are_kept_while_there_is_room(balls, monkeypatch):
    one = photo(shots(balls)[0].image).nbytes
    assert one == 40 * WIDTH * HEIGHT < KEPT_BYTES
    monkeypatch.setattr("keepworld_exporters.train.shots.KEPT_BYTES", 2 * one)
    gallery = Gallery(shots(balls))
    assert [gallery.look(k)[1] is gallery.look(k)[1] for k in range(4)] == [True, True, False, False]
    np.testing.assert_array_equal(gallery.look(3)[1].image, photo(shots(balls)[3].image).image)


def test_frames_of_changing_brightness_are_told_apart_from_the_scene(balls):
    flicker = shots(balls, gain=lambda number: 0.8 if number % 2 else 1.0)
    found = {}
    for exposure in (False, True):
        settings = short(iterations=1200, exposure=exposure)
        found[exposure] = train(flicker, rough_start(balls), settings, rasterizer=CpuRasterizer()).last.psnr
    assert found[True] > found[False] + 1


def test_what_floats_far_out_and_what_is_too_faint_are_left_out(balls):
    more = splats_from_points(np.float32([[0, 0, 900], [0, 0, 0]]), np.zeros((2, 3), np.uint8), most=2)
    values = parameters(balls).joined(parameters(replace(more, opacities=np.float32([0.9, 0.001]))))
    kept = tidy(values.splats(antialiased=True), np.ones(62, bool), begun=balls.means)
    np.testing.assert_array_equal(kept.means, balls.means)


def test_what_was_far_out_from_the_beginning_stays(balls):
    """Hills on the horizon, hundreds of times as far as most of the scene."""
    hill = replace(splats_from_points(np.float32([[0, 0, 900]]), np.zeros((1, 3), np.uint8), most=1))
    values = parameters(balls).joined(parameters(hill))
    splats = values.splats(antialiased=True)
    assert len(tidy(splats, np.ones(61, bool), begun=splats.means).means) == 61


@pytest.mark.parametrize(
    ("wrong", "name"),
    [({"iterations": 0}, "iterations"), ({"iterations": None}, "budget_s"), ({"cap": 0}, "cap"), ({"speed": 0.0}, "speed"),
     ({"budget_s": float("nan")}, "budget_s"), ({"target_psnr": -1.0}, "target_psnr")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_by_name(wrong, name):
    with pytest.raises(ValueError, match=name):
        Settings(**wrong)


def test_nothing_grows_from_splats_that_are_all_dead(balls, rng):
    values = parameters(replace(balls, opacities=np.full(60, 0.001, np.float32)))
    assert len(mcmc.grown(values, 5, np.ones(60, bool), rng)) == 0
