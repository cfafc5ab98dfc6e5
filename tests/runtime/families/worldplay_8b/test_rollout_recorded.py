"""Every recorded rollout: `rollout_*.safetensors`, whatever is in the folder."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from keepworld_runtime.families.latent.denoiser import ChunkInput
from keepworld_runtime.families.worldplay_8b.config import BIDIRECTIONAL, DISTILLED, RolloutConfig
from keepworld_runtime.families.worldplay_8b.model import PromptStates
from keepworld_runtime.families.worldplay_8b.plain import Plain8B
from keepworld_runtime.families.worldplay_8b.rollout import Rollout8B
from keepworld_runtime.memory.overlap import ball_points
from keepworld_runtime.memory.policies import Plan
from keepworld_runtime.memory.reconstituted import Reconstituted
from keepworld_runtime.memory.retrieval import History, Retrieval, select
from keepworld_runtime.memory.views import Views
from keepworld_runtime.sampling.schedule import shifted_sigmas
from numpy.typing import NDArray
from torch import Tensor

from tests import goldens
from tests.runtime.families.worldplay_8b.worlds import recorded, recorded_model, recorded_states

# A relative change of 1e-5 of the noise moves a recorded rollout by up to 5e-5.
ROLLOUT = {"atol": 1e-4, "rtol": 0.0}


def recordings() -> list[Path]:
    """Those in the folder when tests are collected; none if there is no such folder."""
    try:
        return sorted(goldens.folder("worldplay8b").glob("rollout_*.safetensors"))
    except pytest.skip.Exception:
        return []


@dataclass(frozen=True)
class Recording:
    """One recorded rollout: what went in and what came out."""

    path: Path

    @cached_property
    def _read(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        return goldens.load(self.path)

    @property
    def tensors(self) -> dict[str, Tensor]:
        return self._read[0]

    @property
    def about(self) -> dict[str, str]:
        return self._read[1]

    @property
    def config(self) -> RolloutConfig:
        return replace(
            {"ar": DISTILLED, "bi": BIDIRECTIONAL}[self.about["kind"]],
            chunk_size=int(self.about["chunk"]),
            num_steps=int(self.about["steps"]),
            shift=float(self.about["shift"]),
            guidance=float(self.about["guidance"]),
        )

    @property
    def num_latents(self) -> int:
        """Of whole chunks: what is left after them was never denoised."""
        num, size = self.tensors["in.noise"].shape[2], self.config.chunk_size
        return num - num % size

    @property
    def views(self) -> Views:
        num = self.tensors["in.noise"].shape[2]
        return Views(
            viewmats=self.tensors["in.viewmats"].reshape(num, 4, 4).double().numpy(),
            Ks=self.tensors["in.Ks"].reshape(num, 3, 3).double().numpy(),
            actions=self.tensors["in.action"].reshape(num).long().numpy(),
        )

    @property
    def states(self) -> PromptStates:
        """Of what is wanted, the last; with guidance, of what is not too."""
        used = slice(-1 if self.config.guidance == 1 else -2, None)
        return recorded_states({name: x[used] for name, x in self.tensors.items() if name.endswith(("states", "mask"))})

    @property
    def image(self) -> Tensor | None:
        """The latent of the picture that it began with, [1, C, 1, h, w]; its mask tells whether there was one."""
        beside = self.tensors.get("in.cond_latents")
        image = self.tensors.get("in.image_latent")
        if beside is not None:
            return beside[:, :-1, :1] if bool(beside[:, -1, 0].any()) else None
        return image if image is not None and bool(image.any()) else None

    @property
    def points(self) -> NDArray[np.float32]:
        """Those that views were compared with, by name: recorded, or drawn again from number and seed."""
        name = self.about["points"]
        tensors, _ = recorded("points")
        if name in tensors:
            return tensors[name].numpy()
        told = re.fullmatch(r"points(\d+)(k?)_seed(\d+)", name)
        assert told is not None, name
        torch.manual_seed(int(told[3]))
        count = int(told[1]) * (1000 if told[2] else 1)
        return ball_points(torch.stack([torch.rand(count) for _ in range(3)]).numpy(), 8.0)

    def memory(self) -> Reconstituted:
        points = self.points
        plan = Plan(
            retrieval=Retrieval(),
            points=lambda _: points,
            chunk_size=self.config.chunk_size,
            capacity=max(64, self.num_latents),
        )
        return Reconstituted(plan)


RECORDINGS = recordings()


@pytest.fixture(params=RECORDINGS, ids=lambda path: path.stem)
def recording(request: pytest.FixtureRequest) -> Recording:
    return Recording(request.param)


def rolled_out(recording: Recording, denoiser: Rollout8B | Plain8B) -> tuple[Tensor, dict[str, NDArray[np.int64]]]:
    """The latents of a whole walk, made chunk by chunk, and what each chunk saw again."""
    prompt = denoiser.prepare(recording.states)
    memory, made, chosen = recording.memory(), [], {}
    size = recording.config.chunk_size
    for start in range(0, recording.num_latents, size):
        views = recording.views[start : start + size]
        context = memory.select(views)
        if start:
            chosen[f"memory.chunk{start // size:02d}"] = context.indices
        latents = denoiser.denoise(
            ChunkInput(
                start=start,
                noise=recording.tensors["in.noise"][:, :, start : start + size],
                views=views,
                context=context,
                prompts=((prompt, 1.0),),
                image=recording.image,
            )
        )
        memory.remember(latents, views)
        made.append(latents)
    return torch.cat(made, dim=2), chosen


def test_there_are_recordings() -> None:
    goldens.folder("worldplay8b")
    assert RECORDINGS


def test_a_rollout_is_the_recorded_one(recording: Recording) -> None:
    tensors = recording.tensors
    height, width = tensors["in.noise"].shape[-2:]
    rollout = Rollout8B(recorded_model(), recording.config, height=height, width=width)
    latents, chosen = rolled_out(recording, rollout)
    used = {name: tensors[name].numpy() for name in tensors if name.startswith("memory.chunk")}
    assert chosen.keys() >= used.keys()
    for name, wanted in used.items():
        np.testing.assert_array_equal(chosen[name], wanted, err_msg=name)
    torch.testing.assert_close(latents, tensors["out.latents"][:, :, : recording.num_latents], **ROLLOUT)


def test_a_rollout_in_the_published_way_is_the_recorded_one(recording: Recording) -> None:
    if recording.num_latents > 32:
        pytest.skip("a longer walk shows no more of the plain form, and takes longer")
    latents, _ = rolled_out(recording, Plain8B(recorded_model(), recording.config))
    wanted = recording.tensors["out.latents"][:, :, : recording.num_latents]
    torch.testing.assert_close(latents, wanted, **ROLLOUT)


def test_every_recorded_choice_of_memory_is_ours(recording: Recording) -> None:
    views, points = recording.views, recording.points
    for name, wanted in recording.tensors.items():
        if name.startswith("selected.at"):
            at = int(name.removeprefix("selected.at"))
            starts = np.arange(0, at, 4)
            probes = np.stack([views.viewmats[starts], views.viewmats[starts + 2]], axis=1)
            history = History(starts=starts, ends=starts + 4, probes=probes)
            found = select(Retrieval(), history, views[at : at + 4], lambda _: points)
            np.testing.assert_array_equal(found, wanted.numpy(), err_msg=name)


def test_noise_levels_are_the_recorded_ones(recording: Recording) -> None:
    levels = torch.tensor(shifted_sigmas(recording.config.num_steps, recording.config.shift))
    torch.testing.assert_close(levels, recording.tensors["sigmas"], atol=1e-6, rtol=0)
    torch.testing.assert_close(1000 * levels[:-1], recording.tensors["timesteps"], atol=1e-3, rtol=0)
