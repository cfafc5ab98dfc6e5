"""Open3D, trimesh, OpenUSD's and NVIDIA's validators open our files and see in them what we wrote."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from keepworld_exporters.formats import FORMATS, encode, encode_files
from keepworld_exporters.formats.paths import PATHS
from keepworld_exporters.stages.paint import vertex_normals

from tests.exporters.formats.made import letter_mesh, letter_splats, some_points, some_splats, some_views, tetrahedron

ABOUT = {"prompt": 'a "quoted" \\ one\n{', "seed": 7}
# What NVIDIA's validator calls an error and is none, by the rule's name.
FALSE_ERRORS = {
    "UsdAsciiPerformanceChecker": "text is what a .usda is; .usdc is there for those who want the other",
}


def with_normals(mesh):
    return replace(mesh, normals=vertex_normals(mesh.vertices, mesh.faces))


@pytest.mark.parametrize(("suffix", "name"), [(".points.ply", "x.ply"), (".pcd", "x.pcd"), (".xyz", "x.xyzrgb")])
def test_open3d_reads_the_cloud(suffix, name, tmp_path):
    open3d = pytest.importorskip("open3d")
    points = some_points(300)
    data = FORMATS[suffix].write(points, ABOUT)
    if suffix == ".xyz":  # to Open3D colours in text are shares of one
        rows = np.loadtxt(data.decode().splitlines())
        data = "\n".join(" ".join(map(str, row)) for row in (rows / [1, 1, 1, 255, 255, 255]).tolist()).encode()
    (tmp_path / name).write_bytes(data)
    cloud = open3d.io.read_point_cloud(str(tmp_path / name))
    np.testing.assert_allclose(np.asarray(cloud.points), points.positions, atol=1.5e-6)
    np.testing.assert_allclose(255 * np.asarray(cloud.colors), points.colours, atol=1e-3)
    if suffix != ".xyz":
        np.testing.assert_allclose(np.asarray(cloud.normals), points.normals, atol=1e-6)


@pytest.mark.parametrize(
    ("suffix", "name"), [(".mesh.ply", "x.ply"), (".obj", "x.obj"), (".stl", "x.stl"), (".glb", "x.glb")]
)
def test_open3d_reads_the_surface(suffix, name, tmp_path):
    open3d = pytest.importorskip("open3d")
    mesh = with_normals(tetrahedron())
    (tmp_path / name).write_bytes(FORMATS[suffix].write(mesh, ABOUT))
    there = open3d.io.read_triangle_mesh(str(tmp_path / name))
    assert there.get_surface_area() == pytest.approx(1.5 + np.sqrt(3) / 2, rel=1e-5)
    a, b, c = np.asarray(there.vertices)[np.asarray(there.triangles)].transpose(1, 0, 2)
    assert (a * np.cross(b, c)).sum() / 6 == pytest.approx(1 / 6, rel=1e-5)  # and not -1/6: it faces outwards
    if suffix in (".mesh.ply", ".obj"):
        order = np.linalg.norm(np.asarray(there.vertices)[:, None] - mesh.vertices, axis=2).argmin(1)
        np.testing.assert_allclose(255 * np.asarray(there.vertex_colors), mesh.colours[order], atol=1e-3)


def test_trimesh_shows_the_splats_of_a_glb_as_points(tmp_path):
    """As every reader does that does not know the extension: places, and colours as linear light."""
    splats = some_splats()
    (tmp_path / "x.glb").write_bytes(FORMATS[".splat.glb"].write(splats, ABOUT))
    scene = trimesh.load(tmp_path / "x.glb")
    cloud = next(iter(scene.geometry.values()))
    np.testing.assert_allclose(cloud.vertices, splats.means, atol=1e-6)


def stages(folder: Path) -> dict[str, Path]:
    """USD files of each kind by what is in them."""
    files = {
        "coloured.usda": encode(with_normals(letter_mesh()), ".usda", ABOUT),
        "coloured.usdc": encode(with_normals(letter_mesh()), ".usdc", ABOUT),
        "letter.splat.usdc": encode(letter_splats(), ".splat.usdc", ABOUT),
        "some.splat.usdc": encode(some_splats(), ".splat.usdc", ABOUT),
        "coloured.usdz": encode(with_normals(tetrahedron()), ".usdz", ABOUT),
        "letter.splat.usda": encode(letter_splats(), ".splat.usda", ABOUT),
        "some.splat.usda": encode(some_splats(), ".splat.usda", ABOUT),
        "walk.cameras.usda": PATHS[".cameras.usda"].write(some_views(), ABOUT),
        **encode_files(with_normals(tetrahedron(textured=True)), "textured.usdz", ABOUT),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in files}


def test_openusd_finds_no_errors(tmp_path):
    pytest.importorskip("pxr", reason="OpenUSD (usd-core) is not installed")
    from pxr import Usd, UsdValidation

    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    context = UsdValidation.ValidationContext(validators)
    for name, path in stages(tmp_path).items():
        found = context.Validate(Usd.Stage.Open(str(path)))
        assert len(validators) > 10 and not found, (name, [error.GetMessage() for error in found])


def test_nvidias_validator_finds_no_errors(tmp_path):
    pytest.importorskip("omni.asset_validator", reason="omniverse-asset-validator is not installed")
    logging.getLogger("omni").setLevel(logging.ERROR)
    from omni.asset_validator import IssueSeverity, ValidationEngine

    for name, path in stages(tmp_path).items():
        issues = ValidationEngine().validate(str(path)).issues()
        grave = [issue for issue in issues if issue.severity not in (IssueSeverity.WARNING, IssueSeverity.NONE)]
        unknown = [
            (issue.rule, issue.message)
            for issue in grave
            if not (issue.rule.__name__ in FALSE_ERRORS and path.suffix == ".usda")
        ]
        assert not unknown, name
