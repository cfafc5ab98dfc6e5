"""``keepworld doctor``: what this machine has, what it lacks, what each lack costs and how to mend it."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from keepworld.cli import FAILED, OK, command_parser, print_json

GOOD, LACKING, BROKEN = "ok", "missing", "broken"
_MARKS = {GOOD: "✓", LACKING: "–", BROKEN: "✗"}
_GIB = 2**30

# library -> (extra, what is not possible without it)
LIBRARIES = {
    "grpcio": ("", "nothing works"),
    "protobuf": ("", "nothing works"),
    "numpy": ("", "nothing works"),
    "embreex": ("runtime", "no local server: worlds have to come from another machine"),
    "numba": ("runtime", "no local server, no splat rendering in reports"),
    "grpcio-health-checking": ("runtime", "no local server"),
    "grpcio-reflection": ("runtime", "no local server"),
    "grpcio-status": ("runtime", "no local server"),
    "pillow": ("runtime", "no local server, no JPEG frames, no pictures in reports"),
    "scipy": ("export", "no export"),
    "fast-simplification": ("export", "no export"),
    "open3d": ("export", "no measuring against a true surface"),
    "av": ("video", "no H.264 streams, no walk.mp4"),
}
SYSTEM_LIBRARIES = {
    "GL": ("libgl1", "Open3D does not import: no measuring against a true surface"),
    "X11": ("libx11-6", "Open3D does not import: no measuring against a true surface"),
    "usb-1.0": ("libusb-1.0-0", "Open3D does not import: no measuring against a true surface"),
    "gomp": ("libgomp1", "Open3D does not import: no measuring against a true surface"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        what: its name.
        state: ok, missing (something is not possible) or broken (nothing works).
        found: what is there.
        costs: what is not possible because of it.
        remedy: how to get it.
    """

    what: str
    state: str
    found: str
    costs: str = ""
    remedy: str = ""


def main(arguments: list[str]) -> int:
    """Check the machine; the exit status is 0 unless something is broken."""
    parser = command_parser(
        "doctor",
        __doc__ or "",
        examples="  keepworld doctor\n  keepworld doctor --json | jq '.[] | select(.state!=\"ok\")'",
    )
    parser.add_argument(
        "--port", type=int, default=7600, help="the port a server would listen on (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as a JSON list")
    options = parser.parse_args(arguments)
    findings = list(examine(options.port))
    if options.json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    return FAILED if any(finding.state == BROKEN for finding in findings) else OK


def examine(port: int) -> Iterator[Finding]:
    """Look at everything, one finding at a time."""
    yield _python()
    yield _cores()
    yield _memory()
    yield _disk()
    for name, (extra, costs) in LIBRARIES.items():
        yield _library(name, extra, costs)
    for name, (package, costs) in SYSTEM_LIBRARIES.items():
        yield _system_library(name, package, costs)
    yield _gpu()
    yield _port(port)


def _print(finding: Finding) -> None:
    print(f" {_MARKS[finding.state]} {finding.what:<24} {finding.found}")
    if finding.state != GOOD:
        print(f"   {'':<24} costs:  {finding.costs}\n   {'':<24} remedy: {finding.remedy}")


def _python() -> Finding:
    fine = sys.version_info >= (3, 11)
    return Finding(
        "Python",
        GOOD if fine else BROKEN,
        platform.python_version(),
        "nothing works",
        "apt install python3.11, or newer",
    )


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0))
    return Finding(
        "CPU cores",
        GOOD if cores >= 2 else LACKING,
        str(cores),
        "the diorama does not reach 24 frames a second at 512x288",
        "a machine with two cores, or --size 256x144",
    )


def _memory() -> Finding:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    return Finding(
        "memory available",
        GOOD if free >= 4 * _GIB else LACKING,
        f"{free / _GIB:.1f} GiB",
        "exports of long walks need up to 4 GiB",
        "close other programs, or export with a coarser --voxel",
    )


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    return Finding(
        "disk free here",
        GOOD if free >= 2 * _GIB else LACKING,
        f"{free / _GIB:.1f} GiB",
        "a captured minute at 512x288 takes about 1.3 GiB",
        "run where there is more room",
    )


def _library(name: str, extra: str, costs: str) -> Finding:
    try:
        return Finding(name, GOOD, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        wanted = f"keepworld[{extra}]" if extra else "keepworld"
        return Finding(
            name, LACKING if extra else BROKEN, "not installed", costs, f"pip install -c constraints.txt '{wanted}'"
        )


def _system_library(name: str, package: str, costs: str) -> Finding:
    found = ctypes.util.find_library(name)
    return Finding(package, GOOD if found else LACKING, found or "not installed", costs, f"apt install {package}")


def _gpu() -> Finding:
    costs = "nothing: everything in this version runs on the CPU"
    program = shutil.which("nvidia-smi")
    if program is None:
        return Finding("GPU", GOOD, "none; nothing in this version needs one")
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (subprocess.SubprocessError, OSError):
        return Finding("GPU", LACKING, "nvidia-smi does not answer", costs, "reinstall the driver")
    return Finding("GPU", GOOD, "; ".join(answer.stdout.strip().splitlines()))


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    found = f"port {port} is " + ("taken" if taken else "free")
    remedy = f"stop what listens there, or keepworld serve --port {port + 1}"
    return Finding("server port", LACKING if taken else GOOD, found, "keepworld serve cannot listen there", remedy)
