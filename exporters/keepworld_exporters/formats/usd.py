"""USD as text, as far as scenes need it: a stage of one prim, arrays out and in.

The stage is y up and in metres, USD's own habit. Source: the OpenUSD text (crate-less) grammar.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.formats import usd_crate
from keepworld_exporters.formats.ply import comments, one_line


def stage(prim: str, about: Mapping[str, object], *, shots: int = 0) -> bytes:
    """A stage whose default prim is `world`, of a prim's text, what the file says about itself, and how many shots it plays."""
    told = json.dumps(" | ".join(one_line(text) for text in comments(about)))
    head = f'#usda 1.0\n(\n    customLayerData = {{\n        string keepworld = {told}\n    }}\n    defaultPrim = "world"\n'
    if shots:
        head += f"    endTimeCode = {shots - 1}\n    startTimeCode = 0\n    timeCodesPerSecond = 24\n"
    return f'{head}    metersPerUnit = 1\n    upAxis = "Y"\n)\n\n{prim}'.encode()


def tuples(values: NDArray[np.generic]) -> str:
    """An array [N] or [N, K] of numbers as USD has it, every float32 told apart."""
    if values.ndim == 1:
        form = "%d" if values.dtype.kind in "iu" else "%.9g"
        return "[" + ", ".join([form % value for value in values.tolist()]) + "]"
    form = "(" + ", ".join(["%.9g"] * values.shape[1]) + ")"
    return "[" + ", ".join([form % tuple(row) for row in values.tolist()]) + "]"


def bounds(places: NDArray[np.floating], reach: NDArray[np.floating] | float = 0.0) -> str:
    """The box around places [N, 3], each with its reach [N], as `extent`."""
    low, high = (places.T - reach).min(1), (places.T + reach).max(1)
    return tuples(np.stack([low, high]).astype(np.float32))


def read_array(text: str, name: str, width: int) -> NDArray[np.float64]:
    """The numbers [N, width] of the one array of a name.

    Raises:
        ValueError: it is not there just once, or not so many numbers.
    """
    found = list(re.finditer(rf"\[\]\s+{re.escape(name)}\s*=\s*\[", text))
    if len(found) != 1:
        raise ValueError(f"the USD file has {len(found)} arrays {name!r}, wanted one")
    end = text.find("]", found[0].end())
    if end < 0:
        raise ValueError(f"the USD file is cut off within the array {name!r}")
    flat = text[found[0].end() : end].translate(str.maketrans("()", "  "))
    try:
        values = np.array(flat.split(",") if flat.strip() else [], np.float64)
    except ValueError as error:
        raise ValueError(f"the USD file's array {name!r} holds what is not a number: {error}") from error
    if len(values) % width:
        raise ValueError(f"the USD file's array {name!r} has {len(values)} numbers, which is not so many times {width}")
    return values.reshape(-1, width)


def has_array(text: str, name: str) -> bool:
    """Whether there is an array of that name."""
    return re.search(rf"\[\]\s+{re.escape(name)}\s*=\s*\[", text) is not None


def decode_text(data: bytes) -> str:
    """A stage's text, whichever form it is in.

    Raises:
        ValueError: it is no USD file, or a damaged one.
    """
    if data.startswith(usd_crate.MAGIC):
        data = usd_crate.unpack(data)
    if not data.startswith(b"#usda 1.0"):
        raise ValueError("not a USD text file: it must begin with '#usda 1.0'")
    text = data.decode("utf-8", "replace")
    if not text.rstrip().endswith("\n}"):
        raise ValueError("the USD file is cut off: its last prim does not end")
    return text
