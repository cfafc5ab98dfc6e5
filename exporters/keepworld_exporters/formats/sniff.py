"""What is in a file whose name does not say it all: any ``.ply``, and a ``.glb`` of splats."""

from __future__ import annotations

from keepworld_exporters.formats import FORMATS, gltf, ply, suffix_of


def suffix_in(name: str, data: bytes) -> str:
    """The suffix, one of `FORMATS`, by which a file is read.

    Raises:
        ValueError: no format here is of that name, or the file is damaged.
    """
    if name.lower().endswith(".ply"):
        return _ply(data)
    if name.lower().endswith(".glb"):
        used = gltf.split(data)[0].get("extensionsUsed", [])
        return ".splat.glb" if isinstance(used, list) and "KHR_gaussian_splatting" in used else ".glb"
    suffix = suffix_of("_.laz" if name.lower().endswith(".las") else name)
    if suffix not in FORMATS:
        raise ValueError(f"{name!r} is no scene; these are read: {', '.join(FORMATS)}, .ply and .las")
    return suffix


def _ply(data: bytes) -> str:
    elements = {element.name: element for element in ply.read_header(data).elements}
    if "chunk" in elements:
        return ".compressed.ply"
    if "vertex" not in elements:
        raise ValueError(f"the PLY file has no vertices, only {', '.join(elements) or 'nothing'}")
    if any(entry[0] == "f_dc_0" for entry in elements["vertex"].properties):
        return ".splat.ply"
    return ".mesh.ply" if "face" in elements and elements["face"].count else ".points.ply"
