"""The surface that splats show: against planes whose depth is known, and against every Gaussian at every pixel."""

import numpy as np
import pytest
from keepworld.camera import intrinsics
from keepworld.capture import Capture
from keepworld_exporters.rasterize.rasterizer import Pinhole
from keepworld_exporters.rasterize.surface_depth import surface_depth
from keepworld_exporters.scene import Splats
from keepworld_exporters.stages.sources import DepthMap, FoundDepth, SessionDepth
from keepworld_exporters.stages.splats import discs
from keepworld_exporters.train.hybrid import hybrid_depth

from tests import scenes
from tests.exporters import dense

WIDTH, HEIGHT = 61, 43
VIEW = Pinhole(viewmat=np.eye(4), K=intrinsics(WIDTH, HEIGHT, 1.1), width=WIDTH, height=HEIGHT)


def plane(normal, through, spacing=0.1):
    """Discs in a plane before the camera, a few pixels wide."""
    normal = np.array(normal) / np.linalg.norm(normal)
    a = np.cross(normal, [0, 1, 0])
    a /= np.linalg.norm(a)
    i, j = np.meshgrid(np.arange(-60, 61), np.arange(-60, 61))
    places = np.array(through) + spacing * (i.reshape(-1, 1) * a + j.reshape(-1, 1) * np.cross(normal, a))
    places = places[places[:, 2] > 0.5].astype(np.float32)
    normals = np.tile(normal.astype(np.float32), (len(places), 1))
    return discs(places, normals, np.zeros((len(places), 3), np.uint8), np.full(len(places), spacing))


def rays():
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    return np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(VIEW.K).T


@pytest.mark.parametrize("normal", [(0, 0, -1), (0.7, 0, -0.7), (0.2, -0.9, -0.4)])
def test_a_plane_of_discs_lies_where_it_lies_and_slopes_make_it_flat(normal):
    true = np.dot(normal, (0, 0.3, 3)) / (rays() @ np.array(normal))
    inner = (true > 1) & (true < 5)
    inner[:, :4] = inner[:, -4:] = False
    off = {
        sloped: np.abs(surface_depth(plane(normal, (0, 0.3, 3)), VIEW, sloped=sloped) - true)[inner] / true[inner]
        for sloped in (True, False)
    }
    if normal == (0, 0, -1):
        assert np.median(off[True]) < 0.001
    else:  # the low-pass filter makes small sheets a little steeper than they are drawn
        assert np.median(off[True]) < 0.25 * np.median(off[False]) < 0.015


def test_without_slopes_it_is_the_middle_of_the_gaussian_that_takes_half_the_light(rng):
    count = 60
    splats = Splats(
        means=rng.uniform([-1.5, -1, 1], [1.5, 1, 6], (count, 3)).astype(np.float32),
        quats=rng.normal(size=(count, 4)).astype(np.float32), scales=rng.uniform(0.1, 0.6, (count, 3)).astype(np.float32),
        opacities=rng.uniform(0.2, 0.9, count).astype(np.float32), sh0=np.zeros((count, 3), np.float32),
        shN=np.zeros((count, 0, 3), np.float32),
    )  # fmt: skip
    order = np.argsort(splats.means[:, 2], kind="stable")
    found = surface_depth(splats, VIEW, sloped=False)
    true = np.zeros_like(found)
    gone = np.zeros((HEIGHT, WIDTH))
    for many in range(1, count + 1):
        part = {k: getattr(splats, k)[order[:many]] for k in ("means", "quats", "scales", "opacities", "sh0", "shN")}
        _, alpha, _ = dense.render(**part, viewmat=np.eye(4), K=VIEW.K, width=WIDTH, height=HEIGHT)
        true[(alpha >= 0.5) & (gone < 0.5)] = splats.means[order[many - 1], 2]
        gone = alpha
    assert (np.abs(found - true) < 1e-4).mean() > 0.999


def test_splats_fill_what_nothing_else_knows_and_leave_the_rest(tmp_path):
    path = [scenes.look((0.12 * (k - 3), 0, 0), (0.06 * (k - 3), 0, 3)) for k in range(7)]
    wall = scenes.Solid((-5, -4, 3.0), (5, 4, 3.4), scenes.plain(90, 90, 90))
    frames = Capture(scenes.write(tmp_path / "walk", [wall], path, size=(WIDTH, HEIGHT)).folder).frames
    true = {frame.number: SessionDepth().of(frame).depth for frame in frames}
    maps = {}
    for number, depth in true.items():
        known = depth.copy()
        known[:, 20:40] = 0
        maps[number] = DepthMap(depth=known, confidence=None)
    splats = plane((0, 0, -1), (0, 0, 3.0))
    filled = hybrid_depth(frames, FoundDepth.of_maps(maps), splats, typical=3.0, on_view=lambda: None)
    for frame in frames:
        depth = filled.of(frame)
        np.testing.assert_array_equal(depth.depth[:, :20], true[frame.number][:, :20])
        hole = depth.depth[:, 20:40]
        assert (np.abs(hole - true[frame.number][:, 20:40]) < 0.02)[2:-2].mean() > 0.97
        assert depth.confidence[:, :20].min() == 1 and 0 < depth.confidence[20, 30] < 1
