"""The rasteriser's pictures and gradients against a dense float64 renderer that torch differentiates."""

import numba
import numpy as np
import pytest
from keepworld.camera import intrinsics
from keepworld_exporters.rasterize.cpu import CpuRasterizer
from keepworld_exporters.rasterize.rasterizer import Pinhole
from keepworld_exporters.scene import Splats

from tests import scenes
from tests.exporters import dense

torch = pytest.importorskip("torch")
from tests.exporters import dense_torch  # noqa: E402  it needs torch

WIDTH, HEIGHT = 45, 35  # no multiple of a tile
NAMES = ("means", "quats", "scales", "opacities", "sh0", "shN")


def cloud(rng, count, bands, antialiased=False):
    """Splats before, beside and behind the camera, from sharp ones to some that fill the picture."""
    return Splats(
        means=rng.uniform([-2, -1.5, -1], [2, 1.5, 6], (count, 3)).astype(np.float32),
        quats=rng.normal(size=(count, 4)).astype(np.float32),
        scales=np.exp(rng.uniform(-4, -1, (count, 3))).astype(np.float32),
        opacities=rng.uniform(0.02, 0.98, count).astype(np.float32),
        sh0=rng.normal(size=(count, 3)).astype(np.float32),
        shN=(0.3 * rng.normal(size=(count, bands, 3))).astype(np.float32),
        antialiased=antialiased,
    )


def camera():
    viewmat = np.linalg.inv(scenes.look((0.3, -0.2, -1.5), (0.1, 0.2, 2.0)))
    return Pinhole(viewmat=viewmat, K=intrinsics(WIDTH, HEIGHT, 1.2), width=WIDTH, height=HEIGHT)


def slow(splats, view):
    """The reference's picture, the pixels where it is sure, and its inputs, which hold their gradients after `backward`."""
    given = {name: torch.tensor(getattr(splats, name), dtype=torch.float64, requires_grad=True) for name in NAMES}
    given["viewmat"] = torch.tensor(view.viewmat, requires_grad=True)
    out, sure = dense_torch.render(
        **given, K=torch.tensor(view.K), width=WIDTH, height=HEIGHT, antialiased=splats.antialiased
    )
    return out, sure, given


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_picture_and_gradients_are_those_of_the_dense_reference(antialiased, degree, rng):
    splats, view = cloud(rng, 150, (0, 3, 8, 15)[degree], antialiased), camera()
    out, sure, given = slow(splats, view)
    assert sure.mean() > 0.95
    drawing = CpuRasterizer().draw(splats, view, degree=degree)
    error = np.abs(drawing.out - out.detach().numpy())[sure]
    assert error[:, :4].max() < 2e-6
    assert error[:, 4].max() < 1e-5  # depths reach 7 units
    wanted = (rng.normal(size=out.shape) * sure[..., None]).astype(np.float32)
    (out * torch.tensor(wanted)).sum().backward()
    gradients = drawing.pull(wanted)
    given["viewmat"].grad[3] = 0  # a camera's last row is always 0 0 0 1
    for name in (*NAMES[: 6 if degree else 5], "viewmat"):
        true = given[name].grad.numpy()
        assert np.linalg.norm(getattr(gradients, name) - true) < 1e-5 * np.linalg.norm(true), name


def test_the_torch_reference_draws_what_the_first_reference_draws(rng):
    splats, view = cloud(rng, 40, 15), camera()
    out, _, _ = slow(splats, view)
    image, alpha, depth = dense.render(
        splats.means,
        splats.quats,
        splats.scales,
        splats.opacities,
        splats.sh0,
        splats.shN,
        view.viewmat,
        view.K,
        WIDTH,
        HEIGHT,
    )
    first = np.concatenate([image, alpha[..., None], depth[..., None]], -1)
    np.testing.assert_allclose(out.detach().numpy(), first, atol=1e-12)


def test_gradients_are_the_same_bytes_on_one_thread_as_on_two(rng):
    splats, view = cloud(rng, 300, 15, antialiased=True), camera()
    wanted = rng.normal(size=(HEIGHT, WIDTH, 5)).astype(np.float32)
    threads = numba.get_num_threads()
    found = []
    for count in (threads, 1):
        numba.set_num_threads(count)
        drawing = CpuRasterizer().draw(splats, view, degree=3)
        gradients = drawing.pull(wanted)
        found.append([drawing.out.tobytes(), *(getattr(gradients, name).tobytes() for name in (*NAMES, "viewmat"))])
    numba.set_num_threads(threads)
    assert found[0] == found[1]


