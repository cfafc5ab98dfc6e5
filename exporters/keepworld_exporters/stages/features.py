"""Features of a walk's pictures and which of them are the same place: found and matched by COLMAP, in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keepworld import png
from keepworld.capture import CapturedFrame
from keepworld.errors import ExportError
from numpy.typing import NDArray

MAX_FEATURES = 3000
STEPS = (1, 2, 4, 7, 12, 20, 33)  # how many frames later the others are that a frame is compared with
REVISITS, REVISIT_AFTER = 4, 40  # frames from another part of the walk that stand near and look alike
MAX_TURN = 0.8  # radians between the directions of two frames that are compared
SEED = 20_26
FEATURE_STEPS = 2  # how often `match_frames` calls on_step


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Matches:
    """What was found in pictures, before anything is known of the cameras.

    Attributes:
        database: COLMAP's, with features and verified matches.
        images: the folder its names lead from.
        names: of the pictures, one a frame.
        keypoints: [N_i, 2] float64 pixels, one array a frame.
        pairs: (i, j) -> [M, 2] indices of features of frame i and frame j that look alike, before any geometry.
    """

    database: Path
    images: Path
    names: tuple[str, ...]
    keypoints: tuple[NDArray[np.float64], ...]
    pairs: dict[tuple[int, int], NDArray[np.int64]]


def choose_pairs(c2ws: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Which of the frames [N, 4, 4] to compare: those soon after, and those from elsewhere in the walk that see the same."""
    count = len(c2ws)
    pairs = {(i, i + step) for step in STEPS for i in range(count - step)}
    centres, ahead = c2ws[:, :3, 3], c2ws[:, :3, 2]
    for i in range(count):
        turn = np.arccos(np.clip(ahead @ ahead[i], -1, 1))
        apart = np.linalg.norm(centres - centres[i], axis=1)
        order = np.argsort(apart + turn * np.median(apart), kind="stable")
        # Others of the same part of the walk say nothing new of it.
        chosen: list[int] = []
        for j in order:
            clear = all(abs(int(j) - k) > REVISIT_AFTER // 4 for k in chosen)
            if abs(int(j) - i) >= REVISIT_AFTER and turn[j] < MAX_TURN and clear:
                chosen.append(int(j))
            if len(chosen) == REVISITS:
                break
        pairs |= {(min(i, j), max(i, j)) for j in chosen}
    return sorted(pair for pair in pairs if ahead[pair[0]] @ ahead[pair[1]] > np.cos(MAX_TURN))


def match_frames(
    frames: Sequence[CapturedFrame], folder: Path, *, on_step: Callable[[], None] = lambda: None
) -> Matches:
    """Find features in frames and match them, sky and moving things left out where they are labelled.

    Args:
        frames: of one capture.
        folder: for files that are needed while the result is used.
        on_step: called twice: when features are found, and when they are matched.

    Raises:
        ExportError: COLMAP is not installed.
    """
    pycolmap = colmap()
    names = tuple(f"{frame.number:06d}.png" for frame in frames)
    options = pycolmap.ImageReaderOptions(camera_model="PINHOLE")
    if any(frame.labels() is not None for frame in frames[:1]):
        masks = folder / "masks"
        masks.mkdir()
        for frame, name in zip(frames, names, strict=True):
            (masks / f"{name}.png").write_bytes(png.encode(np.where(frame.lasting(), 255, 0).astype(np.uint8)))
        options.mask_path = masks
    database, images = folder / "matches.db", frames[0].folder / "frames"
    pycolmap.set_random_seed(SEED)
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.sift.max_num_features = MAX_FEATURES
    pycolmap.extract_features(
        database, images, list(names), pycolmap.CameraMode.PER_IMAGE, options, extraction, pycolmap.Device.cpu
    )
    with pycolmap.Database.open(database) as opened:
        ids = {image.name: (image.image_id, image.camera_id) for image in opened.read_all_images()}
        for frame, name in zip(frames, names, strict=True):
            if name not in ids:
                raise ExportError(f"{images / name} could not be read for features")
            opened.update_camera(pinhole(frame, ids[name][1]))
    on_step()
    pairs = choose_pairs(np.stack([frame.camera.c2w for frame in frames]))
    listed = folder / "pairs.txt"
    listed.write_text("".join(f"{names[i]} {names[j]}\n" for i, j in pairs))
    pycolmap.match_image_pairs(
        database, pairing_options=pycolmap.ImportedPairingOptions(match_list_path=listed), device=pycolmap.Device.cpu
    )
    on_step()
    return _read(database, images, names, pairs)


def _read(database: Path, images: Path, names: tuple[str, ...], pairs: Sequence[tuple[int, int]]) -> Matches:
    with colmap().Database.open(database) as opened:
        ids = {image.name: image.image_id for image in opened.read_all_images()}
        keypoints = tuple(np.asarray(opened.read_keypoints(ids[name]), np.float64)[:, :2] for name in names)
        found = {}
        for i, j in pairs:
            a, b = ids[names[i]], ids[names[j]]
            if opened.exists_matches(a, b):
                found[i, j] = np.asarray(opened.read_matches(a, b), np.int64).reshape(-1, 2)
    return Matches(database=database, images=images, names=names, keypoints=keypoints, pairs=found)


def pinhole(frame: CapturedFrame, number: int) -> Any:
    """A frame's camera as COLMAP's, by a number."""
    K = frame.camera.K
    return colmap().Camera(
        camera_id=number, model="PINHOLE", width=frame.camera.width, height=frame.camera.height,
        params=[K[0, 0], K[1, 1], K[0, 2], K[1, 2]], has_prior_focal_length=True,
    )  # fmt: skip


def colmap() -> Any:
    """COLMAP, quiet.

    Raises:
        ExportError: it is not installed.
    """
    try:
        import pycolmap
    except ImportError as error:
        raise ExportError(f"features are found by pycolmap: pip install 'keepworld[export]' ({error})") from error
    pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value
    return pycolmap
