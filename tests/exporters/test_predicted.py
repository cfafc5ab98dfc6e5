"""Depth that something else predicted: the files it comes in, its scale, and what is refused."""

import io
import zipfile

import numpy as np
import pytest
from keepworld.errors import ExportError
from keepworld_exporters.stages.depth import load_view
from keepworld_exporters.stages.predicted import PredictedDepth, aligned, fit_affine
from keepworld_exporters.stages.sources import DepthMap, FoundDepth, SessionDepth
from keepworld_exporters.stages.stereo import known_depth
from PIL import Image

from tests.exporters.room import SIZE


def true_depths(room):
    return [SessionDepth().of(frame).depth for frame in room[0].frames]


def test_predicted_depth_is_read_from_files_and_labels_still_count(room, tmp_path):
    frame = room[0].frames[0]
    rows, columns = frame.camera.height, frame.camera.width
    depth = np.full((rows, columns), 2.5, np.float32)
    depth[0, 0], depth[0, 1] = np.nan, -1
    np.save(tmp_path / "000000.npy", depth)
    np.save(tmp_path / "000000.confidence.npy", np.full((rows, columns), 0.5, np.float32))
    view = load_view(frame, PredictedDepth(tmp_path))
    sky = frame.labels() == 1
    assert np.isinf(view.depth[sky]).all() and (view.depth[~sky][2:] == 2.5).all()
    assert view.trust.max() == 0.5
    known = PredictedDepth(tmp_path).of(frame).depth
    assert known[0, 0] == 0 and known[0, 1] == 0


def test_each_kind_of_file_gives_the_depth_that_was_put_in(room, tmp_path):
    frame, depth = room[0].frames[2], true_depths(room)[2]
    confidence = np.linspace(1, 5, depth.size, dtype=np.float32).reshape(depth.shape)
    np.savez(tmp_path / "000002.npz", depth_map=depth[None, ..., None], depth_conf=confidence)
    found = PredictedDepth(tmp_path).of(frame)
    np.testing.assert_array_equal(found.depth, depth)
    assert found.confidence.max() == 1 and found.confidence.min() == pytest.approx(0.2)
    (tmp_path / "000002.npz").unlink()
    np.savez_compressed(tmp_path / "000002.npz", disparity=1 / np.maximum(depth, 0.1))
    np.testing.assert_allclose(PredictedDepth(tmp_path).of(frame).depth[depth > 0], depth[depth > 0], rtol=1e-5)
    (tmp_path / "000002.npz").unlink()
    Image.fromarray(np.round(1000 * depth).astype(np.uint16)).save(tmp_path / "000002.png")
    np.testing.assert_allclose(PredictedDepth(tmp_path).of(frame).depth, depth, atol=6e-4)
    np.savez(tmp_path / "all.npz", depth=np.stack(true_depths(room)).astype(np.float16))
    np.testing.assert_allclose(PredictedDepth(tmp_path / "all.npz").of(frame).depth, depth, rtol=1e-3)


def test_a_map_of_another_size_covers_the_same_picture(room, tmp_path):
    frame, depth = room[0].frames[0], true_depths(room)[0]
    np.save(tmp_path / "000000.npy", depth[::2, ::2])
    found = PredictedDepth(tmp_path).of(frame).depth
    np.testing.assert_array_equal(found[::2, ::2], depth[::2, ::2])
    assert found.shape == depth.shape


def test_predictions_off_by_a_factor_are_brought_to_scale_by_the_pictures(room, tmp_path):
    np.savez(tmp_path / "all.npz", depth=0.37 * np.stack(true_depths(room)))
    source = known_depth(room[1].frames, tmp_path / "all.npz", "scale")
    depth, true = source.of(room[1].frames[4]).depth, true_depths(room)[4]
    assert np.median(depth[true > 0] / true[true > 0]) == pytest.approx(1, abs=0.01)


def test_relative_predictions_are_brought_to_depth_though_a_third_of_what_is_known_is_wrong(room, rng):
    true = true_depths(room)[4]
    relative = np.where(true > 0, 1 / (3.1 / np.maximum(true, 0.1) - 0.2), 0).astype(np.float32)
    lying = np.where(rng.random(true.shape) < 0.3, rng.uniform(1, 9, true.shape), true).astype(np.float32)
    source = FoundDepth.of_maps({frame.number: DepthMap(depth=relative, confidence=None) for frame in room[0].frames})
    depth = aligned(room[0].frames, source, [(4, lying)], "affine").of(room[0].frames[4]).depth
    np.testing.assert_allclose(depth[true > 0], true[true > 0], rtol=5e-3)


def test_depth_taken_for_its_inverse_is_told_so(rng):
    true = rng.uniform(1, 5, 500)
    with pytest.raises(ExportError, match="is it 1 / depth, or depth"):
        fit_affine(1 / true, true)


def test_too_little_in_common_cannot_be_brought_to_scale(room):
    nothing = np.zeros((SIZE[1], SIZE[0]), np.float32)
    source = FoundDepth.of_maps({frame.number: DepthMap(depth=nothing, confidence=None) for frame in room[0].frames})
    with pytest.raises(ExportError, match="0 pixels that are sure"):
        aligned(room[0].frames, source, [(0, true_depths(room)[0])], "scale")


def header(shape, kind="<f4"):
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + chr(10)
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def zipped(**entries):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(f"{name}.npy", content)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("000000.npy", header((1_000_000_000, 9)), "not an array"),
        ("000000.npy", b"nothing", "not an array"),
        ("000000.npy", header((4, 4), "<i4") + bytes(64), "floats"),
        ("000000.npy", header((3, 4, 4)) + bytes(192), "must be a map"),
        ("000000.npz", zipped(depth=header((8000, 8000))), "ends before"),
        ("000000.npz", zipped(depth=header((90_000, 90_000))), "at most 8192"),
        ("000000.npz", zipped(depth=header((4, 4), "|O")), "must be floats"),
        ("000000.npz", zipped(colour=header((4, 4)) + bytes(64)), "must hold one of depth"),
        ("000000.npz", b"PK nothing", "not predicted depth"),
        ("000000.png", b"nothing", "not predicted depth"),
        ("other.npy", b"", "is missing"),
    ],
)
def test_predicted_depth_of_another_kind_is_refused(room, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ExportError, match=words):
        PredictedDepth(tmp_path).of(room[0].frames[0])
