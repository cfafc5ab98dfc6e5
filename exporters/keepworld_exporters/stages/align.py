"""Cameras made to agree with their pictures: what the same features say, without leaving the path they were given on.

Features are triangulated with the given cameras; cameras and points are adjusted together, freely at first, which says how far
off the given places are, and then with the given places as priors of that spread. The result is laid on the given path by the
similarity that fits it best, as pictures alone know neither where a world lies, nor how it is turned, nor how large it is.

Source: COLMAP (Schoenberger and Frahm 2016) for triangulation and adjustment; Umeyama 1991 for the similarity, here with the
given directions counted beside the given places. A tilt that all cameras share is taken from the given directions where the
pictures have nothing against it: within pictures it is nearly the same as a shift of the principal point, and what features are
seen to be depends a little on how far away they are (0.1 degrees on a walk of 253 frames whose cameras are known).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keepworld.camera import invert_rigid
from keepworld.capture import CapturedFrame
from keepworld.errors import ExportError
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from keepworld_exporters.stages.epipolar import epipolar_errors
from keepworld_exporters.stages.features import SEED, Matches, colmap, pinhole

OFF = (12.0, 5.0, 2.0)  # pixels that a feature may be off in each round, at first and in the end
LOSS = (1.0, 0.5, 0.25)  # pixels from which a feature counts less in each round
MIN_FEATURES = 20  # that a frame must share with others for its camera to be moved
SLACK = (
    3.0  # how much wider than they are seen to be off the given places are taken to be: features are the finer measure
)
MAX_WORSE = 1.03  # how much worse the features may fit for the given directions' sake
MIN_SHARE = 0.5  # of the frames must be found, or nothing is changed
STEPS = len(OFF)  # how often `refine` calls on_step


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Alignment:
    """What refinement came to.

    Attributes:
        c2ws: [N, 4, 4], the capture's units and frame of reference.
        moved: [N] whether the frame's camera was found from its pictures; the others are as they were given.
        points: [P, 3] where features lie, the capture's units.
    """

    c2ws: NDArray[np.float64]
    moved: NDArray[np.bool_]
    points: NDArray[np.float64]


def disagreement(frames: Sequence[CapturedFrame], c2ws: NDArray[np.float64], matches: Matches) -> float:
    """The median distance, pixels, of features from where cameras [N, 4, 4] say they should lie; NaN without any."""
    Ks = np.stack([frame.camera.K for frame in frames])
    errors = list(epipolar_errors(c2ws, Ks, matches.keypoints, matches.pairs).values())
    return float(np.median(np.concatenate(errors))) if errors else float("nan")


def refine(frames: Sequence[CapturedFrame], matches: Matches, *, on_step: Callable[[], None]) -> Alignment:
    """Move the cameras of frames to where their pictures were taken.

    Args:
        frames: with cameras that are about right: some degrees, some hundredths of the path.
        matches: from `match_frames` of these frames.
        on_step: called `STEPS` times.

    Raises:
        ExportError: too little in the pictures is alike.
    """
    given = np.stack([frame.camera.c2w for frame in frames])
    c2ws, spread = given, None
    for off, loss in zip(OFF, LOSS, strict=True):
        model = _triangulated(frames, c2ws, matches, off)
        found = _adjusted(model, matches, c2ws, loss, (given, spread) if spread else None)
        moved = np.asarray(np.isfinite(found).all((1, 2)), np.bool_)
        if moved.sum() < max(3, MIN_SHARE * len(frames)):
            raise ExportError(
                f"the cameras cannot be refined: only {int(moved.sum())} of {len(frames)} frames show enough of what others do"
            )
        R, scale, t = similarity(found[moved], given[moved])
        c2ws = np.where(moved[:, None, None], moved_by(found, R, scale, t), given)
        off_path = np.linalg.norm(c2ws[moved, :3, 3] - given[moved, :3, 3], axis=1)
        # Of three axes, and by a median, which frames that stand wholly wrong do not sway.
        spread = max(SLACK * float(np.median(off_path)) / 1.54, 1e-9)
        on_step()
    points = np.array([point.xyz for point in model.points3D.values()]).reshape(-1, 3)
    tilted = np.where(moved[:, None, None], tilted_as(c2ws, given, moved), given)
    if disagreement(frames, tilted, matches) <= MAX_WORSE * disagreement(frames, c2ws, matches):
        c2ws = tilted
    return Alignment(c2ws=c2ws, moved=moved, points=scale * points @ R.T + t)


def tilted_as(c2ws: NDArray[np.float64], given: NDArray[np.float64], trusted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cameras [N, 4, 4] all turned by one rotation in their own axes, so that those `trusted` [N] look as given on the whole."""
    turns = Rotation.from_matrix(np.swapaxes(c2ws[:, :3, :3], 1, 2) @ given[:, :3, :3]).as_rotvec()
    tilt = Rotation.from_rotvec(np.median(turns[trusted], axis=0)).as_matrix()
    tilted = c2ws.copy()
    tilted[:, :3, :3] = c2ws[:, :3, :3] @ tilt
    return tilted


def triangulate(frames: Sequence[CapturedFrame], matches: Matches) -> NDArray[np.float64]:
    """Where features lie, [P, 3], with the frames' cameras as they are."""
    model = _triangulated(frames, np.stack([frame.camera.c2w for frame in frames]), matches, OFF[1])
    return np.array([point.xyz for point in model.points3D.values()]).reshape(-1, 3)


