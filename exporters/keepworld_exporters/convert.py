"""``keepworld convert``: one file of a scene becomes another, for the program it is going to."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from keepworld.camera import CONVENTIONS
from keepworld.capture import Capture
from keepworld.errors import ExportError, KeepworldError
from keepworld.files import write_atomically

from keepworld_exporters import formats, manifest
from keepworld_exporters.convert_path import convert_path
from keepworld_exporters.formats import frames, obj
from keepworld_exporters.formats.harmonics import SH_C0
from keepworld_exporters.formats.paths import MODELS, PATHS, path_suffix
from keepworld_exporters.formats.sniff import suffix_in
from keepworld_exporters.profiles import PROFILES
from keepworld_exporters.scene import Mesh, Points, Scene, Splats

MAX_BYTES = 16 * 2**30
_MAX_MANIFEST_BYTES = 4 * 2**20
_MAX_BESIDE_BYTES = 512 * 2**20
_HOLDS: Mapping[type, str] = {Splats: "splats", Points: "points", Mesh: "mesh"}
_PLAIN_PLY: Mapping[type, str] = {Splats: ".splat.ply", Points: ".points.ply", Mesh: ".mesh.ply"}
EXAMPLES = """\
examples:
  keepworld convert garden.splat.ply garden.spz                  a tenth of the size
  keepworld convert garden.splat.ply unity/ --profile unity      the file, the axes and the units that Unity takes
  keepworld convert garden.glb garden.usdz
  keepworld convert garden.spz garden.laz                        splats become points
  keepworld convert walk walk.colmap                             a capture as COLMAP's dataset: images, cameras, points
  keepworld convert walk walk.cameras.glb                        and as an animated camera
  keepworld convert theirs.ply ours.splat.glb --from gltf        a file whose axes are not its format's usual ones
  keepworld convert supersplats.spz ours.spz --from opencv       SPZ as PlayCanvas' programs write it: y down

A manifest is written beside the result: where the scene came from, its axes and its units. One beside the input is read.
"""


def convert(
    source: Path, target: Path, *, profile: str | None = None, axes: str | None = None
) -> tuple[Path, dict[str, object]]:
    """Read a file and write it as another.

    Args:
        source: a file of any format in `keepworld_exporters.formats`, or what holds cameras.
        target: a file whose suffix says what to write, or with a profile a folder; cameras where its suffix is theirs.
        profile: the program it is for, one of `PROFILES`.
        axes: the convention the source is in, where it is not what its manifest or its format says.

    Returns:
        What was written, and its manifest.

    Raises:
        ExportError: the source cannot be read, or does not hold what the target would.
        ValueError: the target's name says nothing, or a name is unknown.
    """
    if profile is not None and profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, got {profile!r}")
    if axes is not None and axes not in CONVENTIONS:
        raise ValueError(f"axes must be one of {', '.join(CONVENTIONS)}, got {axes!r}")
    if not source.exists():
        raise ExportError(f"{source} is not there")
    about = _manifest_of(source)
    if path_suffix(target.name) is not None:
        about = {**about, "converted_from": source.name}
        path = convert_path(source, target, about)
        manifest.write_beside(path, about)
        return path, about
    if source.is_dir() or path_suffix(source.name) is not None:
        raise ValueError(f"{source} holds cameras, if anything, which are written as {', '.join((*PATHS, *MODELS))}")
    scene, suffix = _read(source, axes, about)
    path = _target(source, suffix, target, scene, profile)
    written = _suffix(path.name, scene)
    kind = formats.FORMATS.get(written)
    if kind is None:
        raise ValueError(f"a scene cannot be written as {path.name}; these hold one: {', '.join(formats.FORMATS)}")
    if path.exists() and path.samefile(source):
        raise ValueError(f"{path} is what is read; give the result another name")
    convention = None if profile is None else PROFILES[profile].convention
    told = manifest.for_file({**about, "converted_from": source.name}, kind, convention)
    shape = _as_kind(scene, kind.holds)
    files = formats.encode_files(shape, path.name, told, suffix=written, convention=convention)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_atomically(path.parent / name, data)
    manifest.write_beside(path, told)
    return path, told


def read_scene(source: Path) -> Scene:
    """Read a file of a scene into the session's frame, in the axes that its manifest or its format says it is in.

    Raises:
        ExportError: it is none, damaged or too large.
    """
    return _read(source, None, _manifest_of(source))[0]


def _read(source: Path, axes: str | None, about: Mapping[str, object]) -> tuple[Scene, str]:
    if source.stat().st_size > MAX_BYTES:
        raise ExportError(f"{source} has {source.stat().st_size} bytes; at most {MAX_BYTES} are read")
    data = source.read_bytes()
    try:
        suffix = suffix_in(source.name, data)
        told = about.get("convention")
        known = axes or (told if isinstance(told, str) and told in CONVENTIONS else None)
        if suffix == ".obj":
            mesh = obj.decode_files(data, partial(_beside, source))
            return frames.from_convention(mesh, known or formats.FORMATS[suffix].convention), suffix
        return formats.decode(data, suffix, convention=known), suffix
    except ValueError as error:
        raise ExportError(f"{source}: {error}") from error


def _beside(source: Path, name: str) -> bytes | None:
    """The file of a plain name beside another; None for what is not there, too large, or named to lie elsewhere."""
    path = source.with_name(name) if name not in ("", ".", "..") and Path(name).name == name else None
    if path is None or not path.is_file() or path.is_symlink() or path.stat().st_size > _MAX_BESIDE_BYTES:
        return None
    return path.read_bytes()


def _manifest_of(source: Path) -> dict[str, object]:
    """What lies beside a file about it, if anything does."""
    if (source / "capture.json").is_file():
        capture = Capture(source)
        return manifest.of_walk(capture.provenance, capture.events)
    # What lies in one folder may share a manifest: scene.splat.ply has scene.manifest.json.
    shared = source.with_name(f"{source.name.partition('.')[0]}.manifest.json")
    path = next((path for path in (manifest.beside(source), shared) if path.is_file()), None)
    if path is None:
        return {}
    if path.stat().st_size > _MAX_MANIFEST_BYTES:
        raise ExportError(f"{path} has {path.stat().st_size} bytes; at most {_MAX_MANIFEST_BYTES} are read")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path} is not a manifest: {error}") from error
    if not isinstance(content, dict):
        raise ExportError(f"{path} is not a manifest: it must hold an object, got {type(content).__name__}")
    if "metrics" in content:  # which are those of that file, and not of what becomes of it
        content["source_metrics"] = content.pop("metrics")
    return content


def _suffix(name: str, scene: Scene) -> str:
    """What a file's name says to write; a plain .ply holds whatever the scene is."""
    if name.lower().endswith(".ply") and not any(name.lower().endswith(suffix) for suffix in formats.FORMATS):
        return _PLAIN_PLY[type(scene)]
    return formats.suffix_of(name)


