"""How much memory this process holds, held at most, and may still take. Linux; elsewhere the figures are 0 or very large."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MACHINE = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
UNKNOWN = 1 << 62


def resident() -> int:
    """Bytes of memory that this process holds now; 0 where it cannot be told."""
    return _read(_STATUS, "VmRSS:") or 0


def peak() -> int:
    """The most bytes it has held since `forget_peak`, or since it began where that cannot be."""
    return _read(_STATUS, "VmHWM:") or 0


def forget_peak() -> None:
    """Let `peak` begin anew from what is held now."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return


def give_back() -> None:
    """Return to the machine what was freed: the C library's heap keeps it otherwise, under what the next stage holds."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # not glibc
        return


def available() -> int:
    """Bytes that may still be taken before the machine, or the container this runs in, has none left."""
    free = _read(_MACHINE, "MemAvailable:")
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    left = [free] if free is not None else []
    if limit is not None and used is not None:
        left.append(max(0, limit - used))
    return min(left, default=UNKNOWN)


def _read(path: Path, name: str) -> int | None:
    try:
        line = next((line for line in path.read_text().splitlines() if line.startswith(name)), None)
        return None if line is None else 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
