"""A capture, opened: a walk on disk, as `keepworld.capture_writer` says; judged, exported, looked at."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from keepworld import png
from keepworld.agreement import Agreement
from keepworld.camera import Camera, PoseSource, Units
from keepworld.capture_writer import FORMAT, Provenance, transform, transforms_json
from keepworld.errors import CaptureError
from keepworld.export import Options, beside, view, words_of, words_of_dataset
from keepworld.exported import Exported
from keepworld.files import write_atomically
from keepworld.frames import EventRecord, Label
from keepworld.judging import judged
from keepworld.motion import Control
from keepworld.operation import Operation

GATES = {"off": 0.0, "normal": 0.7, "strict": 0.9}  # how far frames have to agree with those around them
_MAX_JSON_BYTES = 64 * 2**20
_MAX_SIDE = 16_384


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CapturedFrame:
    """A frame of a capture: its camera is at hand, its pictures are read when asked for.

    Attributes:
        folder: the capture it lies in.
        number: counted from the session's start.
        chunk: the chunk it belongs to.
        time_s: its time in the world.
        camera: pose and intrinsics, OpenCV axes.
    """

    folder: Path
    number: int
    chunk: int
    time_s: float
    camera: Camera

    def image(self) -> NDArray[np.uint8]:
        """The picture, [H, W, 3] uint8 sRGB."""
        image = self._png("frames", required=True)
        assert image is not None
        return image

    def depth(self) -> NDArray[np.float32] | None:
        """Depth along +z, [H, W] float32, the capture's units; 0 where there is none. None if the walk had no depth."""
        path = self.folder / f"depth/{self.number:06d}.npy"
        if not path.exists():
            return None
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise CaptureError(f"{path}: not a depth map: {error}") from error
        if stored.shape != (self.camera.height, self.camera.width) or stored.dtype != np.float32:
            raise CaptureError(
                f"{path}: must be float32 [{self.camera.height}, {self.camera.width}], got {stored.dtype} {list(stored.shape)}"
            )
        metres: NDArray[np.float32] = np.asarray(stored, np.float32) / np.float32(1000)
        return metres

    def labels(self) -> NDArray[np.uint8] | None:
        """Bits of `keepworld.frames.Label`, [H, W] uint8; None if the walk had none."""
        return self._png("labels")

    def confidence(self) -> NDArray[np.uint8] | None:
        """How sure depth and colour are, [H, W] uint8, 255 = sure; None if the walk had none."""
        return self._png("confidence")

    def lasting(self) -> NDArray[np.bool_]:
        """Where the pixel belongs to the lasting world: neither sky nor moving, [H, W]. All of it if there are no labels."""
        labels = self.labels()
        if labels is None:
            return np.ones((self.camera.height, self.camera.width), np.bool_)
        return np.asarray((labels & (Label.SKY | Label.MOVING)) == 0, np.bool_)

    def _png(self, kind: str, *, required: bool = False) -> NDArray[np.uint8] | None:
        path = self.folder / f"{kind}/{self.number:06d}.png"
        if not path.exists():
            if required:
                raise CaptureError(f"{path} is missing")
            return None
        width, height = self.camera.width, self.camera.height
        try:
            image = png.decode(path.read_bytes(), max_pixels=width * height)
        except ValueError as error:
            raise CaptureError(f"{path}: {error}") from error
        if image.shape[:2] != (height, width) or (image.ndim == 3) != (kind == "frames"):
            raise CaptureError(
                f"{path}: a {width}x{height} {'RGB' if kind == 'frames' else 'grey'} picture was wanted, got {list(image.shape)}"
            )
        return image


