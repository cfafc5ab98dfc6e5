"""How splats are trained: the numbers, and what follows from how far the training has got."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

FULL_DEGREE = 3
MOST_A_MEGAPIXEL = 30_000  # splats: with more, photos are learned by heart
POSE_RATE = 1e-3  # radians, and parts of the scene's size


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How long to train, how many splats to make, and how.

    Attributes:
        iterations: how many steps, one frame each; None to go by time alone.
        budget_s: seconds after which training ends, everything having been paced for that; None to go by steps alone.
        cap: how many splats there may be, besides those whose place is kept.
        antialiased: whether splats keep their light when they are small; they then look the same in viewers that filter in
            their own ways.
        speed: a factor for all learning rates; shorter trainings want larger ones.
        opacity_cost, scale_cost: what the mean opacity and the mean size (in parts of the scene's) add to the loss.
        opaque: whether frames show something at every pixel that counts, as photographs do. Otherwise what is dark may come
            out transparent, which over another background than black is fog.
        exposure: whether each frame has a brightness and an offset of its own.
        refine_poses: whether cameras are moved too; for cameras that are nearly right.
        surfaces: whether splats are made flat and turned to lie in the surface that they show.
        target_psnr: decibels on the frames themselves at which training may end early; None to go on to the end.
        seed: the same seed, frames and steps make the same bytes.
    """

    iterations: int | None = 3000
    budget_s: float | None = None
    cap: int = 40_000
    antialiased: bool = True
    speed: float = 2.0
    opacity_cost: float = 0.003
    scale_cost: float = 0.01
    opaque: bool = True
    exposure: bool = False
    refine_poses: bool = False
    surfaces: bool = False
    target_psnr: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.iterations is None and self.budget_s is None:
            raise ValueError("iterations and budget_s must not both be None: training would have no end")
        if self.iterations is not None and self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")
        if self.budget_s is not None and not 0 < self.budget_s < math.inf:
            raise ValueError(f"budget_s must be more than 0 and finite, got {self.budget_s}")
        if not 1 <= self.cap <= 10_000_000:
            raise ValueError(f"cap must be from 1 to 10000000, got {self.cap}")
        if self.target_psnr is not None and not 0 < self.target_psnr < math.inf:
            raise ValueError(f"target_psnr must be more than 0 and finite, got {self.target_psnr}")
        if not 0 < self.speed <= 10:
            raise ValueError(f"speed must be more than 0 and at most 10, got {self.speed}")

    def share(self, iteration: int, spent_s: float) -> float:
        """How far training is, in [0, 1]; 1 is the end."""
        by_steps = 0.0 if self.iterations is None else iteration / self.iterations
        by_time = 0.0 if self.budget_s is None else spent_s / self.budget_s
        return min(1.0, max(by_steps, by_time))

    def rates(self, share: float) -> dict[str, float]:
        """The learning rate of each group of parameters; that of the means in parts of the scene's size.

        Those of means and of harmonics beyond the constant one are 2.5 and 5 times gsplat's: in trainings as short as these,
        1000 steps of real photos, that shows photos kept aside 0.7 dB better. Where cameras move too, means are slower,
        or they would make up for what is wrong with the cameras.
        """
        late = self.speed * 0.1 ** max(0.0, (share - 0.6) / 0.4)
        return {
            "means": self.speed * (1.6e-4 if self.refine_poses else 4e-4) * 0.01**share,
            "quats": 1e-3 * late,
            "log_scales": 5e-3 * late,
            "logits": 5e-2 * late,
            "sh0": 2.5e-3 * late,
            "shN": 2.5e-3 / 4 * late,
            "poses": POSE_RATE * 0.1**share,
        }

    def degree(self, share: float) -> int:
        """The harmonics that are drawn: one degree more every tenth of the way."""
        return min(FULL_DEGREE, int(10 * share))

    def count(self, start: int, share: float) -> int:
        """How many splats there should be: from those at the start evenly to the cap, two thirds of the way."""
        return round(start + max(0, self.cap - start) * min(1.0, 1.5 * share))


PREVIEW = "preview"  # no training: discs on the surface, their colours fitted
TRAINED = {
    "standard": Settings(iterations=3000, cap=80_000, speed=2.0),
    "final": Settings(iterations=15_000, cap=400_000, speed=1.0),
}
PRESETS = (PREVIEW, *TRAINED)
BUDGETS = {  # steps as the paper on Gaussian splatting and those after it count them: Kerbl et al. 2023
    "3dgs-7k": Settings(iterations=7_000, cap=200_000, speed=1.5),
    "3dgs-30k": Settings(iterations=30_000, cap=600_000, speed=1.0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What may be asked of a training besides its preset.

    Attributes:
        budget: one of `BUDGETS` instead of what the preset takes, or None.
        steps: that it takes, one frame each, or None for as many as the preset or the budget has.
        minutes: that it takes, whatever that comes to in steps, or with `steps` at most; None for as long as it takes.
        cap: how many splats there may be, or None for the preset's or the budget's.
        target_psnr: decibels on the frames at which it ends early, or None.
        exposure, refine_poses, surfaces: as in `Settings`.
        watch: a .png or .jpg that shows how far it is, or None.
    """

    budget: str | None = None
    steps: int | None = None
    minutes: float | None = None
    cap: int | None = None
    target_psnr: float | None = None
    exposure: bool = False
    refine_poses: bool = False
    surfaces: bool = False
    watch: Path | None = None

    def settings(self, name: str, megapixels: float = math.inf) -> Settings:
        """The settings of a preset or a budget, so changed.

        Without a cap that was asked for there are no more splats than so many pixels of frames can place.
        """
        own = {**TRAINED, **BUDGETS}[name]
        return replace(
            own,
            iterations=own.iterations if self.steps is None and self.minutes is None else self.steps,
            budget_s=None if self.minutes is None else 60 * self.minutes,
            cap=self.cap or max(1, int(min(own.cap, megapixels * MOST_A_MEGAPIXEL))),
            target_psnr=self.target_psnr,
            exposure=self.exposure,
            refine_poses=self.refine_poses,
            surfaces=self.surfaces,
        )
