"""Splats that lie in the surface: gradients against slopes, and a whole training that turns them."""

from dataclasses import replace

import numpy as np
import pytest
from keepworld.camera import intrinsics
from keepworld.capture import Capture
from keepworld_exporters.rasterize.cpu import CpuRasterizer
from keepworld_exporters.rasterize.rasterizer import Pinhole
from keepworld_exporters.rasterize.surface_depth import surface_depth
from keepworld_exporters.scene import Splats
from keepworld_exporters.stages.depth import load_view, plane_normals
from keepworld_exporters.stages.splats import discs
from keepworld_exporters.train import surfaces
from keepworld_exporters.train.settings import Settings
from keepworld_exporters.train.shots import Shot
from keepworld_exporters.train.start import splats_from_points
from keepworld_exporters.train.trainer import train

from tests import scenes
from tests.exporters import room

VIEW = Pinhole(viewmat=np.eye(4), K=intrinsics(48, 32, 1.0), width=48, height=32)


def loose(rng, count=40):
    return Splats(
        means=rng.uniform([-1, -0.7, 2], [1, 0.7, 4], (count, 3)).astype(np.float32),
        quats=rng.normal(size=(count, 4)).astype(np.float32), scales=rng.uniform(0.1, 0.5, (count, 3)).astype(np.float32),
        opacities=rng.uniform(0.3, 0.9, count).astype(np.float32), sh0=np.zeros((count, 3), np.float32),
        shN=np.zeros((count, 15, 3), np.float32),
    )  # fmt: skip


def off(splats, camera=VIEW):
    rasterizer = CpuRasterizer()
    # The depth that they show is not followed: it stays that of the first picture.
    return surfaces.turned(rasterizer, splats, camera, off.out)


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities"])
def test_gradients_are_the_slopes_of_the_disagreement(rng, name):
    splats = loose(rng)
    off.out = CpuRasterizer().draw(splats, VIEW, degree=0).out
    gradient = getattr(off(splats)[1], name).reshape(-1)
    values = getattr(splats, name)
    largest = np.argsort(-np.abs(gradient))[:20]
    slopes = []
    for at in largest:
        ends = []
        for step in (1e-3, -1e-3):
            moved = values.reshape(-1).copy()
            moved[at] += step
            ends.append(off(replace(splats, **{name: moved.reshape(values.shape)}))[0])
        slopes.append((ends[0] - ends[1]) / 2e-3)
    # float32 pictures: a slope is good to two percent or so, and splats leave and enter pixels at 1/255
    assert np.median(np.abs(slopes / gradient[largest] - 1)) < 0.02
    np.testing.assert_allclose(slopes, gradient[largest], atol=0.05 * np.abs(gradient).max())


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_discs_in_a_plane_agree_with_it_whichever_way_the_camera_looks(turn):
    """Nothing is left to turn, from any side, and discs turned away from their plane disagree by 1 - cos."""
    across, down = np.meshgrid(np.arange(-60, 61), np.arange(-60, 61))
    places = np.stack([0.05 * across.ravel(), 0.05 * down.ravel(), np.full(across.size, 3.0)], 1).astype(np.float32)
    normals = np.tile(np.float32([0, -np.sin(turn), -np.cos(turn)]), (len(places), 1))
    laid = discs(places, normals, np.zeros((len(places), 3), np.uint8), np.full(len(places), 0.05))
    camera = replace(VIEW, viewmat=np.linalg.inv(scenes.look((1.0, 0.3, 0.2), (0, 0, 3))))
    out = CpuRasterizer().draw(laid, camera, degree=0).out
    disagreement, _ = surfaces.turned(CpuRasterizer(), laid, camera, out)
    assert disagreement == pytest.approx(float(out[..., 3].mean()) * (1 - np.cos(turn)), abs=0.01)


def test_training_makes_them_thin_and_turns_them_to_the_surface(tmp_path):
    capture = Capture(scenes.write(tmp_path / "walk", [room.WALL, room.GROUND], room.sideways(8), size=(72, 54)).folder)
    views = [load_view(frame) for frame in capture.frames]
    rng = np.random.default_rng(0)
    places, colours = [], []
    for view in views[::3]:
        v, u = np.mgrid[0:54:3, 0:72:3]
        depth = view.depth[v, u]
        there = (depth > 0) & np.isfinite(depth)
        rays = np.stack([u + 0.5, v + 0.5, np.ones_like(u)], -1) @ np.linalg.inv(view.K).T
        c2w = np.linalg.inv(view.viewmat)
        places.append((rays * depth[..., None])[there] @ c2w[:3, :3].T + c2w[:3, 3])
        colours.append(view.image[v, u][there])
    points = np.concatenate(places)
    start = splats_from_points(
        (points + rng.normal(0, 0.03, points.shape)).astype(np.float32), np.concatenate(colours), most=1200
    )
    shots = [
        Shot(image=view.image, camera=Pinhole(viewmat=view.viewmat, K=view.K, width=72, height=54)) for view in views
    ]
    thin, tilt = {}, {}
    for flat in (False, True):
        settings = Settings(iterations=300, cap=1200, surfaces=flat, seed=1)
        splats = train(shots, start, settings, rasterizer=CpuRasterizer()).splats
        scales = np.sort(splats.scales, 1)
        thin[flat] = float(np.median(scales[:, 0] / scales[:, 1]))
        normals, smooth = plane_normals(surface_depth(splats, shots[4].camera), views[4].K)
        both = smooth & (views[4].trust > 0.5) & np.isfinite(views[4].depth) & (views[4].depth > 0)
        cosines = (normals * views[4].normals).sum(-1)[both]
        tilt[flat] = float(np.degrees(np.median(np.arccos(np.clip(cosines, -1, 1)))))
    assert thin[True] < 0.5 * thin[False]
    assert tilt[True] < 0.8 * tilt[False]
