"""A walk into steady state, its stages timed; and the rate that this machine's products of matrices reach."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from keepworld_runtime.bench.stopwatch import Stopwatch
from keepworld_runtime.bench.subject import Moment, Subject, Way, channels_of
from keepworld_runtime.families.latent.family import default_intrinsics
from keepworld_runtime.families.latent.flops import CONTEXT, step_name
from keepworld_runtime.families.latent.points import points_of
from keepworld_runtime.layers.vae import history_latents
from keepworld_runtime.memory import policies
from keepworld_runtime.memory.views import Views
from keepworld_runtime.sampling.latent_noise import latent_noise

RETRIEVE, DECODE, REST = "retrieve", "decode", "rest"
_STEP = "step"
_FORWARD, _TURN = 0.08, np.radians(3.0)  # a latent: the published motions
_FORWARD_AND_RIGHT = 9 + 1  # the class of both at once

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Walked:
    """What a walk's last chunks took.

    Attributes:
        chunks: of each, seconds by stage; what lies between the stages is `REST`.
        last, latents: what the last was made from, and it.
        decoder_bytes: what the decoder keeps from latent to latent.
        peak_bytes: the most memory in use at once, on a GPU during these chunks, else by the process ever.
    """

    chunks: list[dict[str, float]]
    last: Moment
    latents: Tensor
    decoder_bytes: int
    peak_bytes: int


@torch.inference_mode()
def walk(subject: Subject, num_chunks: int, tell: Tell) -> Walked:
    """Walk until context is full and chosen from, then `num_chunks` chunks that count.

    Raises:
        ArithmeticError: latents came out as not-a-number.
    """
    device, size, vae = subject.model.device, subject.sizes.rollout.chunk_size, subject.vae
    watch = Stopwatch(device)
    for method, stage in (("write_context", CONTEXT), ("velocity", _STEP)):
        setattr(subject.model, method, watch.wrapped(stage, getattr(subject.model, method)))
    memory = policies.create(
        None,
        policies.Plan(
            retrieval=subject.retrieval,
            points=points_of(0, subject.retrieval.field.radius),
            chunk_size=size,
            recent=history_latents(vae),
            device=str(device),
        ),
    )
    before = subject.sizes.rollout.memory_size // size + 2
    views, state, chunks = _views(size), vae.initial_state(), []
    for number in range(before + num_chunks):
        counts = number >= before
        tell(f"chunk {number + 1} of {before + num_chunks}{'' if counts else ', on the way to steady state'}")
        if number == before and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        ahead = next(views)
        noise = latent_noise(0, memory.num_latents, (1, channels_of(subject.sizes), size, *subject.sizes.grid))
        began = watch.now()
        with watch.stage(RETRIEVE):
            context = memory.select(ahead)
        moment = Moment(start=memory.num_latents, noise=noise, views=ahead, context=context)
        latents = subject.ours(moment)
        with watch.stage(DECODE):
            for latent in latents.split(1, dim=2):
                _, state = vae.decode(latent, state)
        whole = watch.now() - began
        memory.remember(latents, ahead)
        stages = _by_stage(watch.take(), whole)
        if counts:
            chunks.append(stages)
    if not bool(latents.isfinite().all()):
        raise ArithmeticError("latents came out as not-a-number")
    return Walked(
        chunks=chunks,
        last=moment,
        latents=latents,
        decoder_bytes=state.num_bytes,
        peak_bytes=_peak_bytes(device),
    )


def time_way(way: Way, moment: Moment, device: torch.device) -> tuple[float, Tensor]:
    """Seconds that a way takes for a chunk, the second time that it makes it, and the latents."""
    watch = Stopwatch(device)
    way(moment)
    began = watch.now()
    latents = way(moment)
    return watch.now() - began, latents


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a product of two large square matrices: the best of some runs, beside which stages are put."""
    side, rounds, repeats = (8192, 8, 5) if device.type == "cuda" else (1024, 5, 2)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    watch, best = Stopwatch(device), float("inf")
    for _ in range(rounds):
        began = watch.now()
        for _ in range(repeats):
            left @ right
        best = min(best, (watch.now() - began) / repeats)
    return 2 * side**3 / best


def _views(size: int) -> Iterator[Views]:
    """A walk forward and to the right without end, `size` latents at a time: a circle, so that places come again."""
    c2w, turn, ahead = np.eye(4), np.eye(4), np.eye(4)
    turn[0, 0] = turn[2, 2] = np.cos(_TURN)
    turn[0, 2], turn[2, 0] = np.sin(_TURN), -np.sin(_TURN)
    ahead[2, 3] = _FORWARD
    first = True
    while True:
        viewmats = []
        for _ in range(size):
            c2w = c2w if first else c2w @ turn @ ahead
            first = False
            viewmats.append(np.linalg.inv(c2w))
        Ks = np.repeat(default_intrinsics()[None], size, axis=0)
        yield Views(viewmats=np.stack(viewmats), Ks=Ks, actions=np.full(size, _FORWARD_AND_RIGHT))


def _by_stage(spans: list[tuple[str, float]], whole: float) -> dict[str, float]:
    """Seconds by stage, the steps numbered, and what is left of the whole."""
    stages: dict[str, float] = {}
    steps = 0
    for name, seconds in spans:
        steps += name == _STEP
        stages[step_name(steps) if name == _STEP else name] = seconds
    return stages | {REST: max(0.0, whole - sum(stages.values()))}


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
