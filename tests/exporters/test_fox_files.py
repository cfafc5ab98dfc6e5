"""What each kind of splat file loses, on a trained scene of real photos: the figures that the README states."""

import numpy as np
import pytest
from keepworld_exporters import formats
from keepworld_exporters.formats import FORMATS
from keepworld_exporters.rasterize.cpu import CpuRasterizer, render_splats
from keepworld_exporters.train.loss import photo
from keepworld_exporters.train.settings import Settings
from keepworld_exporters.train.start import splats_from_points
from keepworld_exporters.train.trainer import Shot, train

from tests.exporters import fox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not fox.FOLDER.is_dir(), reason=f"{fox.FOLDER} is not there"),
]
# suffix: (least PSNR of what is drawn of the file against what is drawn of the scene, most that is lost on unseen photos)
STATED = {
    ".splat.ply": (90, 0.01),
    ".splat.glb": (90, 0.01),
    ".splat.usda": (90, 0.01),
    ".splat.usdc": (90, 0.01),
    ".sog": (42, 0.3),
    ".compressed.ply": (42, 0.3),
    ".spz": (36, 0.8),
    ".v4.spz": (36, 0.8),
    ".splat": (28, 4.0),
}


def psnr(squared):
    return -10 * np.log10(np.maximum(np.mean(squared), 1e-12))


def test_each_file_loses_what_is_stated_and_no_more():
    seen, unseen = fox.load(2)
    start = splats_from_points(*fox.dense_points(seen), most=25_000)
    shots = [Shot(image=shot.image, camera=shot.camera) for shot in seen]
    splats = train(shots, start, Settings(iterations=1500, cap=30_000, speed=3.0), rasterizer=CpuRasterizer()).splats

    def draw(of):
        return [
            np.clip(render_splats(of, s.camera.viewmat, s.camera.K, s.camera.width, s.camera.height).image, 0, 1)
            for s in unseen
        ]

    def score(drawn):
        return np.mean([psnr((a - photo(s.image)) ** 2) for a, s in zip(drawn, unseen, strict=True)])

    whole = draw(splats)
    print(f"\n{len(splats.means)} splats, {score(whole):.2f} dB on unseen photos")
    assert set(STATED) == {suffix for suffix, kind in FORMATS.items() if kind.holds == "splats"}
    for suffix, (least, most) in STATED.items():
        data = formats.encode(splats, suffix, {})
        drawn = draw(formats.decode(data, suffix))
        against = np.mean([psnr((a - b) ** 2) for a, b in zip(drawn, whole, strict=True)])
        lost = score(whole) - score(drawn)
        print(f"{suffix:16} {len(data) / len(splats.means):6.1f} bytes a splat, {against:6.2f} dB, {lost:5.2f} dB lost")
        assert against > least and lost < most, suffix
