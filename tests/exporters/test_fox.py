"""Real photos: what training reaches on those it never saw, beside the figures of the published study."""

import numpy as np
import pytest
from keepworld_exporters.rasterize.cpu import CpuRasterizer, render_splats
from keepworld_exporters.train.loss import compare, photo
from keepworld_exporters.train.settings import Settings
from keepworld_exporters.train.shots import Shot
from keepworld_exporters.train.start import splats_from_points
from keepworld_exporters.train.trainer import train

from tests.exporters import fox

pytestmark = pytest.mark.skipif(not fox.FOLDER.is_dir(), reason=f"{fox.FOLDER} is not there")


def test_the_cameras_of_the_photos_look_at_one_place():
    """All photos are of the same fox: its head, where their axes come closest, is before every camera and in every picture."""
    shots = [shot for part in fox.load(4) for shot in part]
    assert len(shots) == 50
    c2ws = np.linalg.inv([shot.camera.viewmat for shot in shots])
    across = np.eye(3) - c2ws[:, :3, 2, None] * c2ws[:, None, :3, 2]
    head = np.linalg.solve(across.sum(0), (across @ c2ws[:, :3, 3:]).sum(0))[:, 0]
    for shot in shots:
        seen = shot.camera.K @ (shot.camera.viewmat[:3, :3] @ head + shot.camera.viewmat[:3, 3])
        assert seen[2] > 0
        assert 0 < seen[0] / seen[2] < shot.camera.width and 0 < seen[1] / seen[2] < shot.camera.height


@pytest.mark.slow
def test_about_a_minute_of_training_shows_unseen_photos_at_31_decibels():
    seen, unseen = fox.load(2)
    start = splats_from_points(*fox.dense_points(seen), most=25_000)
    shots = [Shot(image=shot.image, camera=shot.camera) for shot in seen]
    settings = Settings(iterations=1500, cap=30_000, speed=3.0)
    splats = train(shots, start, settings, rasterizer=CpuRasterizer()).splats
    scores = []
    for shot in unseen:
        drawn = render_splats(splats, shot.camera.viewmat, shot.camera.K, shot.camera.width, shot.camera.height)
        scores.append(compare(np.clip(drawn.image, 0, 1), photo(shot.image)))
    assert np.mean([-10 * np.log10(score.squared) for score in scores]) > 31.2
    assert np.mean([score.ssim for score in scores]) > 0.937
