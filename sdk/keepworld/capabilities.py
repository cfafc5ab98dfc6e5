"""What a server says about itself, its families and its sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keepworld.camera import PoseSource, Units
from keepworld.motion import Rates


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyCapabilities:
    """What a family of worlds can do. Sizes in pixels, angles in radians, times in seconds.

    Attributes:
        name, version, summary, licence: which family it is, and the terms of its output.
        units: what one unit of length is.
        pose_source: where its cameras come from.
        modes: each way of moving -> the control axes (of `keepworld.motion.AXES`) it honours; the default first.
        accepts_paths: whether `Session.follow` works.
        move_rate, turn_rate: how fast full deflection is: units a second at speed 1, radians a second.
        sizes: the offered (width, height), the default first.
        min_side, max_pixels, size_multiple: which other sizes are taken.
        fov_x: horizontal field of view.
        fps: frames a second.
        first_chunk_frames, chunk_frames: frames in chunk 0, and in every other.
        max_prompt_chars: how long a prompt may be.
        has_depth: whether frames can carry depth, labels and confidence.
        takes_image: whether a world can begin with a given picture.
        takes_clip: whether a world can go on from given frames,
        min_clip_frames: and how many it needs.
        takes_recording: whether a session can go on from captures of walks through its own world: see `Session.extend`.
        prompt_words: heading -> words that a prompt can say; empty for families that read anything.
        event_phrases: heading -> what can be asked for during the walk.
        chunk_s: measured time for a chunk of the default size; None before the first.
        weights: which ones it draws with, as a hash; "" for a family without, or where they were not hashed.
    """

    name: str
    version: str
    summary: str
    licence: str
    units: Units
    pose_source: PoseSource
    modes: Mapping[str, tuple[str, ...]]
    accepts_paths: bool
    move_rate: float
    turn_rate: float
    sizes: tuple[tuple[int, int], ...]
    min_side: int
    max_pixels: int
    size_multiple: int
    fov_x: float
    fps: float
    first_chunk_frames: int
    chunk_frames: int
    max_prompt_chars: int
    has_depth: bool
    takes_image: bool
    takes_clip: bool
    prompt_words: Mapping[str, tuple[str, ...]]
    event_phrases: Mapping[str, tuple[str, ...]]
    chunk_s: float | None
    weights: str = ""
    min_clip_frames: int = 1
    takes_recording: bool = False

    @property
    def rates(self) -> Rates:
        """How fast full deflection is."""
        return Rates(move=self.move_rate, turn=self.turn_rate)

    def first_frame_of(self, chunk: int) -> int:
        """The number, counted from the session's start, of the first frame of a chunk."""
        return 0 if chunk == 0 else self.first_chunk_frames + (chunk - 1) * self.chunk_frames

    def chunk_of(self, frame: int) -> int:
        """The chunk that a frame, counted from the session's start, is of."""
        later = frame - self.first_chunk_frames
        return 0 if later < 0 else 1 + later // self.chunk_frames

    @property
    def opens_standing(self) -> bool:
        """Whether a world's first frame shows where it begins, before any control moves it: not if it goes on from a clip."""
        return self.first_chunk_frames < self.chunk_frames


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a server takes at most.

    Attributes:
        max_sessions: sessions at a time.
        max_steps: steps or cameras in one message.
        max_queued_frames: frames of scripts and paths waiting together.
        max_pending_events: events waiting together.
        dead_man_s: after this without a control the camera stands still.
        idle_s: a session without a stream is closed after this.
        max_snapshots: snapshots that are kept; the oldest go first.
        max_asset_frames, max_asset_pixels, max_asset_bytes: frames of a clip, pixels in each, bytes of all decoded.
        asset_s: an uploaded picture or clip is kept for so long.
    """

    max_sessions: int
    max_steps: int
    max_queued_frames: int
    max_pending_events: int
    dead_man_s: float
    idle_s: float
    max_snapshots: int
    max_asset_frames: int
    max_asset_pixels: int
    max_asset_bytes: int
    asset_s: float


_PUBLISHED_AS = {"worldplay-1.5": "worldplay-8b", "hy-world-1.5": "worldplay-8b"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportLimits:
    """What a server takes of exports at most.

    Attributes:
        max_operations: captures and exports that are kept, together.
        max_bytes: of all their files.
        kept_s: how long what came of one is kept.
        max_files: of one export.
    """

    max_operations: int
    max_bytes: int
    kept_s: float
    max_files: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a server can do: its version, its families, its limits, how pictures can travel (see `Session.stream`), and exports.

    Attributes:
        exports: what a server takes of exports; None: it makes none.
    """

    server_version: str
    families: tuple[FamilyCapabilities, ...]
    limits: Limits
    encodings: tuple[str, ...]
    exports: ExportLimits | None

    def family(self, name: str) -> FamilyCapabilities:
        """Look a family up by its name, or by the one that its model was published under.

        Raises:
            ValueError: the server has none of that name.
        """
        wanted = _PUBLISHED_AS.get(name, name)
        for family in self.families:
            if family.name in (name, wanted):
                return family
        raise ValueError(
            f"model must be one of {', '.join(family.name for family in self.families)} on this server, got {name!r}; "
            f"start a server that has it, keepworld serve --family {name} --checkpoint DIR, and give its address"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How a text was understood: the words that counted, as "heading: word", and those that were ignored."""

    used: tuple[str, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionInfo:
    """A session as the server knows it; `state` is idle, streaming, closed or failed."""

    id: str
    model: str
    version: str
    seed: int
    size: tuple[int, int]
    mode: str
    state: str
    chunks: int
    frames: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A world on a server as it was after a whole chunk; sessions can go on from it, also those of other programs.

    The server keeps the newest ones (see `Limits.max_snapshots`). Who has the id has the world.

    Attributes:
        id: what the server calls it.
        chunks, frames: how many the world had.
        model, prompt, seed, size, mode: what it was opened with; the prompt is empty in a list of a server's.
        name: for people.
        created_s: seconds since 1970; 0 if the server did not say.
    """

    id: str
    chunks: int
    frames: int
    model: str
    prompt: str
    seed: int
    size: tuple[int, int]
    mode: str
    name: str = ""
    created_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingEvent:
    """An event that waits for its chunk on the server.

    Attributes:
        id: as `Session.cancel_event` takes it.
        chunk: with which it begins.
        text: what.
        ramp: seconds until it has come in fully.
        duration: seconds until it goes again; None: it stays.
    """

    id: str
    chunk: int
    text: str
    ramp: float
    duration: float | None
