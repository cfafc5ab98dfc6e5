"""Becomes the exporters, limited by the system and bound to the server's life: run by `job`, with this file alone."""

import ctypes
import os
import resource
import signal
import sys

NICE = 10  # behind everybody who walks
PR_SET_PDEATHSIG = 1


def main(server: int, cpu_s: int, file_bytes: int, *arguments: str) -> None:
    """Become `python -m keepworld_exporters ARGUMENTS`; `server` is the process that this must not outlive."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it has gone before that could be said
        sys.exit(1)
    os.nice(NICE)
    for limit, most in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    os.execv(sys.executable, [sys.executable, "-m", "keepworld_exporters", *arguments])  # noqa: S606


if __name__ == "__main__":
    server, cpu_s, file_bytes, *arguments = sys.argv[1:]
    main(int(server), int(cpu_s), int(file_bytes), *arguments)
