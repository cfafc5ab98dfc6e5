"""From depth maps back to the shapes they were taken of."""

from dataclasses import replace

import numpy as np
import pytest
from keepworld.errors import ExportError
from keepworld_exporters.measure import distances_to_mesh, fidelity, psnr, sample_surface, ssim
from keepworld_exporters.stages.clean import decimate, drop_crumbs
from keepworld_exporters.stages.depth import choose_resolution, load_view, plane_normals
from keepworld_exporters.stages.fuse import Shape, fuse_mesh
from keepworld_exporters.stages.hashgrid import HashGrid, find, find_or_add, pack
from keepworld_exporters.stages.isolated import isolated
from keepworld_exporters.stages.points import gather_points
from keepworld_exporters.stages.select import select
from keepworld_exporters.stages.sky import SIDE, cell_of, direction_of
from keepworld_exporters.stages.splats import quats_from_normals, splats_from_cloud
from keepworld_exporters.stages.surface import extract_surface
from keepworld_exporters.stages.tsdf import build_volume

from tests import scenes

GIGABYTE = 1 << 30


def quiet() -> None:
    """Progress nobody listens to."""


def views_of(capture):
    return lambda: map(load_view, capture.frames)


def mesh_of(capture, voxel, **changes):
    resolution = choose_resolution(200.0, 2.0, voxel=voxel, max_depth=8.0)
    shape = Shape(**({"max_faces": 10**9, "budget_bytes": GIGABYTE} | changes))
    return fuse_mesh(views_of(capture), resolution, shape, on_view=quiet).mesh


def test_a_sphere_comes_back_with_its_radius(sphere_capture):
    mesh = mesh_of(sphere_capture, 0.02)
    radii = np.linalg.norm(mesh.vertices, axis=1)
    assert np.abs(radii - 0.7).max() < 0.02  # a cell
    assert np.abs(radii - 0.7).mean() < 0.001


