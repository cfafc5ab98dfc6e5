"""Pictures that follow from each other, decoded on request; and what a server may not make of them."""

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest
from keepworld import MissingExtraError
from keepworld.video import Run, Video, is_idr

from tests.annexb import psnr

SIZE = (64, 48)


def coded(pictures: list[np.ndarray], size: tuple[int, int] = SIZE, **options: str) -> list[bytes]:
    """The access units of a film, by FFmpeg's own conversion to BT.709."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = *size, "yuv420p"
    context.framerate, context.time_base = Fraction(24), Fraction(1, 24)
    context.options = {"tune": "zerolatency", "qp": "8", **options}
    units = []
    for picture in pictures:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        units += context.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"))
    return [bytes(unit) for unit in units]


@pytest.fixture
def film() -> list[np.ndarray]:
    """Grey ramps that move: no colour, so that nothing is lost to 4:2:0."""
    ramp = np.add.outer(np.arange(48), np.arange(64)) * 2
    return [np.repeat(((ramp + 5 * i) % 224 + 16).astype(np.uint8)[..., None], 3, -1) for i in range(12)]


@pytest.fixture
def run(film) -> Run:
    run = Run(SIZE)
    assert [run.add(unit) for unit in coded(film)] == list(range(12))
    return run


@pytest.mark.parametrize("order", [range(12), range(11, -1, -1), [3, 3, 9, 0, 11, 10]])
def test_pictures_come_in_whatever_order_they_are_asked_for(film, run, order):
    for place in order:
        assert psnr(run.picture(place), film[place]) > 38


def test_threads_may_ask_at_once(film, run):
    with ThreadPoolExecutor(4) as threads:
        for place, picture in enumerate(threads.map(run.picture, range(12))):
            assert psnr(picture, film[place]) > 38


def test_grey_stays_grey(run):
    """Any other matrix, or the wrong range, would colour or stretch it."""
    picture = run.picture(0).astype(int)
    assert np.ptp(picture, axis=-1).max() <= 2


def test_only_an_idr_picture_stands_alone(film):
    units = coded(film[:3])
    assert [is_idr(unit) for unit in units] == [True, False, False]
    assert not any(is_idr(data) for data in (b"", b"\0\0\1", b"\0\0\0\1", b"junk", b"\0\0\1\x67"))


def test_a_chunk_must_begin_with_an_idr_picture(film):
    units = coded(film[:3])
    with pytest.raises(ValueError, match="IDR"):
        Video(SIZE).add(units[1], chunk=0)
    video = Video(SIZE)
    video.add(units[0], chunk=0)
    with pytest.raises(ValueError, match="IDR"):
        video.add(units[1], chunk=1)
    assert video.add(units[1], chunk=0)[1] == 1


def test_another_size_is_refused_before_there_is_memory_for_it(film):
    for size, said in (((64, 32), "64x48"), ((4096, 4096), "damaged")):
        run = Run(SIZE)
        run.add(coded([np.zeros((*size[::-1], 3), np.uint8)], size)[0])
        with pytest.raises(ValueError, match=said):
            run.picture(0)


@pytest.mark.parametrize("keep", [0, 7, 40, 0.5])
def test_what_is_damaged_is_no_picture_and_harms_no_other(film, run, keep):
    units = coded(film)
    damaged = Run(SIZE)
    for i, unit in enumerate(units):
        damaged.add(unit[: int(keep * len(unit)) if keep == 0.5 else keep] if i == 1 else unit)
    assert psnr(damaged.picture(0), film[0]) > 38
    with pytest.raises(ValueError, match=r"damaged H.264"):
        damaged.picture(1)
    assert psnr(damaged.picture(0), film[0]) > 38


def test_without_pyav_the_way_out_is_said(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"keepworld\[video\]"):
        run.picture(0)
