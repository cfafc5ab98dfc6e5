"""USD's binary form (crate), by OpenUSD itself: the same stage as its text, in a quarter of the bytes.

A stage is only carried from one form to the other: nothing is composed, so nothing that it names is opened. What comes from
others is opened in a process apart.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.formats.apart import read_apart

MAGIC = b"PXR-USDC"
_MOST_AS_TEXT = 100  # bytes of memory for a byte of the file: text, and what it is made from


def pack(text: bytes) -> bytes:
    """A stage's text as a crate; the same text gives the same bytes."""
    from pxr import Sdf

    layer = Sdf.Layer.CreateAnonymous(".usda")
    if not layer.ImportFromString(text.decode()):
        raise ValueError("OpenUSD does not read this stage")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stage.usdc"
        layer.Export(str(path))
        return path.read_bytes()


def unpack(data: bytes) -> bytes:
    """A crate as text.

    Raises:
        ValueError: damaged, or of more text than anything its size can hold.
    """
    return read_apart(__name__, data, memory_bytes=len(data) * _MOST_AS_TEXT)["text"].tobytes()


def read_arrays(data: bytes) -> dict[str, NDArray[np.generic]]:
    """The text, as bytes; runs apart.

    Raises:
        ValueError: damaged.
    """
    from pxr import Sdf, Tf

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stage.usdc"
        path.write_bytes(data)
        try:
            layer = Sdf.Layer.OpenAsAnonymous(str(path))
        except Tf.ErrorException as error:
            raise ValueError("not a USD file, or a damaged one: OpenUSD does not open it") from error
        if layer is None:
            raise ValueError("not a USD file, or a damaged one: OpenUSD does not open it")
        return {"text": np.frombuffer(layer.ExportToString().encode(), np.uint8)}
