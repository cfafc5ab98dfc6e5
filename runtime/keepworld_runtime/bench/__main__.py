"""``python -m keepworld_runtime.bench``, which ``keepworld bench family`` runs: time, work and memory of a learned family."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence

from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from keepworld_runtime.bench.job import Job, measured
from keepworld_runtime.bench.report import table
from keepworld_runtime.bench.sizes import FAMILIES, Sizes, sizes_of
from keepworld_runtime.families.family import DTYPES, FamilyOptions, Place
from keepworld_runtime.families.latent.running import device_of
from keepworld_runtime.kernels import names

DESCRIPTION = """\
Measure a learned family on this machine, stage by stage, with random weights: what a chunk takes does not depend on what the
weights are, so no checkpoint is needed. The family walks until it sees as much of its past as it ever does; the
chunks after that count. Beside each stage's time stands its work, counted from shapes, the rate that makes, and what part
that is of the rate that a product of large matrices reaches here. At the end the same chunk is made the way it was
published, with the same weights, for the ratio.

The released network needs a GPU: about 40 GB of its memory for the 8B, 30 GB for the 5B. Without a GPU a reduced one is
measured, which tells that everything runs and where time goes, not how fast the released one is.
"""
EXAMPLES = """\
examples:
  keepworld bench family worldplay-8b                        the released size on a GPU, a reduced one without
  keepworld bench family worldplay-5b --ranks 4 --json       four GPUs share every chunk
  keepworld bench family worldplay-8b --reduced --size 512x256 --chunks 8
  keepworld bench family worldplay-8b --layers 2             two of the released layers, on whatever there is
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; gives the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        job = _job(options)
        report = measured(job)
    except (ValueError, ArithmeticError, ProcessExitedException, ProcessRaisedException) as error:
        print(f"keepworld bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report.as_json(), indent=2) if options.json else table(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keepworld bench family",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--random-weights", action="store_true", help="what is always done; may be said")
    parser.add_argument("--reduced", action="store_true", help="a small network and VAE of the same form")
    parser.add_argument("--layers", type=int, help="blocks of the network (default: as released, or reduced)")
    parser.add_argument("--hidden", type=int, help="width of the network, a multiple of 128 (default: likewise)")
    parser.add_argument("--size", type=_size, metavar="WxH", help="of frames (default: likewise)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: auto, a GPU where there is one)")
    parser.add_argument("--dtype", choices=DTYPES, default="auto", help="default: bfloat16 on a GPU, float32 on a CPU")
    parser.add_argument("--kernels", nargs="+", default=(), choices=names.KERNELS, help="optional kernels, best first")
    parser.add_argument("--chunks", type=int, default=3, help="how many count (default: %(default)s)")
    parser.add_argument("--ranks", type=int, default=1, help="processes, a GPU each, that share a chunk (default: 1)")
    parser.add_argument("--no-plain", action="store_true", help="without the published way, which takes longer")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"a size looks like 832x480, got {text!r}")
    return int(width), int(height)


def _job(options: argparse.Namespace) -> Job:
    for name in ("chunks", "ranks"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(options, name)}")
    family_options = FamilyOptions(device=options.device, dtype=options.dtype, kernels=tuple(options.kernels))
    threads = max(1, len(os.sched_getaffinity(0)) // options.ranks)
    device = device_of(family_options, Place(num_ranks=options.ranks, num_threads=threads))
    without_gpu = device.type == "cpu" and not (options.reduced or options.layers or options.hidden)
    sizes = sizes_of(
        options.family,
        is_reduced=options.reduced or without_gpu,
        layers=options.layers,
        hidden=options.hidden,
        size=options.size,
    )
    sizes.check_shared(options.ranks)
    return Job(
        family=options.family,
        sizes=sizes,
        network=_described(options, sizes, without_gpu=without_gpu),
        options=family_options,
        chunks=options.chunks,
        ranks=options.ranks,
        with_plain=not options.no_plain and options.ranks == 1,
        threads=threads,
    )


def _described(options: argparse.Namespace, sizes: Sizes, *, without_gpu: bool) -> str:
    """The network in words: which, how large, and why that one if nobody chose it."""
    shape = f"{sizes.config.num_layers} layers of {sizes.config.hidden_size}"
    if without_gpu:
        return f"reduced network ({shape}: on a CPU a chunk of the released one takes hours)"
    if options.reduced:
        return f"reduced network ({shape})"
    return f"network of {shape}" if options.layers or options.hidden else f"released network ({shape})"


if __name__ == "__main__":
    sys.exit(main())
