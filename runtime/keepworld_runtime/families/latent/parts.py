"""The parts that a learned model consists of, and where they lie in a folder, in any of the forms they are released in.

Free of torch: looking for files and telling what is missing loads nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_WEIGHT_SUFFIXES = frozenset({".safetensors", ".pt", ".bin", ".pth", ".h5", ".msgpack", ".ot", ".onnx"})


class MissingFilesError(FileNotFoundError):
    """A checkpoint folder lacks files; the message lists what was looked for, where, and the command that gets it."""


@dataclass(frozen=True, slots=True)
class Form:
    """One of the forms that a part may lie in.

    Attributes:
        folder: from a root.
        files: in it, each by the names it may have; the first is what tells that the part is there.
    """

    folder: str
    files: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where on the Hugging Face hub a part can be got.

    Attributes:
        repository: there.
        folders: of it, or files; "" is its top.
        into: the folder, from the checkpoint's, that they are put in.
    """

    repository: str
    folders: tuple[str, ...]
    into: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Something that a model needs.

    Attributes:
        name: short.
        what: it is.
        gigabytes: that it takes on disk, about.
        forms: that it may lie in, the first that is there is used.
        origin: where it comes from.
        extras: files, from a root, that are used where they are there.
    """

    name: str
    what: str
    gigabytes: float
    forms: tuple[Form, ...]
    origin: Origin
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Licence:
    """Terms that a model comes under.

    Attributes:
        name: of the licence.
        covers: which parts.
        limits: what it forbids or demands, in a sentence; "" if nothing that is not usual.
        address: of its text.
    """

    name: str
    covers: str
    limits: str
    address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """A learned model in the catalogue.

    Attributes:
        name: of its family.
        summary: a line.
        roots: the folders, from the checkpoint's, that parts lie under.
        parts: that every variant needs.
        networks: variant -> the part that differs; the first is the default.
        licences: that they come under.
    """

    name: str
    summary: str
    roots: tuple[str, ...]
    parts: tuple[Part, ...]
    networks: Mapping[str, Part]
    licences: tuple[Licence, ...]

    def needs(self, variant: str | None = None) -> tuple[Part, ...]:
        """All parts of a variant, None for the default one.

        Raises:
            ValueError: there is no such variant.
        """
        variant = variant or next(iter(self.networks))
        if variant not in self.networks:
            raise ValueError(f"unknown variant {variant!r} of {self.name}; known: {', '.join(self.networks)}")
        return (self.networks[variant], *self.parts)


@dataclass(frozen=True, slots=True)
class Located:
    """A part that is there.

    Attributes:
        part: which.
        folder: where.
        files: those of its form, in their order.
        extras: that are there.
    """

    part: Part
    folder: Path
    files: tuple[Path, ...]
    extras: tuple[Path, ...]

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files that its first file stands for: itself, or the shards that an index lists.

        Raises:
            ValueError: the index is none, or leads out of its folder.
            MissingFilesError: a shard is not there.
        """
        return _shards(self.files[0])

    def all_files(self) -> tuple[Path, ...]:
        """Its weights and extras, and all else in its folder that is not weights in another form."""
        others = (path for path in self.folder.iterdir() if path.is_file() and not path.name.startswith("."))
        kept = {path for path in others if path.suffix not in _WEIGHT_SUFFIXES and ".converted" not in path.suffixes}
        return tuple(sorted({*kept, *self.weights, *self.files, *self.extras}))


def locate(directory: Path, entry: ModelEntry, variant: str | None = None) -> dict[str, Located]:
    """Find every part of a model in a checkpoint folder, by its name.

    Raises:
        MissingFilesError: something is not there.
        ValueError: there is no such variant.
    """
    found = {part.name: _located(directory, entry.roots, part) for part in entry.needs(variant)}
    missing = [part for part in entry.needs(variant) if found[part.name] is None]
    if missing:
        raise MissingFilesError(_told_missing(directory, entry, variant, missing))
    return {name: located for name, located in found.items() if located is not None}


def is_there(directory: Path, entry: ModelEntry, part: Part) -> bool:
    """Whether a part lies in a checkpoint folder."""
    return _located(directory, entry.roots, part) is not None


def _located(directory: Path, roots: Sequence[str], part: Part) -> Located | None:
    for form in part.forms:
        for root in roots:
            folder = directory / root / form.folder
            files = [next((folder / name for name in names if (folder / name).is_file()), None) for names in form.files]
            if all(files):
                extras = (directory / root / name for name in part.extras for root in roots)
                return Located(
                    part,
                    folder,
                    tuple(path for path in files if path is not None),
                    tuple(path for path in extras if path.is_file()),
                )
    return None


def _told_missing(directory: Path, entry: ModelEntry, variant: str | None, missing: Sequence[Part]) -> str:
    lines = [f"{directory} lacks {len(missing)} of {len(entry.needs(variant))} parts of {entry.name}:"]
    for part in missing:
        places = " or ".join(
            f"{form.folder}/({'|'.join(form.files[0])})"
            if len(form.files[0]) > 1
            else f"{form.folder}/{form.files[0][0]}"
            for form in part.forms
        )
        beside = sorted({names[0] for form in part.forms for names in form.files[1:]})
        also = f" with {', '.join(beside)} beside it" if beside else ""
        lines.append(f"  {part.name} ({part.what}): looked for {places}{also}")
    roots = ", ".join(str(directory / root) for root in entry.roots)
    lines.append(f"  looked in {roots}")
    chosen = f" --variant {variant}" if variant else ""
    lines.append(f"  get it with: keepworld models pull {entry.name}{chosen} --to {directory}")
    return "\n".join(lines)


def _shards(path: Path) -> tuple[Path, ...]:
    if not path.name.endswith(".index.json"):
        return (path,)
    try:
        names = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not an index of weights: {error!r}") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"{path} names {name!r}, which is not a file beside it")
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise MissingFilesError(f"{path.parent} lacks {', '.join(missing)}, which {path.name} lists; pull again")
    return tuple(path.parent / name for name in names)
