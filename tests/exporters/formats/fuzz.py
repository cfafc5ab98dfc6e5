"""Damaged files to every reader: they read them or raise ValueError, within memory and time that fit the file.

A bounded run is part of the suite. By hand: python -m tests.exporters.formats.fuzz --seconds 600 [--only .laz]
"""

from __future__ import annotations

import argparse
import gzip
import resource
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from keepworld_exporters import formats
from keepworld_exporters.formats import FORMATS, archive, colmap, e57, sog, spz
from keepworld_exporters.formats.paths import PATHS

from tests.exporters.formats.made import SOME, some_splats, some_views, tetrahedron

Reader = Callable[[bytes], object]
MEMORY_BYTES = 3 * 2**30  # of the whole process: any claim that is believed goes beyond
SLOW_S = 10.0
APART = {".laz", ".usdc", ".splat.usdc", ".usdz"}  # read in a process each
_NUMBERS = [b"\0", b"\xff", b"\x7f", b"\x80", b"9", b"-", b"e", b"nan", b"\n", b"}", b"]", b"../", b"1000000000"]


@cache
def samples() -> Mapping[str, tuple[list[bytes], Reader]]:
    """What each reader is given undamaged, and the reader."""
    found: dict[str, tuple[list[bytes], Reader]] = {}
    for suffix, kind in FORMATS.items():
        scenes = [SOME[kind.holds]()]
        if kind.holds == "splats":
            scenes.append(some_splats(300, 3))
        if kind.holds == "mesh":
            scenes.append(tetrahedron(textured=True))
        found[suffix] = ([formats.encode(scene, suffix, {"prompt": "a garden"}) for scene in scenes], kind.read)
    for suffix, path in PATHS.items():
        found[suffix] = ([path.write(some_views(), {"prompt": "a garden"})], path.read)
    for names, encode in ((colmap.BINARY, colmap.encode_binary), (colmap.TEXT, colmap.encode_text)):
        whole = encode(some_views())
        for name in names:
            found[name] = ([whole[name]], lambda data, name=name, whole=whole: colmap.decode({**whole, name: data}))
    return found | _insides(found)


def _insides(outer: Mapping[str, tuple[list[bytes], Reader]]) -> dict[str, tuple[list[bytes], Reader]]:
    """What lies behind checksums, lengths and packing, which damage to the outside hardly gets through."""
    found: dict[str, tuple[list[bytes], Reader]] = {}
    pages = np.frombuffer(outer[".e57"][0][0], np.uint8).reshape(-1, 1024)[:, :1020].tobytes()
    found["e57 pages"] = ([pages], lambda data: e57.decode(_as_pages(data)))
    found["spz body"] = ([gzip.decompress(outer[".spz"][0][0])], lambda data: spz.decode(gzip.compress(data, 1)))
    files = archive.unpack(outer[".sog"][0][1], "SOG")
    found["sog meta"] = (
        [files["meta.json"]], lambda data: sog.decode(archive.pack({**files, "meta.json": data}))
    )  # fmt: skip
    for suffix in (".glb", ".splat.glb", ".cameras.glb"):
        (whole, *_), read = outer[suffix]
        length = struct.unpack_from("<I", whole, 12)[0]
        found[f"json of {suffix}"] = (
            [whole[20 : 20 + length]],
            lambda data, read=read, rest=whole[20 + length :]: read(_as_glb(data, rest)),
        )
    return found


def _as_pages(logical: bytes) -> bytes:
    logical += b"\0" * (-len(logical) % 1020)
    head = logical[:16] + struct.pack("<Q", len(logical) // 1020 * 1024)
    rows = np.frombuffer((head + logical[24:])[: len(logical)], np.uint8).reshape(-1, 1020)
    return np.concatenate([rows, e57._checksums(rows)], 1).tobytes()


def _as_glb(text: bytes, rest: bytes) -> bytes:
    text += b" " * (-len(text) % 4)
    return struct.pack("<IIIII", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, numbers put in, parts cut out, doubled or exchanged; mostly near the beginning, where headers are."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        reach = len(out) if rng.random() < 0.5 else min(len(out), 400)
        at = int(rng.integers(0, max(reach, 1)))
        match int(rng.integers(0, 8)):
            case 0 | 1:
                out[at : at + 1] = bytes([rng.integers(0, 256)])
            case 2:
                number = int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 10**9, len(data), len(data) + 1]))
                out[at : at + 4] = struct.pack("<I", number)
            case 3:
                out[at : at + 8] = struct.pack("<Q", int(rng.choice([2**63 - 1, 2**63, 10**12, 2**40])))
            case 4:
                del out[at : at + int(rng.integers(1, 40))]
            case 5:
                out[at:at] = out[at : at + int(rng.integers(1, 200))]
            case 6:
                word = _NUMBERS[int(rng.integers(0, len(_NUMBERS)))]
                out[at : at + len(word) * int(rng.integers(0, 2))] = word
            case _:
                out[at:at] = bytes(rng.integers(0, 256, int(rng.integers(1, 9)), dtype=np.uint8))
    return bytes(out if rng.random() < 0.8 else out[: int(rng.integers(0, len(out) + 1))])


def is_read_or_refused(read: Reader, data: bytes) -> bool:
    """Whether a file was read; any other error than a refusal goes on its way."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(data)
    except ValueError:
        return False
    return True


def main() -> int:
    """Damage files until the time is over; the first that does harm is kept."""
    parser = argparse.ArgumentParser(description="Damaged files to every reader.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=samples(), help="one reader")
    arguments = parser.parse_args()
    chosen = {name: entry for name, entry in samples().items() if arguments.only in (None, name)}
    for name, (files, read) in chosen.items():  # everything is loaded before memory is bounded
        assert all(is_read_or_refused(read, data) for data in files), name
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    counts, begun, number = dict.fromkeys(chosen, (0, 0)), time.monotonic(), 0
    while time.monotonic() - begun < arguments.seconds:
        for name, (files, read) in chosen.items():
            if name in APART and number % 20:
                continue
            rng = np.random.default_rng((arguments.seed, number))
            data = damaged(files[int(rng.integers(len(files)))], rng)
            kept = Path(f"fuzz-{name.strip('.')}-{arguments.seed}-{number}")
            kept.write_bytes(data)  # a reader that takes the process with it leaves its file
            started = time.process_time()
            try:
                was_read = is_read_or_refused(read, data)
            except BaseException:
                traceback.print_exc()
                print(f"{name}: see {kept}", file=sys.stderr)
                return 1
            if time.process_time() - started > SLOW_S:
                print(f"{name} took {time.process_time() - started:.1f} s: see {kept}", file=sys.stderr)
                return 1
            kept.unlink()
            counts[name] = (counts[name][0] + was_read, counts[name][1] + 1)
        number += 1
    for name, (read_through, given) in counts.items():
        print(f"{name:20} {given} damaged files, {read_through} of them read, the others refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
