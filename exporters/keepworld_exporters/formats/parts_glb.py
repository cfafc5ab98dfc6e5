"""``.hulls.glb``: convex parts as binary glTF 2.0, a node each, as physics importers want them; read back as one mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keepworld_exporters.formats import gltf
from keepworld_exporters.scene import Mesh


def encode(meshes: Sequence[Mesh], extras: Mapping[str, object] | None = None) -> bytes:
    """Turn meshes, glTF's axes, into a file with a node `hull_00` and so on for each; their colours are left out."""
    parts = gltf.Parts()
    nodes: list[dict[str, object]] = []
    shapes: list[dict[str, object]] = []
    for k, mesh in enumerate(meshes):
        place = parts.add(mesh.vertices.astype("<f4"), target=gltf.ARRAY, bounds=True)
        indices = parts.add(mesh.faces.astype("<u4").reshape(-1, 1), target=gltf.ELEMENTS)
        name = f"hull_{k:02d}"
        shapes.append({"name": name, "primitives": [{"attributes": {"POSITION": place}, "indices": indices}]})
        nodes.append({"name": name, "mesh": k})
    content = {"scene": 0, "scenes": [{"nodes": list(range(len(nodes)))}], "nodes": nodes, "meshes": shapes}
    return gltf.encode(content, parts, extras)
