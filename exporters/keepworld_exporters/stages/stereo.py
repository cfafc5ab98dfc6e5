"""Depth for a capture that has none: sweep, polish, and keep what several views agree on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from keepworld.capture import CapturedFrame
from keepworld.errors import ExportError
from numpy.typing import NDArray
from scipy.ndimage import label, maximum_filter, minimum_filter

from keepworld_exporters.device import has_cuda
from keepworld_exporters.stages.agree import agree
from keepworld_exporters.stages.neighbours import choose_neighbours, choose_views
from keepworld_exporters.stages.polish import polish
from keepworld_exporters.stages.predicted import Kind, PredictedDepth, aligned, resampled
from keepworld_exporters.stages.sources import FREE, DepthMap, DepthSource, FoundDepth, Own, SessionDepth, lasting_depth
from keepworld_exporters.stages.spread import inner, spread
from keepworld_exporters.stages.survey import Reach, survey
from keepworld_exporters.stages.sweep import Picture, Swept, sweep

SURVEY_WIDTH, SWEEP_WIDTH = 144, 256  # pixels
SWEEP_BASELINE, POLISH_BASELINE = 0.06, 0.2  # between cameras, shares of the typical depth
SWEEP_NEIGHBOURS, POLISH_NEIGHBOURS, WITNESSES = 4, 12, 48
PLANE_SHIFT = 0.75  # pixels a picture moves from one plane to the next
MIN_PLANES, MAX_PLANES = 32, 192
MIN_AGREEMENT = 0.5  # of the pictures, for a depth to count at all
SURE_AGREEMENT = 0.75  # for the only other view that knows a place to be enough
LIKELY_AGREEMENT = 0.85  # for none to be needed where a surface goes on from what is sure, and no view sees through it
MIN_VOTES, SURE_VOTES = 2, 5  # of other views: to count at all, and to be fully trusted
SEEN_PAST = 3  # votes that it takes for each view that sees something further away at a place
FAR_SHIFT = 1.0  # pixels of parallax below which nothing is told from the sky
GLIMPSES, GLIMPSE_WIDTH, GLIMPSE_AGREEMENT = 8, 256, 0.8  # frames looked at to tell a scale
KEPT = 64  # whole pictures held at a time
UNCOMPARED = np.float32(-2)  # agreement of what no other picture shows
FLAT_STEP = 3 / 255  # brightness between neighbouring pixels below which a picture shows nothing


logger = logging.getLogger(__name__)
Sweep = Callable[[Picture, Sequence[Picture], NDArray[np.float64]], Swept]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    picture: Picture
    swept: Swept
    depth: NDArray[np.float32]


def picture_of(frame: CapturedFrame, *, width: int | None = None) -> Picture:
    """A frame's brightness and camera; made smaller by a whole factor, to about `width` pixels, if given."""
    grey = frame.image() @ (np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255))
    factor = max(1, round(grey.shape[1] / width)) if width else 1
    height, columns = grey.shape[0] // factor, grey.shape[1] // factor
    grey = grey[: height * factor, : columns * factor].reshape(height, factor, columns, factor).mean((1, 3))
    K = frame.camera.K.copy()
    K[:2] /= factor
    return Picture(grey=np.ascontiguousarray(grey, np.float32), viewmat=frame.camera.viewmat, K=K)


def find_reach(frames: Sequence[CapturedFrame]) -> Reach:
    """How near and far the world is that frames without depth show.

    Raises:
        ExportError: their camera stands still, or they show nothing that can be compared.
    """
    c2ws = np.stack([frame.camera.c2w for frame in frames])
    return survey(lambda index: picture_of(frames[index], width=SURVEY_WIDTH), c2ws)


