"""Getting a model's files: from a folder on this machine, or from the Hugging Face hub.

Each file appears whole or not at all, so whatever breaks off goes on where it was when it is asked for again. What has been
got is written down with its sha256 in the checkpoint's manifest.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from keepworld.files import whole_file

from keepworld_runtime.families.latent.manifest import Entry, entry_of, read_manifest, sha256_of, write_manifest
from keepworld_runtime.families.latent.parts import Located, ModelEntry, Origin, is_there, locate

_PIECE = 1 << 22
_LINKED_FROM = 1 << 20  # bytes: smaller files are copied, so that editing one does not change the other

Tell = Callable[[str, int, int], None]
"""Is told a file's name, how many bytes of all are done, and how many there are."""


class PullError(OSError):
    """Files could not be got; the message says what to do."""


def pull_from_folder(source: Path, target: Path, entry: ModelEntry, variant: str | None, tell: Tell) -> list[Path]:
    """Take a model's files from a checkpoint folder into another: linked where both are on one file system, else copied.

    Files that are there already, of the same content, are left as they are. Gives the files that were not.

    Raises:
        MissingFilesError: the source lacks some.
        ValueError: a file is not what the source's manifest says, or the target has another one under its name.
    """
    located = locate(source, entry, variant)
    files = sorted({path for part in located.values() for path in part.all_files()})
    known, done = read_manifest(source), read_manifest(target)
    total, passed, taken = sum(path.stat().st_size for path in files), 0, []
    target.mkdir(parents=True, exist_ok=True)
    for path in files:
        name = path.relative_to(source).as_posix()
        size = path.stat().st_size
        tell(name, passed, total)
        if not _is_done(target / name, size, done.get(name)):
            done[name] = _take(path, target / name, known.get(name), _onwards(tell, name, passed, total))
            write_manifest(target, done)
            taken.append(target / name)
        passed += size
    tell("", total, total)
    return taken


def _is_done(path: Path, size: int, entry: Entry | None) -> bool:
    return entry is not None and entry.num_bytes == size and path.is_file() and path.stat().st_size == size


def _take(source: Path, target: Path, wanted: Entry | None, tell: Callable[[int], None]) -> Entry:
    if target.exists():
        there, here = entry_of(target), entry_of(source)
        if there != here:
            raise ValueError(f"{target} is there with another content than {source}; remove it or pull elsewhere")
        _check(source, here, wanted)
        return here
    target.parent.mkdir(parents=True, exist_ok=True)
    real = source.resolve()
    if real.stat().st_size >= _LINKED_FROM and os.access(target.parent, os.W_OK):
        entry = Entry(real.stat().st_size, sha256_of(real, tell))
        _check(source, entry, wanted)
        try:
            os.link(real, target)
            return entry
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
    return _copy(source, target, wanted, tell)


def _copy(source: Path, target: Path, wanted: Entry | None, tell: Callable[[int], None]) -> Entry:
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as file, whole_file(target) as unfinished:
        with unfinished.open("wb") as copy:
            while piece := file.read(_PIECE):
                copy.write(piece)
                digest.update(piece)
                size += len(piece)
                tell(len(piece))
        entry = Entry(size, digest.hexdigest())
        _check(source, entry, wanted)
    return entry


def _check(path: Path, entry: Entry, wanted: Entry | None) -> None:
    if wanted is not None and entry != wanted:
        raise ValueError(f"{path} is not what its folder's manifest says: sha256 {entry.sha256}, not {wanted.sha256}")


def _onwards(tell: Tell, name: str, passed: int, total: int) -> Callable[[int], None]:
    """Tell how far a file is, from how many bytes were done at a time."""

    def add(count: int) -> None:
        nonlocal passed
        passed += count
        tell(name, passed, total)

    return add


def pull_from_hub(target: Path, entry: ModelEntry, variant: str | None, tell: Callable[[str], None]) -> None:
    """Get the parts of a model that a checkpoint folder lacks from the Hugging Face hub, which goes on where it broke off.

    Raises:
        PullError: the hub cannot be reached, or does not hand out a file.
    """
    lacking = [part for part in entry.needs(variant) if not is_there(target, entry, part)]
    for origin in dict.fromkeys(part.origin for part in lacking):
        tell(f"getting {', '.join(_patterns(origin))} of {origin.repository}")
        _download(origin, target / origin.into)
    located = locate(target, entry, variant)
    _write_down(target, located)


def _write_down(target: Path, located: dict[str, Located]) -> None:
    done = read_manifest(target)
    for path in sorted({path for part in located.values() for path in part.all_files()}):
        name = path.relative_to(target).as_posix()
        if not _is_done(path, path.stat().st_size, done.get(name)):
            done[name] = entry_of(path)
    write_manifest(target, done)


def _download(origin: Origin, folder: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    address = f"https://huggingface.co/{origin.repository}"
    try:
        snapshot_download(origin.repository, local_dir=folder, allow_patterns=list(_patterns(origin)))
    except GatedRepoError as error:
        raise PullError(
            f"{origin.repository} asks to accept its terms: do so at {address}, then: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise PullError(
            f"{origin.repository} is not there, or not for everyone: see {address}; hf auth login"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise PullError(f"{origin.repository} could not be got: {reason}\n{by_hand(origin, folder)}") from error


def by_hand(origin: Origin, folder: Path) -> str:
    """How to get the files of an origin without this machine reaching the hub."""
    patterns = " ".join(f"--include '{pattern}'" for pattern in _patterns(origin))
    return (
        f"on a machine that reaches https://huggingface.co: hf download {origin.repository} {patterns} --local-dir {folder}\n"
        "then carry the folder here, and: keepworld models pull NAME --from FOLDER --to DIR"
    )


def _patterns(origin: Origin) -> tuple[str, ...]:
    """What of a repository is got."""
    top = ("*.json", "*.safetensors", "*.txt")
    return tuple(
        pattern
        for folder in origin.folders
        for pattern in ((folder,) if folder.endswith(".json") else (f"{folder}/*",) if folder else top)
    )
