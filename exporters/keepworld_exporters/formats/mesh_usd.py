"""``.usda`` and ``.usdz``: a mesh as a `UsdGeomMesh` with colours, and in an archive with its texture.

Colours are linear in USD and sRGB in a `Mesh`, so they are converted; textures stay sRGB and are marked as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from keepworld_exporters.formats import archive, usd, usd_crate
from keepworld_exporters.formats.checks import checked_mesh
from keepworld_exporters.formats.glb import linear_from_srgb, srgb_from_linear
from keepworld_exporters.formats.picture import decode_picture, encode_png, flip_v
from keepworld_exporters.scene import Mesh

TEXTURE = "texture.png"
_STAGE = "world.usdc"
_COLOURS = """
        def Shader "colours"
        {
            uniform token info:id = "UsdPrimvarReader_float3"
            string inputs:varname = "displayColor"
            float3 outputs:result
        }
"""
_TEXTURE = """
        def Shader "picture"
        {
            uniform token info:id = "UsdUVTexture"
            asset inputs:file = @FILE@
            token inputs:sourceColorSpace = "sRGB"
            float2 inputs:st.connect = </world/look/places.outputs:result>
            token inputs:wrapS = "repeat"
            token inputs:wrapT = "repeat"
            float3 outputs:rgb
        }

        def Shader "places"
        {
            uniform token info:id = "UsdPrimvarReader_float2"
            string inputs:varname = "st"
            float2 outputs:result
        }
"""
_ALIGNMENT = 64  # of the files in a USDZ archive


def encode(mesh: Mesh, about: Mapping[str, object] | None = None, *, texture: str | None = None) -> bytes:
    """Turn a mesh into a stage; `texture` is the name of its picture's file, which the stage then shows."""
    colours = linear_from_srgb(mesh.colours / 255.0).astype(np.float32)
    lines = [
        f"float3[] extent = {usd.bounds(mesh.vertices)}",
        f"int[] faceVertexCounts = {usd.tuples(np.full(len(mesh.faces), 3))}",
        f"int[] faceVertexIndices = {usd.tuples(mesh.faces.reshape(-1))}",
        f"point3f[] points = {usd.tuples(mesh.vertices)}",
        f'color3f[] primvars:displayColor = {usd.tuples(colours)} (\n            interpolation = "vertex"\n        )',
        'uniform token subdivisionScheme = "none"',
        "bool doubleSided = 1",
    ]
    if mesh.normals is not None:
        lines.append(
            f'normal3f[] normals = {usd.tuples(mesh.normals)} (\n            interpolation = "vertex"\n        )'
        )
    if mesh.uvs is not None:  # USD's textures begin in the lower left corner
        lines.append(
            f'texCoord2f[] primvars:st = {usd.tuples(flip_v(mesh.uvs))} (\n            interpolation = "vertex"\n        )'
        )
    head = ' (\n        prepend apiSchemas = ["MaterialBindingAPI"]\n    )'
    lines.append("rel material:binding = </world/look>")
    if texture is None:
        material = _material(_COLOURS, "colours.outputs:result")
    else:
        material = _material(_TEXTURE.replace("FILE", texture), "picture.outputs:rgb")
    body = "\n        ".join(lines)
    prim = f'def Xform "world"\n{{\n    def Mesh "surface"{head}\n    {{\n        {body}\n    }}\n{material}}}\n'
    return usd.stage(prim, about or {})


def encode_archive(mesh: Mesh, about: Mapping[str, object] | None = None) -> bytes:
    """Turn a mesh, and its texture if it has one, into an archive; its stage is binary, as Apple's readers want it."""
    files = {}
    if mesh.texture is not None and mesh.uvs is not None:
        files[TEXTURE] = encode_png(mesh.texture)
    stage = usd_crate.pack(encode(mesh, about, texture=TEXTURE if files else None))
    return archive.pack({_STAGE: stage, **files}, alignment=_ALIGNMENT)


def decode(data: bytes) -> Mesh:
    """Read a stage of one triangle mesh that is not moved.

    Raises:
        ValueError: damaged, binary, or of another kind.
    """
    text = usd.decode_text(data)
    if "xformOp" in text or 'upAxis = "Z"' in text:
        raise ValueError("the USD file's mesh is moved by its stage, which is not read; flatten it, y up")
    counts = usd.read_array(text, "faceVertexCounts", 1)
    if not (counts == 3).all():
        raise ValueError("only triangles are read; triangulate the mesh first")
    faces = usd.read_array(text, "faceVertexIndices", 3)
    if len(faces) != len(counts) or not (np.abs(faces) < 2**31).all():
        raise ValueError("the USD file's faces do not fit together")
    colours = uvs = normals = None
    if usd.has_array(text, "primvars:displayColor"):
        light = np.clip(usd.read_array(text, "primvars:displayColor", 3), 0, 1)
        colours = np.round(255 * srgb_from_linear(np.nan_to_num(light))).astype(np.uint8)
    if usd.has_array(text, "primvars:st"):
        uvs = flip_v(usd.read_array(text, "primvars:st", 2).astype(np.float32))
    if usd.has_array(text, "normals"):
        normals = usd.read_array(text, "normals", 3).astype(np.float32)
    return checked_mesh(
        usd.read_array(text, "points", 3), faces.astype(np.int64), colours=colours, uvs=uvs, normals=normals
    )


def decode_archive(data: bytes) -> Mesh:
    """Read an archive of one mesh.

    Raises:
        ValueError: damaged, or of another kind.
    """
    files = archive.unpack(data, "USDZ", packed=False)
    first = next(iter(files), "")
    if not first.endswith((".usda", ".usd", ".usdc")):
        raise ValueError("a USDZ archive begins with its stage")
    mesh = decode(files[first])
    picture = files.get(TEXTURE)
    return mesh if picture is None or mesh.uvs is None else replace(mesh, texture=decode_picture(picture))


def _material(source: str, output: str) -> str:
    return f"""
    def Material "look"
    {{
        token outputs:surface.connect = </world/look/shader.outputs:surface>

        def Shader "shader"
        {{
            uniform token info:id = "UsdPreviewSurface"
            color3f inputs:diffuseColor.connect = </world/look/{output}>
            float inputs:metallic = 0
            float inputs:roughness = 1
            token outputs:surface
        }}
{source}    }}
"""
