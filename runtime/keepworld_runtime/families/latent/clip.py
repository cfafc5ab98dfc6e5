"""Given frames as a past: their latents, and where the camera was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from keepworld.camera import check_rigid
from numpy.typing import NDArray
from torch import Tensor

from keepworld_runtime.families.family import Clip
from keepworld_runtime.families.latent.pictures import as_frames, fitted
from keepworld_runtime.families.latent.walk import latent_cameras
from keepworld_runtime.layers.vae import VideoVAE


@dataclass(frozen=True, slots=True, eq=False)
class LatentClip:
    """What a world goes on from.

    Attributes:
        latents: [1, C, T, h, w].
        c2ws: [T, 4, 4] camera to world, one a latent.
        first: [H, W, 3] uint8, the first frame of those that count.
    """

    latents: Tensor
    c2ws: NDArray[np.float64]
    first: NDArray[np.uint8]


def encode_clip(
    clip: Clip, vae: VideoVAE, size: tuple[int, int], *, first_frames: int, chunk_frames: int
) -> LatentClip:
    """Encode the newest frames of a clip that make whole chunks: a first one, and as many others as there are frames for.

    Args:
        clip: the frames; without cameras the camera stands still.
        vae: encodes.
        size: width and height that the frames are made to fit.
        first_frames, chunk_frames: of a world's first chunk and of every other.

    Raises:
        ValueError: there are fewer frames than a first chunk has, or a camera is not rigid.
    """
    given = len(clip.frames)
    if given < first_frames:
        raise ValueError(f"clip must have at least {first_frames} frames, got {given}")
    kept = first_frames + (given - first_frames) // chunk_frames * chunk_frames
    frames = np.stack([fitted(frame, *size) for frame in clip.frames[given - kept :]])
    cameras = np.repeat(np.eye(4)[None], kept, axis=0) if clip.c2ws is None else clip.c2ws[given - kept :]
    for number, c2w in enumerate(cameras):
        check_rigid(f"clip.c2ws[{given - kept + number}]", c2w)
    latents = vae.encode(as_frames(frames))
    return LatentClip(latents, latent_cameras(list(cameras), is_first=True), frames[0])


def placed(clip: Clip, c2w: NDArray[np.float64]) -> Clip:
    """The same clip, its first camera at `c2w` [4, 4]; without cameras it stands still there."""
    if clip.c2ws is None:
        return Clip(frames=clip.frames, c2ws=np.repeat(c2w[None], len(clip.frames), axis=0))
    return Clip(frames=clip.frames, c2ws=c2w @ np.linalg.inv(clip.c2ws[0]) @ clip.c2ws)
