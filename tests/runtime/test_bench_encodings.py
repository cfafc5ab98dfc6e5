"""The benchmark of encodings: what it counts is what a frame has, and what is exact is told from what is not."""

import json

import pytest
from keepworld_runtime.bench import encodings


def test_it_counts_what_frames_have(capsys):
    assert encodings.main(["--sizes", "128x72", "--qualities", "60", "--chunks", "1", "--json"]) == 0
    rows = {row["encoding"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["raw", "png", "jpeg q60", "h264 q60", "depth"]
    assert rows["raw"]["frame_bytes"] == 128 * 72 * 3
    assert rows["raw"]["megabits_a_second"] == pytest.approx(128 * 72 * 3 * 8 * 24 / 1e6)
    assert all((rows[name]["psnr_db"] is None) == (name in ("raw", "png", "depth")) for name in rows)
    assert all(30 < rows[name]["psnr_db"] < 50 for name in ("jpeg q60", "h264 q60"))
    assert rows["h264 q60"]["frame_bytes"] < rows["jpeg q60"]["frame_bytes"] < rows["png"]["frame_bytes"]


@pytest.mark.parametrize("wrong", [["--sizes", "129x72"], ["--sizes", "big"], ["--qualities", "0"], ["--chunks", "0"]])
def test_what_it_cannot_measure_it_says(wrong, capsys):
    with pytest.raises(SystemExit):
        encodings.main(wrong)
    assert wrong[1] in capsys.readouterr().err
