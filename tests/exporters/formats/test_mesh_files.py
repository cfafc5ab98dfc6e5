"""Mesh files: what is written is read; trimesh, and OpenUSD where it is installed, read it the same way."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from dataclasses import replace

import numpy as np
import plyfile
import pytest
import trimesh
from keepworld_exporters.formats import FORMATS, archive, encode, encode_files, mesh_usd, obj
from keepworld_exporters.formats.picture import decode_picture, encode_png

from tests.exporters.formats.made import SOME, assert_same, some_splats, tetrahedron

MESHES = [suffix for suffix, kind in FORMATS.items() if kind.holds == "mesh"]


def with_normals(mesh):
    normals = np.float32([[0, 0, -1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    return replace(mesh, normals=normals)


@pytest.mark.parametrize("suffix", [suffix for suffix in MESHES if suffix != ".stl"])
@pytest.mark.parametrize("textured", [False, True])
def test_a_mesh_comes_back_as_it_was_written(suffix, textured):
    mesh = with_normals(tetrahedron(textured=textured))
    back = FORMATS[suffix].read(FORMATS[suffix].write(mesh, {}))
    keeps_texture = suffix in (".glb", ".usdz")  # the others have no place for a picture in their file
    assert_same(back, mesh if keeps_texture else replace(mesh, texture=None))


def test_an_stl_keeps_triangles_and_nothing_else():
    mesh = tetrahedron()
    back = FORMATS[".stl"].read(FORMATS[".stl"].write(mesh, {}))
    as_corners = [np.sort(m.vertices[m.faces].reshape(-1, 9), 0) for m in (back, mesh)]
    np.testing.assert_array_equal(*as_corners)
    assert len(back.vertices) == 4  # corners at one place are one vertex


@pytest.mark.parametrize(("suffix", "kind"), [(".glb", "glb"), (".obj", "obj"), (".mesh.ply", "ply"), (".stl", "stl")])
def test_trimesh_reads_the_surface(suffix, kind, tmp_path):
    mesh = with_normals(tetrahedron())
    (tmp_path / f"x.{kind}").write_bytes(FORMATS[suffix].write(mesh, {}))
    there = trimesh.load(tmp_path / f"x.{kind}", force="mesh", process=False)
    assert there.volume == pytest.approx(1 / 6) and there.area == pytest.approx(1.5 + np.sqrt(3) / 2, rel=1e-5)
    if kind in ("obj", "ply"):
        np.testing.assert_array_equal(there.visual.vertex_colors[:, :3], mesh.colours)


def test_trimesh_reads_the_texture_the_right_way_up(tmp_path):
    """The corner at uv (1/4, 1/4) from the upper left shows the texture's upper left pixel, in each format."""
    mesh = tetrahedron(textured=True)
    for name in ("x.glb", "x.obj"):
        for file, data in encode_files(mesh, name, {}).items():
            (tmp_path / file).write_bytes(data)
        there = trimesh.load(tmp_path / name, force="mesh", process=False)
        seen = there.visual.to_color().vertex_colors[:, :3]
        found = {tuple(np.round(v).astype(int)): tuple(c) for v, c in zip(there.vertices, seen, strict=True)}
        assert found[0, 0, 0] == (250, 0, 0) and found[1, 0, 0] == (0, 250, 0), name


def test_an_obj_of_others_is_read():
    """Faces of four corners, numbers from the end, seams where one place has two places in the texture."""
    text = b"""mtllib ../../etc/passwd
v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0
vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvt 0.5 0.5
f 1/1 2/2 3/3 4/4
f -4/5 -3/2 -2/3
"""
    mesh = obj.decode(text)
    assert len(mesh.faces) == 3 and len(mesh.vertices) == 5
    assert {tuple(uv) for uv in mesh.uvs[(mesh.vertices == 0).all(1)]} == {(0, 1), (0.5, 0.5)}


@pytest.mark.parametrize("line", ["f 1 2 9", "f 1 2 -7", "f 0 1 2", "f a b c", "v 1 2", "v 1 2 x", "f 1//5 2//5 3//5"])
def test_an_obj_that_makes_no_sense_is_refused_by_its_line(line):
    with pytest.raises(ValueError, match="line 4"):
        obj.decode(f"v 0 0 0\nv 1 0 0\nv 1 1 0\n{line}\n".encode())


def test_a_glb_of_others_is_read_where_its_nodes_put_it():
    """trimesh writes a scene of two boxes, one of them moved and twice as large."""
    scene = trimesh.Scene()
    move = trimesh.transformations.rotation_matrix(np.pi / 2, [0, 0, 1], [0, 0, 0])
    move[:3, :3] *= 2
    move[:3, 3] = [10, 0, 0]
    scene.add_geometry(trimesh.creation.box(extents=(1, 2, 3)))
    scene.add_geometry(trimesh.creation.box(extents=(1, 2, 3)), transform=move)
    mesh = FORMATS[".glb"].read(scene.export(file_type="glb"))
    np.testing.assert_allclose(mesh.vertices.min(0), [-0.5, -1, -3], atol=1e-5)
    np.testing.assert_allclose(mesh.vertices.max(0), [12, 1, 3], atol=1e-5)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume == pytest.approx(6 + 48)


