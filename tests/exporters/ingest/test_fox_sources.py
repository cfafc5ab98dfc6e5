"""Real photos, for those who have them: as the data set they come as, and as photos of which nothing is known."""

import numpy as np
import pytest
from keepworld.camera import restore_c2w
from keepworld_exporters.ingest import nerfstudio
from keepworld_exporters.ingest.prepare import prepared
from keepworld_exporters.ingest.wanted import Wanted
from keepworld_exporters.stages import align

from tests.exporters import fox

pytestmark = pytest.mark.skipif(not fox.FOLDER.is_dir(), reason=f"{fox.FOLDER} is not there")


def given():
    frames = nerfstudio.load(fox.FOLDER / "transforms.json")["frames"]
    ordered = sorted(frames, key=lambda frame: frame["file_path"])
    return restore_c2w(np.array([frame["transform_matrix"] for frame in ordered]), source="nerfstudio")


def test_the_data_set_comes_as_it_is():
    sequence = nerfstudio.read(fox.FOLDER / "transforms.json")
    np.testing.assert_allclose([photo.c2w for photo in sequence.photos], given(), atol=1e-5)
    lens = sequence.photos[0].lens
    assert lens.is_straight and (lens.width, lens.height) == (270, 480)
    assert sequence.photos[0].image().shape == (480, 270, 3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_cameras_of_the_photos_are_found_again_from_the_photos_alone():
    """Against those they came with, which are COLMAP's too, of the photos before they were straightened and made smaller."""
    with prepared(fox.FOLDER / "images", Wanted(), lambda progress: None) as ready:
        found = ready.capture.c2ws
    assert len(found) == 50
    true = given()
    laid = align.moved_by(found, *align.similarity(found, true))
    centres = true[:, :3, 3]
    radius = np.linalg.norm(centres - centres.mean(0), axis=1).mean()
    assert np.rad2deg(np.median(align.angles(laid[:, :3, :3], true[:, :3, :3]))) < 0.4
    assert np.median(np.linalg.norm(laid[:, :3, 3] - centres, axis=1)) < 0.015 * radius
