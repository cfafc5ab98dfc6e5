"""The fox: 50 real photos with cameras, for those who have them (found through KEEPWORLD_SHARED)."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keepworld_exporters.rasterize.rasterizer import Pinhole
from keepworld_exporters.stages.sweep import Picture, sweep
from PIL import Image

SHARED = Path(os.environ.get("KEEPWORLD_SHARED", Path(__file__).parents[3] / "shared"))
FOLDER = SHARED / "data" / "fox"
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL's camera axes to OpenCV's


@dataclass(frozen=True, kw_only=True)
class Shot:
    name: str
    image: np.ndarray
    camera: Pinhole


def load(reduce):
    """The photos to train on and the seven held out, reduced by a whole factor with an area filter."""
    about = json.loads((FOLDER / "transforms.json").read_text())
    K = np.array([[about["fl_x"], 0, about["cx"]], [0, about["fl_y"], about["cy"]], [0, 0, reduce]]) / reduce
    width, height = about["w"] // reduce, about["h"] // reduce
    shots = []
    for frame in sorted(about["frames"], key=lambda frame: frame["file_path"]):
        with Image.open(FOLDER / frame["file_path"]) as picture:
            image = np.asarray(picture.convert("RGB").reduce(reduce))
        viewmat = np.linalg.inv(np.array(frame["transform_matrix"]) @ FLIP)
        camera = Pinhole(viewmat=viewmat, K=K, width=width, height=height)
        shots.append(Shot(name=Path(frame["file_path"]).name, image=image, camera=camera))
    return [shot for i, shot in enumerate(shots) if i % 8], shots[::8]


def dense_points(shots, planes=96, neighbours=4, near=1.2, far=30.0):
    """Points on which neighbouring photos agree: positions [N, 3] and colours [N, 3], from plane sweeps."""
    centres = np.array([np.linalg.inv(shot.camera.viewmat)[:3, 3] for shot in shots])
    axes = np.array([shot.camera.viewmat[2, :3] for shot in shots])
    pictures = [
        Picture(grey=(s.image @ [0.299, 0.587, 0.114] / 255).astype(np.float32), viewmat=s.camera.viewmat, K=s.camera.K)
        for s in shots
    ]
    inverse_depths = np.linspace(1 / far, 1 / near, planes)
    beside, depths = [], []
    for k in range(len(shots)):
        apart = np.linalg.norm(centres - centres[k], axis=1) / 4 + 2 * np.arccos(np.clip(axes @ axes[k], -1, 1))
        apart[np.linalg.norm(centres - centres[k], axis=1) < 0.15] = np.inf
        beside.append(np.argsort(apart)[:neighbours])
        found = sweep(pictures[k], [pictures[n] for n in beside[k]], inverse_depths)
        depths.append(np.where(found.agreement > 0.5, 1 / np.maximum(found.inverse, 1e-6), 0))
    positions, colours = [], []
    for k, shot in enumerate(shots):
        height, width = depths[k].shape
        v, u = np.mgrid[0:height, 0:width] + 0.5
        rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(shot.camera.K).T
        c2w = np.linalg.inv(shot.camera.viewmat)
        world = (rays * depths[k][..., None]) @ c2w[:3, :3].T + c2w[:3, 3]
        agree = np.zeros((height, width), int)
        for n in beside[k]:
            seen = world @ shots[n].camera.viewmat[:3, :3].T + shots[n].camera.viewmat[:3, 3]
            z = np.maximum(seen[..., 2], 1e-6)
            column = np.floor(seen[..., 0] / z * shot.camera.K[0, 0] + shot.camera.K[0, 2]).astype(int)
            row = np.floor(seen[..., 1] / z * shot.camera.K[1, 1] + shot.camera.K[1, 2]).astype(int)
            inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
            other = np.where(inside, depths[n][np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)], 0)
            agree += np.abs(other / z - 1) < 0.02
        keep = (depths[k] > 0) & (agree >= 2)
        positions.append(world[keep])
        colours.append(shot.image[keep])
    return np.concatenate(positions).astype(np.float32), np.concatenate(colours)
