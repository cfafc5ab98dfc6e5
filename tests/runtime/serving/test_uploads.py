"""Videos from a client: decoded in a process that can do nothing else, within its limits, into a clip."""

import hashlib
import io
from contextlib import nullcontext

import grpc
import numpy as np
import pytest
from keepworld.v1 import asset_service_pb2
from keepworld_runtime.serving import decode_video
from keepworld_runtime.serving import server as server_module
from keepworld_runtime.serving.assets import AssetLimits

from tests.runtime.serving.callers import answered
from tests.runtime.serving.client import Walk, create, error_info, script, serving, violation
from tests.runtime.serving.test_assets import CLIP, Request, header, upload

av = pytest.importorskip("av")

VIDEO = asset_service_pb2.ASSET_KIND_VIDEO
NUM, WIDTH, HEIGHT = 12, 64, 48
LIMITS = AssetLimits(max_frames=100, max_pixels=10_000, max_bytes=1_000_000)
FORMATS = [("mp4", "libx264"), ("mov", "mpeg4"), ("matroska", "libx264"), ("webm", "libvpx-vp9")]


def made(container="mp4", codec="libx264", num=NUM) -> bytes:
    """A video of which frame i is grey 20 i."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as written:
        stream = written.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(num):
            pixels = np.full((HEIGHT, WIDTH, 3), 20 * i, np.uint8)
            written.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        written.mux(stream.encode())
    return file.getvalue()


async def decoded(data: bytes, limits=LIMITS) -> np.ndarray:
    return await decode_video.video(data, limits, lambda _: nullcontext())


@pytest.mark.parametrize(("container", "codec"), FORMATS)
async def test_every_frame_of_a_video_comes_out_in_order(container, codec):
    frames = await decoded(made(container, codec))
    assert frames.shape == (NUM, HEIGHT, WIDTH, 3) and frames.dtype == np.uint8
    assert np.abs(frames.mean(axis=(1, 2, 3)) - 20 * np.arange(NUM)).max() < 6  # lossy, and in video's own range


def claiming(number: int, size: int = 1) -> bytes:
    """A video that says how many samples it has, each of so many bytes."""
    data = made()
    at = data.index(b"stsz") + 8
    return data[:at] + size.to_bytes(4, "big") + number.to_bytes(4, "big") + data[at + 8 :]


BOMBS = {
    "a billion frames": claiming(10**9),
    "four billion frames of four gigabytes": claiming(2**32 - 1, 2**32 - 1),
    "a list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "a list of addresses": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n",
    "a list that begins as a video": b"\0\0\0 ftypisom" + b"concat:/etc/passwd|/etc/group\n" * 10,
    "cut short": made()[:700],
    "no frames": made(num=0),
    "a start alone": b"\x1a\x45\xdf\xa3",
    "a GIF": b"GIF89a" + b"\0" * 100,
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
async def test_every_bomb_is_refused_in_words_that_tell_nothing_of_this_machine(name):
    with pytest.raises(ValueError) as refusal:
        await decoded(BOMBS[name])
    assert "/" not in str(refusal.value).replace("MP4, MOV", "") and "Error" not in str(refusal.value)


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (AssetLimits(max_frames=NUM - 1), f"more than {NUM - 1} frames"),
        (AssetLimits(max_pixels=WIDTH * HEIGHT - 1), f"{WIDTH}x{HEIGHT}"),
        (AssetLimits(max_bytes=NUM * WIDTH * HEIGHT * 3 - 1), "bytes"),
    ],
)
async def test_what_is_over_a_limit_is_refused_with_the_limit(limits, what):
    with pytest.raises(ValueError, match=what):
        await decoded(made(), limits)
    assert len(await decoded(made(), AssetLimits(max_frames=NUM, max_pixels=WIDTH * HEIGHT))) == NUM


async def test_a_process_that_the_system_ends_is_a_refusal(monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    child.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(decode_video, "_CHILD", child)
    with pytest.raises(ValueError, match="memory or time"):
        await decoded(made())


async def test_a_process_that_never_ends_is_ended(monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    child.write_text("import signal; signal.pause()")
    monkeypatch.setattr(decode_video, "_CHILD", child)
    monkeypatch.setattr(decode_video, "_WITHIN_S", 0.2)
    with pytest.raises(ValueError, match=r"0\.2 s"):
        await decoded(made())


ESCAPES = """
import sys
sys.argv = ["child", "mov", "10", "10000", "1000000"]
import av, runpy, socket
def reach(*_, **__):
    tried = []
    for what in (lambda: open("/etc/passwd"), socket.socket):
        try: what(); tried.append("open")
        except OSError: tried.append("shut")
    raise ValueError(" ".join(tried))
av.open = reach
runpy.run_path(sys.orig, run_name="__main__")
"""


async def test_when_decoding_begins_no_file_and_no_connection_can_be_opened(monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    child.write_text(ESCAPES.replace("sys.orig", repr(str(decode_video._CHILD))))
    monkeypatch.setattr(decode_video, "_CHILD", child)
    with pytest.raises(ValueError, match="shut shut"):
        await decoded(made())


def parts_of(data: bytes, number: int) -> list[Request]:
    size = -(-len(data) // number)
    return [Request(part=data[i * size : (i + 1) * size]) for i in range(number)]


def messages(data: bytes, *, parts=3, sha256: bytes | None = None, **fields) -> list[Request]:
    ends = [Request(sha256=sha256)] if sha256 else []
    return [header(fields.pop("kind", VIDEO), parts, **fields), *parts_of(data, parts), *ends]


async def test_a_world_goes_on_from_a_video_that_came_in_parts():
    data = made()
    async with serving() as (server, stub):
        answer = await upload(server, *messages(data, sha256=hashlib.sha256(data).digest()))
        assert (answer.frames, answer.width, answer.height) == (NUM, WIDTH, HEIGHT)
        walk = Walk(stub, await create(stub, clip_asset_id=answer.asset_id))
        await walk.attach(only_scripted=True)
        await walk.send(script=script((0.1, 3)))
        assert (await walk.chunk())[1].frames == 16


async def test_a_video_that_is_not_what_was_meant_is_refused_by_its_field(monkeypatch):
    limits = AssetLimits(max_total_bytes=NUM * WIDTH * HEIGHT * 3)
    monkeypatch.setattr(server_module, "AssetLimits", lambda: limits)
    data = made()
    async with serving() as (server, _):
        for changes, field in (
            ({"sha256": bytes(32)}, "sha256"),
            ({"has_cameras": True}, "header"),
            ({"width": 64, "height": 48}, "header"),
            ({"data": data[: len(data) // 2]}, "part"),
            ({"kind": CLIP}, "frame"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await answered(lambda changes=changes: upload(server, *messages(**{"data": data, **changes})))
            assert (refused.value.code(), violation(refused.value.trailing_metadata())) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                field,
            )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await answered(
                lambda: upload(server, *messages(data))
            )  # the file and its frames together are more than there is room for
        assert error_info(refused.value.trailing_metadata()).reason == "TOO_MANY_ASSETS"
        assert server.assets.num_kept == 0 and server.assets._total_bytes == 0
