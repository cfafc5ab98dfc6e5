"""Files against independent readers (plyfile, trimesh, Pillow), against the layouts' own words, and against damage."""

import json
import struct
from dataclasses import replace

import numpy as np
import plyfile
import pytest
import trimesh
from keepworld_exporters.formats import SUFFIXES, encode, glb, ply, points_ply, splat_ply, suffix_of
from keepworld_exporters.scene import Mesh, Points, Splats
from keepworld_exporters.stages.paint import vertex_normals


def some_splats(rng, count=7, bands=15):
    quats = rng.normal(size=(count, 4))
    return Splats(
        means=rng.normal(size=(count, 3)).astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=rng.uniform(0.01, 2, (count, 3)).astype(np.float32),
        opacities=rng.uniform(0.05, 0.95, count).astype(np.float32),
        sh0=rng.normal(size=(count, 3)).astype(np.float32),
        shN=rng.normal(size=(count, bands, 3)).astype(np.float32),
    )


def some_points(rng, count=9):
    return Points(
        positions=rng.normal(size=(count, 3)).astype(np.float32),
        normals=rng.normal(size=(count, 3)).astype(np.float32),
        colours=rng.integers(0, 256, (count, 3), dtype=np.uint8),
        confidence=rng.integers(0, 900, count).astype(np.uint16),
    )


