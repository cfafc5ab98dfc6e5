"""A picture to look at while training runs: a frame as it is drawn now, beside what it should look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from keepworld.files import write_atomically
from numpy.typing import NDArray

EVERY_S = 5.0


def show(path: Path, drawn: NDArray[np.float32], wanted: NDArray[np.uint8]) -> None:
    """Write drawn [H, W, 3] in [0, 1] beside wanted [H, W, 3] as a PNG or JPEG, whole or not at all."""
    import io

    from PIL import Image

    both = np.concatenate([np.round(255 * np.clip(drawn, 0, 1)).astype(np.uint8), wanted], 1)
    file = io.BytesIO()
    Image.fromarray(both).save(file, "PNG" if path.suffix.lower() == ".png" else "JPEG", quality=90)
    write_atomically(path, file.getvalue())
