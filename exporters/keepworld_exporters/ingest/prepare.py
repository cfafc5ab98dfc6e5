"""From anything with pictures to a capture that the stages can trust: read, refined, measured, upright and to scale."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from keepworld.camera import Units
from keepworld.capture import Capture
from keepworld.errors import ExportError
from numpy.typing import NDArray

from keepworld_exporters.cost import Before
from keepworld_exporters.ingest import foresee, recapture, sources
from keepworld_exporters.ingest.wanted import Wanted
from keepworld_exporters.ingest.write import write
from keepworld_exporters.progress import Clock, Progress
from keepworld_exporters.stages import align, anchor
from keepworld_exporters.stages.epipolar import epipolar_errors
from keepworld_exporters.stages.features import FEATURE_STEPS, Matches, match_frames
from keepworld_exporters.stages.ground import UP, find_ground, level, up_axis
from keepworld_exporters.stages.quality import consistency, passes
from keepworld_exporters.stages.scale import place_of, scale_between

AGREES_PX, AGREES = (
    0.1,
    6e-4,
)  # pixels, and of the width: features no further off than both leave given cameras as they are
BETTER = 0.95  # of the given cameras' error: what refined ones must come below to be taken instead
ANCHORED = 1.25  # of the refined cameras' error: what those laid on known depth must come below
MIN_KEPT = 2
MIN_SHARE = 0.2  # of the frames that must agree for the others to be left out
PART = 0.3  # of the whole export's progress
Tell = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """A capture to export.

    Attributes:
        capture: as it is to be exported.
        told: what was done to it.
        tell: how the export's own progress is told.
        before: what that was expected to take, and took; None if nothing was to be done.
    """

    capture: Capture
    told: dict[str, object]
    tell: Tell
    before: Before | None = None


@contextmanager
def prepared(source: Path, wanted: Wanted, tell: Tell) -> Iterator[Prepared]:
    """Open a source; what is made on the way lasts as long as the context.

    Raises:
        ExportError: the source is nothing that is read, or what was asked cannot be done.
        CaptureError: it is a damaged capture.
    """
    if sources.is_capture(source):
        capture = Capture(source)
        if not _has_work(capture, wanted):
            yield Prepared(capture=capture, told={}, tell=tell)
            return
    with tempfile.TemporaryDirectory(prefix="keepworld-ingest-") as folder:
        expected = foresee.expected(source, wanted)
        clock = Clock(expected.processor_s, _scaled(tell, 0.0, PART))
        capture, told = _opened(source, wanted, Path(folder), clock)
        capture = _made_right(capture, wanted, Path(folder), clock, told)
        before = Before(expected, clock)
        yield Prepared(capture=capture, told=told, tell=_scaled(tell, PART, 1.0), before=before)


def _has_work(capture: Capture, wanted: Wanted) -> bool:
    asked = wanted.distance or wanted.height or wanted.upright or wanted.refine == "on"
    return bool(capture.frames) and bool(asked or wanted.tries(capture.provenance.pose_source))


def _opened(source: Path, wanted: Wanted, folder: Path, clock: Clock) -> tuple[Capture, dict[str, object]]:
    if sources.is_capture(source):
        return Capture(source), {}
    work = folder / "source"
    work.mkdir()
    with clock.stage("photos", 400) as step:
        sequence = sources.read(source, wanted.asked, work, on_step=step)
        capture = write(sequence, folder / "walk", max_side=wanted.asked.max_side, on_photo=step)
    told: dict[str, object] = {"source": sequence.kind, "pictures": len(sequence.photos)}
    return capture, told


def _made_right(capture: Capture, wanted: Wanted, folder: Path, clock: Clock, told: dict[str, object]) -> Capture:
    if len(capture.frames) < MIN_KEPT:
        return capture
    points: NDArray[np.float64] | None = None
    has_depth = capture.frames[0].depth() is not None
    tries, needs_points = wanted.tries(capture.provenance.pose_source), wanted.needs_points(has_depth=has_depth)
    if tries or needs_points:
        with clock.stage("features", FEATURE_STEPS) as step:
            work = folder / "features"
            work.mkdir()
            matches = match_frames(capture.frames, work, on_step=step)
        with clock.stage("cameras", align.STEPS + (anchor.ROUNDS if has_depth else 0)) as step:
            if tries:
                points = refined(capture, matches, wanted, told, step)
                _gated(capture, matches, wanted.quality, told)
            if needs_points and points is None:
                points = align.triangulate(capture.frames, matches)
    return _scaled_and_upright(capture, wanted, points, folder, told)


def refined(
    capture: Capture, matches: Matches, wanted: Wanted, told: dict[str, object], on_step: Callable[[], None]
) -> NDArray[np.float64] | None:
    """Refine a capture's cameras in place where that is asked for and helps; gives the points it found, [P, 3].

    Args:
        capture: its files stay as they are.
        matches: of its frames.
        wanted: whether it is asked for, by `refine`.
        told: what came of it is noted there.
        on_step: called `align.STEPS` times, if it is tried.
    """
    given = capture.c2ws
    before = align.disagreement(capture.frames, given, matches)
    told["camera_error_px"] = round(before, 3) if np.isfinite(before) else None
    enough = AGREES_PX + AGREES * capture.provenance.width
    if wanted.refine == "off" or (wanted.refine == "auto" and before <= enough):
        told["cameras"] = f"as {capture.provenance.pose_source}" + (
            "" if wanted.refine == "off" else ": they fit their pictures"
        )
        return None
    try:
        found = align.refine(capture.frames, matches, on_step=on_step)
    except ExportError as error:
        if wanted.refine == "on":
            raise
        told["cameras"] = f"as {capture.provenance.pose_source}: {error}"
        return None
    c2ws, after = found.c2ws, align.disagreement(capture.frames, found.c2ws, matches)
    if all(frame.depth() is not None for frame in capture.frames):
        laid = anchor.anchor(capture.frames, c2ws, given, matches, on_step=on_step)
        fit = align.disagreement(capture.frames, laid, matches)
        # Features alone are fitted a little better by cameras that bend with what is wrong with them.
        if fit < ANCHORED * after:
            c2ws, after, told["cameras_by_depth"] = laid, fit, True
    told["camera_error_px_refined"] = round(after, 3)
    if not after < BETTER * before:
        told["cameras"] = f"as {capture.provenance.pose_source}: they fit their pictures no worse than refined ones"
        return None
    told["cameras"] = f"refined from {capture.provenance.pose_source}, {int(found.moved.sum())} of {len(given)} frames"
    recapture.with_cameras(capture, c2ws, found.moved)
    return found.points


def _gated(capture: Capture, matches: Matches, quality: str, told: dict[str, object]) -> None:
    """Leave out frames that do not show what the others show."""
    Ks = np.stack([frame.camera.K for frame in capture.frames])
    errors = epipolar_errors(capture.c2ws, Ks, matches.keypoints, matches.pairs)
    scores = consistency(errors, len(capture.frames), capture.provenance.width)
    kept = passes(scores, quality)
    known = scores[np.isfinite(scores)]
    told["consistency"] = round(float(np.median(known)), 3) if known.size else None
    if kept.sum() < max(MIN_KEPT, MIN_SHARE * len(kept)):
        few = (
            f"only {int(kept.sum())} of {len(kept)} frames agree with each other and their cameras: "
            "the cameras are wrong, or the pictures are not of one place"
        )
        if quality == "strict":
            raise ExportError(f"{few}; --quality normal exports them all the same")
        told["consistency_note"] = f"{few}; none was left out"
        return
    told["frames_left_out"] = [frame.number for frame, good in zip(capture.frames, kept, strict=True) if not good]
    capture.frames = [frame for frame, good in zip(capture.frames, kept, strict=True) if good]
    capture.__dict__.pop("c2ws", None)


def _scaled_and_upright(
    capture: Capture, wanted: Wanted, points: NDArray[np.float64] | None, folder: Path, told: dict[str, object]
) -> Capture:
    if wanted.distance is None and wanted.height is None and not wanted.upright:
        return capture
    world = np.eye(4)
    cloud = _surface(capture) if points is None else points
    if wanted.upright:
        world = _upright(capture.c2ws, cloud)
        recapture.move(capture, world)
        cloud = cloud @ world[:3, :3].T + world[:3, 3]
    scale = 1.0
    if wanted.distance is not None:
        a, b, metres = wanted.distance
        scale = scale_between(place_of(a, capture.frames, cloud), place_of(b, capture.frames, cloud), metres)
        told["scale"] = f"a known distance of {metres:g} m"
    elif wanted.height is not None:
        centres = capture.c2ws[:, :3, 3]
        above = float(np.median(find_ground(cloud, centres).height(centres)))
        scale = wanted.height / above
        told["scale"] = f"cameras {wanted.height:g} m above the ground"
    units = capture.provenance.units if scale == 1.0 and not (wanted.distance or wanted.height) else Units.METRES
    world[:3] *= scale
    told["session_from_source"] = world.tolist()
    capture.provenance = replace(capture.provenance, units=units)
    return recapture.save(capture, folder / "scaled", scale=scale, units=units)


def _upright(c2ws: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The motion [4, 4] that puts up upwards, and the origin on the ground below the first camera."""
    turn = level(up_axis(c2ws))
    ground = find_ground(points @ turn.T, c2ws[:, :3, 3] @ turn.T)
    world = np.eye(4)
    world[:3, :3] = level(ground.normal) @ turn
    first = world[:3, :3] @ c2ws[0, :3, 3]
    world[:3, 3] = UP * (first @ UP - ground.offset) - first
    return world


def _surface(capture: Capture) -> NDArray[np.float64]:
    """Places [P, 3] of the lasting world, from the depth of some frames."""
    places = []
    for frame in capture.frames[:: max(1, len(capture.frames) // 24)]:
        depth = frame.depth()
        if depth is None:
            continue
        known = (depth > 0) & np.isfinite(depth) & frame.lasting()
        places.append(frame.camera.unproject(depth)[::6, ::6][known[::6, ::6]])
    return np.concatenate(places) if places else np.empty((0, 3))


def _scaled(tell: Tell, start: float, end: float) -> Tell:
    """Tell a part's progress as that of the whole."""

    def told(progress: Progress) -> None:
        share = start + (end - start) * progress.share
        tell(replace(progress, share=share, left_s=progress.left_s if end == 1.0 else None))

    return told
