"""What a source will become, and what reading it, finding its cameras and moving them will cost, before any of it is done.

Everything is counted from headers: pictures, their pixels, pairs of them that are compared. How many features a picture has is
not known before; their number grows with its pixels, up to a limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from keepworld.camera import PoseSource
from keepworld.capture import Capture

from keepworld_exporters import memory
from keepworld_exporters.cost import MB, Cost, Estimate, priced
from keepworld_exporters.ingest import film, path, sfm, sources
from keepworld_exporters.ingest.lens import Lens
from keepworld_exporters.ingest.sequence import Sequence
from keepworld_exporters.ingest.wanted import Wanted
from keepworld_exporters.ingest.write import size_of
from keepworld_exporters.pace import pace
from keepworld_exporters.stages import align, anchor
from keepworld_exporters.stages.features import MAX_FEATURES, choose_pairs

A_MEGAPIXEL = 9500  # features
SFM_FEATURES = 8192  # of a picture at most, where nothing is known of its camera
PAIRS_A_FRAME = 7  # in which a frame of a walk is compared, where it is not known yet how the walk goes


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreseen:
    """What there will be.

    Attributes:
        frames: of the capture that a source becomes.
        width, height: of each, pixels.
        has_depth: whether depth comes with them.
        decoded: megapixels that are read on the way; 0 of a capture.
        solved: megapixels of the pictures whose cameras are to be found, in `solved_pairs` pairs; 0 where there are cameras.
        solved_pairs: of pictures.
        tried_pairs: of frames whose cameras are held against their pictures; None where that is not asked for.
    """

    frames: int
    width: int
    height: int
    has_depth: bool
    decoded: float = 0.0
    solved: float = 0.0
    solved_pairs: int = 0
    tried_pairs: int | None = None


def expected(source: Path, wanted: Wanted) -> Estimate:
    """What will be done with a source before it is exported, and what that will take on this machine.

    Raises:
        ExportError: nothing that is read here, or damaged.
    """
    return priced(costs(foresee(source, wanted)), pace=pace(), held=memory.resident())


def foresee(source: Path, wanted: Wanted) -> Foreseen:
    """Look at a source's headers.

    Raises:
        ExportError: nothing that is read here, or damaged.
    """
    if sources.is_capture(source):
        return _of_capture(Capture(source), wanted)
    asked = wanted.asked
    found = sources.listed(source, asked)
    if found is None:
        reel = film.measure(source)
        count = len(path.read(asked.cameras)) if asked.cameras else min(reel.frames, sources.MAX_STILLS)
        lenses, has_depth = [Lens(fx=1, fy=1, cx=0, cy=0, width=reel.width, height=reel.height)] * count, False
        decoded = reel.frames * reel.width * reel.height / 1e6
    else:
        photos = found.photos if isinstance(found, Sequence) else found
        lenses, has_depth = [photo.lens for photo in photos if photo.lens], photos[0].depth is not None
        decoded = sum(lens.width * lens.height for lens in lenses) / 1e6
    width, height = size_of(lenses, max_side=asked.max_side)
    posed = isinstance(found, Sequence) or asked.cameras is not None
    compared = wanted.tries(PoseSource.GIVEN if posed else PoseSource.REFINED) or wanted.needs_points(
        has_depth=has_depth
    )
    return Foreseen(
        frames=len(lenses), width=width, height=height, has_depth=has_depth, decoded=decoded,
        solved=0.0 if posed else sum(math.prod(sfm.size_of(lens)) for lens in lenses) / 1e6,
        solved_pairs=0 if posed else len(sfm.pairs(len(lenses), in_order=found is None)),
        tried_pairs=PAIRS_A_FRAME * len(lenses) if compared else None,
    )  # fmt: skip


def _of_capture(capture: Capture, wanted: Wanted) -> Foreseen:
    about, frames = capture.provenance, capture.frames
    has_depth = bool(frames) and frames[0].depth() is not None
    compared = len(frames) > 1 and (wanted.tries(about.pose_source) or wanted.needs_points(has_depth=has_depth))
    return Foreseen(
        frames=len(frames), width=about.width, height=about.height, has_depth=has_depth,
        tried_pairs=len(choose_pairs(capture.c2ws)) if compared else None,
    )  # fmt: skip


def costs(seen: Foreseen) -> dict[str, Cost]:
    """What each stage costs, in the order they come; those that are not needed are left out."""
    found: dict[str, Cost] = {}
    mp = seen.frames * seen.width * seen.height / 1e6
    if seen.decoded:
        found["photos"] = Cost(0.1 + 0.05 * seen.decoded + 0.1 * mp + _solving(seen), 100 * MB, shared=0.5)
    if seen.tried_pairs is not None:
        features = _features(mp / seen.frames, MAX_FEATURES)
        matches = seen.tried_pairs * features
        found["features"] = Cost(0.1 + 1.3 * mp + _matching(seen.tried_pairs, features), 60 * MB, shared=0.7)
        laid = anchor.ROUNDS * 2 * seen.tried_pairs * 5e-4 if seen.has_depth else 0.0
        found["cameras"] = Cost(0.1 + align.STEPS * 5e-6 * matches + laid, 60 * MB, shared=0.3)
    return found


def _solving(seen: Foreseen) -> float:
    """Seconds that finding cameras takes: features, pairs, and pictures added to a model one after the other."""
    if not seen.solved_pairs:
        return 0.0
    features = _features(seen.solved / seen.frames, SFM_FEATURES)
    return 1.5 * seen.solved + _matching(seen.solved_pairs, features) + 7e-5 * seen.frames * features


def _features(megapixels: float, limit: int) -> float:
    """Of a picture."""
    return min(limit, A_MEGAPIXEL * megapixels)


def _matching(pairs: int, features: float) -> float:
    """Seconds: every feature of the one is compared with every one of the other."""
    return pairs * (0.005 + 0.85e-8 * features**2)