def test_splats_that_no_pixel_shows_have_no_gradient(rng):
    splats, view = cloud(rng, 200, 3), camera()
    drawing = CpuRasterizer().draw(splats, view, degree=1)
    gradients = drawing.pull(np.ones((HEIGHT, WIDTH, 5), np.float32))
    assert 0 < drawing.seen.sum() < 200
    for name in NAMES:
        assert not getattr(gradients, name)[~drawing.seen].any()


def test_harmonics_above_the_degree_asked_for_count_for_nothing(rng):
    splats, view = cloud(rng, 100, 15), camera()
    low = Splats(**{name: getattr(splats, name) for name in NAMES if name != "shN"}, shN=splats.shN[:, :3])
    full = CpuRasterizer().draw(splats, view, degree=1)
    assert full.out.tobytes() == CpuRasterizer().draw(low, view, degree=1).out.tobytes()
    assert not full.pull(np.ones_like(full.out)).shN[:, 3:].any()


def test_what_is_behind_moves_the_picture_by_the_light_that_is_left_for_it():
    """Two splats of opacity 0.9 that fill the picture: the nearer counts 0.9, the further 0.1 * 0.9."""
    splats = Splats(
        means=np.float32([[0, 0, 2], [0, 0, 1]]), quats=np.float32([[1, 0, 0, 0]] * 2),
        scales=np.full((2, 3), 50.0, np.float32), opacities=np.float32([0.9, 0.9]), sh0=np.zeros((2, 3), np.float32),
        shN=np.zeros((2, 0, 3), np.float32),
    )  # fmt: skip
    view = Pinhole(viewmat=np.eye(4), K=intrinsics(16, 16, 1.0), width=16, height=16)
    wanted = np.zeros((16, 16, 5), np.float32)
    wanted[8, 8, 0] = 1
    by_sh0 = CpuRasterizer().draw(splats, view, degree=0).pull(wanted).sh0[:, 0]
    np.testing.assert_allclose(by_sh0, 0.28209479 * np.array([0.1 * 0.9, 0.9]), rtol=1e-4)


@pytest.mark.parametrize("antialiased", [False, True])
def test_gsplats_own_formulas_in_torch_draw_and_pull_alike(antialiased, rng):
    """Its projection, harmonics and tiles, in float32: the picture to where a threshold falls, gradients to its rounding."""
    gsplat_torch = pytest.importorskip("keepworld_exporters.rasterize.gsplat_torch", exc_type=ImportError)
    splats, view = cloud(rng, 150, 15, antialiased), camera()
    ours, theirs = (
        maker.draw(splats, view, degree=3) for maker in (CpuRasterizer(), gsplat_torch.GsplatTorchRasterizer())
    )
    error = np.abs(ours.out - theirs.out)
    assert (error < 2e-5).mean() > 0.995
    wanted = rng.normal(size=error.shape).astype(np.float32) * (error.max(2, keepdims=True) < 2e-5)
    ours, theirs = ours.pull(wanted), theirs.pull(wanted)
    for name in NAMES:
        true = getattr(theirs, name)
        assert np.linalg.norm(getattr(ours, name) - true) < 1e-3 * np.linalg.norm(true), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("antialiased", [False, True])
def test_gsplat_on_cuda_and_the_cpu_draw_and_pull_alike(antialiased, rng):
    gsplat_cuda = pytest.importorskip("keepworld_exporters.rasterize.gsplat_cuda", exc_type=ImportError)
    splats, view = cloud(rng, 150, 15, antialiased), camera()
    drawings = [maker.draw(splats, view, degree=3) for maker in (CpuRasterizer(), gsplat_cuda.GsplatRasterizer())]
    error = np.abs(drawings[0].out - drawings[1].out)
    assert (error < 1e-4).mean() > 0.99  # a Gaussian here or there falls on the other side of a threshold
    wanted = rng.normal(size=error.shape).astype(np.float32)
    ours, theirs = (drawing.pull(wanted) for drawing in drawings)
    for name in NAMES:
        true = getattr(theirs, name)
        assert np.linalg.norm(getattr(ours, name) - true) < 0.02 * np.linalg.norm(true), name
