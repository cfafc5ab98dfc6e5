"""What a world was opened with, as JSON; its pictures beside it as blobs."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from keepworld_runtime.families.family import Clip, WorldSpec
from keepworld_runtime.journal import pictures
from keepworld_runtime.journal.blobs import Blobs


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where chunks begin.

    Attributes:
        family, version: what draws them.
        spec: what it was asked for.
    """

    family: str
    version: str
    spec: WorldSpec


def encode(origin: Origin, blobs: Blobs) -> bytes:
    """An origin as bytes; its pictures are put into `blobs`."""
    spec = origin.spec
    told: dict[str, Any] = {
        "family": origin.family,
        "version": origin.version,
        "prompt": spec.prompt,
        "seed": spec.seed,
        "width": spec.width,
        "height": spec.height,
        "mode": spec.mode,
    }
    if spec.image is not None:
        told["image"] = pictures.put(spec.image, blobs)
    if spec.clip:
        c2ws = spec.clip.c2ws
        told["clip"] = pictures.put(spec.clip.frames, blobs)
        told["cameras"] = None if c2ws is None else base64.b64encode(c2ws.astype("<f8").tobytes()).decode()
    return json.dumps(told, separators=(",", ":"), sort_keys=True).encode()


def decode(data: bytes, blobs: Blobs) -> Origin:
    """An origin from its bytes.

    Raises:
        ValueError: they are not those of an origin, or its pictures are not in `blobs`.
    """
    try:
        told = json.loads(data)
        clip = None
        if "clip" in told:
            frames, cameras = pictures.get(told["clip"], 4, blobs), told["cameras"]
            c2ws = np.frombuffer(base64.b64decode(cameras, validate=True), "<f8") if cameras else None
            clip = Clip(
                frames=frames, c2ws=None if c2ws is None else c2ws.reshape(len(frames), 4, 4).astype(np.float64)
            )
        spec = WorldSpec(
            prompt=str(told["prompt"]),
            seed=int(told["seed"]),
            width=int(told["width"]),
            height=int(told["height"]),
            mode=str(told["mode"]),
            image=pictures.get(told["image"], 3, blobs) if "image" in told else None,
            clip=clip,
        )
        return Origin(family=str(told["family"]), version=str(told["version"]), spec=spec)
    except (KeyError, TypeError, AttributeError, RecursionError, FileNotFoundError) as error:
        raise ValueError(f"not the beginning of a world: {type(error).__name__} {error}") from None


def blobs_of(data: bytes) -> Iterator[str]:
    """The names of an origin's pictures."""
    told = json.loads(data)
    for kind in ("image", "clip"):
        if kind in told:
            yield told[kind]["blob"]