def _target(source: Path, suffix: str, target: Path, scene: Scene, profile: str | None) -> Path:
    """The file to write: the target, or in a folder one named after the source as the profile has it."""
    if not target.is_dir():
        return target
    if profile is None:
        raise ValueError(f"{target} is a folder: name a file in it, or a --profile that decides which kind")
    name = source.name.lower()
    stem = source.name[: -len(suffix)] if name.endswith(suffix) else source.stem
    return target / f"{stem}{PROFILES[profile].suffixes[_HOLDS[type(scene)]]}"


def _as_kind(scene: Scene, wanted: str) -> Scene:
    """A scene as what a format holds: as it is, or as points.

    Raises:
        ExportError: it cannot be that.
    """
    holds = _HOLDS[type(scene)]
    if holds == wanted:
        return _with_normals(scene) if isinstance(scene, Mesh) else scene
    if wanted != "points":
        raise ExportError(f"{holds} cannot be converted to {wanted}: export the walk again to get one")
    if isinstance(scene, Splats):
        return points_of_splats(scene)
    assert isinstance(scene, Mesh)
    turned = _with_normals(scene)
    assert turned.normals is not None
    seen = np.ones(len(scene.vertices), np.uint16)
    return Points(positions=scene.vertices, normals=turned.normals, colours=scene.colours, confidence=seen)


def points_of_splats(splats: Splats) -> Points:
    """The centres of splats, with the colours of their harmonics' mean and their thinnest axes as normals."""
    w, x, y, z = splats.quats.T.astype(np.float64)
    columns = np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], 1),
            np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], 1),
            np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], 1),
        ],
        1,
    )
    thinnest = splats.scales.argmin(1)
    return Points(
        positions=splats.means,
        normals=columns[np.arange(len(thinnest)), thinnest].astype(np.float32),
        colours=np.round(255 * np.clip(SH_C0 * splats.sh0 + 0.5, 0, 1)).astype(np.uint8),
        confidence=np.ones(len(splats.means), np.uint16),
    )


def _with_normals(mesh: Mesh) -> Mesh:
    if mesh.normals is not None:
        return mesh
    from keepworld_exporters.stages.paint import vertex_normals

    return replace(mesh, normals=vertex_normals(mesh.vertices, mesh.faces))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit status: 0 done, 1 failed, 2 misused."""
    parser = argparse.ArgumentParser(
        prog="keepworld convert",
        description=f"Turn splats, points or a mesh into another format: {', '.join(formats.FORMATS)}. "
        f"Turn the cameras of a capture, a COLMAP model or a file into another: {', '.join((*PATHS, *MODELS))}.",
        epilog="profiles:\n"
        + "".join(f"  {name:8} {profile.readers}\n" for name, profile in PROFILES.items())
        + f"\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, metavar="IN", help="a file of a scene, or what holds cameras")
    parser.add_argument("target", type=Path, metavar="OUT", help="a file whose suffix says what to write, or a folder")
    parser.add_argument("--profile", choices=PROFILES, help="the program it is for: axes, units, kind of file")
    parser.add_argument(
        "--from", dest="axes", choices=CONVENTIONS, help="the axes IN is in (default: its manifest's, its format's)"
    )
    parser.add_argument(
        "--json", action="store_true", help="end with one JSON object: the path, its size, its manifest"
    )
    arguments = parser.parse_args(argv)
    try:
        path, told = convert(arguments.source, arguments.target, profile=arguments.profile, axes=arguments.axes)
    except ValueError as error:
        print(f"keepworld convert: {error}", file=sys.stderr)
        return 2
    except (KeepworldError, OSError, MemoryError) as error:
        print(f"keepworld convert: {error or 'out of memory'}", file=sys.stderr)
        return 1
    size = (
        sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
        if path.is_dir()
        else path.stat().st_size
    )
    if arguments.json:
        print(json.dumps({"path": str(path), "bytes": size, "manifest": told}))
    else:
        print(f"{path}  {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
