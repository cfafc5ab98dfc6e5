"""Splat files: what is written is read within what the format says it keeps; gsply, an independent reader, agrees."""

from __future__ import annotations

from dataclasses import replace

import gsply
import numpy as np
import plyfile
import pytest
from keepworld_exporters.formats import compressed_ply, decode, encode, sog, splat, splat_glb, splat_ply, splat_usd, spz
from keepworld_exporters.formats.palettes import morton_order
from keepworld_exporters.rasterize.cpu import render_splats

from tests.exporters.formats.made import assert_same, lantern, some_splats

BANDS = pytest.mark.parametrize("bands", [0, 3, 8, 15])


def angles(one, other):
    """How far apart two sets of quaternions turn, radians [N]."""
    return 2 * np.arccos(np.clip(np.abs((one * other).sum(1)), 0, 1))


@BANDS
def test_a_glb_of_splats_loses_nothing(bands):
    splats = some_splats(bands=bands)
    assert_same(splat_glb.decode(splat_glb.encode(splats)), splats)


@BANDS
def test_spz_keeps_what_its_text_says(bands):
    splats = some_splats(bands=bands)
    back = spz.decode(spz.encode(splats))
    assert np.abs(back.means - splats.means).max() <= 0.5 / 4096 + 1e-6  # 12 bits behind the point
    assert np.abs(np.log(back.scales / splats.scales)).max() <= 0.5 / 16 + 1e-5
    assert np.abs(back.opacities - splats.opacities).max() <= 0.5 / 255 + 1e-6
    assert np.abs(back.sh0 - splats.sh0).max() <= 0.5 / 255 / 0.15 + 1e-5
    assert angles(back.quats, splats.quats).max() <= 0.006  # 511 steps to 0.7071, three of them
    if bands:
        assert np.abs(back.shN[:, :3] - splats.shN[:, :3]).max() <= (4 + 0.5) / 128 + 1e-6  # 5 bits
        assert np.abs(back.shN - splats.shN).max() <= (8 + 0.5) / 128 + 1e-6  # 4 bits


def test_both_versions_of_spz_hold_the_same_splats():
    splats = some_splats()
    assert_same(spz.decode(spz.encode(splats, version=4)), spz.decode(spz.encode(splats)))


def test_spz_with_all_bits_keeps_harmonics_to_half_a_step():
    splats = some_splats()
    back = spz.decode(spz.encode(splats, sh1_bits=8, rest_bits=8))
    assert np.abs(back.shN - splats.shN).max() <= 0.5 / 128 + 1e-6


def test_spz_of_a_wide_world_gives_up_bits_and_no_places():
    splats = some_splats()
    wide = replace(splats, means=splats.means * 10_000)
    back = spz.decode(spz.encode(wide))
    assert np.abs(back.means - wide.means).max() <= 0.5 / 2 ** (23 - 16) + 1e-2
    with pytest.raises(ValueError, match="8388608"):
        spz.encode(replace(splats, means=splats.means * 1e7))


def test_splat_keeps_bytes():
    splats = some_splats(bands=15)
    back = splat.decode(splat.encode(splats))
    np.testing.assert_array_equal(back.means, splats.means)
    np.testing.assert_array_equal(back.scales, splats.scales)
    assert back.shN.shape[1] == 0
    shown = np.clip(0.28209479177387814 * splats.sh0 + 0.5, 0, 1)
    assert np.abs(0.28209479177387814 * back.sh0 + 0.5 - shown).max() <= 0.5 / 255 + 1e-6
    assert np.abs(back.opacities - splats.opacities).max() <= 0.5 / 255 + 1e-6
    assert angles(back.quats, splats.quats).max() <= 4 / 128


@BANDS
@pytest.mark.parametrize("count", [1, 256, 700])
def test_a_compressed_ply_keeps_what_its_chunks_allow(bands, count):
    given = some_splats(count, bands)
    order = morton_order(given.means)
    back = compressed_ply.decode(compressed_ply.encode(given))
    assert sorted(order) == list(range(count))
    extent = np.ptp(given.means, axis=0).max()
    assert np.abs(back.means - given.means[order]).max() <= extent / 1023 / 2 + 1e-5
    logs = np.log(given.scales[order])
    assert np.abs(np.log(back.scales) - logs).max() <= np.ptp(logs) / 1023 / 2 + 1e-5
    assert np.abs(back.sh0 - given.sh0[order]).max() <= np.ptp(given.sh0) / 255 / 2 + 1e-5
    assert np.abs(back.opacities - given.opacities[order]).max() <= 0.5 / 255 + 1e-6
    assert angles(back.quats, given.quats[order]).max() <= 0.006
    if bands:
        assert np.abs(back.shN - given.shN[order]).max() <= 4 / 256 + 1e-6


