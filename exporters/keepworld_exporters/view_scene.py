"""What is looked at: scenes and walks in one frame of reference, drawn on the CPU or written for the viewer's page."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from keepworld.camera import Camera, convert_c2w, intrinsics
from keepworld.capture import Capture
from keepworld.errors import ExportError
from keepworld.files import write_atomically
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from keepworld_exporters import formats
from keepworld_exporters.convert import read_scene
from keepworld_exporters.convert_path import read_path
from keepworld_exporters.formats.paths import PATHS, path_suffix
from keepworld_exporters.pictures import draw, overlook
from keepworld_exporters.scene import Mesh, Points, Scene, Shot, Splats
from keepworld_exporters.stages.select import evenly

BACKGROUND = np.array([24, 27, 33], np.uint8)
_PATH_COLOUR, _CAMERA_COLOUR = (255, 176, 64), (120, 190, 255)
_CLOUD_FRAMES, _CLOUD_STRIDE = 24, 3
_MAX_CAMERAS = 2000  # on the page
_WEB: Mapping[type, tuple[str, str]] = MappingProxyType(
    {Splats: ("splats", ".spz"), Mesh: ("mesh", ".glb"), Points: ("points", ".points.ply")}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A file to look at: a scene, cameras, or for a capture both; in the session's frame."""

    name: str
    scene: Scene | None
    shots: tuple[Shot, ...] = ()


def load(path: Path) -> Shown:
    """Read a scene's file, a file or model of cameras, or a capture.

    Raises:
        ExportError: it is none, or damaged.
        OSError: it cannot be read.
    """
    if not path.exists():
        raise ExportError(f"there is no {path}")
    if path.is_dir() or path_suffix(path.name) in PATHS:
        try:
            views = read_path(path)
        except FileNotFoundError as error:
            raise ExportError(
                f"{path} holds no cameras: it is no capture, no COLMAP model, and has no transforms.json"
            ) from error
        is_capture = (path / "capture.json").is_file()
        scene = cloud(Capture(path)) if is_capture else views.points
        return Shown(name=path.name, scene=scene, shots=views.shots)
    return Shown(name=path.name, scene=read_scene(path))


def cloud(capture: Capture) -> Points | None:
    """The points that some of a capture's frames saw, a few pixels apart; None if they have no depth."""
    places, colours = [], []
    for frame in evenly(capture.frames, _CLOUD_FRAMES):
        depth = frame.depth()
        if depth is None:
            continue
        chosen = np.zeros(depth.shape, np.bool_)
        chosen[::_CLOUD_STRIDE, ::_CLOUD_STRIDE] = True
        chosen &= frame.lasting() & (depth > 0)
        places.append(frame.camera.unproject(depth)[chosen].astype(np.float32))
        colours.append(frame.image()[chosen])
    if not places:
        return None
    positions = np.concatenate(places)
    return Points(
        positions=positions,
        normals=np.broadcast_to(np.array([0, -1, 0], np.float32), positions.shape),
        colours=np.concatenate(colours),
        confidence=np.ones(len(positions), np.uint16),
    )


# A picture


def render(shown: Sequence[Shown], size: tuple[int, int], through: int | None) -> bytes:
    """Draw each from one camera, side by side, with the walk's path over it: a PNG file.

    Args:
        shown: what.
        size: width and height of each picture.
        through: which of the walk's cameras to look through; None: from above.

    Raises:
        ValueError: there is no such camera.
    """
    shots = [shot for each in shown for shot in each.shots]
    camera = _through(shots, through, size) if through is not None else _overlook(shown, *size)
    panels = [each for each in shown if each.scene is not None] or list(shown[:1])
    sheet = Image.new("RGB", (size[0] * len(panels), size[1]))
    for column, panel in enumerate(panels):
        picture = Image.fromarray(_draw(panel.scene, camera))
        if through is None:
            _draw_path(picture, camera, [shot.camera for shot in shots])
        sheet.paste(picture, (column * size[0], 0))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def _draw(scene: Scene | None, camera: Camera) -> NDArray[np.uint8]:
    if scene is None:
        return np.broadcast_to(BACKGROUND, (camera.height, camera.width, 3)).copy()
    return draw(scene, camera, background=BACKGROUND)


def _through(shots: Sequence[Shot], number: int, size: tuple[int, int]) -> Camera:
    if not 0 <= number < len(shots):
        raise ValueError(f"--camera must be one of the {len(shots)} cameras among the files, got {number}")
    camera, (width, height) = shots[number].camera, size
    zoom = min(width / camera.width, height / camera.height)
    K = camera.K.copy()
    K[:2] *= zoom
    K[:2, 2] += (0.5 * (width - zoom * camera.width), 0.5 * (height - zoom * camera.height))
    return Camera(c2w=camera.c2w, K=K, width=width, height=height)


