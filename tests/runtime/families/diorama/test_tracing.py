from __future__ import annotations

import gc
import logging

import numpy as np
import pytest
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from keepworld.camera import intrinsics
from keepworld_runtime.families.diorama import antialias, embree, tracing
from keepworld_runtime.families.diorama.hits import FAR, Hits
from keepworld_runtime.families.diorama.packets import PacketTracer
from keepworld_runtime.families.diorama.rows import rows_of
from keepworld_runtime.families.diorama.scene import Scene, build_scene
from keepworld_runtime.families.diorama.spec import SceneSpec
from keepworld_runtime.families.diorama.tracing import SingleTracer

W, H = 256, 144


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene(
        SceneSpec(
            seed=1,
            biome="meadow",
            settlement="hamlet",
            density="normal",
            palette="natural",
            landmark="windmill",
            water="pond",
        )
    )


@pytest.fixture(scope="module")
def rays(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """A picture's, from the first camera."""
    dirs = np.empty((W * H, 3), np.float32)
    antialias.camera_rays(0, H, W, scene.start[:3, :3] @ np.linalg.inv(intrinsics(W, H, 1.3)), dirs)
    return np.broadcast_to(scene.start[:3, 3], dirs.shape).astype(np.float32), dirs


def fields(hits: Hits) -> list[np.ndarray]:
    hit = hits.prim >= 0
    return [hits.t, hits.prim, hits.owner, hits.u[hit], hits.v[hit], hits.Ng[hit]]


def find(tracer: tracing.Tracer, origins: np.ndarray, dirs: np.ndarray, order: np.ndarray | None = None) -> Hits:
    hits = Hits.none(len(dirs))
    tracer.find(origins, dirs, order, 2, hits)
    return hits


def random_rays(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    origins = rng.uniform(-30.0, 30.0, (count, 3)) * (1.0, 0.1, 1.0) - (0.0, 4.0, 0.0)
    return origins.astype(np.float32), rng.normal(size=(count, 3)).astype(np.float32)


def test_packets_hit_what_embreex_hits(scene, rays):
    reference = EmbreeScene()
    TriangleMesh(reference, scene.body.vertices, scene.body.faces)
    tracer = PacketTracer(scene.body.vertices, scene.body.faces)
    for (origins, dirs), share in ((rays, 0.9999), (random_rays(0, 20_001), 0.998)):
        want, got = reference.run(origins, dirs, output=True), find(tracer, origins, dirs)
        # Where two triangles are equally far, as the two sides of a leaf are, either may be named.
        same = got.prim == want["primID"]
        assert same.mean() >= share
        hit = same & (got.prim >= 0)
        assert 0.3 < hit.mean() < 1.0
        np.testing.assert_allclose(got.t, want["tfar"], rtol=1e-4)
        for mine, name in ((got.u, "u"), (got.v, "v"), (got.Ng, "Ng")):
            np.testing.assert_allclose(mine[hit], want[name][hit], rtol=1e-4, atol=1e-5)
        assert (got.owner == np.where(got.prim >= 0, 2, 0)).all()


def test_packets_are_blocked_where_single_rays_are(scene, rays):
    packets, single = (kind(scene.body.vertices, scene.body.faces) for kind in (PacketTracer, SingleTracer))
    for origins, dirs in (rays, random_rays(1, 20_001)):
        for far in (0.99, 7.0, FAR):
            free, want = np.ones(len(dirs), np.uint8), np.ones(len(dirs), np.uint8)
            packets.block(origins, dirs, far, free)
            single.block(origins, dirs, far, want)
            assert (free == want).mean() >= 0.9999
            assert 0 < free.mean() <= 1


def test_only_what_is_nearer_is_entered(scene, rays):
    origins, dirs = rays
    for kind in (PacketTracer, SingleTracer):
        tracer = kind(scene.body.vertices, scene.body.faces)
        hits, before = find(tracer, origins, dirs), find(tracer, origins, dirs)
        hits.t[::2] *= 0.5
        hits.prim[::2] = 7
        tracer.find(origins, dirs, None, 1, hits)
        kept = before.prim[::2] >= 0
        assert (hits.prim[::2][kept] == 7).all()
        assert (hits.t[::2][kept] == 0.5 * before.t[::2][kept]).all()


def test_a_ray_already_blocked_stays_so(scene):
    origins, dirs = random_rays(2, 1001)
    for kind in (PacketTracer, SingleTracer):
        free = np.zeros(len(dirs), np.uint8)
        kind(scene.body.vertices, scene.body.faces).block(origins, dirs, FAR, free)
        assert not free.any()


def test_the_order_of_rays_changes_no_distance(scene, rays):
    tracer = PacketTracer(scene.body.vertices, scene.body.faces)
    plain, tiled = find(tracer, *rays), find(tracer, *rays, rows_of(H, W).order)
    assert plain.t.tobytes() == tiled.t.tobytes()
    assert (plain.prim == tiled.prim).mean() >= 0.9999


def test_two_scenes_of_the_same_triangles_give_the_same_bytes(scene, rays):
    first, second = (find(PacketTracer(scene.body.vertices, scene.body.faces), *rays) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(fields(first), fields(second), strict=True))


def test_a_scene_outlives_the_arrays_it_was_made_from(rays):
    vertices = np.array([[-9, -9, 5], [9, -9, 5], [0, 9, 5]], np.float32)
    faces = np.array([[0, 1, 2]], np.int32)
    tracer = PacketTracer(vertices.copy(), faces.copy())
    gc.collect()
    hits = find(tracer, np.zeros((1, 3), np.float32), np.array([[0, 0, 1]], np.float32))
    assert hits.prim[0] == 0 and hits.t[0] == pytest.approx(5.0)


def test_a_scene_is_given_back_with_its_tracer(monkeypatch):
    released = []
    monkeypatch.setattr(embree.Embree, "release", lambda self, scene: released.append(scene))
    tracer = PacketTracer(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
    assert not released
    del tracer
    gc.collect()
    assert len(released) == 1


def test_without_the_library_rays_are_cast_one_by_one(monkeypatch, caplog, scene, rays):
    def absent() -> embree.Embree:
        raise embree.EmbreeUnavailableError("no Embree library here")

    monkeypatch.setattr(tracing, "load_embree", absent)
    tracing._has_packets.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            tracers = [tracing.tracer_of(scene.body.vertices, scene.body.faces) for _ in range(2)]
    finally:
        tracing._has_packets.cache_clear()
    assert all(isinstance(tracer, SingleTracer) for tracer in tracers)
    assert len(caplog.records) == 1 and "no Embree library here" in caplog.text
    packets = PacketTracer(scene.body.vertices, scene.body.faces)
    assert find(tracers[0], *rays).t.tobytes() == find(packets, *rays).t.tobytes()


def test_a_library_elsewhere_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(embree.embreex, "__file__", str(tmp_path / "embreex" / "__init__.py"))
    with pytest.raises(embree.EmbreeUnavailableError, match="no Embree library"):
        embree.Embree()


def test_every_pixel_has_one_place_in_each_order():
    for count, width in ((16, 64), (7, 33), (1, 1), (24, 100)):
        rows = rows_of(count, width)
        assert (np.sort(rows.order) == np.arange(count * width)).all()
        assert (np.sort(np.concatenate(rows.steps)) == np.arange(count * width)).all()
    first = rows_of(16, 64).order[:16]
    assert set(zip(first // 64, first % 64, strict=True)) == {(y, x) for y in range(4) for x in range(4)}