def test_a_sphere_is_closed_and_faces_outward(sphere_capture):
    mesh = mesh_of(sphere_capture, 0.03)
    corners = mesh.vertices[mesh.faces].astype(float)
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((outward * corners.mean(1)).sum(1) > 0).all()
    edges = np.sort(np.concatenate([mesh.faces[:, :2], mesh.faces[:, 1:], mesh.faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    volume = (corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * 0.7**3, rel=0.01)


def test_a_decimated_sphere_is_still_the_sphere(sphere_capture):
    mesh = mesh_of(sphere_capture, 0.02, max_faces=4000)
    assert len(mesh.faces) <= 4100
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.7).max() < 0.02


def test_points_and_normals_of_a_sphere(sphere_capture):
    cloud = gather_points(views_of(sphere_capture), 0.03, max_points=10**6, on_view=quiet)
    radii = np.linalg.norm(cloud.points.positions, axis=1)
    sure = cloud.points.confidence >= 3
    assert np.abs(radii - 0.7)[sure].max() < 0.01
    agreement = (cloud.points.normals * cloud.points.positions).sum(1) / radii
    assert np.quantile(agreement[sure], 0.01) > 0.95


def test_points_stand_alone_as_counting_every_pair_says(rng):
    positions = rng.uniform(0, 1, (400, 3)).astype(np.float32)
    sizes = rng.uniform(0.03, 0.09, 400).astype(np.float32)
    seen = rng.integers(1, 6, 400)
    apart = np.linalg.norm(positions[:, None].astype(np.float64) - positions, axis=2)
    others = (apart <= 3.0 * sizes[:, None]).sum(1) - 1
    true = (others < 5) & (seen < 3)
    assert 50 < true.sum() < 200
    np.testing.assert_array_equal(isolated(positions, sizes, seen), true)


def test_specks_that_one_view_saw_are_left_out_of_a_cloud_and_a_ball_is_whole(sphere_capture, rng):
    views = [replace(view, depth=view.depth.copy()) for view in views_of(sphere_capture)()]
    clean = gather_points(lambda: views, 0.03, max_points=10**6, on_view=quiet)
    v, u = rng.integers(0, views[0].depth.shape[0], 60), rng.integers(0, views[0].depth.shape[1], 60)
    views[0].depth[v, u], views[0].trust[v, u] = rng.uniform(0.3, 0.9, 60), 1
    cloud = gather_points(lambda: views, 0.03, max_points=10**6, on_view=quiet)
    off = np.abs(np.linalg.norm(cloud.points.positions, axis=1) - 0.7) > 0.1
    assert off.sum() <= 6
    assert len(cloud.points.positions) - off.sum() > 0.99 * len(clean.points.positions)


def test_fewer_points_than_asked_for_come_in_coarser_cells(sphere_capture):
    cloud = gather_points(views_of(sphere_capture), 0.01, max_points=3000, on_view=quiet)
    assert 500 < len(cloud.points.positions) <= 3000


def test_ground_seen_at_a_grazing_angle_is_whole(tmp_path):
    """A plain seen from 1.6 m above, out to 12 m: every place of it that the pictures show is in the mesh."""
    ground = scenes.Solid((-30, 1.6, -5), (30, 2.6, 60), scenes.chequered((90, 160, 60), 0.5))
    path = [scenes.look((0, 0, 0.3 * k), (0.1 * (k % 3), 0.3, 0.3 * k + 5)) for k in range(12)]
    capture = scenes.write(tmp_path / "walk", [ground], path, size=(256, 144))
    resolution = choose_resolution(183.0, 6.0, voxel=0.06, max_depth=12.0)
    mesh = fuse_mesh(views_of(capture), resolution, Shape(max_faces=10**9), on_view=quiet).mesh
    assert np.abs(mesh.vertices[:, 1] - 1.6).max() < 0.01
    x, z = np.meshgrid(np.linspace(-2, 2, 40), np.linspace(5, 11, 60))
    places = np.stack([x, np.full_like(x, 1.6), z], -1).reshape(-1, 3)
    assert (distances_to_mesh(places, mesh.vertices, mesh.faces) < 0.02).all()


def test_rings_carry_the_ground_on_beyond_the_fine_range(tmp_path):
    """The same plain, fine out to 6 m: two rings reach 24 m, without a gap and no further off than their larger cells."""
    ground = scenes.Solid((-60, 1.6, -5), (60, 2.6, 90), scenes.chequered((90, 160, 60), 0.5))
    path = [scenes.look((0, 0, 0.3 * k), (0.1 * (k % 3), 0.3, 0.3 * k + 5)) for k in range(12)]
    capture = scenes.write(tmp_path / "walk", [ground], path, size=(256, 144))
    resolution = choose_resolution(183.0, 6.0, voxel=0.06, max_depth=6.0)
    surface = fuse_mesh(views_of(capture), resolution, Shape(max_faces=10**9, rings=2), on_view=quiet)
    mesh = surface.mesh
    assert set(np.unique(surface.cells)) == {np.float32(0.06), np.float32(0.12), np.float32(0.24)}
    assert np.abs(mesh.vertices[:, 1] - 1.6).max() < 0.03
    x, z = np.meshgrid(np.linspace(-2, 2, 30), np.linspace(5, 20, 90))
    places = np.stack([x, np.full_like(x, 1.6), z], -1).reshape(-1, 3)
    assert (distances_to_mesh(places, mesh.vertices, mesh.faces) < 0.03).all()


def test_ground_whose_pixels_are_longer_than_many_cells_is_whole(tmp_path):
    """Seen from one place, 22 m away, a pixel lies on 3.3 m of ground, 28 cells: all of it is in the mesh."""
    ground = scenes.Solid((-60, 1.6, -5), (60, 2.6, 90), scenes.chequered((90, 160, 60), 0.5))
    capture = scenes.write(tmp_path / "walk", [ground], [scenes.look((0, 0, 0), (0, 0.3, 5))], size=(128, 72))
    resolution = choose_resolution(91.0, 6.0, voxel=0.03, max_depth=6.0)
    mesh = fuse_mesh(views_of(capture), resolution, Shape(max_faces=10**9, rings=2), on_view=quiet).mesh
    x, z = np.meshgrid(np.linspace(-1, 1, 10), np.linspace(5, 20, 120))
    places = np.stack([x, np.full_like(x, 1.6), z], -1).reshape(-1, 3)
    assert (distances_to_mesh(places, mesh.vertices, mesh.faces) < 0.05).all()


def test_colours_are_where_they_were(letter_capture):
    mesh = mesh_of(letter_capture, 0.025)
    for places, wanted in ((scenes.F_DARK_PLACES, scenes.F_INK), (scenes.F_LIGHT_PLACES, scenes.F_PAPER)):
        for place in places:
            nearest = np.linalg.norm(mesh.vertices - np.float32(place), axis=1).argmin()
            assert np.abs(mesh.colours[nearest].astype(int) - wanted).max() < 25
    for name, place in scenes.BAR_PLACES.items():
        nearest = np.linalg.norm(mesh.vertices - np.float32(place), axis=1).argmin()
        assert np.abs(mesh.colours[nearest].astype(int) - scenes.BARS[name][2]).max() < 30


def test_what_moves_and_the_sky_never_enter(tmp_path):
    capture = scenes.haunted_wall(tmp_path / "walk")
    assert any((frame.labels() & 2).any() for frame in capture.frames)
    mesh = mesh_of(capture, 0.03)
    cloud = gather_points(views_of(capture), 0.03, max_points=10**6, on_view=quiet)
    for positions, colours in ((mesh.vertices, mesh.colours), (cloud.points.positions, cloud.points.colours)):
        # The ball flew at z = 1.8, 0.3 wide, left of the bars; nothing of the world is there.
        in_its_way = (np.abs(positions[:, 2] - 1.8) < 0.35) & (positions[:, 0] < 0.8)
        assert not in_its_way.any()
        magenta = (colours[:, 0] > 200) & (colours[:, 1] < 60) & (colours[:, 2] > 200)
        assert not magenta.any()
        assert positions[:, 2].max() < 3.5  # no surface where the sky is


def test_the_field_says_beforehand_that_it_would_not_fit(sphere_capture):
    resolution = choose_resolution(200.0, 2.0, voxel=0.005, max_depth=8.0)
    with pytest.raises(ExportError, match="--voxel"):
        build_volume(views_of(sphere_capture), resolution, budget_bytes=1 << 22, on_view=quiet)


def test_a_walk_without_depth_says_so(letter_capture, tmp_path):
    import shutil

    shutil.copytree(letter_capture.folder, tmp_path / "walk")
    shutil.rmtree(tmp_path / "walk/depth")
    from keepworld.capture import Capture

    with pytest.raises(ExportError, match="depth"):
        load_view(Capture(tmp_path / "walk").frames[0])


def test_normals_of_a_plane_are_exact(rng):
    K = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    normal = np.array([0.3, -0.9, -0.2]) / np.linalg.norm([0.3, -0.9, -0.2])
    v, u = np.mgrid[0:48, 0:64] + 0.5
    rays = np.stack([(u - 32) / 60, (v - 24) / 60, np.ones_like(u)], -1)
    along = rays @ normal
    depth = np.where(along < -0.05, -1.5 / along, 0).astype(np.float32)
    normals, smooth = plane_normals(depth, K)
    inner = smooth & (depth > 0)
    assert inner.sum() > 1000
    np.testing.assert_allclose(normals[inner] @ normal, 1, atol=1e-3)


def test_a_standing_camera_gives_one_frame_and_heldout_ones_are_never_used(tmp_path):
    still = [np.eye(4)] * 20 + [scenes.look((0.2 * k, 0, 0), (0.2 * k, 0, 3)) for k in range(1, 10)]
    capture = scenes.write(tmp_path / "walk", scenes.letter_world(), still, size=(64, 48))
    selection = select(capture.frames, holdout=0, typical_depth=3.0)
    assert sum(frame.number < 20 for frame in selection.used) == 1
    assert selection.heldout == ()
    selection = select(capture.frames, holdout=8, typical_depth=3.0)
    held = {frame.number for frame in selection.heldout}
    assert held == {4, 12, 20, 28}
    assert not held & {frame.number for frame in selection.used}


def test_crumbs_go_and_big_pieces_stay(sphere_capture):
    resolution = choose_resolution(200.0, 2.0, voxel=0.03, max_depth=8.0)
    vertices, faces = extract_surface(
        build_volume(views_of(sphere_capture), resolution, budget_bytes=GIGABYTE, on_view=quiet)
    )
    crumb = np.float32([[9, 9, 9], [9.1, 9, 9], [9, 9.1, 9]])
    both = np.concatenate([vertices, crumb]), np.concatenate([faces, np.int32([[0, 1, 2]]) + len(vertices)])
    kept_vertices, kept_faces = drop_crumbs(*both)
    np.testing.assert_array_equal(kept_vertices, vertices)
    np.testing.assert_array_equal(kept_faces, faces)
    assert len(decimate(vertices, faces, 10**9)[1]) == len(faces)


def test_a_hash_table_is_a_dictionary(rng):
    grid, known = HashGrid(64), {}
    for x, y, z in rng.integers(-40, 40, (2000, 3)):
        grid.reserve(1)
        key = pack(x, y, z, 3)
        row = find_or_add(grid.keys, grid.rows, grid.count, key)
        assert row == known.setdefault((x, y, z), row)
        assert find(grid.keys, grid.rows, pack(x, y, z, 2)) == -1
    assert sorted(known.values()) == list(range(len(known))) and len(grid) == len(known)


def test_discs_lie_in_the_surface(sphere_capture):
    cloud = gather_points(views_of(sphere_capture), 0.05, max_points=10**6, on_view=quiet)
    splats = splats_from_cloud(cloud)
    assert (splats.scales.argmin(1) == 2).all()
    w, x, y, z = splats.quats.astype(float).T
    axis = np.stack(
        [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], 1
    )  # what becomes of the z axis
    np.testing.assert_allclose(axis, cloud.points.normals, atol=1e-5)


def test_quaternions_of_opposite_normals():
    quats = quats_from_normals(np.float32([[0, 0, 1], [0, 0, -1], [1, 0, 0]]))
    np.testing.assert_allclose(np.linalg.norm(quats, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(quats[0], [1, 0, 0, 0], atol=1e-6)


def test_sky_cells_and_directions_are_inverse():
    cells = np.arange(6 * SIDE * SIDE)
    np.testing.assert_array_equal(cell_of(3.7 * direction_of(cells)), cells)


def plate(z):
    vertices = np.array([[0, 0, z], [1, 0, z], [1, 1, z], [0, 1, z]], float)
    return vertices, np.array([[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize(("shift", "wanted"), [(0.0, 1.0), (0.01, 1.0), (0.1, 0.0)])
def test_a_plate_moved_by_less_than_the_threshold_is_right_and_by_more_is_wrong(shift, wanted):
    truth, moved = plate(0.0), plate(shift)
    result = fidelity(
        distances_to_mesh(sample_surface(*moved, 2000, 1), *truth),
        distances_to_mesh(sample_surface(*truth, 2000, 2), *moved),
        threshold=0.05,
    )
    assert result.fscore == wanted
    assert result.accuracy == pytest.approx(shift, abs=1e-6) and result.completeness == pytest.approx(shift, abs=1e-6)


def test_half_a_plate_is_precise_and_half_complete():
    vertices, faces = plate(0.0)
    half = vertices * [0.5, 1, 1]
    to_surface = distances_to_mesh(sample_surface(vertices, faces, 4000, 2), half, faces)
    result = fidelity(
        distances_to_mesh(sample_surface(half, faces, 4000, 1), vertices, faces), to_surface, threshold=0.05
    )
    assert result.precision == 1.0
    assert result.recall == pytest.approx(0.55, abs=0.02)
    assert result.fscore == pytest.approx(2 * 0.55 / 1.55, abs=0.02)


def test_samples_are_even_by_area_and_repeat(rng):
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 0], [8, 5, 0], [5, 8, 0]], float)  # areas 1 : 9
    points = sample_surface(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 10_000, 4)
    assert (points[:, 0] >= 5).mean() == pytest.approx(0.9, abs=0.001)
    np.testing.assert_array_equal(points, sample_surface(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 10_000, 4))


def test_psnr_of_a_known_error():
    black, grey = np.zeros((8, 8, 3)), np.full((8, 8, 3), 0.1)
    assert psnr(grey, black) == pytest.approx(20.0)
    mask = np.zeros((8, 8), bool)
    mask[0] = True
    grey[1:] = 0.9
    assert psnr(grey, black, mask) == pytest.approx(20.0)


def test_ssim_is_one_for_equals_and_known_for_flat_pictures(rng):
    picture = rng.random((20, 30, 3))
    assert ssim(picture, picture) == pytest.approx(1)
    # Two flat pictures differ in brightness alone: (2 a b + c1) / (a^2 + b^2 + c1), the other factor being 1.
    a, b = np.full((20, 20, 3), 0.2), np.full((20, 20, 3), 0.6)
    assert ssim(a, b) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4))
