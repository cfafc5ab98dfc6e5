"""A capture being written: a walk on disk, every frame with its camera, depth and masks, readable by others as it stands.

    walk/
      capture.json        what made it: family, version, prompt, seed, size, units; written first
      chunks.jsonl        one line a whole chunk: cameras, controls, events; appended when all its frames are on disk
      frames/000000.png   lossless pictures
      depth/000000.npy    float32 [H, W] along +z in MILLIMETRES (nerfstudio's unit), 0 where there is none
      labels/000000.png   bits of `keepworld.frames.Label`: 1 sky, 2 moving
      masks/000000.png    255 where a pixel belongs to the lasting world, else 0 (nerfstudio's masks)
      confidence/000000.png
      transforms.json     the same cameras for nerfstudio, instant-ngp and their readers
      left_out.json       numbers of frames that readers pass over, because they contradict the others; only if there are any

A chunk is in a capture whole or not at all: a walk that was cut off is readable up to its last whole chunk.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from keepworld import png
from keepworld.camera import Camera, PoseSource, Units, convert_c2w
from keepworld.errors import CaptureError
from keepworld.files import write_atomically
from keepworld.frames import Chunk, Encoding, Frame, Label

FORMAT = "keepworld.capture/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """What a walk was made by and from: enough to make it again.

    Attributes:
        family, version: of the world model.
        licence: of its output.
        prompt, seed, mode: what the session was opened with.
        width, height: of the frames, pixels.
        fps: frames a second.
        units: what one unit of length is.
        pose_source: where the cameras came from.
        used, ignored: how the prompt was understood.
        weights: of the world model, as a hash; "" for one without, or where nobody hashed them.
    """

    family: str
    version: str
    licence: str
    prompt: str
    seed: int
    mode: str
    width: int
    height: int
    fps: float
    units: Units
    pose_source: PoseSource
    used: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    weights: str = ""


class CaptureWriter:
    """Writes a capture as the walk goes. The folder is made with the first chunk: a walk that never began leaves nothing.

    Raises:
        CaptureError: the folder already holds something.
    """

    def __init__(self, folder: str | Path, provenance: Provenance) -> None:
        self.folder = Path(folder)
        self.provenance = provenance
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise CaptureError(
                f"{self.folder} already exists and is not an empty folder; choose another name or remove it"
            )
        self._transforms: list[dict[str, object]] = []

    def append(self, chunk: Chunk) -> None:
        """Add a whole chunk: its files first, then the line that makes it count.

        Raises:
            CaptureError: a frame is not of the capture's size.
        """
        if not self._transforms:
            self._begin()
        for frame in chunk.frames:
            self._write_frame(frame)
        line = {
            "chunk": chunk.index,
            "frames": [
                {
                    "number": frame.number,
                    "time_s": frame.time_s,
                    "c2w": frame.camera.c2w.tolist(),
                    "K": frame.camera.K.tolist(),
                }
                for frame in chunk.frames
            ],
            "controls": [asdict(control) for control in chunk.controls],
            "events": [asdict(event) for event in chunk.events],
            **({"extended": True} if chunk.extended else {}),
        }
        with (self.folder / "chunks.jsonl").open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._transforms += [
            transform(frame.number, frame.camera, has_depth=frame.depth is not None) for frame in chunk.frames
        ]
        write_atomically(self.folder / "transforms.json", transforms_json(self.provenance, self._transforms))

    def go_back(self, chunk: int) -> int:
        """Forget `chunk` and all after it; gives the last that is left, -1 for none."""
        if not self._transforms:
            return -1
        lines = (file := self.folder / "chunks.jsonl").read_bytes().splitlines(keepends=True)
        entries = [json.loads(line) for line in lines]
        kept = [entry for entry in entries if entry["chunk"] < chunk]
        self._transforms = self._transforms[: sum(len(entry["frames"]) for entry in kept)]
        write_atomically(file, b"".join(lines[: len(kept)]))  # first: files that nothing speaks of do no harm
        write_atomically(self.folder / "transforms.json", transforms_json(self.provenance, self._transforms))
        for number in (frame["number"] for entry in entries[len(kept) :] for frame in entry["frames"]):
            for path in self.folder.glob(f"*/{number:06d}.*"):
                path.unlink()
        return int(kept[-1]["chunk"]) if kept else -1

    def _begin(self) -> None:
        for name in ("frames", "depth", "labels", "masks", "confidence"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        axes = {"axes": "opencv: x right, y down, z forward; c2w", "depth_unit": "millimetre"}
        about = {"format": FORMAT, **asdict(self.provenance), **axes}
        write_atomically(self.folder / "capture.json", json.dumps(about, indent=1).encode())

    def _write_frame(self, frame: Frame) -> None:
        about, name = self.provenance, f"{frame.number:06d}"
        if (frame.camera.width, frame.camera.height) != (about.width, about.height):
            raise CaptureError(
                f"frame {frame.number} is {frame.camera.width}x{frame.camera.height}, the capture {about.width}x{about.height}"
            )
        data = frame.data if frame.encoding is Encoding.PNG else png.encode(frame.image)
        (self.folder / f"frames/{name}.png").write_bytes(data)
        if frame.depth is not None:
            file = io.BytesIO()  # of a full disk, numpy's own writing says only how many bytes it took
            np.save(file, frame.depth * np.float32(1000))
            (self.folder / f"depth/{name}.npy").write_bytes(file.getvalue())
        if frame.labels is not None:
            (self.folder / f"labels/{name}.png").write_bytes(png.encode(frame.labels))
            lasting = np.where(frame.labels & (Label.SKY | Label.MOVING), 0, 255).astype(np.uint8)
            (self.folder / f"masks/{name}.png").write_bytes(png.encode(lasting))
        if frame.confidence is not None:
            (self.folder / f"confidence/{name}.png").write_bytes(png.encode(frame.confidence))


def transform(number: int, camera: Camera, *, has_depth: bool) -> dict[str, object]:
    """One entry of nerfstudio's transforms.json: OpenGL camera axes, world Z up."""
    name = f"{number:06d}"
    entry: dict[str, object] = {
        "file_path": f"frames/{name}.png",
        "transform_matrix": convert_c2w(camera.c2w, to="nerfstudio").tolist(),
        "mask_path": f"masks/{name}.png",
    }
    if has_depth:
        entry["depth_file_path"] = f"depth/{name}.npy"
    return entry | {"fl_x": camera.K[0, 0], "fl_y": camera.K[1, 1], "cx": camera.K[0, 2], "cy": camera.K[1, 2]}


def transforms_json(about: Provenance, transforms: Sequence[Mapping[str, object]]) -> bytes:
    """The file that nerfstudio and its like read."""
    # Without applied_transform a reader may assume one of its own; this is the 3x4 identity.
    content = {
        "camera_model": "OPENCV", "w": about.width, "h": about.height, "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0,
        "orientation_override": "none", "applied_transform": np.eye(4)[:3].tolist(), "frames": list(transforms),
    }  # fmt: skip
    return json.dumps(content).encode()
