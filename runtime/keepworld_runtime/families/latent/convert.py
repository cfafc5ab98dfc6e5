"""Pickled weights, turned into safetensors once.

A pickle is a program; this one is read as data: anything in it but tensors, numbers, text and containers of them is refused
before it could run. What comes out lies beside it (or in a cache, where one may not write there), whole or not at all,
with a manifest of what it was made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from keepworld.files import whole_file, write_atomically
from torch import Tensor

from keepworld_runtime.families.latent.manifest import sha256_of

logger = logging.getLogger(__name__)

CACHE = Path("~/.cache/keepworld/converted")
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_PIECE = 1 << 24  # bytes written at once
_ALIGNED = 64  # bytes: where numbers begin, so that mapped ones lie as kernels like them

Pick = Callable[[Mapping[str, object]], Mapping[str, object]]


def converted(source: Path, pick: Pick, cache: Path = CACHE) -> Path:
    """The safetensors file that holds a pickle's weights; made if it is not there or the pickle has changed.

    Args:
        source: written by torch.save.
        pick: the weights out of what the pickle holds, under the names they shall have.
        cache: where it goes if the pickle's folder cannot be written to.

    Raises:
        ValueError: the pickle needs more than tensors, is of torch's old format, or does not hold what `pick` wants.
    """
    places = _places(source, cache)
    for place in places:
        if _is_current(place, source):
            return place
    target = places[0] if os.access(source.parent, os.W_OK) else places[1]
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target):  # several processes may load one checkpoint
        if not _is_current(target, source):
            _convert(source, pick, target)
    return target


def damaged(source: Path, cache: Path = CACHE) -> str | None:
    """What is wrong with what a pickle was converted to, by its hash; None if nothing is, or it has not been converted."""
    for place in _places(source, cache):
        if _is_current(place, source):
            wanted = json.loads(_manifest(place).read_bytes())["file"]["sha256"]
            if sha256_of(place) != wanted:
                return f"{place} has another sha256 than when it was made; remove it, it is made again"
    return None


def read_pickle(source: Path) -> Mapping[str, object]:
    """What torch.save wrote, its tensors mapped into memory.

    Raises:
        ValueError: it needs more than tensors, is of torch's old format, or is no mapping.
    """
    try:
        content: object = torch.load(source, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n", 1)[0]
        raise ValueError(
            f"{source} is refused: it holds more than tensors and would run code when read ({reason})"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{source} cannot be read as torch weights: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{source} must hold a mapping of names to tensors, got {type(content).__name__}")
    return content


def checked(weights: Mapping[str, object], source: Path) -> dict[str, Tensor]:
    """The same, known to be tensors that are no larger than the file they come from.

    Raises:
        ValueError: one is something else, of a dtype that safetensors lacks, or a small number of bytes told as many.
    """
    tensors: dict[str, Tensor] = {}
    room = 2 * source.stat().st_size  # a tensor may be there under two names
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor) or tensor.dtype not in _DTYPES:
            raise ValueError(f"{name} in {source} must be a plain tensor, got {type(tensor).__name__}")
        room -= tensor.numel() * tensor.element_size()
        if room < 0:
            raise ValueError(f"{source} tells of more numbers than it holds, at {name} {list(tensor.shape)}")
        tensors[name] = tensor
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write tensors one by one, so that mapped ones are never in memory together; gives the file's sha256.

    Format: https://github.com/huggingface/safetensors#format (length of the header, header, numbers).
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        span = [offset, offset + size]
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": span}
        offset += size
    told = json.dumps(header, separators=(",", ":")).encode()
    told += b" " * (-(len(told) + 8) % _ALIGNED)
    digest = hashlib.sha256()
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        _put(file, digest.update, struct.pack("<Q", len(told)) + told)
        for tensor in tensors.values():
            numbers = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
            for start in range(0, len(numbers), _PIECE):
                _put(file, digest.update, numbers[start : start + _PIECE].tobytes())
    return digest.hexdigest()


def _put(file: BinaryIO, also: Callable[[bytes], None], data: bytes) -> None:
    file.write(data)
    also(data)


def _convert(source: Path, pick: Pick, target: Path) -> None:
    logger.info("converting %s to %s, once", source, target)
    tensors = checked(pick(read_pickle(source)), source)
    sha256 = write_safetensors(target, tensors, {"format": "pt", "source": source.name})
    about = {
        "source": {"name": source.name, **_stamp(source), "sha256": sha256_of(source)},
        "file": {"name": target.name, "bytes": target.stat().st_size, "sha256": sha256},
    }
    write_atomically(_manifest(target), json.dumps(about, indent=2).encode())


def _is_current(target: Path, source: Path) -> bool:
    try:
        about = json.loads(_manifest(target).read_bytes())
        was = {name: about["source"][name] for name in ("bytes", "modified_ns")}
        size = about["file"]["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return target.is_file() and was == _stamp(source) and bool(size == target.stat().st_size)


def _stamp(source: Path) -> dict[str, int]:
    status = source.stat()
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _manifest(target: Path) -> Path:
    return target.with_suffix(".json")


def _places(source: Path, cache: Path) -> tuple[Path, Path]:
    """Where a pickle's weights may lie: beside it, or in the cache."""
    name = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
    beside = source.with_name(f"{source.stem}.converted.safetensors")
    return beside, cache.expanduser() / f"{source.stem}-{name}.safetensors"


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold a lock on a neighbour of `target` that ends with the process."""
    with target.with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