def known_depth(frames: Sequence[CapturedFrame], predicted: Path | Own | None, kind: Kind) -> DepthSource | None:
    """Where the depth of frames is to be had: in predictions, with the frames, or nowhere yet (None).

    Args:
        frames: of the capture.
        predicted: a folder or file of predictions; or from where else depth must come; or None for with the frames, if it did.
        kind: in what they may be off, as `predicted.aligned` says.

    Raises:
        ExportError: the session's is wanted, and it gave none.
    """
    own = any(frame.depth() is not None for frame in frames[:1])
    if predicted == "session" and not own:
        raise ExportError(f"{frames[0].folder} has no depth of its own; leave out --depth session to have it found")
    if predicted is None or predicted == "session":
        return SessionDepth() if own else None
    if not isinstance(predicted, Path):
        return None
    source = PredictedDepth(predicted)
    if kind == "metric":
        return source
    if own:
        few = np.unique(np.linspace(0, len(frames) - 1, min(GLIMPSES, len(frames))).round().astype(int))
        return aligned(
            frames, source, [(int(k), lasting_depth(frames[k], SessionDepth().of(frames[k]).depth)) for k in few], kind
        )
    return aligned(frames, source, glimpses(frames, find_reach(frames)), kind)


def glimpses(frames: Sequence[CapturedFrame], reach: Reach) -> list[tuple[int, NDArray[np.float32]]]:
    """What is sure of the depth of a few frames, coarsely: (index, depth [H, W], 0 where it is not)."""
    c2ws = np.stack([frame.camera.c2w for frame in frames])
    found = []
    for index in np.unique(np.linspace(0, len(frames) - 1, min(GLIMPSES, len(frames))).round().astype(int)):
        near = choose_neighbours(c2ws, int(index), distance=POLISH_BASELINE * reach.typical, count=SWEEP_NEIGHBOURS)
        if not near:
            continue
        some = np.concatenate([[index], near])
        pictures = [picture_of(frames[k], width=GLIMPSE_WIDTH) for k in some]
        swept = choose_sweep()(pictures[0], pictures[1:], np.linspace(0, 1 / reach.near, MAX_PLANES // 2))
        sure = (swept.agreement > GLIMPSE_AGREEMENT) & (swept.inverse > _far(pictures[0], reach))
        depth = np.where(sure, 1 / np.maximum(swept.inverse, np.float32(1e-9)), np.float32(0))
        camera = frames[index].camera
        found.append((int(index), resampled(depth, (camera.height, camera.width))))
    return found


def find_depth(
    frames: Sequence[CapturedFrame],
    reach: Reach,
    *,
    beside: Sequence[CapturedFrame] = (),
    on_view: Callable[[], None],
) -> FoundDepth:
    """Find the depth of every frame from the others.

    Args:
        frames: with cameras that are right; poses that are off by half a pixel spoil it.
        reach: of the world, from `find_reach`.
        beside: more frames to compare with, whose own depth is not wanted; those of `frames` among them change nothing.
        on_view: called once a frame.
    """
    wanted = {frame.number for frame in frames}
    album = _Album([*frames, *(frame for frame in beside if frame.number not in wanted)])
    seen = []
    for index in range(len(frames)):
        seen.append(_look(album, index, reach))
        on_view()
    cameras, pictures = [frame.camera for frame in frames], [one.picture for one in seen]
    maps = {}
    for index, frame in enumerate(frames):
        witnesses = [
            other
            for share in (SWEEP_BASELINE, POLISH_BASELINE)
            for other in choose_views(cameras, index, depths=_depths(reach), parallax=share, count=WITNESSES // 2)
        ]
        others = [(seen[k].depth, pictures[k].viewmat, pictures[k].K) for k in sorted(set(witnesses))]
        found = agree(seen[index].depth, pictures[index].viewmat, pictures[index].K, others)
        votes, asked = found.votes, found.asked
        alike = seen[index].swept.agreement
        # Beside an edge what is near looks wider from each side; those on the other side see past it.
        clear = found.through * SEEN_PAST <= votes
        sure = ((votes >= MIN_VOTES) & clear) | ((votes == 1) & (asked == 1) & (alike > SURE_AGREEMENT))
        inverse = seen[index].swept.inverse
        likely = (seen[index].depth > 0) & (found.through == 0) & (alike > LIKELY_AGREEMENT) & inner(inverse)
        kept = spread(inverse, sure, likely)
        depth = np.where(kept, found.depth, np.float32(0))
        # Of a frame that nothing could be compared with nothing is known: least of all that it is sky.
        compared = seen[index].swept.agreement > UNCOMPARED
        if frame.labels() is None and compared.any():
            far = _far(pictures[index], reach)
            depth[sky(pictures[index].grey, seen[index].swept.inverse, compared, kept, far)] = FREE
        maps[frame.number] = DepthMap(depth=depth, confidence=np.minimum(votes / np.float32(SURE_VOTES), 1))
    return FoundDepth.of_maps(maps)


@cache
def choose_sweep() -> Sweep:
    """torch where it and a CUDA device are there; the CPU otherwise."""
    if has_cuda():
        import torch

        from keepworld_exporters.stages import sweep_cuda

        logger.info("planes are swept on %s", torch.cuda.get_device_name())
        return sweep_cuda.sweep
    return sweep


def sky(
    grey: NDArray[np.float32],
    inverse: NDArray[np.float32],
    compared: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    far: float,
) -> NDArray[np.bool_]:
    """Where the sky is, [H, W]: reached from the picture's top edge over pixels that are flat, or further than can be told.

    Args:
        grey: [H, W] brightness in [0, 1].
        inverse: [H, W] 1 / depth as it was found.
        compared: [H, W] what of it other pictures show.
        kept: [H, W] where several views agree on a depth.
        far: 1 / depth below which nothing is told from the sky.
    """
    flat = maximum_filter(grey, 3) - minimum_filter(grey, 3) < FLAT_STEP
    open_ = (compared & (inverse < far)) | (flat & ~kept)
    pieces, _ = label(open_)
    tops = np.unique(pieces[0])
    return np.isin(pieces, tops[tops > 0])


class _Album:
    """The pictures of frames, read when they are looked at; `frames` and their `cameras` are at hand."""

    def __init__(self, frames: Sequence[CapturedFrame]) -> None:
        self.frames, self.cameras = frames, [frame.camera for frame in frames]
        self.small = cache(lambda index: picture_of(frames[index], width=SWEEP_WIDTH))
        self.whole = lru_cache(KEPT)(lambda index: picture_of(frames[index]))


def _look(album: _Album, index: int, reach: Reach) -> _Seen:
    """The depth of one frame: swept in a small picture, polished in the whole one."""
    picture, small = album.whole(index), album.small(index)
    close, wide = (
        choose_views(album.cameras, index, depths=_depths(reach), parallax=share, count=count)
        for share, count in ((SWEEP_BASELINE, SWEEP_NEIGHBOURS), (POLISH_BASELINE, POLISH_NEIGHBOURS))
    )
    if not close:
        nothing = np.zeros(picture.grey.shape, np.float32)
        return _Seen(picture=picture, swept=Swept(inverse=nothing, agreement=nothing + UNCOMPARED), depth=nothing)
    widest = max(float(np.linalg.norm(album.cameras[k].centre - album.cameras[index].centre)) for k in close)
    planes = np.clip(small.K[0, 0] * widest / reach.near / PLANE_SHIFT, MIN_PLANES, MAX_PLANES)
    inverse_depths = np.linspace(0, 1 / reach.near, int(planes))
    swept = choose_sweep()(small, [album.small(k) for k in close], inverse_depths)
    # What only cameras close by see has to be compared with them.
    chosen = list(dict.fromkeys([*wide, *close]))
    sizes = (album.small, album.whole) if small.grey.shape != picture.grey.shape else (album.whole,)
    levels = [(size(index), [size(k) for k in chosen]) for size in sizes]
    far = _far(picture, reach)
    swept = polish(levels, swept, float(inverse_depths[1]), far=far)
    sure = (swept.agreement > MIN_AGREEMENT) & (swept.inverse > far)
    depth = np.where(sure, 1 / np.maximum(swept.inverse, np.float32(1e-9)), np.float32(0))
    return _Seen(picture=picture, swept=swept, depth=depth.astype(np.float32))


def _depths(reach: Reach) -> tuple[float, ...]:
    """At which depths things may be that are to be compared."""
    return (max(0.6 * reach.typical, reach.near), reach.typical, 2 * reach.typical)


def _far(picture: Picture, reach: Reach) -> float:
    """1 / depth at which a picture moves by no more than `FAR_SHIFT` between cameras as far apart as they are compared."""
    return FAR_SHIFT / (float(picture.K[0, 0]) * POLISH_BASELINE * reach.typical)
