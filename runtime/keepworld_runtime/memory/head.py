"""What changes in a memory with every chunk, as a few bytes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """A memory without its latents.

    Attributes:
        policy: whose it is.
        num_latents: how many latents the world has had.
        clips: where the clips that are kept start, ascending.
    """

    policy: str
    num_latents: int
    clips: tuple[int, ...]

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()


def read_head(data: bytes, policy: str) -> Head:
    """Read a head, from anywhere.

    Raises:
        ValueError: it is none, or another policy's.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a memory's head must be JSON: {error}") from error
    if not isinstance(content, dict) or content.keys() != {"policy", "num_latents", "clips"}:
        raise ValueError("a memory's head must have policy, num_latents and clips")
    if content["policy"] != policy:
        raise ValueError(f"the memory must be a {policy!r} one, got {content['policy']!r}")
    if not isinstance(content["clips"], list):
        raise ValueError(f"clips must be a list of counts, got {type(content['clips']).__name__}")
    clips = tuple(_count("clips", value) for value in content["clips"])
    return Head(policy=policy, num_latents=_count("num_latents", content["num_latents"]), clips=clips)


def _count(name: str, value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**40:
        raise ValueError(f"{name} must be a count, got {str(value)[:40]}")
    return value
