"""Which frames of a walk without depth show the same world as those around them: by what looks alike in their pictures.

Of two frames, what looks alike in both has to lie where their cameras say, on one epipolar line: the share that does is how far
they agree. Cameras that are not exact are first moved to fit their pictures, as they are before an export.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from keepworld.capture import Capture
from keepworld.errors import KeepworldError
from numpy.typing import NDArray

from keepworld_exporters.ingest.prepare import refined
from keepworld_exporters.ingest.wanted import Wanted
from keepworld_exporters.stages.epipolar import epipolar_errors
from keepworld_exporters.stages.features import match_frames

OFF_PX, OFF = 1.0, 3e-3  # pixels, and of the width: how far a feature may lie from its line, the larger of the two
MIN_COMMON = 15  # features that two frames share, below which nothing is said of them


def judge(capture: Capture) -> NDArray[np.float64]:
    """How far each frame agrees with the others, [N] in [0, 1]; NaN where too little looks alike to say.

    As with depth, it is the agreement with the second best of the others: one that is wrong makes none of them worse.

    Raises:
        ExportError: COLMAP, which finds what looks alike, is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="keepworld-judge-") as folder:
        matches = match_frames(capture.frames, Path(folder))
        refined(capture, matches, Wanted(), {}, lambda: None)
        Ks = np.stack([frame.camera.K for frame in capture.frames])
        errors = epipolar_errors(capture.c2ws, Ks, matches.keypoints, matches.pairs)
    return scores(errors, len(capture.frames), capture.provenance.width)


def scores(errors: Mapping[tuple[int, int], NDArray[np.float64]], count: int, width: int) -> NDArray[np.float64]:
    """The scores of `count` frames, [N].

    Args:
        errors: (i, j) -> [M] distances of what looks alike from the epipolar lines, pixels.
        count: of frames.
        width: of their pictures, pixels.
    """
    shares: list[list[float]] = [[] for _ in range(count)]
    for pair, distances in errors.items():
        if len(distances) >= MIN_COMMON:
            for frame in pair:
                shares[frame].append(float((distances < max(OFF_PX, OFF * width)).mean()))
    return np.array([sorted(each)[-min(2, len(each))] if each else math.nan for each in shares])


def main() -> int:
    """Judge the capture named on the command line: one object on standard output, from a frame's number to its score or null."""
    try:
        capture = Capture(sys.argv[1])
        found = judge(capture)
    except (KeepworldError, OSError, ImportError) as error:
        print(f"keepworld-export: {error}", file=sys.stderr)
        return 1
    by_number = {frame.number: score for frame, score in zip(capture.frames, found.tolist(), strict=True)}
    print(json.dumps({number: None if math.isnan(score) else score for number, score in by_number.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
