"""Every recorded rollout: `rollout_*.safetensors`, whatever is in the folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from keepworld_runtime.families.latent.denoiser import ChunkInput
from keepworld_runtime.families.latent.pictures import as_frames, fitted
from keepworld_runtime.families.worldplay_5b.config import ROLLOUT
from keepworld_runtime.families.worldplay_5b.plain import Plain5B
from keepworld_runtime.families.worldplay_5b.rollout import Rollout5B
from keepworld_runtime.layers.wan_vae import WanVAE, load_wan_vae
from keepworld_runtime.memory.overlap import Field, ball_points
from keepworld_runtime.memory.policies import Plan
from keepworld_runtime.memory.reconstituted import Reconstituted
from keepworld_runtime.memory.retrieval import Retrieval
from keepworld_runtime.memory.views import Views
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tests import goldens
from tests.runtime.families.worldplay_5b.worlds import recorded_model

LATENT_PIXELS = 16  # a side
NUM_POINTS = 50_000


def recordings() -> list[Path]:
    """Those in the folder when tests are collected; none if there is no such folder."""
    try:
        return sorted(goldens.folder("worldplay5b").glob("rollout_*.safetensors"))
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
    def size(self) -> tuple[int, int]:
        """Height and width of a latent."""
        return int(self.about["height"]) // LATENT_PIXELS, int(self.about["width"]) // LATENT_PIXELS

    @property
    def views(self) -> Views:
        viewmats, Ks, actions = (self.tensors[name] for name in ("viewmats", "Ks", "action"))
        return Views(
            viewmats=viewmats.reshape(-1, 4, 4).double().numpy(),
            Ks=Ks.reshape(-1, 3, 3).double().numpy(),
            actions=actions.flatten().long().numpy(),
        )

    @cached_property
    def drawn(self) -> tuple[NDArray[np.float32], Tensor, Tensor]:
        """Points of the memory, noise of the latents and of the picture's posterior, in the order that they were drawn."""
        channels = json.loads(self.about["config"])["in_channels"]
        rng = torch.Generator().manual_seed(0)
        points = torch.stack([torch.rand(NUM_POINTS, generator=rng) for _ in range(3)]).numpy()
        noise = torch.randn(1, channels, int(self.about["n_latent"]), *self.size, generator=rng)
        return points, noise, torch.randn(1, channels, 1, *self.size, generator=rng)

    @property
    def noise(self) -> Tensor:
        return self.tensors.get("noise", self.drawn[1])

    @cached_property
    def vae(self) -> WanVAE:
        weights, _ = goldens.load(self.path.parent / "vae_state_dict.safetensors")
        return load_wan_vae(weights, json.loads(self.about["vae_config"]))

    @property
    def has_image(self) -> bool:
        told = [*self.tensors, *(value for name, value in self.about.items() if name in ("kind", "mode", "task"))]
        told.append(self.path.stem)
        return any(re.search(r"image|first_frame|i2v", text) for text in told)

    @cached_property
    def image(self) -> Tensor | None:
        """The latent of the picture that the world began with: as recorded, else encoded from the picture.

        Without a picture it is the first latent that came out: no step touches it.
        """
        if not self.has_image:
            return None
        for name, tensor in self.tensors.items():
            if re.search("image|first", name) and "latent" in name:
                return tensor.reshape(1, -1, 1, *self.size)
        picture = self.picture()
        if picture is None:
            return self.tensors["latents.chunk0"][:, :, :1]
        return self.vae.encode(picture, noise=self.drawn[2])

    def picture(self) -> Tensor | None:
        """The recorded picture, else the one beside it, as the VAE takes it: [1, 3, 1, H, W] in [-1, 1]."""
        recorded = self.tensors.get("first_image")
        if recorded is not None:
            whole = recorded.squeeze()
            whole = (whole.permute(2, 0, 1) if whole.shape[-1] == 3 else whole).float()
            if recorded.dtype == torch.uint8:
                whole = whole / 127.5 - 1
            return whole.reshape(1, 3, 1, int(self.about["height"]), int(self.about["width"]))
        return self.fitted_file()

    def fitted_file(self) -> Tensor | None:
        """The picture beside the recording, made to fit, [1, 3, 1, H, W] in [-1, 1]."""
        beside = self.path.parent / "first_frame.png"
        if not beside.is_file():
            return None
        with Image.open(beside) as file:
            picture = np.array(file.convert("RGB"))
        return as_frames(fitted(picture, int(self.about["width"]), int(self.about["height"]))[None])

    def chunks(self) -> range:
        """Those of which the latents were recorded, and all before them."""
        numbers = [int(name.removeprefix("latents.chunk")) for name in self.tensors if name.startswith("latents.chunk")]
        return range(max(numbers) + 1)


def memory_of(recording: Recording) -> Reconstituted:
    """The published 5B memory, with the points that the recording was made with."""
    rule = Retrieval(window=ROLLOUT.window, pinned=0, field=Field(dtype=np.float32))
    assert rule.budget == ROLLOUT.memory_size
    points = ball_points(recording.drawn[0], rule.field.radius)
    return Reconstituted(Plan(retrieval=rule, points=lambda _: points, capacity=int(recording.about["n_latent"])))