@BANDS
@pytest.mark.parametrize("count", [1, 17, 700])
def test_sog_keeps_what_its_pictures_hold(bands, count):
    given = some_splats(count, bands)
    order = morton_order(given.means)
    back = sog.decode(sog.encode(given))
    steps = (np.log1p(np.abs(given.means)).max() * 2) / 65535  # of a place's logarithm
    assert np.abs(back.means - given.means[order]).max() <= steps * (1 + np.abs(given.means).max())
    assert np.abs(back.opacities - given.opacities[order]).max() <= 0.5 / 255 + 1e-6
    assert angles(back.quats, given.quats[order]).max() <= 0.016  # 127 steps to 0.7071, three of them
    # 256 chosen numbers stand for many: never further apart than as many even ones would be.
    logs = np.log(given.scales[order])
    assert np.abs(np.log(back.scales) - logs).max() <= np.ptp(logs) / 127 + 1e-5
    assert np.abs(back.sh0 - given.sh0[order]).max() <= np.ptp(given.sh0) / 127 + 1e-5
    if bands:  # and so few splats have a row of the palette each
        assert np.abs(back.shN - given.shN[order]).max() <= np.ptp(given.shN) / 127 + 1e-6


def test_a_sog_of_many_splats_shares_its_harmonics():
    """Twenty kinds of splat, a little noise: a palette finds the kinds, and what is left is the noise."""
    rng = np.random.default_rng(6)
    given = some_splats(6000, 8)
    kinds = rng.normal(size=(20, 8, 3)).astype(np.float32)
    given.shN[:] = kinds[rng.integers(0, 20, 6000)] + rng.normal(scale=0.01, size=(6000, 8, 3))
    data = sog.encode(given)
    assert data == sog.encode(given)
    error = sog.decode(data).shN - given.shN[morton_order(given.means)]
    assert np.sqrt((error**2).mean()) < 0.012


@BANDS
def test_gsply_reads_our_ply_as_we_wrote_it(bands, tmp_path):
    splats = some_splats(bands=bands)
    (tmp_path / "x.ply").write_bytes(splat_ply.encode(splats))
    there = gsply.plyread(tmp_path / "x.ply")
    np.testing.assert_array_equal(there.means, splats.means)
    np.testing.assert_allclose(there.quats, splats.quats, atol=1e-6)
    np.testing.assert_allclose(np.exp(there.scales), splats.scales, rtol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-there.opacities)), splats.opacities, rtol=1e-5)
    np.testing.assert_array_equal(there.sh0, splats.sh0)
    np.testing.assert_array_equal(there.shN[:, :bands], splats.shN)


@BANDS
@pytest.mark.parametrize("version", [3, 4])
def test_gsply_reads_our_spz_as_we_do(bands, version, tmp_path):
    splats = some_splats(bands=bands)
    (tmp_path / "x.spz").write_bytes(spz.encode(splats, {"prompt": "a garden"}, version=version))
    ours, theirs = spz.decode(spz.encode(splats)), gsply.read_spz(tmp_path / "x.spz")
    np.testing.assert_allclose(theirs.means, ours.means, atol=1e-6)
    assert angles(theirs.quats, ours.quats).max() < 1e-3
    np.testing.assert_allclose(np.exp(theirs.scales), ours.scales, rtol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-theirs.opacities)), ours.opacities, atol=1e-4)
    np.testing.assert_allclose(theirs.sh0, ours.sh0, atol=0.5 / 255 / 0.15 + 1e-5)
    if bands:
        np.testing.assert_allclose(theirs.shN, ours.shN, atol=1e-6)


@BANDS
@pytest.mark.parametrize("version", [3, 4])
def test_we_read_gsplys_spz(bands, version, tmp_path):
    splats = some_splats(bands=bands)
    gsply.write_spz(
        tmp_path / "x.spz",
        gsply.GSData(
            means=splats.means, scales=np.log(splats.scales), quats=splats.quats,
            opacities=np.log(splats.opacities / (1 - splats.opacities)), sh0=splats.sh0, shN=splats.shN,
        ),
        version=version,
    )  # fmt: skip
    back = spz.decode((tmp_path / "x.spz").read_bytes())
    assert np.abs(back.means - splats.means).max() <= 1 / 4096
    assert angles(back.quats, splats.quats).max() <= 0.006
    assert np.abs(back.shN - splats.shN).max(initial=0) <= 1 / 8


