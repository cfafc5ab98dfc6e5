"""How far the frames of a walk without depth agree: the exporters judge it by the pictures, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from keepworld.errors import ExportError
from keepworld.operation import failure


def judged(folder: Path) -> dict[int, float]:
    """A score in [0, 1] for each frame's number, of the frames of which something can be said; takes seconds to minutes.

    Args:
        folder: of the capture.

    Raises:
        ExportError: it could not be judged.
        MissingExtraError: the exporters are not installed.
    """
    with tempfile.TemporaryDirectory(prefix="keepworld-") as temporary:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "keepworld_exporters.judge", str(folder)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            env=os.environ | {"TMPDIR": temporary},
        )  # fmt: skip
    if done.returncode:
        raise failure([line for line in done.stderr.splitlines() if line.strip()])
    try:
        told = json.loads(done.stdout.splitlines()[-1])
        return {int(number): float(score) for number, score in told.items() if score is not None}
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        raise ExportError(f"the exporters ended without saying what they saw: {error!r}") from error
