"""Reading in a process of its own: what a hostile file does to the native code of others, it does to that process.

It may use so much memory and time, and write no file larger than the one it reads. What it found comes back as arrays.
"""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import tempfile

import numpy as np
from numpy.typing import NDArray

_BASE_BYTES = 2 * 2**30  # of address space, which the libraries and their threads take most of
_SECONDS = 600


def read_apart(module: str, data: bytes, *, memory_bytes: int) -> dict[str, NDArray[np.generic]]:
    """What `read_arrays` of a module finds in a file, with so much memory for it.

    Raises:
        ValueError: it refused the file, or came to harm.
    """
    command = [sys.executable, "-m", __name__, module, str(_BASE_BYTES + memory_bytes)]
    with tempfile.TemporaryDirectory() as folder:  # which goes, however that process ends
        given = {"env": {**os.environ, "TMPDIR": folder}, "input": data, "capture_output": True, "timeout": _SECONDS}
        try:
            done = subprocess.run(command, check=False, **given)  # type: ignore[call-overload]  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"the file was not read within {_SECONDS} s") from error
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ValueError(
            told[0][:500] if done.returncode == 1 and told else "damaged: what reads it broke down over it"
        )
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def main() -> int:
    """Read from standard input, as the process apart."""
    import importlib

    module = importlib.import_module(sys.argv[1])
    data = sys.stdin.buffer.read()
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(data), len(data)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        found = module.read_arrays(data)
    except (ValueError, MemoryError) as error:
        print(error or "out of memory", file=sys.stderr)
        return 1
    np.savez(sys.stdout.buffer, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