@BANDS
def test_gsply_reads_our_compressed_ply_as_we_do(bands, tmp_path):
    data = compressed_ply.encode(some_splats(300, bands))
    (tmp_path / "x.compressed.ply").write_bytes(data)
    ours, theirs = compressed_ply.decode(data), gsply.plyread(tmp_path / "x.compressed.ply")
    np.testing.assert_allclose(theirs.means, ours.means, atol=1e-5)
    assert angles(theirs.quats, ours.quats).max() < 1e-3
    np.testing.assert_allclose(np.exp(theirs.scales), ours.scales, rtol=1e-4)
    np.testing.assert_allclose(1 / (1 + np.exp(-theirs.opacities)), ours.opacities, atol=1e-5)
    np.testing.assert_allclose(theirs.sh0, ours.sh0, atol=1e-4)
    if bands:
        np.testing.assert_allclose(theirs.shN, ours.shN, atol=4 / 256)


def test_a_ply_of_another_order_and_degree_is_read(tmp_path):
    splats = some_splats(bands=3)
    names = ["rot_3", "rot_2", "rot_1", "rot_0", "opacity", *(f"f_rest_{k}" for k in range(9)), "x", "y", "z"]
    names += ["f_dc_0", "f_dc_1", "f_dc_2", "scale_0", "scale_1", "scale_2", "label"]
    table = np.zeros(len(splats.means), [(name, "f8") for name in names])
    for k, axis in enumerate("xyz"):
        table[axis], table[f"f_dc_{k}"] = splats.means[:, k], splats.sh0[:, k]
        table[f"scale_{k}"] = np.log(splats.scales[:, k])
    for k in range(4):
        table[f"rot_{k}"] = 3 * splats.quats[:, k]  # not of unit length, as some trainers leave them
    for k in range(9):
        table[f"f_rest_{k}"] = splats.shN[:, k % 3, k // 3]
    table["opacity"] = np.log(splats.opacities / (1 - splats.opacities))
    plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")]).write(tmp_path / "x.ply")
    back = splat_ply.decode((tmp_path / "x.ply").read_bytes())
    np.testing.assert_allclose(back.quats, splats.quats, atol=1e-6)
    np.testing.assert_allclose(back.scales, splats.scales, rtol=1e-5)
    np.testing.assert_allclose(back.shN, splats.shN, atol=1e-6)


@pytest.mark.parametrize("module", [splat_ply, compressed_ply, spz, splat_glb, sog, splat_usd])
def test_antialiased_training_is_told(module):
    splats = replace(some_splats(), antialiased=True)
    assert module.decode(module.encode(splats)).antialiased
    assert not module.decode(module.encode(some_splats())).antialiased


@pytest.mark.parametrize(
    ("module", "least"), [(splat_ply, 80), (splat_glb, 80), (spz, 32), (compressed_ply, 32), (sog, 32)]
)
def test_a_picture_of_the_file_is_a_picture_of_the_model(module, least):
    """PSNR of what is drawn; the packed formats' loss is theirs, measured on a denser scene than this at 31 dB and more."""
    splats = some_splats(400, 8)
    splats = replace(splats, means=splats.means + np.float32([0, 0, 6]), shN=splats.shN * 0.2)
    K = np.array([[60.0, 0, 40], [0, 60.0, 30], [0, 0, 1]])
    drawn = [
        render_splats(scene, np.eye(4), K, 80, 60).image for scene in (splats, module.decode(module.encode(splats)))
    ]
    assert -10 * np.log10(np.mean((drawn[0] - drawn[1]) ** 2) + 1e-12) > least


@pytest.mark.parametrize(
    ("suffix", "least"),
    [(".splat.ply", 100), (".splat.glb", 100), (".splat.usda", 100), (".sog", 60), (".compressed.ply", 45), (".spz", 34),
     (".v4.spz", 34), (".splat", 20)],
)  # fmt: skip
def test_a_ball_of_strong_harmonics_loses_in_each_file_what_is_stated_of_it(suffix, least):
    """PSNR of what is drawn of the file against what is drawn of the scene in memory: the figures of docs/files.md."""
    scene = lantern()
    K = np.array([[228.0, 0, 160], [0, 228.0, 120], [0, 0, 1]])
    back = decode(encode(scene, suffix, {}), suffix)
    drawn = [np.clip(render_splats(each, np.eye(4), K, 320, 240).image, 0, 1) for each in (scene, back)]
    assert -10 * np.log10(np.mean((drawn[0] - drawn[1]) ** 2) + 1e-12) > least