def tetrahedron():
    vertices = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = np.int32([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    return Mesh(
        vertices=vertices, faces=faces, colours=np.uint8([[0, 10, 128], [255, 1, 2], [64, 200, 31], [90, 91, 92]])
    )


def glb_of(mesh, extras=None):
    return glb.encode(replace(mesh, normals=vertex_normals(mesh.vertices, mesh.faces)), extras)


def test_the_splat_layout_byte_for_byte():
    one = Splats(
        means=np.float32([[1, 2, 3]]), quats=np.float32([[1, 0, 0, 0]]), scales=np.float32([[1, np.e, np.e**2]]),
        opacities=np.float32([0.5]), sh0=np.float32([[4, 5, 6]]),
        shN=np.arange(45, dtype=np.float32).reshape(1, 15, 3),
    )  # fmt: skip
    header = "ply\nformat binary_little_endian 1.0\ncomment hello\nelement vertex 1\n"
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{k}" for k in range(45)] + [
        "opacity",
        "scale_0",
        "scale_1",
        "scale_2",
        "rot_0",
        "rot_1",
        "rot_2",
        "rot_3",
    ]
    header += "".join(f"property float {name}\n" for name in names) + "end_header\n"
    # Coefficient k of channel c was 3 k + c above; the file has all of red's, then green's, then blue's.
    rest = [3 * k + c for c in range(3) for k in range(15)]
    values = [1, 2, 3, 0, 0, 0, 4, 5, 6, *rest, 0, 0, 1, 2, 1, 0, 0, 0]
    data = splat_ply.encode(one, ["hello"])
    assert data[: len(header)] == header.encode()
    assert len(data) - len(header) == 248
    np.testing.assert_allclose(struct.unpack("<62f", data[len(header) :]), values, atol=1e-6)


def test_plyfile_reads_the_splats(tmp_path, rng):
    splats = some_splats(rng)
    (tmp_path / "x.ply").write_bytes(splat_ply.encode(splats, ["one", "two"]))
    data = plyfile.PlyData.read(tmp_path / "x.ply")
    vertex = data["vertex"]
    assert data.comments == ["one", "two"]
    np.testing.assert_array_equal(np.stack([vertex[a] for a in "xyz"], 1), splats.means)
    np.testing.assert_allclose(1 / (1 + np.exp(-vertex["opacity"])), splats.opacities, rtol=1e-5)
    np.testing.assert_allclose(np.exp(np.stack([vertex[f"scale_{k}"] for k in range(3)], 1)), splats.scales, rtol=1e-5)
    np.testing.assert_array_equal(vertex["f_rest_16"], splats.shN[:, 1, 1])


@pytest.mark.parametrize("bands", [0, 3, 8, 15])
def test_splats_come_back_as_they_were_written(bands, rng):
    splats = some_splats(rng, bands=bands)
    back = splat_ply.decode(splat_ply.encode(splats))
    for name in ("means", "quats", "sh0", "shN"):
        np.testing.assert_array_equal(getattr(back, name), getattr(splats, name))
    np.testing.assert_allclose(back.scales, splats.scales, rtol=1e-5)
    np.testing.assert_allclose(back.opacities, splats.opacities, rtol=1e-5)


def test_plyfile_and_trimesh_read_the_points(tmp_path, rng):
    points = some_points(rng)
    (tmp_path / "x.ply").write_bytes(points_ply.encode(points, ["a cloud"]))
    vertex = plyfile.PlyData.read(tmp_path / "x.ply")["vertex"]
    np.testing.assert_array_equal(np.stack([vertex[n] for n in ("red", "green", "blue")], 1), points.colours)
    np.testing.assert_array_equal(vertex["confidence"], points.confidence)
    cloud = trimesh.load(tmp_path / "x.ply")
    np.testing.assert_allclose(cloud.vertices, points.positions, atol=1e-7)
    back = points_ply.decode((tmp_path / "x.ply").read_bytes())
    for name in ("positions", "normals", "colours", "confidence"):
        np.testing.assert_array_equal(getattr(back, name), getattr(points, name))


def test_trimesh_reads_the_mesh(tmp_path):
    mesh = tetrahedron()
    (tmp_path / "x.glb").write_bytes(encode(mesh, ".glb", {}))
    there = trimesh.load(tmp_path / "x.glb", force="mesh", process=False)
    # Half a turn about x takes our axes to glTF's: nothing is mirrored and the volume keeps its sign.
    np.testing.assert_allclose(there.vertices, mesh.vertices * [1, -1, -1])
    np.testing.assert_array_equal(there.faces, mesh.faces)
    assert there.volume == pytest.approx(1 / 6)


def test_vertex_colours_are_linear_in_the_file():
    """sRGB 188 is 0.5029 of the light (IEC 61966-2-1, worked out by hand: ((188/255 + 0.055) / 1.055)^2.4)."""
    mesh = tetrahedron()
    mesh.colours[0] = [188, 0, 255]
    data = glb_of(mesh)
    length = struct.unpack_from("<I", data, 12)[0]
    content = json.loads(data[20 : 20 + length])
    view = content["bufferViews"][content["accessors"][2]["bufferView"]]
    assert content["accessors"][2]["normalized"] is True
    stored = struct.unpack_from("<4H", data, 28 + length + view["byteOffset"])
    np.testing.assert_allclose(np.array(stored) / 65535, [0.5029, 0, 1, 1], atol=1e-4)
    material = content["materials"][0]["pbrMetallicRoughness"]
    assert material["metallicFactor"] == 0 and material["roughnessFactor"] == 1


def test_every_colour_comes_back_from_a_mesh():
    colours = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    vertices = np.random.default_rng(1).normal(size=(256, 3)).astype(np.float32)
    faces = np.arange(255, dtype=np.int32).reshape(-1, 3)
    back = glb.decode(glb_of(Mesh(vertices=vertices, faces=faces, colours=colours)))
    np.testing.assert_array_equal(back.colours, colours)
    np.testing.assert_array_equal(back.vertices, vertices)
    np.testing.assert_array_equal(back.faces, faces)


def test_normals_are_unit_length_even_where_there_is_no_face():
    mesh = tetrahedron()
    lonely = np.concatenate([mesh.vertices, np.float32([[9, 9, 9]])])
    np.testing.assert_allclose(np.linalg.norm(vertex_normals(lonely, mesh.faces), axis=1), 1, atol=1e-6)


def test_a_hostile_comment_stays_one_comment(tmp_path, rng):
    evil = "x\nelement vertex 999\r\nend_header\n\0\u2028\u00e9<script>"
    (tmp_path / "x.ply").write_bytes(points_ply.encode(some_points(rng), [f"prompt: {evil}"]))
    data = plyfile.PlyData.read(tmp_path / "x.ply")
    assert len(data.comments) == 1 and len(data["vertex"].data) == 9
    points_ply.decode((tmp_path / "x.ply").read_bytes())


def test_what_is_in_the_manifest_is_in_the_mesh():
    data = glb_of(tetrahedron(), {"prompt": 'a "quoted"\n</script> one', "seed": 3})
    length = struct.unpack_from("<I", data, 12)[0]
    assert json.loads(data[20 : 20 + length])["asset"]["extras"]["prompt"] == 'a "quoted"\n</script> one'


@pytest.mark.parametrize("module", [splat_ply, points_ply, glb], ids=["splats", "points", "mesh"])
def test_a_file_cut_anywhere_is_a_value_error(module, rng):
    data = {splat_ply: lambda: splat_ply.encode(some_splats(rng)), points_ply: lambda: points_ply.encode(some_points(rng)),
            glb: lambda: glb_of(tetrahedron())}[module]()  # fmt: skip
    module.decode(data)
    for length in [0, 1, 3, 4, 11, 12, 19, 20, 40, len(data) // 2, len(data) - 1]:
        with pytest.raises(ValueError):
            module.decode(data[:length])
    with pytest.raises(ValueError):
        module.decode(data + b"more")


@pytest.mark.parametrize(
    "header",
    [
        "element vertex 99999999999\nproperty float x\n",
        "element vertex 999999999999999999999999\nproperty float x\n",
        "element vertex -1\nproperty float x\n",
        "element vertex 1\nproperty float x\nproperty float x\n",
        "element vertex 1\n",
        "property float x\n",
        "element vertex 1\nproperty quaternion x\n",
        "element vertex 1\nproperty list uchar int x\n",
        "\x00\n",
    ],
)
@pytest.mark.parametrize("module", [splat_ply, points_ply], ids=["splats", "points"])
def test_a_lying_header_is_a_value_error(module, header):
    data = b"ply\nformat binary_little_endian 1.0\n" + header.encode() + b"end_header\n" + bytes(64)
    with pytest.raises(ValueError):
        module.decode(data)


def test_a_form_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="format middle_endian"):
        ply.read_header(b"ply\nformat middle_endian 1.0\nelement vertex 0\nend_header\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["accessors"][0].update(count=10**15),
        lambda c: c["accessors"][0].update(count=-1),
        lambda c: c["accessors"][3].update(count=3.5),
        lambda c: c["accessors"][0].update(componentType=5121),
        lambda c: c["bufferViews"][0].update(byteOffset=-8),
        lambda c: c["bufferViews"][0].update(byteOffset=10**12),
        lambda c: c["meshes"].clear(),
        lambda c: c.update(accessors=None),
        lambda c: c["accessors"][0].update(bufferView="0"),
    ],
)
def test_a_hostile_mesh_is_a_value_error(change):
    data = glb_of(tetrahedron())
    length = struct.unpack_from("<I", data, 12)[0]
    content = json.loads(data[20 : 20 + length])
    change(content)
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    hostile = struct.pack("<IIIII", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest
    with pytest.raises(ValueError):
        glb.decode(hostile)


def test_a_mesh_whose_faces_point_nowhere_is_refused():
    mesh = tetrahedron()
    data = bytearray(glb_of(mesh))
    data[-4:] = struct.pack("<I", 77)
    with pytest.raises(ValueError):
        glb.decode(bytes(data))


def test_a_triangle_mesh_written_by_trimesh_is_read(tmp_path):
    box = trimesh.creation.box(extents=(1, 2, 3))
    vertices, faces = ply.decode_triangles(box.export(file_type="ply"))
    np.testing.assert_allclose(vertices, box.vertices, atol=1e-6)
    np.testing.assert_array_equal(faces, box.faces)


def test_suffixes_choose_the_format():
    assert [suffix_of(f"walk{suffix}") for suffix in SUFFIXES] == list(SUFFIXES)
    for name in ("walk.ply", "walk.fbx", "walk", ".glb", "glb"):
        with pytest.raises(ValueError, match=r"\.glb"):
            suffix_of(name)
