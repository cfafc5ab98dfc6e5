"""Shots: walks described in a file, made one after the other. One JSON object a shot.

    {"name": "abbey", "prompt": "mossy ruined abbey, morning fog", "seed": 42, "size": "512x288", "mode": "walk",
     "walk": "forward 6s, look left 90deg", "events": [{"text": "night falls", "at_s": 4, "ramp_s": 3}]}

Instead of `walk` a shot can have `path`, a file of cameras, with `frame`, the convention it is in (see `keepworld.paths`).
With a `model` that takes them, a shot can begin with `image`, a PNG or JPEG file, or go on from `clip`, a capture's folder.
`id`, `text` and `camera` are other words for `name`, `prompt` and `path`, and an event can be a pair, [4, "night falls"].
A file holds one shot, a list of them, or one a line (.jsonl).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keepworld import paths
from keepworld.capture import Capture
from keepworld.sync import Client
from keepworld.timeline import PlannedEvent, Timeline

_MAX_FILE_BYTES = 16 * 2**20
_ALSO = {"id": "name", "text": "prompt", "camera": "path"}
_EVENT_FIELDS = {
    "text": "text", "at_s": "at", "ramp_s": "ramp", "duration_s": "duration",
    "at": "at", "ramp": "ramp", "duration": "duration", "chunk": "chunk",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """One walk to make.

    Attributes:
        name: of the capture's folder: letters, digits, dots, dashes and underscores.
        prompt: the world, in words; may be empty if it begins with a picture or a clip.
        walk: motion words, as in "forward 6s, look left 90deg"; or None with `path`.
        path: a file of cameras to follow.
        frame: the convention `path` is in; None: as the file says.
        seed, size, mode: None is the family's choice.
        model: None: the first of the server's that takes the shot.
        image, clip: a picture's file or a capture's folder that the world begins with or goes on from; None: neither.
        events: what happens on the way.
        timeline: what else does, as kept in a file of its own.

    Raises:
        ValueError: a field is missing, or not what it should be.
    """

    name: str
    prompt: str = ""
    walk: str | None = None
    path: str | None = None
    frame: str | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    mode: str | None = None
    model: str | None = None
    image: str | None = None
    clip: str | None = None
    events: tuple[PlannedEvent, ...] = field(default=())
    timeline: Timeline = field(default=Timeline())

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(f"name must be letters, digits, '.', '_' or '-', got {self.name!r}")
        is_wordless = self.image is not None or self.clip is not None
        if not isinstance(self.prompt, str) or not (self.prompt.strip() or is_wordless):
            raise ValueError(f"shot {self.name}: prompt must be some words, got {self.prompt!r}")
        if (self.walk is None) == (self.path is None):
            raise ValueError(f"shot {self.name}: exactly one of walk and path is needed")
        if self.image is not None and self.clip is not None:
            raise ValueError(f"shot {self.name}: image or clip, not both")

    @property
    def id(self) -> str:
        """Its name."""
        return self.name

    @property
    def text(self) -> str:
        """Its prompt."""
        return self.prompt

    @property
    def camera(self) -> str | None:
        """Its path."""
        return self.path

    def make(self, client: Client, folder: str | Path, *, progress: bool = False) -> Capture:
        """Open the world, walk as described, and keep it in `folder`.

        Raises:
            KeepworldError: the server refused something, or the folder is in use.
        """
        cameras = None if self.path is None else paths.load(self.path, frame=self.frame)
        with client.sessions.open(
            text=self.prompt,
            model=self.model,
            seed=self.seed,
            size=self.size,
            mode=self.mode,
            image=self.image,
            clip=self.clip,
            events=(*self.events, *self.timeline),
            record=folder,
            progress=progress,
        ) as session:
            if cameras is not None:
                session.follow(cameras)
            else:
                assert self.walk is not None
                session.steer(self.walk)
            return session.capture()


def read(file: str | Path) -> list[Shot]:
    """Read the shots of a file; all of them are checked before any is given.

    Raises:
        ValueError: the file is not JSON, or a shot in it is wrong; says which.
        OSError: it cannot be read.
    """
    file = Path(file)
    if file.stat().st_size > _MAX_FILE_BYTES:
        raise ValueError(f"{file} is larger than {_MAX_FILE_BYTES} bytes")
    text = file.read_text()
    try:
        content = (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if file.suffix == ".jsonl"
            else json.loads(text)
        )
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    entries = content if isinstance(content, list) else [content]
    shots = [
        from_dict(entry, default_name=f"{file.stem}-{number}" if len(entries) > 1 else file.stem)
        for number, entry in enumerate(entries, 1)
    ]
    names = [shot.name for shot in shots]
    if len(set(names)) != len(names):
        raise ValueError(f"{file}: two shots have the same name")
    return shots


def from_dict(entry: object, *, default_name: str) -> Shot:
    """Make a shot from a JSON object.

    Raises:
        ValueError: a field is missing, unknown or of the wrong kind.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"a shot must be a JSON object, got {type(entry).__name__}")
    values = {_ALSO.get(str(name), str(name)): value for name, value in entry.items()}
    if len(values) < len(entry):
        raise ValueError(f"a shot says the same thing twice: {', '.join(sorted(entry))}")
    values.setdefault("name", default_name)
    if isinstance(values.get("size"), str):
        width, _, height = values["size"].partition("x")
        if not (width.isdecimal() and height.isdecimal()):
            raise ValueError(f"shot {values['name']}: size must look like 512x288, got {values['size']!r}")
        values["size"] = (int(width), int(height))
    try:
        values["events"] = tuple(_event(event) for event in values.get("events", ()))
        return Shot(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"shot {values['name']}: {error}") from error


def _event(entry: object) -> PlannedEvent:
    """One event, from (seconds, text) or an object."""
    if not isinstance(entry, Mapping):
        (event,) = Timeline([entry])  # type: ignore[list-item]  # it checks
        return event
    unknown = set(entry) - set(_EVENT_FIELDS)
    if unknown or "text" not in entry:
        wrong = f"{min(map(str, unknown))[:80]!r} is none of them" if unknown else "it has no text"
        raise ValueError(f"an event has the fields {', '.join(_EVENT_FIELDS)}: {wrong}")
    return PlannedEvent(**{_EVENT_FIELDS[str(name)]: value for name, value in entry.items()})
