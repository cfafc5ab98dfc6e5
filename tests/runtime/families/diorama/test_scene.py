from __future__ import annotations

import itertools

import numpy as np
import pytest
import trimesh
from keepworld_runtime.families.diorama.baking import bake_lamps
from keepworld_runtime.families.diorama.biomes import BIOMES
from keepworld_runtime.families.diorama.layout import HOUSES
from keepworld_runtime.families.diorama.planting import DENSITY
from keepworld_runtime.families.diorama.scene import EYE_HEIGHT, Scene, build_scene
from keepworld_runtime.families.diorama.spec import Material, SceneSpec
from keepworld_runtime.sampling.noise import generator

LANDMARKS = ("none", "windmill", "tower", "lighthouse", "abbey", "bridge", "stones", "castle")
WATERS = ("none", "pond", "lake", "river", "sea")
WORDS = (tuple(BIOMES), tuple(HOUSES), tuple(DENSITY), LANDMARKS, WATERS)


def spec_of(seed: int, biome: str, settlement: str, density: str, landmark: str, water: str) -> SceneSpec:
    return SceneSpec(
        seed=seed,
        biome=biome,
        settlement=settlement,
        density=density,
        palette="natural",
        landmark=landmark,
        water=water,
    )


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene(spec_of(7, "meadow", "village", "normal", "windmill", "river"))


def assert_sound(scene: Scene) -> None:
    body = scene.body
    assert len(body.faces) < 420_000
    assert np.isfinite(body.vertices).all() and np.isfinite(body.corners).all()
    assert body.faces.min() >= 0 and body.faces.max() < len(body.vertices)
    assert scene.start[1, 3] == pytest.approx(float(scene.ground(0.0, 0.0)) - EYE_HEIGHT)
    assert not scene.blocked(0.0, 0.0, 0.3)
    assert {"clearing", "path", "shore", "water", "doorstep"} <= set(scene.spots)
    assert len(scene.spots["clearing"]) > 5


@pytest.mark.parametrize("sample", range(5))
def test_any_words_make_a_sound_scene(sample: int):
    rng = generator(sample, "test words")
    assert_sound(build_scene(spec_of(sample, *(str(rng.choice(words)) for words in WORDS))))


@pytest.mark.slow
@pytest.mark.parametrize("sample", range(120))
def test_many_words_make_sound_scenes(sample: int):
    rng = generator(sample + 1000, "test words")
    assert_sound(build_scene(spec_of(sample, *(str(rng.choice(words)) for words in WORDS))))


def test_the_same_spec_gives_the_same_scene(scene):
    again = build_scene(scene.spec)
    for name in ("vertices", "faces", "corners", "material", "variation"):
        assert getattr(again.body, name).tobytes() == getattr(scene.body, name).tobytes()


def test_another_seed_gives_another_scene(scene):
    other = build_scene(spec_of(8, "meadow", "village", "normal", "windmill", "river"))
    assert other.body.vertices.shape != scene.body.vertices.shape or (other.body.vertices != scene.body.vertices).any()


def test_ground_lies_on_the_land_that_is_drawn(scene):
    land = scene.parts[0]
    assert (land.material == Material.TERRAIN).all()
    mesh = trimesh.Trimesh(land.vertices, land.faces, process=False)
    rng = np.random.default_rng(0)
    x, z = rng.uniform(-60, 60, 200), rng.uniform(-40, 90, 200)
    away = np.abs(z - np.interp(x, *_river_line(scene))) > 8.0  # the bridge counts as ground, but is not land
    origins = np.stack([x, np.full(200, -500.0), z], -1)[away]
    points, rays, _ = mesh.ray.intersects_location(
        origins, np.tile([0.0, 1.0, 0.0], (len(origins), 1)), multiple_hits=False
    )
    assert len(rays) == away.sum()
    assert np.abs(points[:, 1] - scene.ground(points[:, 0], points[:, 2])).max() < 2e-3


def _river_line(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    water = scene.parts[2].vertices
    xs = np.arange(-60.0, 61.0, 4.0)
    return xs, np.array([water[np.abs(water[:, 0] - x) < 3.0][:, 2].mean() for x in xs])


def test_solids_face_outwards(scene):
    """The volume under outward faces is positive: the divergence theorem."""
    solids = scene.parts[1]
    a, b, c = (solids.vertices[solids.faces[:, k]].astype(np.float64) for k in range(3))
    volume = np.einsum("fi,fi->f", a, np.cross(b, c)).sum() / 6.0
    assert volume > 100.0


def test_land_looks_up(scene):
    land = scene.parts[0]
    a, b, c = (land.vertices[land.faces[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 1] < 0).all()


def test_houses_block_and_the_path_does_not(scene):
    path = scene.spots["path"]
    near = np.hypot(path[:, 0], path[:, 2]) < 40.0
    assert scene.blocked(path[near, 0], path[near, 2], 0.3).mean() < 0.05
    for door in scene.spots["doorstep"]:
        ring = np.linspace(0, 2 * np.pi, 32)
        about = scene.blocked(door[0] + 3.2 * np.sin(ring), door[2] + 3.2 * np.cos(ring), 0.3)
        assert about.any()


def test_the_world_ends_before_its_edge(scene):
    assert scene.blocked([150.0, -150.0, 0.0], [0.0, 0.0, 150.0], 0.3).all()


def test_the_bridge_carries_over_the_river(scene):
    path = scene.spots["path"]
    water_y = scene.spots["water"][0, 1]
    crossing = path[np.abs(path[:, 2] - 18.0) < 6.0]
    assert (crossing[:, 1] < water_y - 0.15).all()


def test_water_lies_in_its_bed(scene):
    water = scene.spots["water"]
    assert (scene.ground(water[:, 0], water[:, 2]) > water[:, 1]).all()


def test_each_word_of_a_heading_changes_the_scene():
    plain = ("meadow", "none", "sparse", "none", "none")
    for heading, words in enumerate(WORDS):
        shapes = set()
        for word in words[:3]:
            scene = build_scene(spec_of(3, *(word if k == heading else w for k, w in enumerate(plain))))
            shapes.add(
                (len(scene.body.faces), scene.body.vertices.tobytes()[:4096], scene.body.corners.tobytes()[-4096:])
            )
        assert len(shapes) == 3, words


def test_all_pairs_of_landmark_and_water_leave_the_start_free():
    for landmark, water in itertools.product(("bridge", "castle", "lighthouse"), ("lake", "sea")):
        assert_sound(build_scene(spec_of(5, "desert", "village", "sparse", landmark, water)))


def test_lamps_shine_together_as_each_does_alone(rng):
    vertices = rng.uniform(-60, 60, (4000, 3)).astype(np.float32)
    normals = rng.normal(size=(4000, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    lamps = np.concatenate([rng.uniform(-30, 30, (6, 3)), np.tile([0.0, 0.0, 1.0], (6, 1))], axis=1)
    alone = [bake_lamps(vertices, normals, lamp[None]) for lamp in lamps]
    together = bake_lamps(vertices, normals, lamps)
    np.testing.assert_allclose(together, np.sum(alone, axis=0), rtol=1e-6)
    assert 0 < (together > 0).mean() < 0.2
    far = np.linalg.norm(vertices[:, None] - lamps[:, :3], axis=-1).min(1) > 15.5
    assert not together[far].any()
