"""Bytes by their own hash: stored once, however many point at them."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import fsspec


class Blobs(Protocol):
    """Keeps bytes under their SHA-256 in hex."""

    def put(self, data: bytes) -> str:
        """Keep bytes; they are safe when this returns. Gives their name."""
        ...

    def get(self, name: str) -> bytes:
        """What is kept under a name.

        Raises:
            FileNotFoundError: nothing is.
            ValueError: it is not what was put there.
        """
        ...

    def names(self) -> Iterable[str]:
        """All names."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Forget; a name that is not there is fine."""
        ...


class MemoryBlobs:
    """Kept by this process, and no longer than it.

    Args:
        max_bytes: of all together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        """Keep bytes; gives their name.

        Raises:
            OSError: there is no room.
        """
        name = name_of(data)
        if name not in self._kept:
            if self._num_bytes + len(data) > self._max_bytes:
                raise OSError(f"a journal in memory holds at most {self._max_bytes} bytes")
            self._kept[name] = data
            self._num_bytes += len(data)
        return name

    def get(self, name: str) -> bytes:
        """What is kept under a name."""
        if name not in self._kept:
            raise FileNotFoundError(name)
        return self._kept[name]

    def names(self) -> Iterable[str]:
        """All names."""
        return list(self._kept)

    def remove(self, names: Iterable[str]) -> None:
        """Forget."""
        for name in names:
            self._num_bytes -= len(self._kept.pop(name, b""))


class StoredBlobs:
    """Kept in a folder of any file system that fsspec knows.

    Args:
        url: the folder, such as file:///var/lib/keepworld/blobs or s3://bucket/blobs, whose bucket must be there.

    Raises:
        ValueError: no file system is known by such a URL, or it needs a package that is not installed.
    """

    def __init__(self, url: str) -> None:
        try:  # what others change there is seen at once
            self._fs, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise ValueError(f"{url.partition(':')[0]}: needs a package more: {error}") from None
        self._is_local = "file" in self._fs.protocol
        if self._is_local:
            self._fs.makedirs(self._root, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Keep bytes, whole or not at all; gives their name."""
        name = name_of(data)
        path = self._path(name)
        with _failures():
            if self._fs.exists(path):
                return name
            if self._is_local:
                self._write(path, data)
            else:
                self._fs.pipe_file(path, data)  # an object is there when it is whole
        return name

    def _write(self, path: str, data: bytes) -> None:
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        unfinished = f"{path}.{secrets.token_hex(4)}"
        try:
            with self._fs.open(unfinished, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._fs.mv(unfinished, path)
        except BaseException:
            if self._fs.exists(unfinished):
                self._fs.rm_file(unfinished)
            raise
        _sync_folder(path.rpartition("/")[0])

    def get(self, name: str) -> bytes:
        """What is kept under a name."""
        with _failures():
            data: bytes = self._fs.cat_file(self._path(name))
        if name_of(data) != name:
            raise ValueError("a stored part is not what was put there")
        return data

    def names(self) -> Iterable[str]:
        """All names, and those of files that were never finished."""
        with _failures():
            listed: list[Any] = self._fs.find(self._root)
        return [str(path).rpartition("/")[2] for path in listed]

    def remove(self, names: Iterable[str]) -> None:
        """Forget."""
        with _failures():
            for name in names:
                if self._fs.exists(self._path(name)):
                    self._fs.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name[:2]}/{name}"


def name_of(data: bytes) -> str:
    """The name that bytes are kept under."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _failures() -> Iterator[None]:
    """Every file system has errors of its own: whatever is wrong with one is an OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _sync_folder(path: str) -> None:
    """See to it that a new name in a folder is there after a power cut too."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