class Capture:
    """A capture on disk, opened for reading.

    Attributes:
        folder: where it lies.
        provenance: what made it.
        frames: every frame of every whole chunk, in order.
        events: (chunk, event) for each event on the way.
        extended: the chunks that went on from what `Session.extend` gave.
        temporary: keeps a temporary folder there for as long as this capture is used; None for a folder of yours.

    Raises:
        CaptureError: the folder is not a capture, or a file in it is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.provenance = _read_provenance(self.folder)
        self.frames: list[CapturedFrame] = []
        self.events: list[tuple[int, EventRecord]] = []
        self.extended: list[int] = []
        self.controls: list[Control] = []
        self.temporary: object = None
        self._judged: dict[int, float] | None = None
        for line in _read_chunks(self.folder):
            self._add_chunk(line)
        self._leave_out(_read_left_out(self.folder))

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        about = self.provenance
        made = f"{about.family} {about.prompt!r} seed {about.seed}"
        return f"<Capture {self.folder}: {len(self)} frames {about.width}x{about.height}, {made}>"

    @cached_property
    def c2ws(self) -> NDArray[np.float64]:
        """Camera to world of every frame, [N, 4, 4], OpenCV axes."""
        return np.stack([frame.camera.c2w for frame in self.frames])

    @cached_property
    def _agreement(self) -> Agreement:
        return Agreement(self.frames)

    @property
    def scores(self) -> NDArray[np.float64]:
        """How far each frame agrees with those around it, [N] in [0, 1]; NaN where that cannot be said.

        Depth says it. Of a walk without depth the pictures do, when `leave_out_below` has had them judged.
        """
        if self._judged is not None:
            return np.array([self._judged.get(frame.number, float("nan")) for frame in self.frames])
        return self._agreement.scores

    @property
    def consistency(self) -> float:
        """The median of `scores`, in [0, 1]; NaN where there are none."""
        known = self.scores[~np.isnan(self.scores)]
        return float(np.median(known)) if len(known) else float("nan")

    @property
    def coverage(self) -> float:
        """Of all places seen, the share seen from directions 5 degrees apart, which reconstruct well. NaN without depth."""
        return self._agreement.coverage

    def leave_out_below(self, least: float) -> int:
        """Pass over frames that agree less than that with those around them, from now on and for every reader.

        Their files stay. Frames of which nothing can be said are kept. A walk without depth is judged by its pictures, where what
        looks alike in them has to lie on a line: the exporters do that, in seconds to minutes.

        Args:
            least: in [0, 1]: see `scores`.

        Returns:
            How many are left out.

        Raises:
            CaptureError: the frames see nothing in common that they could be judged by, or none would be left.
            MissingExtraError: the walk has no depth, and the exporters are not installed.
        """
        if not 0 <= least <= 1:
            raise ValueError(f"least must be in [0, 1], got {least}")
        if np.isnan(self.scores).all() and not any(self._have_depth()):
            self._judged = judged(self.folder)
        if np.isnan(self.scores).all():
            raise CaptureError(f"{self.folder} cannot be judged: its frames see nothing in common")
        bad = {frame.number for frame, score in zip(self.frames, self.scores, strict=True) if score < least}
        if len(bad) == len(self.frames):
            raise CaptureError(
                f"no frame of {self.folder} agrees with the others by {least:g}; {self.consistency:.2f} is usual"
            )
        if bad:
            left_out = sorted(bad | _read_left_out(self.folder))
            write_atomically(self.folder / "left_out.json", json.dumps(left_out).encode())
            self._leave_out(bad)
            self.__dict__.pop("_agreement", None)
            self.__dict__.pop("c2ws", None)
            entries = [
                transform(f.number, f.camera, has_depth=has)
                for f, has in zip(self.frames, self._have_depth(), strict=True)
            ]
            write_atomically(self.folder / "transforms.json", transforms_json(self.provenance, entries))
        return len(bad)

    def _have_depth(self) -> list[bool]:
        return [(self.folder / f"depth/{frame.number:06d}.npy").exists() for frame in self.frames]

    def _leave_out(self, numbers: set[int]) -> None:
        if not numbers:
            return
        kept = [i for i, frame in enumerate(self.frames) if frame.number not in numbers]
        if len(self.controls) == len(self.frames):
            self.controls = [self.controls[i] for i in kept]
        self.frames = [self.frames[i] for i in kept]

    def _add_chunk(self, line: Mapping[str, object]) -> None:
        about = self.provenance
        try:
            chunk = int(line["chunk"])  # type: ignore[call-overload]
            frames = [
                CapturedFrame(
                    folder=self.folder,
                    number=int(frame["number"]),
                    chunk=chunk,
                    time_s=float(frame["time_s"]),
                    camera=Camera(
                        c2w=np.asarray(frame["c2w"], np.float64),
                        K=np.asarray(frame["K"], np.float64),
                        width=about.width,
                        height=about.height,
                        units=about.units,
                        source=about.pose_source,
                    ),
                )
                for frame in line["frames"]  # type: ignore[attr-defined]
            ]
            controls = [Control(**_tuples(control)) for control in line["controls"]]  # type: ignore[arg-type, attr-defined]
            events = [(chunk, EventRecord(**event)) for event in line["events"]]  # type: ignore[attr-defined]
        except (KeyError, TypeError, ValueError) as error:
            raise CaptureError(f"{self.folder}/chunks.jsonl: a chunk is damaged: {error!r}") from error
        self.frames += frames
        self.controls += controls
        self.events += events
        self.extended += [chunk] if line.get("extended") else []

    def export(
        self,
        *paths: str | Path,
        format: str | None = None,
        depth: bool = False,
        lods: int = 0,
        collider: bool = False,
        progress: bool = False,
        **options: Unpack[Options],
    ) -> Exported:
        """Turn the walk into 3D files; blocks until they are written and measured. Ctrl-C ends it.

        Args:
            paths: files, whose suffixes say what they become (.splat.ply, .ply, .points.ply, .glb, .mp4), or a folder for all.
            format: "colmap", or "colmap.txt" for one in text: the path becomes the folder of a data set that others train on,
                images, cameras and points, and nothing is reconstructed. One that lies there already is replaced.
            depth: whether the depth of every frame belongs to the data set, and how sure it is: found from at most 60 frames
                where the walk has none, some seconds each.
            lods: how many levels of detail to write beside each mesh, as scene.lod1.glb.
            collider: whether to write a mesh for collisions beside each, as scene.collider.glb.
            progress: show one line on a terminal.
            options: how, see `keepworld.export.Options`: preset, profile, origin, holdout, texture, report and more.

        Raises:
            ValueError: what is asked for makes no sense.
            ExportError: it failed; says why.
            MissingExtraError: the exporters are not installed.
        """
        operation = self.start_export(*paths, format=format, depth=depth, lods=lods, collider=collider, **options)
        try:
            return operation.wait(progress=progress)
        except BaseException:
            operation.stop()
            raise

    def start_export(
        self,
        *paths: str | Path,
        format: str | None = None,
        depth: bool = False,
        lods: int = 0,
        collider: bool = False,
        **options: Unpack[Options],
    ) -> Operation:
        """Begin what `export` does, and go on meanwhile; what comes back is polled, waited for (or awaited) and cancelled.

        Args:
            paths, format, depth, lods, collider, options: as for `export`.

        Raises:
            ValueError: what is asked for makes no sense.
        """
        if format is not None:
            if lods or collider:
                raise ValueError("lods and collider go with a mesh, not with a data set")
            words = words_of_dataset(self.folder, paths, format, options, depth=depth)
        elif depth:
            raise ValueError('depth is of data sets: add format="colmap"')
        else:
            words = words_of(self.folder, beside(paths, lods=lods, collider=collider), options)
        return Operation(words, held=self.temporary)

    def view(self) -> None:
        """Show the walk in a browser: its cameras, and what its depth says of the place. Blocks until Ctrl-C.

        Raises:
            ExportError: it cannot be shown; what went wrong has been printed.
        """
        view([self.folder])


def _tuples(values: Mapping[str, object]) -> dict[str, object]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _read_provenance(folder: Path) -> Provenance:
    path = folder / "capture.json"
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise CaptureError(f"{path} is too large")
        about = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CaptureError(f"{folder} is not a capture: it has no capture.json") from error
    except (ValueError, OSError, RecursionError) as error:
        raise CaptureError(f"{path} cannot be read: {error}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise CaptureError(f"{path} is not of format {FORMAT}")
    try:
        about = {"weights": "", **about}  # which captures of before did not tell
        known = {field.name: about[field.name] for field in fields(Provenance)}
        known |= {"units": Units(known["units"]), "pose_source": PoseSource(known["pose_source"])}
        provenance = Provenance(**_tuples(known))  # type: ignore[arg-type]
        sides_are_sane = all(
            isinstance(side, int) and 0 < side <= _MAX_SIDE for side in (provenance.width, provenance.height)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CaptureError(f"{path} is damaged: {error!r}") from error
    texts = (
        provenance.family, provenance.version, provenance.licence, provenance.prompt, provenance.mode, provenance.weights
    )  # fmt: skip
    if not all(isinstance(text, str) for text in texts):
        raise CaptureError(f"{path}: family, version, licence, prompt, mode and weights must be text")
    if not sides_are_sane or not (
        isinstance(provenance.fps, int | float) and math.isfinite(provenance.fps) and provenance.fps > 0
    ):
        raise CaptureError(f"{path}: width, height and fps must be sane numbers")
    return provenance


def _read_chunks(folder: Path) -> Iterator[Mapping[str, object]]:
    """Give the chunks, leaving out a last line that was cut off."""
    path = folder / "chunks.jsonl"
    if not path.exists():
        return
    with path.open("rb") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            try:
                line = json.loads(raw)
            except (ValueError, RecursionError) as error:
                raise CaptureError(f"{path} is damaged: {error}") from error
            if not isinstance(line, dict):
                raise CaptureError(f"{path} is damaged: a line is not an object")
            yield line


def _read_left_out(folder: Path) -> set[int]:
    path = folder / "left_out.json"
    if not path.exists():
        return set()
    try:
        numbers = json.loads(path.read_bytes()) if path.stat().st_size <= _MAX_JSON_BYTES else None
    except (ValueError, OSError, RecursionError) as error:
        raise CaptureError(f"{path} cannot be read: {error}") from error
    if not isinstance(numbers, list) or not all(isinstance(number, int) for number in numbers):
        raise CaptureError(f"{path} must be a list of frame numbers")
    return set(numbers)
