"""``python -m keepworld_runtime.models``: which learned models there are, getting them, checking them, planning for them."""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from keepworld.files import write_atomically
from keepworld.progress import ProgressLine

from keepworld_runtime.families import FAMILIES
from keepworld_runtime.families.family import OFFLOADS
from keepworld_runtime.families.latent.catalog import CATALOG, entry_of
from keepworld_runtime.families.latent.manifest import changed
from keepworld_runtime.families.latent.parts import ModelEntry, is_there, locate
from keepworld_runtime.families.latent.plan import Plan, default_size, plans
from keepworld_runtime.families.latent.poses import parse, read_json
from keepworld_runtime.families.latent.pull import pull_from_folder, pull_from_hub

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
_GB = 1e9
_WIDTH = 110

EXAMPLES = """\
examples:
  keepworld models list --in weights                            what there is, and what of it lies in ./weights
  keepworld models plan worldplay-8b --gpus 4                   memory and expected speed, before anything is loaded
  keepworld models pull worldplay-8b --to weights               the licences, then how to accept them
  keepworld models pull worldplay-5b --from /mnt/hub --to weights --accept-licence
  keepworld models verify weights                               every name, shape and hash
  keepworld models path "w-16, right-8" --out path.json         a published motion string, for keepworld capture --path
  keepworld serve --family worldplay-8b --checkpoint weights    and run it
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status: 0 done, 1 failed, 2 misused, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except KeyboardInterrupt:
        print("\ninterrupted; what was got whole is kept, and the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except ImportError as error:
        print(f"keepworld models: {error}; pip install -c constraints.txt 'keepworld[neural]'", file=sys.stderr)
        return FAILED
    except (ValueError, OSError) as error:
        print(f"keepworld models: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keepworld models",
        description="Learned models: what they need, getting them, checking them, planning for them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="the models, what each needs, on what terms")
    listing.add_argument("--in", dest="folder", type=Path, metavar="DIR", help="say what of it lies in this folder")
    listing.add_argument("--json", action="store_true", help="as one JSON object")
    listing.set_defaults(command=_list)

    pull = commands.add_parser("pull", help="get a model's files; breaking off and asking again goes on")
    _name_arguments(pull)
    pull.add_argument("--to", type=Path, required=True, metavar="DIR", help="the checkpoint folder")
    pull.add_argument(
        "--from", dest="source", type=Path, metavar="DIR", help="a folder that has them (default: the hub)"
    )
    pull.add_argument("--accept-licence", action="store_true", help="you have read the licences and they let you")
    pull.set_defaults(command=_pull)

    verify = commands.add_parser("verify", help="check a checkpoint folder: names and shapes, then hashes")
    verify.add_argument("folder", type=Path, metavar="DIR")
    verify.add_argument("--quick", action="store_true", help="without hashes, which read every byte")
    verify.set_defaults(command=_verify)

    plan = commands.add_parser("plan", help="memory and expected speed, before anything is loaded")
    _name_arguments(plan)
    plan.add_argument(
        "--gpus", type=int, metavar="N", help="how many (default: a line each for those of 1, 2, 4, 8 that can share)"
    )
    plan.add_argument("--gpu-memory-gb", type=float, default=80.0, metavar="GB", help="of each (default: %(default)g)")
    plan.add_argument("--offload", choices=OFFLOADS, help="what leaves the GPU when unused (default: a line each)")
    plan.add_argument("--size", type=_size, metavar="WxH", help="of the frames (default: the model's)")
    plan.add_argument("--json", action="store_true", help="as one JSON object")
    plan.set_defaults(command=_plan)

    path = commands.add_parser("path", help="turn published motion strings and pose files into a path of cameras")
    path.add_argument("motions", metavar="MOTIONS|FILE", help="as in 'w-16, right-8', or a pose JSON file")
    path.add_argument("--out", type=Path, required=True, metavar="FILE", help="a JSON list of matrices, one a frame")
    path.set_defaults(command=_path)
    return parser


def _name_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=CATALOG, metavar="NAME", help=", ".join(CATALOG))
    parser.add_argument("--variant", help="which of its weights (default: the first in the list)")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"a size looks like 832x480, got {text!r}")
    return int(width), int(height)


def _list(arguments: argparse.Namespace) -> int:
    if arguments.json:
        print(json.dumps([_as_json(entry, arguments.folder) for entry in CATALOG.values()]))
        return OK
    for entry in CATALOG.values():
        print(f"{entry.name}  {entry.summary}")
        for number, (variant, part) in enumerate(entry.networks.items()):
            note = " (default)" if number == 0 else ""
            _print_part(f"{variant}{note}", part.gigabytes, part.what, _presence(arguments.folder, entry, variant))
        for part in entry.parts:
            is_here = None if arguments.folder is None else is_there(arguments.folder, entry, part)
            _print_part(part.name, part.gigabytes, part.what, is_here)
        print(f"  {'in all':<24} {_gigabytes(entry):7.1f} GB  one variant with the rest")
        _print_licences(entry)
        print()
    print("get one: keepworld models pull NAME --to DIR;  what it will take to run: keepworld models plan NAME")
    return OK


def _gigabytes(entry: ModelEntry, variant: str | None = None) -> float:
    return sum(part.gigabytes for part in entry.needs(variant))


def _presence(folder: Path | None, entry: ModelEntry, variant: str) -> bool | None:
    return None if folder is None else is_there(folder, entry, entry.networks[variant])


def _print_part(name: str, gigabytes: float, what: str, is_here: bool | None) -> None:
    mark = {None: "", True: "✓ ", False: "– "}[is_here]
    print(f"  {name:<24} {gigabytes:7.1f} GB  {mark}{what}")


def _print_licences(entry: ModelEntry) -> None:
    for licence in entry.licences:
        told = f"{licence.name}, for {licence.covers}. {licence.limits}".strip()
        print(textwrap.fill(told, width=_WIDTH, initial_indent="  licence  ", subsequent_indent="           "))
        print(f"           {licence.address}")


def _as_json(entry: ModelEntry, folder: Path | None) -> dict[str, object]:
    parts = [{"name": part.name, "what": part.what, "gigabytes": part.gigabytes} for part in entry.parts]
    if folder is not None:
        parts = [
            {**told, "present": is_there(folder, entry, part)} for told, part in zip(parts, entry.parts, strict=True)
        ]
    variants = {
        variant: {
            "what": part.what,
            "gigabytes": part.gigabytes,
            **({} if folder is None else {"present": is_there(folder, entry, part)}),
        }
        for variant, part in entry.networks.items()
    }
    licences = [asdict(licence) for licence in entry.licences]
    return {"name": entry.name, "summary": entry.summary, "variants": variants, "parts": parts, "licences": licences}


def _pull(arguments: argparse.Namespace) -> int:
    entry = entry_of(arguments.name)
    entry.needs(arguments.variant)
    if not arguments.accept_licence:
        print(f"{entry.name} comes under these licences:")
        _print_licences(entry)
        print("Read them. If they let you, ask again with --accept-licence.")
        return USAGE
    line = ProgressLine(wanted=True)
    if arguments.source is not None:
        taken = pull_from_folder(
            arguments.source,
            arguments.to,
            entry,
            arguments.variant,
            lambda name, done, total: line.show(f"{done / max(total, 1):4.0%} of {total / _GB:.1f} GB  {name}"),
        )
        line.end()
        print(f"{len(taken)} files taken; the rest was there")
    else:
        _check_room(arguments.to, _gigabytes(entry, arguments.variant))
        pull_from_hub(arguments.to, entry, arguments.variant, lambda what: print(what, file=sys.stderr))
    print(
        f"{entry.name} is in {arguments.to}; run it: keepworld serve --family {entry.name} --checkpoint {arguments.to}"
    )
    return OK


def _check_room(folder: Path, gigabytes: float) -> None:
    """Refuse before the download, not after half of it.

    Raises:
        OSError: there is less room than the whole takes, and nothing of it is there.
    """
    existing = next(each for each in (folder, *folder.resolve().parents) if each.exists())
    free = shutil.disk_usage(existing).free / _GB
    if free < gigabytes and not folder.exists():
        raise OSError(f"{existing} has {free:.1f} GB free; about {gigabytes:.1f} GB are needed")


def _path(arguments: argparse.Namespace) -> int:
    file = Path(arguments.motions)
    trajectory = read_json(file.read_bytes()) if file.is_file() else parse(arguments.motions)
    frames = trajectory.frames()
    write_atomically(arguments.out, json.dumps(frames.tolist()).encode())
    for motion in trajectory.without_effect:
        print(f"{motion} comes to less than one latent, and to nothing", file=sys.stderr)
    print(f"{len(frames)} cameras, OpenCV axes, the model's units: keepworld capture … --path {arguments.out}")
    return OK


def _verify(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.folder
    here = [
        (entry, variant)
        for entry in CATALOG.values()
        for variant, part in entry.networks.items()
        if is_there(folder, entry, part)
    ]
    if not here:
        wanted = sorted(
            {form.folder for entry in CATALOG.values() for part in entry.networks.values() for form in part.forms}
        )
        print(f"{folder} has no network of a known model: looked for {', '.join(wanted)}", file=sys.stderr)
        return FAILED
    is_fine = True
    for entry, variant in here:
        is_fine &= _told(
            f"{entry.name} {variant}, names and shapes", functools.partial(_misfits, folder, entry, variant)
        )
    if is_fine and not arguments.quick:
        files = {
            path
            for entry, variant in here
            for part in locate(folder, entry, variant).values()
            for path in part.all_files()
        }
        is_fine &= _told("hashes", lambda: _changes(folder, sorted(files)))
    return OK if is_fine else FAILED


def _told(what: str, look: Callable[[], list[str]]) -> bool:
    """Print what a check found; gives whether that was nothing."""
    problems = look()
    print(f"{'✗' if problems else '✓'} {what}")
    for problem in problems:
        print(textwrap.indent(problem, "    "))
    return not problems


def _misfits(folder: Path, entry: ModelEntry, variant: str) -> list[str]:
    checkpoint = importlib.import_module(f"{FAMILIES[entry.name]}.checkpoint")
    try:
        checkpoint.check(folder, variant)
    except (ValueError, OSError) as error:
        return [str(error)]
    return []


def _changes(folder: Path, files: Sequence[Path]) -> list[str]:
    line, total, done = ProgressLine(wanted=True), sum(path.stat().st_size for path in files), 0

    def count(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        line.show(f"{done / max(total, 1):4.0%} of {total / _GB:.1f} GB")

    problems = changed(folder, [path.relative_to(folder).as_posix() for path in files], count)
    line.end()
    from keepworld_runtime.families.latent.convert import damaged

    return problems + [problem for path in files if path.suffix == ".pt" and (problem := damaged(path))]


def _plan(arguments: argparse.Namespace) -> int:
    chosen = plans(
        arguments.name,
        arguments.variant,
        size=arguments.size,
        gpus=None if arguments.gpus is None else (arguments.gpus,),
        offloads=(arguments.offload,) if arguments.offload else OFFLOADS,
    )
    limit = int(arguments.gpu_memory_gb * _GB)
    if arguments.json:
        print(json.dumps([{**asdict(plan), "peak": plan.peak, "fits": plan.peak <= limit} for plan in chosen]))
        return OK
    width, height = arguments.size or default_size(arguments.name)
    print(f"{arguments.name} at {width}x{height}, one session that remembers all it can; GB on each GPU, bfloat16\n")
    names = list(chosen[0].memory)
    columns = ["offload", "GPUs", *names, "peak", f"in {arguments.gpu_memory_gb:g} GB", "s a chunk", "frames/s"]
    rows = [_row(plan, limit) for plan in chosen]
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    for row in (columns, *rows):
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    print(
        "\nMemory is counted from shapes. Speed is an expectation, not a measurement: NVIDIA H200s on NVLink, tuned kernels,"
    )
    print(
        "no quantisation; another GPU takes as much longer as its dense bfloat16 rate is lower. 24 frames/s is real time."
    )
    if any(plan.moment for plan in chosen):
        print(
            f"Offloaded encoders are there while a prompt is read ({max(p.moment for p in chosen) / _GB:.1f} GB; in the peak)."
        )
    return OK


def _row(plan: Plan, limit: int) -> list[str]:
    memory = [f"{count / _GB:.1f}" for count in plan.memory.values()]
    fits = "fits" if plan.peak <= limit else "too much"
    return [
        plan.offload,
        str(plan.gpus),
        *memory,
        f"{plan.peak / _GB:.1f}",
        fits,
        f"{plan.chunk_s:.2f}",
        f"{plan.fps:.1f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
