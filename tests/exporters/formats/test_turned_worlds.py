"""A world that is turned, scaled or seen in other axes is the same world: harmonics, faces and Gaussians go with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from keepworld.camera import CONVENTIONS
from keepworld_exporters.formats import frames, harmonics
from keepworld_exporters.rasterize.cpu import render_splats
from scipy.spatial.transform import Rotation

from tests.exporters.formats.made import SOME, some_splats, tetrahedron

TURN = Rotation.from_euler("xyz", [0.7, -1.1, 2.3]).as_matrix()
K = np.array([[60.0, 0, 40], [0, 60.0, 30], [0, 0, 1]])


def test_harmonics_are_orthonormal():
    """Their definition: the mean over the sphere of a product is 1 / 4 pi for equals, and 0 for others."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    angle = np.arange(16) * np.pi / 8
    z, phi = np.repeat(nodes, 16), np.tile(angle, 8)
    directions = np.stack([np.sqrt(1 - z * z) * np.cos(phi), np.sqrt(1 - z * z) * np.sin(phi), z], 1)
    values = harmonics.evaluate(directions)
    products = (values * (np.repeat(weights, 16) * 2 * np.pi / 16)[:, None]).T @ values
    np.testing.assert_allclose(products, np.eye(15), atol=1e-12)


@pytest.mark.parametrize(
    "axes", [TURN, np.diag([1.0, -1, 1]), TURN @ np.diag([-1.0, 1, 1])], ids=["turn", "mirror", "both"]
)
@pytest.mark.parametrize("bands", [3, 8, 15])
def test_turned_harmonics_show_in_a_turned_direction_what_they_showed_before(axes, bands):
    rng = np.random.default_rng(5)
    given = rng.normal(size=(6, bands, 3)).astype(np.float32)
    directions = rng.normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    before = np.einsum("dk,nkc->ndc", harmonics.evaluate(directions)[:, :bands], given)
    after = np.einsum("dk,nkc->ndc", harmonics.evaluate(directions @ axes.T)[:, :bands], harmonics.turn(given, axes))
    np.testing.assert_allclose(after, before, atol=2e-6)


def test_a_turned_world_seen_by_a_turned_camera_is_the_same_picture():
    splats = some_splats(300)
    splats = replace(splats, means=splats.means + np.float32([0, 0, 6]), shN=splats.shN * 0.2)
    turned = frames.transform(splats, TURN)
    viewmat = np.eye(4)
    viewmat[:3, :3] = TURN.T
    one, other = (render_splats(splats, np.eye(4), K, 80, 60), render_splats(turned, viewmat, K, 80, 60))
    assert np.abs(one.image).max() > 0.3
    np.testing.assert_allclose(other.image, one.image, atol=1e-4)


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("kind", SOME)
def test_there_and_back_is_where_it_was(name, kind):
    scene = SOME[kind]()
    back = frames.from_convention(frames.to_convention(scene, name), name)
    for entry in type(scene).__slots__:
        before, after = getattr(scene, entry), getattr(back, entry)
        if entry == "quats":
            after = after * np.sign((after * before).sum(1, keepdims=True))
        if entry == "faces":  # a winding turned twice may begin at another corner
            before, after = (np.sort(faces, 1) for faces in (before, after))
        if before is not None:
            np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


def test_a_gaussian_in_mirrored_axes_is_the_mirrored_gaussian():
    """Its covariance, which has no handedness, says so: M C M^T."""
    splats = some_splats()

    def covariance(of):
        rotation = Rotation.from_quat(of.quats[:, [1, 2, 3, 0]]).as_matrix()
        return np.einsum("nij,nj,nkj->nik", rotation, of.scales.astype(np.float64) ** 2, rotation)

    axes = CONVENTIONS["unity"].world
    there = frames.to_convention(splats, "unity")
    np.testing.assert_allclose(covariance(there), axes @ covariance(splats) @ axes.T, atol=1e-6)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_faces_turn_outwards_in_every_program(name):
    """In left-handed axes the face that is seen goes clockwise: the sign of the volume is that of the axes."""
    mesh = frames.to_convention(tetrahedron(), name)
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    volume = (a * np.cross(b, c)).sum() / 6
    assert volume == pytest.approx(CONVENTIONS[name].scale ** 3 / 6, rel=1e-5)
