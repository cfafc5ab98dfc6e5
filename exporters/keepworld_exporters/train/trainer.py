"""From splats that are about right to splats that look like the frames."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.rasterize.rasterizer import Gradients, Pinhole, Rasterizer
from keepworld_exporters.scene import Splats
from keepworld_exporters.train import mcmc, surfaces
from keepworld_exporters.train.loss import compare
from keepworld_exporters.train.parameters import NAMES, adam, parameters
from keepworld_exporters.train.settings import FULL_DEGREE, Settings
from keepworld_exporters.train.shots import Gallery, Shot
from keepworld_exporters.train.state import State, begin, load, save
from keepworld_exporters.train.tidy import tidy
from keepworld_exporters.train.watch import EVERY_S, show

EVERY = 100  # steps between two times that splats are moved and added
SAVE_EVERY_S = 30.0
_GROWTH = 1.2  # at most this many times the splats there were, at one time
_BANDS = (0, 9, 24, 45)  # columns of the harmonics in use, by degree


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """How far a training is.

    Attributes:
        iteration: steps taken.
        share: of the whole, in [0, 1].
        splats: how many there are.
        psnr: of the last frames when they were drawn, decibels.
        left_s: seconds to go, None while that is a guess.
    """

    iteration: int
    share: float
    splats: int
    psnr: float
    left_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trained:
    """What came of a training.

    Attributes:
        splats: as they are now.
        viewmats: [F, 4, 4] float64, the frames' cameras, world to camera: as given, or refined.
        whole: whether it came to its end.
        last: its last step.
    """

    splats: Splats
    viewmats: NDArray[np.float64]
    whole: bool
    last: Step


def train(
    shots: Sequence[Shot],
    start: Splats,
    settings: Settings,
    *,
    rasterizer: Rasterizer,
    far: Splats | None = None,
    checkpoint: Path | None = None,
    watch: Path | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    cancelled: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
) -> Trained:
    """Train splats to look like frames.

    Args:
        shots: the frames.
        start: splats that are about right.
        settings: how.
        rasterizer: what draws them.
        far: splats whose place and shape are kept, such as a sky; only their colours are trained.
        checkpoint: a file the training goes on from if it is there, is kept in while it runs, and is removed from when done.
        watch: a .png or .jpg that shows now and then how far it is.
        on_step: told after every step; what it raises ends the training, its state kept in the checkpoint.
        cancelled: asked before every step; the training then ends early, its state kept in the checkpoint.
        clock: seconds, from any beginning.

    Raises:
        ValueError: there is nothing to train on or from.
        ExportError: the checkpoint is damaged.
    """
    if not shots or not len(start.means):
        raise ValueError(f"shots and start must not be empty, got {len(shots)} shots and {len(start.means)} splats")
    size = _scene_size([shot.camera for shot in shots])
    key = _key(settings, start, far, shots)
    state = load(checkpoint, key, len(shots)) if checkpoint is not None and checkpoint.exists() else None
    state = state or _begin(start, far, shots)
    spent, began, saved, shown = state.spent_s, clock(), clock(), -math.inf
    step = _step(state, settings)
    gallery = Gallery(shots)
    try:
        while not _finished(step, settings, len(shots)) and not cancelled():
            _advance(state, gallery, len(shots), settings, step.share, size, rasterizer)
            state.spent_s = spent + clock() - began
            step = _step(state, settings)
            if watch is not None and clock() - shown > EVERY_S:
                _show(watch, state, shots[0], settings, rasterizer)
                shown = clock()
            on_step(step)
            if checkpoint is not None and clock() - saved > SAVE_EVERY_S:
                save(checkpoint, state, key)
                saved = clock()
    except BaseException:
        # Whoever is told of a step may end it all; a step that was cut off in its middle must not be gone on from.
        if checkpoint is not None and state.iteration == step.iteration:
            save(checkpoint, state, key)
        raise
    whole = _finished(step, settings, len(shots))
    if watch is not None:
        _show(watch, state, shots[0], settings, rasterizer)
    if checkpoint is not None:
        if whole:
            checkpoint.unlink(missing_ok=True)
        else:
            save(checkpoint, state, key)
    return Trained(
        splats=tidy(state.values.splats(antialiased=settings.antialiased), state.free, begun=start.means),
        viewmats=state.poses.viewmats, whole=whole, last=step,
    )  # fmt: skip


def _finished(step: Step, settings: Settings, frames: int) -> bool:
    """Whether the end is reached, or every frame has been seen and all look as they should."""
    good = settings.target_psnr is not None and step.iteration >= frames and step.psnr >= settings.target_psnr
    return step.share >= 1 or good


def _show(path: Path, state: State, shot: Shot, settings: Settings, rasterizer: Rasterizer) -> None:
    splats = state.values.splats(antialiased=settings.antialiased)
    camera = replace(shot.camera, viewmat=state.poses.viewmats[0])
    show(path, rasterizer.draw(splats, camera, degree=FULL_DEGREE).out[..., :3], shot.image)


def _begin(start: Splats, far: Splats | None, shots: Sequence[Shot]) -> State:
    values = parameters(start)
    free = np.ones(len(values), np.bool_)
    if far is not None:
        values = values.joined(parameters(far))
        free = np.arange(len(values)) < len(free)
    return begin(values, free, [shot.camera.viewmat for shot in shots])


def _advance(
    state: State,
    gallery: Gallery,
    frames: int,
    settings: Settings,
    share: float,
    size: float,
    rasterizer: Rasterizer,
) -> None:
    """Take one step, and now and then put splats to better use."""
    number = _frame_of(state.iteration, frames, settings.seed)
    camera, truth = gallery.look(number)
    degree, rates = settings.degree(share), settings.rates(share)
    splats = state.values.splats(antialiased=settings.antialiased)
    if settings.refine_poses:
        camera = replace(camera, viewmat=state.poses.viewmats[number])
    drawing = rasterizer.draw(splats, camera, degree=degree)
    behind = _behind(state.iteration, settings)
    image = drawing.out[..., :3] + (1 - drawing.out[..., 3:4]) * behind
    shown = state.exposures.apply(image, number) if settings.exposure else image
    score = compare(shown, truth)
    wanted = np.zeros_like(drawing.out)
    wanted[..., :3] = (
        state.exposures.learn(image, score.gradient, number) if settings.exposure else score.gradient
    )  # fmt: skip
    wanted[..., 3] = -wanted[..., :3] @ behind
    gradients = drawing.pull(wanted)
    if settings.surfaces and share >= surfaces.FROM:
        gradients = surfaces.flattened(gradients, splats, camera, drawing.out, rasterizer, size)
    _descend(state, splats, gradients, drawing.seen, settings, rates, size, degree)
    if settings.refine_poses:
        state.poses.learn(gradients.viewmat, number, rates["poses"], size)
        if (state.iteration + 1) % frames == 0:
            state.poses.settle()
    state.iteration += 1
    fade = max(1 / state.iteration, 1 / frames)
    before = 0.0 if math.isnan(state.squared) else state.squared
    state.squared = (1 - fade) * before + fade * score.squared
    rng = np.random.default_rng([settings.seed, state.iteration])
    if state.iteration % EVERY == 0 and share < 0.9:
        mcmc.relocate(state.values, (state.first, state.second), state.free, rng)
        _grow(state, settings.count(state.start, share), rng)
    mcmc.shake(state.values, state.free, rates["means"], size, rng)


def _descend(
    state: State,
    splats: Splats,
    gradients: Gradients,
    seen: NDArray[np.bool_],
    settings: Settings,
    rates: dict[str, float],
    size: float,
    degree: int,
) -> None:
    """Change what was seen by one step of Adam."""
    count = len(state.values)
    shapes, opacities = splats.scales, splats.opacities
    by_opacity = (gradients.opacities + settings.opacity_cost / count) * opacities * (1 - opacities)
    by = {
        "means": gradients.means,
        "quats": gradients.quats,
        "log_scales": (gradients.scales + np.float32(settings.scale_cost / (3 * count * size))) * shapes,
        "logits": by_opacity.astype(np.float32)[:, None],
        "sh0": gradients.sh0,
        "shN": gradients.shN.reshape(count, -1),
    }
    rows = {True: np.flatnonzero(seen & state.free), False: np.flatnonzero(seen)}
    for name in NAMES:
        values, first, second = (getattr(group, name) for group in (state.values, state.first, state.second))
        width = _BANDS[degree] if name == "shN" else values.shape[1]
        rate = rates[name] * (size if name == "means" else 1)
        which = rows[not name.startswith("sh")]
        adam(values, by[name], first, second, which, width, rate, state.iteration + 1)


def _grow(state: State, wanted: int, rng: np.random.Generator) -> None:
    count = int(state.free.sum())
    more = min(wanted, int(_GROWTH * count) + 1) - count
    if more <= 0:
        return
    added = mcmc.grown(state.values, more, state.free, rng)
    nothing = begin(added, np.ones(len(added), np.bool_), [])
    state.values = state.values.joined(added)
    state.first, state.second = state.first.joined(nothing.first), state.second.joined(nothing.second)
    state.free = np.concatenate([state.free, nothing.free])


def _step(state: State, settings: Settings) -> Step:
    share = settings.share(state.iteration, state.spent_s)
    return Step(
        iteration=state.iteration,
        share=share,
        splats=len(state.values),
        psnr=float("nan") if math.isnan(state.squared) else -10 * math.log10(max(state.squared, 1e-10)),
        left_s=state.spent_s * (1 - share) / share if share > 0.02 else None,
    )


def _behind(iteration: int, settings: Settings) -> NDArray[np.float32]:
    """The colour [3] behind everything in a step: another each time, so that nothing is let through that should not be."""
    if not settings.opaque:
        return np.zeros(3, np.float32)
    return np.random.default_rng([settings.seed, iteration, 2]).random(3, np.float32)


def _frame_of(iteration: int, frames: int, seed: int) -> int:
    """Which frame a step is for: all of them in a new order each round."""
    order = np.random.default_rng([seed, iteration // frames, 1]).permutation(frames)
    return int(order[iteration % frames])


def _scene_size(cameras: Sequence[Pinhole]) -> float:
    """How far the cameras are spread: the greatest distance from their middle, and at least a little."""
    centres = np.array([np.linalg.inv(camera.viewmat)[:3, 3] for camera in cameras])
    return 1.1 * max(float(np.linalg.norm(centres - centres.mean(0), axis=1).max()), 1e-3)


def _key(settings: Settings, start: Splats, far: Splats | None, shots: Sequence[Shot]) -> str:
    """What a training is of: only a checkpoint with the same key is gone on from."""
    digest = hashlib.sha256(json.dumps([asdict(settings), len(shots)]).encode())
    for splats in (start, far):
        if splats is not None:
            digest.update(splats.means.tobytes())
            digest.update(splats.sh0.tobytes())
    for shot in shots:
        digest.update(shot.camera.viewmat.tobytes())
        digest.update(shot.image[::16].tobytes())
    return digest.hexdigest()