def test_nodes_within_themselves_are_refused():
    data = encode(tetrahedron(), ".glb", {})
    length = struct.unpack_from("<I", data, 12)[0]
    content = json.loads(data[20 : 20 + length])
    content["nodes"][0]["children"] = [0]
    text = json.dumps(content).encode()
    rest = data[20 + length :]
    with pytest.raises(ValueError, match="within themselves"):
        FORMATS[".glb"].read(
            struct.pack("<IIIII", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest
        )


def test_a_glb_of_splats_says_so_when_read_as_a_mesh():
    with pytest.raises(ValueError, match=r"\.splat\.glb"):
        FORMATS[".glb"].read(encode(some_splats(), ".splat.glb", {}))


def test_every_file_of_an_archive_begins_at_a_multiple_of_64_bytes():
    data = mesh_usd.encode_archive(tetrahedron(textured=True))
    with zipfile.ZipFile(io.BytesIO(data)) as zipped:
        for entry in zipped.infolist():
            name, extra = struct.unpack_from("<HH", data, entry.header_offset + 26)
            assert (entry.header_offset + 30 + name + extra) % 64 == 0 and entry.compress_type == zipfile.ZIP_STORED


def test_a_zip_bomb_is_refused():
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("world.usda", b"#usda 1.0\n" + bytes(20_000_000))
    with pytest.raises(ValueError, match="stored as they are"):
        archive.unpack(bomb.getvalue(), "USDZ", packed=False)


def test_names_that_lead_elsewhere_write_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stage = mesh_usd.encode(tetrahedron())
    hostile = archive.pack({"../../world.usda": stage, "/etc/passwd": b"x"})
    assert len(mesh_usd.decode_archive(hostile).faces) == 4
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_is_too_large_is_refused_by_its_header():
    data = bytearray(encode_png(np.zeros((2, 2, 3), np.uint8)))
    data[16:24] = struct.pack(">II", 50_000, 50_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(ValueError, match="50000"):
        decode_picture(bytes(data))


@pytest.mark.parametrize("suffix", [".usda", ".usdz"])
def test_openusd_reads_the_mesh(suffix, tmp_path):
    usd_of_pixar = pytest.importorskip("pxr.Usd", reason="OpenUSD (usd-core) is not installed")
    from pxr import UsdGeom, UsdShade

    mesh = with_normals(tetrahedron(textured=suffix == ".usdz"))
    (tmp_path / f"x{suffix}").write_bytes(FORMATS[suffix].write(mesh, {"prompt": 'a "quoted" \\ one\n{'}))
    stage = usd_of_pixar.Stage.Open(str(tmp_path / f"x{suffix}"))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    there = UsdGeom.Mesh(stage.GetPrimAtPath("/world/surface"))
    np.testing.assert_array_equal(np.array(there.GetPointsAttr().Get()), mesh.vertices)
    np.testing.assert_array_equal(np.array(there.GetFaceVertexIndicesAttr().Get()), mesh.faces.reshape(-1))
    if suffix == ".usdz":
        material = UsdShade.MaterialBindingAPI(there.GetPrim()).ComputeBoundMaterial()[0]
        assert material.ComputeSurfaceSource()[0].GetShaderId() == "UsdPreviewSurface"


def test_openusd_reads_the_splats(tmp_path):
    usd_of_pixar = pytest.importorskip("pxr.Usd", reason="OpenUSD (usd-core) is not installed")

    splats = some_splats()
    (tmp_path / "x.usda").write_bytes(FORMATS[".splat.usda"].write(splats, {}))
    stage = usd_of_pixar.Stage.Open(str(tmp_path / "x.usda"))
    prim = stage.GetPrimAtPath("/world/splats")
    assert prim.IsValid() and prim.GetTypeName() == "ParticleField3DGaussianSplat"
    np.testing.assert_array_equal(np.array(prim.GetAttribute("positions").Get()), splats.means)
    turned = np.array([[q.real, *q.imaginary] for q in prim.GetAttribute("orientations").Get()])
    np.testing.assert_allclose(turned, splats.quats, atol=1e-7)
    coefficients = np.array(prim.GetAttribute("radiance:sphericalHarmonicsCoefficients").Get()).reshape(-1, 16, 3)
    np.testing.assert_array_equal(coefficients[:, 1:], splats.shN)
    assert prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get() == 3


@pytest.mark.parametrize("form", ["text", "swapped", "text of Windows"])
def test_plys_of_others_are_read_in_every_form(form):
    """plyfile writes what it was given as text, or with the bytes the other way round."""
    for suffix in (".mesh.ply", ".points.ply", ".splat.ply"):
        kind = FORMATS[suffix]
        ours = kind.write(SOME[kind.holds](), {})
        theirs = plyfile.PlyData.read(io.BytesIO(ours))
        theirs.text, theirs.byte_order = form != "swapped", ">" if form == "swapped" else "="
        file = io.BytesIO()
        theirs.write(file)
        data = file.getvalue()
        if form == "text of Windows":
            data = data.replace(b"\n", b"\r\n")
        assert data != ours
        one, other = kind.read(data), kind.read(ours)
        for name in type(one).__slots__:
            if getattr(one, name) is not None:
                np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-6)
        with pytest.raises(ValueError):
            kind.read(data[: len(data) // 2])


def test_text_that_claims_more_than_it_has_is_refused():
    head = "ply\nformat ascii 1.0\nelement vertex 1000000000\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    for rest in ("0 0 0\n", "", "a b c\n"):
        with pytest.raises(ValueError, match="more than it has lines"):
            FORMATS[".points.ply"].read((head + rest).encode())
