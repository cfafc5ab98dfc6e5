"""Turns the messages of exports into the SDK's types and back: see `wire`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from keepworld.errors import printable
from keepworld.v1 import export_service_pb2
from keepworld.wire import MAX_WORDS, believing

MAX_FILES = 1000
MAX_FILE_BYTES = 64 * 2**30
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_. -]{0,99}){0,3}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_KINDS = {export_service_pb2.OPERATION_KIND_CAPTURE: "capture", export_service_pb2.OPERATION_KIND_EXPORT: "export"}
_STATES = {
    export_service_pb2.OPERATION_STATE_WAITING: "waiting",
    export_service_pb2.OPERATION_STATE_RUNNING: "running",
    export_service_pb2.OPERATION_STATE_DONE: "done",
    export_service_pb2.OPERATION_STATE_FAILED: "failed",
    export_service_pb2.OPERATION_STATE_CANCELLED: "cancelled",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFile:
    """A file that lies on a server: its name there, with "/" between folders, and the SHA-256 of its bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportStatus:
    """How an export on a server stands, or the capture that one is made of.

    Attributes:
        id: what the server calls it; secret.
        kind: "export" or "capture".
        state: "waiting", "running", "done", "failed" or "cancelled".
        stage: what is being done.
        share: of all the work, 0 to 1.
        left_s: seconds to go; None while that is a guess.
        memory_bytes: that it takes now.
        ahead: how many go before it.
        reason, message: why it failed, for programs and for people.
        files, metrics: what came of it, and figures measured on that.
        capture_id: what it is made of.
        frames, different_frames: of a capture: how many, and how many came out otherwise than when first drawn.
        created_s, expires_s: seconds since 1970; the server forgets it, files and all, at `expires_s` (0: not ended yet).
    """

    id: str
    kind: str
    state: str
    stage: str
    share: float
    left_s: float | None
    memory_bytes: int
    ahead: int
    reason: str
    message: str
    files: tuple[ExportedFile, ...]
    metrics: dict[str, float]
    capture_id: str
    frames: int
    different_frames: int
    created_s: float
    expires_s: float

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("done", "failed", "cancelled")

    def __str__(self) -> str:
        """One line for people."""
        said = {
            "waiting": f"waiting, {self.ahead} before it" if self.ahead else f"waiting {self.stage}".strip(),
            "running": self.stage,
            "failed": f"failed: {self.message}",
        }.get(self.state, self.state)
        left = "" if self.left_s is None or self.has_ended else f", {self.left_s:.0f} s left"
        memory = f", {self.memory_bytes / 2**20:.0f} MiB" if self.memory_bytes and not self.has_ended else ""
        return f"{self.share:4.0%} {said}{left}{memory}"


class ServerExportOptions(TypedDict, total=False):
    """How a server exports; what is left out, or None, is the exporters' own choice.

    Attributes:
        preset: work put into splats: "preview", "standard" or "final".
        profile: the program that files are for, as in "unity"; "": none.
        holdout: every how many frames one is kept out of the fit, to measure on; 0: none is.
        voxel, max_depth: cell size and range of the mesh, the capture's units.
        texture: texels along a side of the mesh's texture; 0: colours at its vertices.
    """

    preset: str
    profile: str
    holdout: int | None
    voxel: float | None
    max_depth: float | None
    texture: int


def export_options(options: ServerExportOptions) -> export_service_pb2.ExportOptions:
    """For the wire.

    Raises:
        TypeError: there is no such option.
    """
    unknown = options.keys() - ServerExportOptions.__annotations__.keys()
    if unknown:
        known = ", ".join(ServerExportOptions.__annotations__)
        raise TypeError(f"no option of an export is called {', '.join(sorted(unknown))}; known: {known}")
    return export_service_pb2.ExportOptions(
        preset=options.get("preset", "preview"),
        profile=options.get("profile", ""),
        holdout=options.get("holdout"),
        voxel=options.get("voxel"),
        max_depth=options.get("max_depth"),
        texture=options.get("texture", 0),
    )


def status(message: export_service_pb2.Operation) -> ExportStatus:
    """Read how an operation stands.

    Raises:
        ProtocolError: it cannot stand so.
    """
    with believing("operation"):
        progress = message.progress
        left_s = progress.left_s if progress.HasField("left_s") else None
        numbers = (progress.share, left_s or 0.0, message.created_s, message.expires_s)
        if not all(math.isfinite(value) and value >= 0 for value in numbers) or progress.share > 1:
            raise ValueError("its numbers are negative or not finite")
        return ExportStatus(
            id=printable(message.operation_id, 200),
            kind=_KINDS[message.kind],
            state=_STATES[message.state],
            stage=printable(progress.stage, 80),
            share=progress.share,
            left_s=left_s,
            memory_bytes=progress.memory_bytes,
            ahead=progress.ahead,
            reason=printable(message.reason, 200),
            message=printable(message.message),
            files=_files(message.files),
            metrics={printable(name, 80): value for name, value in list(message.metrics.items())[:MAX_WORDS]},
            capture_id=printable(message.capture_id, 200),
            frames=message.frames,
            different_frames=message.different_frames,
            created_s=message.created_s,
            expires_s=message.expires_s,
        )


def _files(messages: Sequence[export_service_pb2.OperationFile]) -> tuple[ExportedFile, ...]:
    """Files, of which every name leads to below where it is put and nowhere else."""
    if len(messages) > MAX_FILES:
        raise ValueError(f"{len(messages)} files")
    for each in messages:
        if not _NAME.fullmatch(each.name):
            raise ValueError("a file has a name that is none")
        if not _SHA256.fullmatch(each.sha256) or each.size > MAX_FILE_BYTES:
            raise ValueError("a file has no SHA-256, or is larger than any")
    if len({each.name for each in messages}) != len(messages):
        raise ValueError("two files have one name")
    return tuple(ExportedFile(name=each.name, size=each.size, sha256=each.sha256) for each in messages)
