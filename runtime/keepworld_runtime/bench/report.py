"""What was measured, as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from keepworld_runtime.bench.measure import DECODE

_GIGA, _TERA = 1e9, 1e12


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of making a chunk.

    Attributes:
        name: of it.
        seconds: the median of the chunks.
        flops: of all ranks together; 0 for what is no product, convolution or attention.
    """

    name: str
    seconds: float
    flops: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One measurement.

    Attributes:
        family, network, device, dtype: what was measured, on what, in which numbers.
        ranks: processes that shared the work.
        width, height: of a frame.
        tokens_per_latent, context: the network's, and the latents that were seen again.
        chunks: how many were measured.
        frames: of a chunk.
        stages: of a chunk, in order.
        ceiling: FLOP/s of a product of large matrices on one rank.
        bytes: memory by what it is for, on the first rank: of network, VAE, keys and values, decoder, and the most at once.
        plain_s: seconds that the published way takes for the latents of a chunk, ours without retrieval and decoding; None if
            it was not asked for.
        difference: between the latents of both ways, the largest, over the largest latent.
    """

    family: str
    network: str
    device: str
    dtype: str
    ranks: int
    width: int
    height: int
    tokens_per_latent: int
    context: int
    chunks: int
    frames: int
    stages: Sequence[Stage]
    ceiling: float
    bytes: Mapping[str, int]
    plain_s: float | None = None
    ours_s: float | None = None
    difference: float | None = None

    @property
    def chunk(self) -> Stage:
        """All stages together."""
        return Stage(
            name="chunk",
            seconds=sum(stage.seconds for stage in self.stages),
            flops=sum(stage.flops for stage in self.stages),
        )

    @property
    def first_frames_s(self) -> float:
        """Seconds until the first latent's frames: everything but the decoding of the other latents."""
        decode = next(stage.seconds for stage in self.stages if stage.name == DECODE)
        num_latents = self.frames // 4
        return self.chunk.seconds - decode * (num_latents - 1) / num_latents

    def rate(self, stage: Stage) -> float:
        """FLOP/s that a stage reaches, of all ranks together."""
        return stage.flops / stage.seconds if stage.seconds else 0.0

    def share(self, stage: Stage) -> float:
        """What part that is of all ranks' ceilings."""
        return self.rate(stage) / (self.ceiling * self.ranks)

    def as_json(self) -> dict[str, object]:
        """All of it, with rates and sums."""

        def row(stage: Stage) -> dict[str, object]:
            return asdict(stage) | {"flops_per_s": self.rate(stage), "of_ceiling": self.share(stage)}

        return asdict(self) | {
            "stages": [row(stage) for stage in self.stages],
            "chunk": row(self.chunk),
            "frames_per_s": self.frames / self.chunk.seconds,
            "first_frames_s": self.first_frames_s,
            "at_ceiling_s": self.chunk.flops / (self.ceiling * self.ranks),
            "plain_over_ours": self.plain_s / self.ours_s if self.plain_s and self.ours_s else None,
        }


def table(report: Report) -> str:
    """The measurement as lines to read."""
    chunk = report.chunk
    ranks = f"{report.ranks} ranks" if report.ranks > 1 else "1 rank"
    lines = [
        f"{report.family}, {report.network}, random weights, {report.dtype} on {report.device}, {ranks}",
        f"{report.width}x{report.height}, {report.tokens_per_latent} tokens a latent, {report.context} latents of context, "
        f"median of {report.chunks} chunks of {report.frames} frames",
        "",
        f"{'stage':<14}{'ms':>10}{'GFLOP':>12}{'TFLOP/s':>10}{'of ceiling':>12}",
    ]
    lines += [_row(report, stage) for stage in (*report.stages, chunk)]
    least_s = chunk.flops / report.ceiling / report.ranks
    speed = report.frames / chunk.seconds
    lines += [
        "",
        f"ceiling  {report.ceiling / _TERA:.3g} TFLOP/s, a product of large matrices in this run: "
        f"at it a chunk would take {1000 * least_s:.1f} ms",
        f"speed    {speed:.2f} frames/s; a chunk's first frames after {1000 * report.first_frames_s:.1f} ms",
        "memory   " + ", ".join(f"{name} {size / _GIGA:.3g} GB" for name, size in report.bytes.items()),
    ]
    if report.plain_s and report.ours_s:
        lines.append(
            f"ratio    {report.plain_s / report.ours_s:.2f}: the published way takes {1000 * report.plain_s:.1f} ms "
            f"for a chunk's latents, ours {1000 * report.ours_s:.1f} ms; they differ by {report.difference:.1e} of the largest"
        )
    return "\n".join(lines)


def _row(report: Report, stage: Stage) -> str:
    work = f"{stage.flops / _GIGA:>12.1f}{report.rate(stage) / _TERA:>10.3g}{report.share(stage):>12.1%}"
    return f"{stage.name:<14}{1000 * stage.seconds:>10.1f}{work if stage.flops else ''}"