def _overlook(shown: Sequence[Shown], width: int, height: int) -> Camera:
    """A camera above everything: most of the scene, and the walk through it."""
    cameras = [shot.camera for each in shown for shot in each.shots]
    places = _places(shown)
    ahead = cameras[0].c2w[:3, 2] if cameras else np.array([0.0, 0.0, 1.0])
    if cameras:
        centres = np.array([camera.centre for camera in cameras])
        times = -(-len(places) // (3 * len(centres)))  # a quarter of all: no quantile leaves them out
        places = np.concatenate([places, np.repeat(centres, times, axis=0)])
    return overlook(places, ahead, width=width, height=height)


def _places(shown: Sequence[Shown]) -> NDArray[np.float64]:
    """Points [N, 3] of everything there is."""
    found: list[NDArray[np.floating]] = []
    for each in shown:
        match each.scene:
            case Mesh():
                found.append(each.scene.vertices)
            case Points():
                found.append(each.scene.positions)
            case Splats():
                found.append(each.scene.means)
        centres = np.array([shot.camera.centre for shot in each.shots]).reshape(-1, 3)
        if each.scene is None and len(centres):  # a lone path: with some room around it
            room = max(0.25 * float(np.ptp(centres, axis=0).max()), 0.5)
            found.append((centres[:, None] + room * np.array([[-1, -1, -1], [1, 1, 1]])).reshape(-1, 3))
    places = np.concatenate([np.asarray(part, np.float64) for part in found]) if found else np.empty((0, 3))
    places = places[np.isfinite(places).all(1)]
    if not len(places):
        raise ExportError("there is nothing in it to look at")
    return places


def _draw_path(picture: Image.Image, view: Camera, cameras: Sequence[Camera]) -> None:
    pen = ImageDraw.Draw(picture)
    _draw_lines(pen, view, np.array([camera.centre for camera in cameras]).reshape(-1, 3), _PATH_COLOUR, width=3)
    for camera in cameras[:: max(1, len(cameras) // 12)]:
        corners = _frustum(camera, 0.04 * float(np.linalg.norm(view.centre - camera.centre)))
        for corner in range(1, 5):
            _draw_lines(pen, view, corners[[0, corner]], _CAMERA_COLOUR, width=1)
        _draw_lines(pen, view, corners[[1, 2, 3, 4, 1]], _CAMERA_COLOUR, width=1)


def _frustum(camera: Camera, length: float) -> NDArray[np.float64]:
    """The centre of a camera and the four corners of its picture at a depth, [5, 3] world."""
    width, height = camera.width, camera.height
    pixels = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], np.float64)
    corners = pixels @ np.linalg.inv(camera.K).T * length @ camera.c2w[:3, :3].T + camera.centre
    return np.concatenate([camera.centre[None], corners])


def _draw_lines(
    pen: ImageDraw.ImageDraw, view: Camera, places: NDArray[np.float64], colour: tuple[int, int, int], *, width: int
) -> None:
    seen = places @ view.viewmat[:3, :3].T + view.viewmat[:3, 3]
    for one, other in itertools.pairwise(seen):
        if one[2] > 0.05 and other[2] > 0.05:
            ends = [tuple((view.K @ end / end[2])[:2]) for end in (one, other)]
            pen.line(ends, fill=colour, width=width)


# The viewer's page


def prepare(shown: Sequence[Shown], folder: Path) -> dict[str, object]:
    """Write what the page loads into a folder: a file for each, in three.js's axes, and `index.json`, which this gives.

    Splats become SPZ, whatever they were: a tenth of the bytes, and what is lost is not seen.
    """
    folder.mkdir(parents=True, exist_ok=True)
    items: list[dict[str, object]] = []
    has_scene = any(each.scene is not None and not each.shots for each in shown)
    for each in shown:
        if each.scene is not None and not (has_scene and each.shots):
            kind, suffix = _WEB[type(each.scene)]
            file = f"{len(items)}{suffix}"
            write_atomically(folder / file, formats.encode(each.scene, suffix, {}, convention="gltf"))
            items.append({"kind": kind, "name": each.name, "file": file, "count": _count(each.scene)})
        if each.shots:
            items.append({"kind": "cameras", "name": each.name, "count": len(each.shots), "cameras": _told(each.shots)})
    content = {"items": items, **_where_to_stand(shown)}
    write_atomically(folder / "index.json", json.dumps(content).encode())
    return content


def _count(scene: Scene) -> int:
    counts: Mapping[type, Callable[[Scene], int]] = {
        Splats: lambda s: len(s.means),  # type: ignore[union-attr]
        Points: lambda s: len(s.positions),  # type: ignore[union-attr]
        Mesh: lambda s: len(s.faces),  # type: ignore[union-attr]
    }
    return counts[type(scene)](scene)


def _told(shots: Sequence[Shot]) -> list[list[float]]:
    """Cameras for the page: c2w, column by column as three.js has it, and the tangents of half the fields of view."""
    told = []
    for shot in shots[:: -(-len(shots) // _MAX_CAMERAS)]:
        camera = shot.camera
        matrix = convert_c2w(camera.c2w, to="gltf")
        tangents = [0.5 * camera.width / camera.K[0, 0], 0.5 * camera.height / camera.K[1, 1]]
        told.append([round(float(value), 5) for value in [*matrix.T.reshape(-1), *tangents]])
    return told


def _where_to_stand(shown: Sequence[Shown]) -> dict[str, object]:
    """From where the page looks first: as the walk began, else from above; and around what it turns."""
    places = _places(shown)
    shots = [shot for each in shown for shot in each.shots]
    if shots:
        camera = shots[0].camera
        seen = places @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        ahead = seen[:, 2][(seen[:, 2] > 0) & (np.abs(seen[:, 0]) < seen[:, 2])]
        distance = float(np.quantile(ahead, 0.4)) if len(ahead) else 1.0
        fov_y = 2 * np.arctan(0.5 * camera.height / camera.K[1, 1])
    else:
        camera = _overlook(shown, 960, 540)
        distance = float(np.linalg.norm(np.median(places, axis=0) - camera.centre))
        fov_y = 2 * np.arctan(0.5 * 540 / intrinsics(960, 540, np.deg2rad(50))[1, 1])
    target = camera.centre + distance * camera.c2w[:3, 2]
    span = float(np.ptp(np.quantile(places, [0.02, 0.98], axis=0), axis=0).max())
    flip = np.array([1.0, -1.0, -1.0])  # to y up
    return {
        "eye": (camera.centre * flip).tolist(),
        "target": (target * flip).tolist(),
        "fov": float(np.rad2deg(fov_y)),
        "span": span,
    }