def _triangulated(frames: Sequence[CapturedFrame], c2ws: NDArray[np.float64], matches: Matches, off: float) -> Any:
    """COLMAP's model of the cameras as they stand, with the points that features make."""
    pycolmap = colmap()
    with pycolmap.Database.open(matches.database) as opened:
        ids = {image.name: (image.image_id, image.camera_id) for image in opened.read_all_images()}
    model = pycolmap.Reconstruction()
    for frame, name, viewmat in zip(frames, matches.names, invert_rigid(c2ws), strict=True):
        image_id, camera_id = ids[name]
        model.add_camera_with_trivial_rig(pinhole(frame, camera_id))
        image = pycolmap.Image(name=name, camera_id=camera_id, image_id=image_id)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(viewmat[:3]))
    options = pycolmap.IncrementalPipelineOptions(random_seed=SEED)
    options.triangulation.random_seed = SEED
    options.mapper.filter_max_reproj_error = off
    options.triangulation.complete_max_reproj_error = options.triangulation.merge_max_reproj_error = off
    with tempfile.TemporaryDirectory(prefix="keepworld-") as out:
        return pycolmap.triangulate_points(model, matches.database, matches.images, out, True, options)


def _adjusted(
    model: Any,
    matches: Matches,
    c2ws: NDArray[np.float64],
    loss: float,
    prior: tuple[NDArray[np.float64], float] | None,
) -> NDArray[np.float64]:
    """Adjust a model in place; gives its cameras [N, 4, 4], NaN where a frame has too few features."""
    pycolmap = colmap()
    options = pycolmap.BundleAdjustmentOptions(
        refine_focal_length=False, refine_principal_point=False, refine_extra_params=False,
        refine_sensor_from_rig=False, print_summary=False,
    )  # fmt: skip
    options.min_track_length = 3
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = loss
    options.ceres.solver_options.max_num_iterations = 50
    options.ceres.solver_options.function_tolerance = 1e-5
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in model.reg_image_ids():
        config.add_image(image_id)
    images = {image.name: image for image in model.images.values()}
    if prior is None:
        config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
        pycolmap.create_default_bundle_adjuster(options, config, model).solve()
    else:
        given, spread = prior
        priors = [
            pycolmap.PosePrior(
                corr_data_id=images[name].data_id, position=c2w[:3, 3], position_covariance=np.eye(3) * spread**2,
                coordinate_system=pycolmap.PosePriorCoordinateSystem.CARTESIAN,
            )
            for name, c2w in zip(matches.names, given, strict=True)
        ]  # fmt: skip
        how = pycolmap.PosePriorBundleAdjustmentOptions()
        how.alignment_ransac.max_error = 6 * spread
        how.alignment_ransac.random_seed = SEED
        how.ceres.prior_position_loss_function_type = pycolmap.LossFunctionType.CAUCHY
        pycolmap.create_pose_prior_bundle_adjuster(options, how, config, priors, model).solve()
    found = np.full_like(c2ws, np.nan)
    for k, name in enumerate(matches.names):
        image = images[name]
        if image.has_pose and image.num_points3D >= MIN_FEATURES:
            found[k] = np.vstack([image.cam_from_world().inverse().matrix(), [0, 0, 0, 1]])
    return found


def similarity(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """The rotation [3, 3], scale and shift [3] that lay cameras [N, 4, 4] on others best, by their places and directions.

    Both are weighed by how well they fit in the end, so that a short path is turned by its directions, and a long one by itself.
    """
    a, b = source[:, :3, 3], target[:, :3, 3]
    from_a, from_b = a - a.mean(0), b - b.mean(0)
    turns = np.einsum("nij,nkj->ik", target[:, :3, :3], source[:, :3, :3])
    extent = float((from_a**2).sum())
    by_place, by_turn, scale, R = 0.0, 1.0, 1.0, np.eye(3)
    for _ in range(10):
        U, _, Vt = np.linalg.svd(by_place * scale * from_b.T @ from_a + by_turn * turns)
        R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
        scale = float((from_b * (from_a @ R.T)).sum() / extent) if extent > 1e-18 else 1.0
        off = ((from_b - scale * from_a @ R.T) ** 2).mean()
        turned = (angles(target[:, :3, :3], R @ source[:, :3, :3]) ** 2).mean() / 3
        # The chordal distance of two rotations is twice the squared angle between them.
        by_place, by_turn = 1 / max(float(off), 1e-18), 0.5 / max(float(turned), 1e-18)
    if not scale > 0:
        scale = 1.0
    return R, scale, b.mean(0) - scale * R @ a.mean(0)


def moved_by(
    c2ws: NDArray[np.float64], R: NDArray[np.float64], scale: float, t: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cameras [N, 4, 4] in a world turned by R [3, 3], grown by a scale and shifted by t [3]."""
    moved = c2ws.copy()
    moved[:, :3, :3] = R @ c2ws[:, :3, :3]
    moved[:, :3, 3] = scale * c2ws[:, :3, 3] @ R.T + t
    return moved


def angles(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The angle [N], radians, between rotations [N, 3, 3], exact for small ones too."""
    # |A - B| in Frobenius' norm is 2 sqrt(2) sin(angle / 2).
    chord = np.linalg.norm(a - b, axis=(1, 2)) / (2 * np.sqrt(2))
    return np.asarray(2 * np.arcsin(np.clip(chord, 0, 1)))
