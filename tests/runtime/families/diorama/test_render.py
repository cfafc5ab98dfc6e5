from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import trimesh
from keepworld.camera import Camera, intrinsics
from keepworld_runtime.families.diorama.meshes import box
from keepworld_runtime.families.diorama.render import Picture, Renderer, Shot
from keepworld_runtime.families.diorama.scene import Scene, build_scene
from keepworld_runtime.families.diorama.sky import light_of
from keepworld_runtime.families.diorama.spec import Conditions, Material, Moment, SceneSpec
from keepworld_runtime.families.family import Label

W, H = 256, 144
K = intrinsics(W, H, 1.3)


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


def look(
    scene: Scene, c2w=None, *, threads: int = 1, size=(W, H), lasting=(), moving=(), lights=None, **conditions
) -> Picture:
    renderer = Renderer(scene, *size, threads)
    moment = Moment(time_s=0.0, conditions=Conditions(**conditions), lasting=lasting, moving=moving, lights=lights)
    return renderer.render(Shot(c2w=scene.start if c2w is None else c2w, K=intrinsics(*size, 1.3), moment=moment))


def at(scene: Scene, x: float, z: float, yaw: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    """A camera at eye height, turned right by yaw and up by pitch."""
    c, s, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    c2w = np.eye(4)
    c2w[:3, :3] = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    c2w[:3, 3] = x, float(scene.ground(x, z)) - 1.65, z
    return c2w


def same(a: Picture, b: Picture) -> bool:
    return all(
        getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("image", "depth", "labels", "confidence")
    )


def brightness(picture: Picture) -> float:
    return float(picture.image.mean())


def cube(x: float, up: float, z: float, size: float, colour=(1.0, 0.0, 0.0)):
    return box((x, up, z), (size, size, size), Material.PLAIN, colour).to_session()


def test_pictures_do_not_depend_on_the_number_of_threads(scene):
    assert same(look(scene, threads=1), look(scene, threads=2))


def walked(scene: Scene) -> list[Shot]:
    """A few steps past things that move and, from the third on, one that stays."""
    shots = []
    for step in range(6):
        c2w, side = at(scene, 0.3 * step, 0.5 * step, 0.2 * step), 0.4 * step - 1.0
        ahead = c2w[:3, 3] + 5.0 * c2w[:3, 2]
        moving = (cube(ahead[0] + side, 1.0 - ahead[1], ahead[2], 0.7),)
        lasting = (cube(ahead[0], 2.0 - ahead[1], ahead[2], 0.5, (0.0, 0.0, 1.0)),) if step > 2 else ()
        moment = Moment(time_s=2.0 * step, conditions=Conditions(hour=8.0 + step), moving=moving, lasting=lasting)
        shots.append(Shot(c2w=c2w, K=K, moment=moment))
    return shots


@pytest.mark.parametrize("threads", [2, 5])
def test_pictures_begun_before_the_last_is_complete_are_those_made_one_by_one(scene, threads):
    alone = [Renderer(scene, W, H, 1).render(shot) for shot in walked(scene)]
    assert not any(same(*pair) for pair in pairwise(alone))
    together = list(Renderer(scene, W, H, threads).render_all(iter(walked(scene))))
    assert all(same(*pair) for pair in zip(together, alone, strict=True))


def test_after_pictures_that_nobody_waited_for_the_next_are_right(scene):
    renderer, shots = Renderer(scene, W, H, 2), walked(scene)
    for _ in range(3):
        pictures = renderer.render_all(shots)
        next(pictures)
        pictures.close()
    again = list(renderer.render_all(shots))
    assert all(same(picture, Renderer(scene, W, H, 1).render(shot)) for picture, shot in zip(again, shots, strict=True))


def test_a_revisited_place_keeps_its_pixels(scene):
    renderer = Renderer(scene, W, H, 2)
    first, _, again = renderer.render_all(
        Shot(c2w=c2w, K=K, moment=Moment(time_s=time_s, conditions=Conditions()))
        for time_s, c2w in ((0.0, scene.start), (3.0, at(scene, 0.5, 3.0, 0.4)), (9.0, scene.start))
    )
    assert same(first, again)


def test_depth_lands_on_the_true_surface(scene):
    picture = look(scene)
    camera = Camera(c2w=scene.start, K=K, width=W, height=H)
    points = camera.unproject(picture.depth)[picture.depth > 0]
    near = points[np.linalg.norm(points - camera.centre, axis=1) < 60.0]
    some = near[np.random.default_rng(0).choice(len(near), 200, replace=False)]
    surface = scene.surface()
    close = np.linalg.norm(surface.vertices, axis=1) < 90.0
    mesh = trimesh.Trimesh(surface.vertices, surface.faces[close[surface.faces].any(1)], process=False)
    # A short ray along the view, begun half a metre before the point, must meet the surface there.
    along = (some - camera.centre) / np.linalg.norm(some - camera.centre, axis=1, keepdims=True)
    hit, rays, _ = mesh.ray.intersects_location(some - 0.5 * along, along, multiple_hits=True)
    error = np.full(len(some), np.inf)
    np.minimum.at(error, rays, np.linalg.norm(hit - some[rays], axis=1))
    assert np.median(error) < 1e-3
    assert np.quantile(error, 0.98) < 5e-3


def test_right_is_right_and_down_is_down(scene):
    eye_up = -float(scene.start[1, 3])
    for x, up, column, row in ((2.0, 0.0, W * 3 // 4, None), (-2.0, 0.0, W // 4, None), (0.0, 1.0, None, H // 4)):
        c2w = at(scene, 0.0, 0.0, pitch=0.4)  # into the sky, so that nothing hides the cube
        there = c2w[:3, :3] @ np.array([x, -up, 6.0]) + c2w[:3, 3]
        picture = look(scene, c2w, moving=(cube(there[0], -there[1], there[2], 0.8),))
        v, u = np.nonzero(picture.labels & Label.MOVING)
        assert len(u) > 20, eye_up
        if column is not None:
            assert (u.mean() > W / 2) == (column > W / 2)
        if row is not None:
            assert v.mean() < H / 2


def test_the_sky_is_labelled_and_has_no_depth(scene):
    picture = look(scene)
    sky = (picture.labels & Label.SKY) > 0
    assert sky[0].any() and not sky[-1].any()
    assert (picture.depth[sky] == 0).all() and (picture.depth[~sky] > 0.05).all()


def test_a_lasting_thing_is_there_but_not_moving(scene):
    thing = cube(0.0, -float(scene.ground(0.0, 4.0)) + 0.5, 4.0, 1.0)
    picture, before = look(scene, lasting=(thing,)), look(scene)
    assert not (picture.labels & Label.MOVING).any()
    assert (picture.depth != before.depth).sum() > 400
    assert picture.depth[H // 2 + 45, W // 2] == pytest.approx(3.5, abs=0.02)


def test_windows_light_up_at_night(scene):
    camera = scene.start
    day, night = look(scene, camera, hour=12.0), look(scene, camera, hour=23.0)
    window = np.zeros((H, W), bool)
    window[day.depth > 0] = True
    warm = (night.image[..., 0].astype(int) - night.image[..., 2] > 60) & window
    assert warm.sum() > 30
    assert night.image[warm].mean() > 2 * night.image[~warm & window].mean()
    assert brightness(night) < 0.5 * brightness(day)


def test_a_thing_throws_a_shadow(scene):
    """Under a slab held high over the camera's view the ground is darker than without it."""
    ground = -float(scene.ground(0.0, 6.0))
    sun = np.array(light_of(scene.spec, Conditions(hour=10.0), 0.0).key)
    spot = np.array([0.0, -ground, 6.0]) + 12.0 * sun
    slab = box((spot[0], -spot[1], spot[2]), (6.0, 0.3, 6.0), Material.PLAIN, (0.5, 0.5, 0.5)).to_session()
    camera = at(scene, 0.0, 1.0, pitch=-0.35)
    lit, dark = look(scene, camera, hour=10.0), look(scene, camera, hour=10.0, lasting=(slab,))
    v, u, _ = (K @ (camera[:3, :3].T @ (np.array([0.0, -ground, 6.0]) - camera[:3, 3])))[[1, 0, 2]] / (
        camera[:3, :3].T @ (np.array([0.0, -ground, 6.0]) - camera[:3, 3])
    )[2]
    there = np.s_[int(v) - 2 : int(v) + 3, int(u) - 2 : int(u) + 3]
    assert dark.image[there].mean() < 0.75 * lit.image[there].mean()
    assert (dark.depth[there] == lit.depth[there]).all()


def test_snow_whitens_the_land(scene):
    bare, snowy = look(scene), look(scene, snow_cover=1.0)
    low = np.s_[H * 3 // 4 :]
    spread = lambda image: np.ptp(image[low].astype(int), axis=-1).mean()  # noqa: E731
    assert snowy.image[low].mean() > 1.15 * bare.image[low].mean()
    assert spread(snowy.image) < 0.5 * spread(bare.image)


def test_autumn_turns_the_leaves(scene):
    summer, autumn = look(scene).image.astype(int), look(scene, season=(0.0, 0.0, 1.0, 0.0)).image.astype(int)
    green = lambda image: (image[..., 1] - image[..., 0] > 10).mean()  # noqa: E731
    assert green(autumn) < 0.5 * green(summer)


def test_water_mirrors_what_stands_behind_it(scene):
    water = scene.spots["water"]
    middle = water[np.argsort(np.hypot(*(water - water.mean(0))[:, [0, 2]].T))[0]]
    yaw = float(np.arctan2(middle[0], middle[2]))
    camera = at(scene, 0.0, 0.0, yaw, pitch=-0.1)
    behind = middle * 1.25
    glowing = box(
        (behind[0], -middle[1] + 4.0, behind[2]), (7.0, 5.0, 0.5), Material.GLOW, (1.0, 0.0, 0.0), yaw=yaw
    ).to_session()
    plain, mirrored = look(scene, camera, hour=21.0), look(scene, camera, hour=21.0, lasting=(glowing,))
    same_place = (plain.depth == mirrored.depth) & (plain.depth > 0)
    redder = mirrored.image[..., 0].astype(int) - plain.image[..., 0] > 25
    assert (redder & same_place).sum() > 50


def test_fog_hides_what_is_far(scene):
    clear, foggy = look(scene), look(scene, fog=1.0)
    far = (clear.depth > 60.0) & (clear.depth < 200.0)
    assert foggy.image[far].astype(float).std() < 0.4 * clear.image[far].astype(float).std()


def test_a_lamp_lights_its_surroundings(scene):
    up = float(scene.ground(0.0, 5.0)) - 1.0
    lamp = np.array([[0.0, up, 5.0, 6.0, 3.0, 1.0, 9.0]], np.float32)
    dark, lit = look(scene, hour=23.0), look(scene, hour=23.0, lights=lamp)
    low = np.s_[H * 2 // 3 :]
    assert lit.image[low].mean() > 1.5 * dark.image[low].mean()


def test_confidence_is_low_only_at_edges_and_glances(scene):
    picture = look(scene, at(scene, 0.0, 0.0, pitch=-0.6))
    assert np.median(picture.confidence) == 255
    assert (look(scene).confidence < 255).any()


def test_any_size_works(scene):
    for size in ((33, 19), (100, 250)):
        picture = look(scene, size=size)
        assert picture.image.shape == (size[1], size[0], 3)


def test_a_rainbow_is_seen_from_the_start_at_any_hour_of_the_day(scene):
    for hour in (6.4, 8.5, 12.0, 15.0, 17.3):
        plain, bow = look(scene, hour=hour), look(scene, hour=hour, rainbow=1.0)
        assert (plain.depth == bow.depth).all()
        brighter = np.abs(bow.image.astype(int) - plain.image).max(-1) > 15
        assert brighter[bow.depth == 0].mean() > 0.04, hour


def test_a_rainbow_is_an_arc_of_its_true_size_that_stands_still(scene):
    """Its radius is 42 degrees, as that of all rainbows, about one middle whichever way the camera looks."""
    middle = np.array(light_of(scene.spec, Conditions(hour=12.0), 0.0).bow)
    for yaw in (0.0, 0.4):
        camera = at(scene, 0.0, 0.0, yaw, pitch=0.35)
        plain, bow = look(scene, camera, hour=12.0, cloud=0.0), look(scene, camera, hour=12.0, cloud=0.0, rainbow=1.0)
        v, u = np.nonzero((bow.image[..., 1].astype(int) - plain.image[..., 1] > 15) & (bow.depth == 0))
        rays = np.stack([u + 0.5, v + 0.5, np.ones_like(u)], -1) @ np.linalg.inv(K).T @ camera[:3, :3].T
        angles = np.degrees(np.arccos(rays @ middle / np.linalg.norm(rays, axis=1)))
        assert len(angles) > 300
        assert np.median(angles) == pytest.approx(42.0, abs=0.5)
        assert np.ptp(angles) < 7.0
