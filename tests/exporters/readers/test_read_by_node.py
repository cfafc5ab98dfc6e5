"""Readers from npm that need no browser: Khronos' glTF validator, and PlayCanvas' splat-transform."""

from __future__ import annotations

import json
from dataclasses import replace

import gsply
import numpy as np
import pytest
from keepworld_exporters.formats import FORMATS, encode, encode_files
from keepworld_exporters.formats.paths import PATHS
from keepworld_exporters.stages.paint import vertex_normals

from tests.exporters.formats.made import letter_mesh, some_splats, some_views, tetrahedron
from tests.exporters.readers.node import needs_node, run, splat_transform

pytestmark = [pytest.mark.slow, needs_node]
ABOUT = {"prompt": 'a "garden" \\ façade', "seed": 7}
# Its version 2.0.0-dev.3.10 knows no extension of splats: their attributes are errors to it, in PlayCanvas' files too.
FALSE_ERRORS = {"MESH_PRIMITIVE_INVALID_ATTRIBUTE": "KHR_gaussian_splatting:"}


def with_normals(mesh):
    return replace(mesh, normals=vertex_normals(mesh.vertices, mesh.faces))


def test_khronos_finds_no_errors_and_no_warnings(tmp_path):
    files = encode_files(with_normals(letter_mesh()), "coloured.glb", ABOUT)
    files |= encode_files(with_normals(tetrahedron(textured=True)), "textured.glb", ABOUT)
    files |= {
        "plain.glb": encode(tetrahedron(), ".glb", ABOUT),
        "walk.glb": PATHS[".cameras.glb"].write(some_views(), ABOUT),
    }
    files |= {f"splats{bands}.glb": encode(some_splats(bands=bands), ".splat.glb", ABOUT) for bands in (0, 15)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for line in run("gltf_validate.mjs", *(tmp_path / name for name in files)).splitlines():
        told = json.loads(line)
        grave = [message for message in told["messages"] if message["severity"] < 2]
        unknown = [
            message
            for message in grave
            if FALSE_ERRORS.get(message["code"], "\0") not in message["pointer"] or "splats" not in told["file"]
        ]
        assert not unknown, told["file"]


@pytest.mark.parametrize("bands", [0, 3, 8, 15])
@pytest.mark.parametrize("suffix", [".splat.ply", ".compressed.ply", ".spz", ".v4.spz", ".sog", ".splat"])
def test_splat_transform_reads_the_splats_as_we_do(suffix, bands, tmp_path):
    (tmp_path / f"x{suffix}").write_bytes(FORMATS[suffix].write(some_splats(300, bands), ABOUT))
    splat_transform(tmp_path / f"x{suffix}", tmp_path / "back.ply")
    ours, theirs = FORMATS[suffix].read((tmp_path / f"x{suffix}").read_bytes()), gsply.plyread(tmp_path / "back.ply")
    np.testing.assert_allclose(theirs.means, ours.means, atol=1e-5)
    length = np.linalg.norm(theirs.quats, axis=1)
    np.testing.assert_allclose(np.abs((theirs.quats * ours.quats).sum(1)) / length, 1, atol=1e-4)
    np.testing.assert_allclose(theirs.scales, np.log(ours.scales), atol=1e-4)
    np.testing.assert_allclose(1 / (1 + np.exp(-theirs.opacities)), ours.opacities, atol=1e-4)
    np.testing.assert_allclose(theirs.sh0, ours.sh0, atol=0.5 / 255 / 0.15 + 1e-4)
    if ours.shN.shape[1]:
        np.testing.assert_allclose(theirs.shN[:, : ours.shN.shape[1]], ours.shN, atol=4 / 256 + 1e-5)


@pytest.mark.parametrize("bands", [0, 3, 8, 15])
@pytest.mark.parametrize("suffix", [".spz", ".v4.spz"])
def test_niantics_own_library_reads_spz_as_we_do(suffix, bands, tmp_path):
    splats = replace(some_splats(300, bands), antialiased=True)
    (tmp_path / f"x{suffix}").write_bytes(FORMATS[suffix].write(splats, ABOUT))
    told = json.loads(run("spz_read.mjs", tmp_path / f"x{suffix}").splitlines()[-1])
    ours = FORMATS[suffix].read((tmp_path / f"x{suffix}").read_bytes())
    assert told["antialiased"] and told["numPoints"] == 300 and told["shDegree"] == [0, 3, 8, 15].index(bands)
    np.testing.assert_allclose(np.reshape(told["positions"], (-1, 3)), ours.means, atol=1e-6)
    np.testing.assert_allclose(
        np.abs((np.reshape(told["rotations"], (-1, 4))[:, [3, 0, 1, 2]] * ours.quats).sum(1)), 1, atol=1e-4
    )
    np.testing.assert_allclose(np.reshape(told["scales"], (-1, 3)), np.log(ours.scales), atol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-np.array(told["alphas"]))), ours.opacities, atol=1e-4)
    np.testing.assert_allclose(np.reshape(told["colors"], (-1, 3)), ours.sh0, atol=1e-5)
    np.testing.assert_allclose(np.reshape(told["sh"], (300, bands, 3)), ours.shN, atol=1e-6)


@pytest.mark.parametrize("suffix", [".compressed.ply", ".sog", ".spz", ".glb"])
def test_we_read_what_splat_transform_writes(suffix, tmp_path):
    splats = some_splats(300, 8)
    splats = replace(splats, shN=splats.shN * 0.3)
    (tmp_path / "x.ply").write_bytes(FORMATS[".splat.ply"].write(splats, {}))
    splat_transform(tmp_path / "x.ply", tmp_path / f"theirs{suffix}")
    back = FORMATS[".splat.glb" if suffix == ".glb" else suffix].read((tmp_path / f"theirs{suffix}").read_bytes())
    # Its GLB is y up, by half a turn about z; its other files keep the axes of the PLY.
    means = splats.means * ([-1, -1, 1] if suffix == ".glb" else [1, 1, 1])
    nearest = np.linalg.norm(back.means[:, None] - means[None], axis=2)
    assert nearest.min(1).max() < 0.01 and len(set(nearest.argmin(1))) == 300
    np.testing.assert_allclose(back.opacities, splats.opacities[nearest.argmin(1)], atol=0.004)
    np.testing.assert_allclose(np.log(back.scales), np.log(splats.scales[nearest.argmin(1)]), atol=0.04)