def walked(
    recording: Recording, denoiser: Rollout5B | Plain5B, num_chunks: int | None = None
) -> list[tuple[NDArray[np.int64], Tensor]]:
    """What each chunk, or the first few, saw again, and its latents."""
    memory, views, size = memory_of(recording), recording.views, ROLLOUT.chunk_size
    prompt = denoiser.prepare(recording.tensors["prompt_embeds"])
    made = []
    for chunk in recording.chunks()[:num_chunks]:
        part = slice(size * chunk, size * (chunk + 1))
        context = memory.select(views[part])
        latents = denoiser.denoise(
            ChunkInput(
                start=part.start,
                noise=recording.noise[:, :, part],
                views=views[part],
                context=context,
                prompts=((prompt, 1.0),),
                image=recording.image,
            )
        )
        memory.remember(latents, views[part])
        made.append((context.indices, latents))
    return made


def errors(recording: Recording, made: list[tuple[NDArray[np.int64], Tensor]]) -> dict[str, float]:
    """The largest error of every recorded chunk, in units of max(1, |recorded|)."""
    wanted = {f"latents.chunk{chunk}": latents for chunk, (_, latents) in enumerate(made)}
    return {
        name: float(((latents - recording.tensors[name]).abs() / recording.tensors[name].abs().clamp(min=1)).max())
        for name, latents in wanted.items()
        if name in recording.tensors
    }


@pytest.fixture(scope="module", params=recordings(), ids=lambda path: path.stem)
def recording(request: pytest.FixtureRequest) -> Recording:
    return Recording(request.param)


@pytest.fixture(scope="module")
def ours(recording: Recording) -> list[tuple[NDArray[np.int64], Tensor]]:
    height, width = recording.size
    return walked(recording, Rollout5B(recorded_model(), ROLLOUT, height=height, width=width))


def test_a_rollout_makes_the_recorded_latents(
    recording: Recording, ours: list[tuple[NDArray[np.int64], Tensor]]
) -> None:
    found = errors(recording, ours)
    assert found and max(found.values()) < 2e-4, found


@pytest.mark.parametrize(
    "wrong", [{"context_timestep": 13.0}, {"sigmas": (1.0, 0.961, *ROLLOUT.sigmas[2:])}], ids=["context", "sigma"]
)
def test_a_rollout_with_a_wrong_constant_does_not(recording: Recording, wrong: dict[str, Any]) -> None:
    height, width = recording.size
    rollout = Rollout5B(recorded_model(), replace(ROLLOUT, **wrong), height=height, width=width)
    made = walked(recording, rollout, num_chunks=2)
    assert max(errors(recording, made).values()) > 0.01


def test_a_rollout_sees_again_what_the_recorded_one_saw(
    recording: Recording, ours: list[tuple[NDArray[np.int64], Tensor]]
) -> None:
    for chunk, (indices, _) in enumerate(ours):
        if f"selected.chunk{chunk}" in recording.tensors:
            wanted = recording.tensors[f"selected.chunk{chunk}"].flatten().tolist()
            assert indices.tolist() == wanted, f"chunk {chunk}"


def test_a_rollout_shows_the_recorded_frames(
    recording: Recording, ours: list[tuple[NDArray[np.int64], Tensor]]
) -> None:
    state, vae = recording.vae.initial_state(), recording.vae
    videos = [name for name in recording.tensors if name.startswith("video.chunk")]
    if not videos:
        pytest.skip(f"{recording.path.name} has no frames")
    last = max(_chunk_of(name) for name in videos)
    for chunk, (_, latents) in enumerate(ours[: last + 1]):
        shown = []
        for latent in latents.split(1, dim=2):
            frames, state = vae.decode(latent, state)
            shown.append(frames)
        frames = torch.cat(shown, dim=2).permute(0, 2, 3, 4, 1) / 2 + 0.5  # [1, F, H, W, 3] in [0, 1]
        for name in videos:
            if _chunk_of(name) == chunk:
                wanted = recording.tensors[name].float()
                assert (frames[:, : wanted.shape[1]] - wanted).abs().max() < 2e-3, name


def test_the_published_way_makes_the_recorded_latents_too(recording: Recording) -> None:
    found = errors(recording, walked(recording, Plain5B(recorded_model(), ROLLOUT)))
    assert found and max(found.values()) < 2e-4, found


def test_a_recorded_picture_is_the_file_beside_it_made_to_fit(recording: Recording) -> None:
    if "first_image" not in recording.tensors or recording.fitted_file() is None:
        pytest.skip(f"{recording.path.name} has no picture")
    assert (recording.fitted_file() - recording.picture()).abs().max() < 1.5 / 127.5  # a step of eight bits


def test_noise_and_points_are_drawn_in_the_published_order() -> None:
    folder = goldens.folder("worldplay5b")
    recording = Recording(folder / "rollout_t2v.safetensors")
    points, noise, _ = recording.drawn
    recorded, _ = goldens.load(folder / "memory_selection.safetensors")
    np.testing.assert_allclose(ball_points(points, 8.0), recorded["points_local"].numpy(), atol=1e-5)
    assert torch.equal(noise, recording.tensors["noise"])


def _chunk_of(name: str) -> int:
    return int(re.findall(r"chunk(\d+)", name)[0])
