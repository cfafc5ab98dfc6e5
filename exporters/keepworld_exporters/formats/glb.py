"""``.glb``: a coloured or textured mesh as binary glTF 2.0.

Vertex colours are linear in glTF and sRGB in a `Mesh`, so they are converted; 16 bits keep every sRGB value apart. The
material is rough and no metal, or viewers would show a mirror.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.formats import gltf
from keepworld_exporters.formats.checks import check_unpacked
from keepworld_exporters.formats.picture import decode_picture, encode_png
from keepworld_exporters.scene import Mesh

_REPEAT, _LINEAR = 10497, 9729
_TRIANGLES = 4


def encode(mesh: Mesh, extras: Mapping[str, object] | None = None) -> bytes:
    """Turn a mesh into a file; `extras` are kept under the asset."""
    parts = gltf.Parts()
    attributes = {"POSITION": parts.add(mesh.vertices.astype("<f4"), target=gltf.ARRAY, bounds=True)}
    if mesh.normals is not None:
        attributes["NORMAL"] = parts.add(mesh.normals.astype("<f4"), target=gltf.ARRAY)
    pbr: dict[str, object] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    material: dict[str, object] = {"pbrMetallicRoughness": pbr, "doubleSided": True}
    content: dict[str, object] = {}
    if mesh.texture is None or mesh.uvs is None:
        colours = np.full((len(mesh.vertices), 4), 65535, "<u2")
        colours[:, :3] = np.round(65535 * linear_from_srgb(mesh.colours / 255.0))
        attributes["COLOR_0"] = parts.add(colours, target=gltf.ARRAY, normalized=True)
    else:
        attributes["TEXCOORD_0"] = parts.add(mesh.uvs.astype("<f4"), target=gltf.ARRAY)
        pictures = [mesh.texture]
        pbr["baseColorTexture"] = {"index": 0}
        if mesh.normal_map is not None and mesh.tangents is not None:
            attributes["TANGENT"] = parts.add(mesh.tangents.astype("<f4"), target=gltf.ARRAY)
            pictures.append(mesh.normal_map)
            material["normalTexture"] = {"index": 1}
        content["images"] = [
            {"bufferView": parts.add_bytes(encode_png(picture)), "mimeType": "image/png"} for picture in pictures
        ]
        content["samplers"] = [{"magFilter": _LINEAR, "wrapS": _REPEAT, "wrapT": _REPEAT}]
        content["textures"] = [{"source": k, "sampler": 0} for k in range(len(pictures))]
    indices = parts.add(mesh.faces.astype("<u4").reshape(-1, 1), target=gltf.ELEMENTS)
    content |= {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "world"}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [material],
    }
    return gltf.encode(content, parts, extras)


def decode(data: bytes) -> Mesh:
    """Read all triangles of a file, with their colours, and the texture where all share one.

    Raises:
        ValueError: damaged, without triangles, or with what glTF leaves to extensions (compressed geometry, splats).
    """
    content, body = gltf.split(data)
    try:
        meshes, size = [], 0
        texture, normal_map = _shared_picture(content, body, "texture"), _shared_picture(content, body, "normal_map")
        for primitive, place in gltf.placed_meshes(content):
            if "KHR_gaussian_splatting" in primitive.get("extensions", {}):  # type: ignore[operator]
                raise ValueError("the GLB file holds splats, not a mesh: give it a name ending in .splat.glb")
            if primitive.get("mode", _TRIANGLES) == _TRIANGLES:
                meshes.append(_primitive(content, body, primitive, place))
                # A mesh may be placed many times; what is that many meshes here shall not be a bomb.
                size += 24 * len(meshes[-1].vertices) + 12 * len(meshes[-1].faces)
                check_unpacked(size, data, f"the GLB file shows {len(meshes)} meshes")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"damaged GLB file: {error!r}") from error
    if not meshes:
        raise ValueError("the GLB file holds no triangles")
    return _joined(meshes, texture, normal_map)


def _primitive(content: gltf.Json, body: bytes, primitive: gltf.Json, place: NDArray[np.float64]) -> Mesh:
    named = primitive["attributes"]
    assert isinstance(named, dict)
    vertices = gltf.read(content, body, named["POSITION"], width=3, kinds=(gltf.FLOAT,)).astype(np.float64)
    count = len(vertices)
    if "indices" in primitive:
        wanted = (gltf.UINT, gltf.USHORT, gltf.UBYTE)
        faces = gltf.read(content, body, primitive["indices"], width=1, kinds=wanted).reshape(-1).astype(np.int64)  # type: ignore[arg-type]
    else:
        faces = np.arange(count)
    colours = np.full((count, 3), 255, np.uint8)
    if "COLOR_0" in named:
        width = 4 if content["accessors"][named["COLOR_0"]]["type"] == "VEC4" else 3  # type: ignore[index]
        stored = gltf.read(content, body, named["COLOR_0"], width=width, kinds=(gltf.FLOAT, gltf.USHORT, gltf.UBYTE))
        if not np.isfinite(stored.astype(np.float64)).all():
            raise ValueError("the mesh's colours are not finite")
        light = np.clip(stored[:, :3].astype(np.float64), 0, 1)
        colours = np.round(255 * srgb_from_linear(light)).astype(np.uint8)
    uvs = normals = tangents = None
    if "TANGENT" in named:
        along = gltf.read(content, body, named["TANGENT"], width=4, kinds=(gltf.FLOAT,)).astype(np.float64)
        right = along[:, :3] @ place[:3, :3].T
        right /= np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-12)
        side = np.sign(along[:, 3:]) * np.sign(np.linalg.det(place[:3, :3]))
        tangents = np.concatenate([right, side], 1).astype(np.float32)
    if "TEXCOORD_0" in named:
        uvs = gltf.read(content, body, named["TEXCOORD_0"], width=2, kinds=(gltf.FLOAT,)).astype(np.float32)
    if "NORMAL" in named:
        stored = gltf.read(content, body, named["NORMAL"], width=3, kinds=(gltf.FLOAT,))
        turned = stored.astype(np.float64) @ np.linalg.inv(place[:3, :3])
        normals = (turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    if any(part is not None and len(part) != count for part in (colours, uvs, normals, tangents)) or len(faces) % 3:
        raise ValueError("the mesh's parts do not fit together")
    if faces.max() >= count:
        raise ValueError(f"a face names vertex {faces.max()} of {count}")
    vertices = vertices @ place[:3, :3].T + place[:3, 3]
    if not np.isfinite(vertices).all():
        raise ValueError("the mesh holds places that are not finite")
    corners = faces.reshape(-1, 3).astype(np.int32)
    return Mesh(
        vertices=vertices.astype(np.float32),
        faces=corners if np.linalg.det(place[:3, :3]) > 0 else corners[:, ::-1],
        colours=colours,
        normals=normals,
        uvs=uvs,
        tangents=tangents,
    )


def _shared_picture(content: gltf.Json, body: bytes, kind: str) -> NDArray[np.uint8] | None:
    """The picture of a kind that all materials show, if there is one and it lies within the file."""
    named = set()
    for material in content.get("materials", []):  # type: ignore[attr-defined]
        at = material.get("normalTexture") if kind == "normal_map" else (
            material.get("pbrMetallicRoughness", {}).get("baseColorTexture")
        )  # fmt: skip
        named.add(None if at is None else content["textures"][at["index"]].get("source"))  # type: ignore[index]
    if len(named) != 1 or (source := named.pop()) is None:
        return None
    image = content["images"][source]  # type: ignore[index]
    if "bufferView" not in image:
        return None
    view = content["bufferViews"][image["bufferView"]]  # type: ignore[index]
    if view.get("buffer") != 0:
        return None
    start, length = view.get("byteOffset", 0), view["byteLength"]
    if not (type(start) is int and type(length) is int and 0 <= start <= start + length <= len(body)):
        raise ValueError("the GLB file's picture lies outside of it")
    return decode_picture(body[start : start + length])


def _joined(meshes: list[Mesh], texture: NDArray[np.uint8] | None, normal_map: NDArray[np.uint8] | None) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    normals = [mesh.normals for mesh in meshes if mesh.normals is not None]
    uvs = [mesh.uvs for mesh in meshes if mesh.uvs is not None]
    tangents = [mesh.tangents for mesh in meshes if mesh.tangents is not None]
    mapped = len(uvs) == len(tangents) == len(meshes) and normal_map is not None
    return Mesh(
        vertices=np.concatenate([mesh.vertices for mesh in meshes]),
        faces=np.concatenate([mesh.faces + np.int32(start) for mesh, start in zip(meshes, starts, strict=False)]),
        colours=np.concatenate([mesh.colours for mesh in meshes]),
        normals=np.concatenate(normals) if len(normals) == len(meshes) else None,
        uvs=np.concatenate(uvs) if len(uvs) == len(meshes) else None,
        texture=texture if len(uvs) == len(meshes) else None,
        tangents=np.concatenate(tangents) if mapped else None,
        normal_map=normal_map if mapped else None,
    )


def linear_from_srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light that is proportional to energy from sRGB values, both in [0, 1] (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `linear_from_srgb`."""
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)
