"""A COLMAP model, binary or text, with lenses of its models, and the pictures it was made of."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from keepworld.errors import ExportError

from keepworld_exporters.formats import colmap
from keepworld_exporters.ingest import pictures
from keepworld_exporters.ingest.lens import colmap_lens
from keepworld_exporters.ingest.sequence import MAX_PHOTOS, Photo, Sequence, inside

WITHIN = (".", "sparse/0", "sparse", "colmap/sparse/0")
PICTURES = ("images", "../images", "../../images", "../../../images", ".")
MAX_BYTES = 2 * 2**30


def find(folder: Path) -> Path | None:
    """Where in a folder a model lies, if one does."""
    for place in WITHIN:
        for names in (colmap.BINARY, colmap.TEXT):
            if all((folder / place / name).is_file() for name in names[:2]):
                return folder / place
    return None


def read(folder: Path, *, images: Path | None = None) -> Sequence:
    """Read a model.

    Args:
        folder: of the model, or of a data set that has one in its usual place.
        images: where its pictures lie, if not in an ``images`` folder beside or above it.

    Raises:
        ExportError: damaged, or pictures are missing.
    """
    model_folder = find(folder)
    if model_folder is None:
        raise ExportError(f"{folder} holds no COLMAP model: no cameras and images, .bin or .txt")
    names = colmap.BINARY if (model_folder / colmap.BINARY[0]).is_file() else colmap.TEXT
    files = {}
    for name in names[:2]:  # the points are not needed: depth is found anew
        length = (model_folder / name).stat().st_size
        if length > MAX_BYTES:
            raise ExportError(f"{model_folder / name} has {length} bytes; at most {MAX_BYTES} are read")
        files[name] = (model_folder / name).read_bytes()
    try:
        model = colmap.decode_model(files)
    except ValueError as error:
        raise ExportError(f"{model_folder}: {error}") from error
    if not 0 < len(model.images) <= MAX_PHOTOS:
        raise ExportError(f"{model_folder} must have 1 to {MAX_PHOTOS} images, got {len(model.images)}")
    root = images or _pictures(model_folder, model.images[0].name)
    photos = []
    for number, image in enumerate(model.images):
        try:
            path = inside(root, image.name)
            lens = colmap_lens(image.camera.model, image.camera.width, image.camera.height, image.camera.numbers)
            stored = pictures.measure(path)
            lens = lens if stored == (lens.height, lens.width) else lens.resized(*stored)
        except ValueError as error:
            raise ExportError(f"{model_folder}: {image.name[:80]}: {error}") from error
        size = (lens.width, lens.height)
        mask = root.parent / "masks" / f"{image.name}.png"  # as COLMAP has them
        photos.append(
            Photo(
                name=image.name, image=pictures.reader(path, size), lens=lens, c2w=image.c2w, time_s=number / 4,
                mask=partial(pictures.read_mask, mask, size) if mask.is_file() else None,
            )
        )  # fmt: skip
    return Sequence(kind="COLMAP model", title=folder.resolve().name, photos=tuple(photos))


def _pictures(model_folder: Path, name: str) -> Path:
    for place in PICTURES:
        root = model_folder / place
        try:
            inside(root, name)
        except (ExportError, OSError):
            continue
        return root
    raise ExportError(f"the pictures of the COLMAP model {model_folder} are not beside it; name their folder: --images")
