"""One measurement, from what was asked for to its report, on one rank or several."""

from __future__ import annotations

import logging
import sys
import tempfile
from dataclasses import dataclass, replace
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np
import torch
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import spawn

from keepworld_runtime.bench import measure
from keepworld_runtime.bench.report import Report, Stage
from keepworld_runtime.bench.sizes import Sizes
from keepworld_runtime.bench.subject import (
    LARGE,
    Subject,
    bytes_of,
    count_decoder_flops,
    make_subject,
    parallelize,
    random_network,
)
from keepworld_runtime.families.family import FamilyOptions, Place
from keepworld_runtime.families.latent.flops import chunk_flops
from keepworld_runtime.families.latent.running import device_of, dtype_of
from keepworld_runtime.kernels.attention import choose_attention
from keepworld_runtime.kernels.linear_fp8 import to_fp8
from keepworld_runtime.layers.vae import FRAMES_PER_LATENT
from keepworld_runtime.parallelism.context import ContextExchange
from keepworld_runtime.parallelism.mesh import join, leave
from keepworld_runtime.parallelism.vae import split_decoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is asked for; travels to the ranks.

    Attributes:
        family: of the table.
        sizes: of what is built.
        network: the same in words.
        options: device, dtype and kernels.
        chunks: how many count.
        ranks: processes.
        threads: of each, on a CPU.
        with_plain: whether the published way is timed too; on one rank.
    """

    family: str
    sizes: Sizes
    network: str
    options: FamilyOptions
    chunks: int
    ranks: int
    threads: int
    with_plain: bool


def measured(job: Job) -> Report:
    """Measure, in this process or in as many as there shall be ranks."""
    if job.ranks == 1:
        return _measure(job, Place(num_threads=job.threads))
    answer: SimpleQueue[Report] = get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="keepworld-bench-") as folder:
        rendezvous = (Path(folder) / "meet").as_uri()
        spawn(_one_rank, (job, rendezvous, answer), nprocs=job.ranks)
    return answer.get()


def _one_rank(rank: int, job: Job, rendezvous: str, answer: SimpleQueue[Report]) -> None:
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.ERROR, format="%(message)s", stream=sys.stderr)
    place = Place(rank=rank, num_ranks=job.ranks, rendezvous=rendezvous, num_threads=job.threads)
    report = _measure(job, place)
    if rank == 0:
        answer.put(report)


def _measure(job: Job, place: Place) -> Report:
    """Measure on this rank; all ranks do the same."""
    torch.set_num_threads(place.num_threads)
    tell = _progress if place.rank == 0 else _silence
    device = device_of(job.options, place)
    dtype = dtype_of(job.options, device)
    tell("building the network")
    model = random_network(job.sizes, device, dtype)
    model.attend = choose_attention(job.options.kernels, device, dtype)
    to_fp8(model, LARGE.fullmatch, job.options.kernels)
    group = join(place.rank, place.num_ranks, place.rendezvous, device) if place.num_ranks > 1 else None
    if group:
        parallelize(model, ContextExchange(group))
    subject = make_subject(job.sizes, model)
    if group:
        split_decoder(subject.vae, group)
    tell("the ceiling: products of large matrices")
    ceiling = measure.matmul_ceiling(device, dtype)
    walked = measure.walk(subject, job.chunks, tell)
    report = _report(job, subject, walked, ceiling)
    if job.with_plain:
        tell("the published way, twice")
        ours_s, ours = measure.time_way(subject.ours, walked.last, device)
        plain_s, plain = measure.time_way(subject.make_plain(), walked.last, device)
        difference = float((ours - plain).abs().max() / plain.abs().max())
        report = replace(report, ours_s=ours_s, plain_s=plain_s, difference=difference)
    if group:
        leave()
    tell("")
    return report


def _report(job: Job, subject: Subject, walked: measure.Walked, ceiling: float) -> Report:
    sizes, device = job.sizes, subject.model.device
    context, chunk_size = len(walked.last.context), sizes.rollout.chunk_size
    work = chunk_flops(
        sizes.config,
        sizes.rollout,
        tokens_per_latent=sizes.tokens_per_latent,
        context=context,
        text_tokens=sizes.words + sizes.picture,
    )
    flops: dict[str, float] = {name: stage.total for name, stage in work.items()}
    flops[measure.DECODE] = chunk_size * count_decoder_flops(sizes)
    seconds = {name: float(np.median([chunk[name] for chunk in walked.chunks])) for name in walked.chunks[0]}
    return Report(
        family=job.family,
        network=job.network,
        device=torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"a CPU (threads a rank: {job.threads})",
        dtype=str(subject.model.dtype).removeprefix("torch."),
        ranks=job.ranks,
        width=sizes.width,
        height=sizes.height,
        tokens_per_latent=sizes.tokens_per_latent,
        context=context,
        chunks=job.chunks,
        frames=FRAMES_PER_LATENT * chunk_size,
        stages=[Stage(name=name, seconds=taken, flops=flops.get(name, 0.0)) for name, taken in seconds.items()],
        ceiling=ceiling,
        bytes={
            "network": bytes_of(subject.model),
            "VAE": bytes_of(subject.vae_module),
            "keys and values": sum(cache.num_bytes for cache in subject.caches()),
            "decoder": walked.decoder_bytes,
            "peak": walked.peak_bytes,
        },
    )


def _progress(line: str) -> None:
    """Tell how far it is: on a terminal in one line, which an empty one clears."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
    elif line:
        print(line, file=sys.stderr, flush=True)


def _silence(line: str) -> None:
    """The other ranks tell nothing."""
