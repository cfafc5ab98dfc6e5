"""Pictures and frames from a client: measured before they are decoded, kept for a while, and what worlds begin with."""

import io

import grpc
import numpy as np
import pytest
from keepworld import png
from keepworld.v1 import asset_service_pb2, asset_service_pb2_grpc, frame_pb2, geometry_pb2, world_service_pb2
from keepworld_runtime.engine.errors import InputNotSupportedError
from keepworld_runtime.families import load_family
from keepworld_runtime.serving import server as server_module
from keepworld_runtime.serving import validate
from keepworld_runtime.serving.assets import AssetLimits, AssetStore
from PIL import Image

from tests import families
from tests.runtime.serving.client import (
    RAW,
    Walk,
    create,
    error_info,
    eventually,
    pixels,
    script,
    serving,
    spec,
    violation,
)

PNG, JPEG = frame_pb2.IMAGE_ENCODING_PNG, frame_pb2.IMAGE_ENCODING_JPEG
IMAGE, CLIP = asset_service_pb2.ASSET_KIND_IMAGE, asset_service_pb2.ASSET_KIND_CLIP
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
Request = asset_service_pb2.UploadAssetRequest


def header(kind=IMAGE, frames=1, **fields) -> Request:
    return Request(header=asset_service_pb2.AssetHeader(kind=kind, frames=frames, **fields))


def frame(data: bytes, encoding=PNG, z: float | None = None) -> Request:
    camera = None
    if z is not None:
        camera = geometry_pb2.RigidTransform(
            rotation=geometry_pb2.Quaternion(w=1), translation=geometry_pb2.Vector3(z=z)
        )
    image = frame_pb2.Image(encoding=encoding, data=data)
    return Request(frame=asset_service_pb2.AssetFrame(image=image, world_from_camera=camera))


def grey(value: int, width: int = 24, height: int = 16) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


async def upload(server, *messages: Request) -> asset_service_pb2.UploadAssetResponse:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        return await asset_service_pb2_grpc.AssetServiceStub(channel).UploadAsset(iter(messages), timeout=20)


async def refused(call) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    trailing = error.value.trailing_metadata()
    return error.value.code(), error_info(trailing).reason, violation(trailing)


def jpeg(image: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=100, **options)
    return file.getvalue()


async def began_with(server, stub, messages, field: str) -> int:
    """The red of what was uploaded, as the gradient shows it in its first frame."""
    asset = await upload(server, *messages)
    walk = Walk(stub, await create(stub, **{field: asset.asset_id}))
    await walk.attach(only_scripted=True)
    await walk.send(script=script((0.0, 1)))
    frames, _ = await walk.chunk()
    return (int(pixels(frames[0])[0, 0, 0]) - int(families.picture(spec(), 0, 0.0, 0)[0, 0, 0])) % 256


@pytest.mark.parametrize(
    "messages",
    [
        [header(), frame(png.encode(grey(90)))],
        [header(), frame(jpeg(grey(90)), JPEG)],
        [header(width=24, height=16), frame(grey(90).tobytes(), RAW)],
    ],
    ids=["png", "jpeg", "raw"],
)
async def test_a_picture_reaches_the_world_whatever_it_came_as(messages):
    async with serving() as (server, stub):
        assert await began_with(server, stub, messages, "image_asset_id") == 90


async def test_a_photograph_taken_upright_is_upright():
    tall = grey(10, 16, 24)
    tall[:12] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn the rows clockwise to look at it
    turned = np.ascontiguousarray(np.rot90(tall))
    async with serving() as (server, stub):
        messages = [header(), frame(jpeg(turned, exif=exif), JPEG)]
        answer = await upload(server, *messages)
        assert (answer.width, answer.height) == (16, 24)
        assert await began_with(server, stub, messages, "image_asset_id") == pytest.approx(200, abs=2)


async def test_a_session_goes_on_from_a_clip_where_its_last_camera_was():
    given = [frame(png.encode(grey(value)), z=z) for value, z in ((5, 5.0), (6, 6.0), (7, 7.5))]
    async with serving() as (server, stub):
        asset = await upload(server, header(CLIP, 3, has_cameras=True), *given)
        created = await create(stub, clip_asset_id=asset.asset_id)
        walk = Walk(stub, created)
        await walk.attach(only_scripted=True)
        await walk.send(script=script((0.5, 32)))
        receipt = await walk.until("receipt")
        chunks = [await walk.chunk() for _ in range(2)]
    assert (asset.frames, asset.width, asset.height) == (3, 24, 16)
    assert created.session.first_chunk_frames == 16
    assert receipt.applies_to_chunk == 0
    frames = [each for made, _ in chunks for each in made]
    assert [each.seq for each in frames] == list(range(32))
    walked = [each.camera.world_from_camera.translation.z for each in frames]
    assert walked == [
        7.5 + 0.5 * (i + 1) for i in range(32)
    ]  # the first new frame has moved on from the last given one
    assert [end.frames for _, end in chunks] == [16, 16]


BAD = [
    ([], "header"),
    ([frame(b"")], "header"),
    ([header(asset_service_pb2.ASSET_KIND_UNSPECIFIED)], "header.kind"),
    ([header(frames=0)], "header.frames"),
    ([header(frames=2)], "header.frames"),
    ([header(CLIP, 1025)], "header.frames"),
    ([header(CLIP, 2**32 - 1)], "header.frames"),
    ([header(width=8)], "header.width"),
    ([header(width=2**32 - 1, height=2**32 - 1)], "header.width"),
    ([header()], "frame"),
    ([header(), header()], "frame"),
    ([header(CLIP, 2), frame(png.encode(grey(1)))], "frame"),
    ([header(), *[frame(png.encode(grey(1)))] * 2], "frame"),
    ([header(), frame(grey(1).tobytes(), RAW)], "frame.image.data"),
    ([header(width=24, height=17), frame(grey(1).tobytes(), RAW)], "frame.image.data"),
    ([header(width=24, height=17), frame(png.encode(grey(1)))], "frame.image.data"),
    ([header(CLIP, 2), frame(png.encode(grey(1))), frame(png.encode(grey(1, 16)))], "frame.image.data"),
    ([header(), frame(png.encode(grey(1)), JPEG)], "frame.image.data"),
    ([header(), frame(png.encode(grey(1))[:60])], "frame.image.data"),
    ([header(), frame(b"")], "frame.image.data"),
    ([header(), frame(b"", frame_pb2.IMAGE_ENCODING_UNSPECIFIED)], "frame.image.encoding"),
    ([header(), frame(png.encode(np.zeros((3000, 3000), np.uint8)))], "frame.image.data"),
    ([header(CLIP, 1024), frame(png.encode(grey(1, 1000, 1000)))], "header.frames"),
    ([header(), frame(png.encode(grey(1)), z=1.0)], "frame.world_from_camera"),
    ([header(has_cameras=True), frame(png.encode(grey(1)))], "frame.world_from_camera"),
    ([header(has_cameras=True), frame(png.encode(grey(1)), z=float("nan"))], "frame.world_from_camera.translation"),
]  # fmt: skip


async def test_every_bad_upload_is_refused_with_its_field_and_keeps_nothing():
    async with serving() as (server, _):
        for messages, field in BAD:
            assert await refused(upload(server, *messages)) == (INVALID, "INVALID_FIELD", field), messages[:1]
        answer = await upload(server, header(), frame(png.encode(grey(1))))
    assert len(answer.asset_id) == 32


async def test_what_a_world_begins_with_is_refused_by_name():
    async with serving(families=("gradient=tests.families",)) as (server, stub):
        image = (await upload(server, header(), frame(png.encode(grey(1))))).asset_id
        clip = (await upload(server, header(CLIP, 1), frame(png.encode(grey(1))))).asset_id
        for fields, found in [
            ({"image_asset_id": "0" * 32}, (NOT_FOUND, "ASSET_NOT_FOUND", "image_asset_id")),
            ({"image_asset_id": clip}, (NOT_FOUND, "ASSET_NOT_FOUND", "image_asset_id")),
            ({"clip_asset_id": image}, (NOT_FOUND, "ASSET_NOT_FOUND", "clip_asset_id")),
            ({"image_asset_id": image, "clip_asset_id": clip}, (INVALID, "INVALID_FIELD", "clip_asset_id")),
        ]:
            assert await refused(create(stub, **fields)) == found
        told = (await stub.GetCapabilities(world_service_pb2.GetCapabilitiesRequest())).families[0]
        assert told.takes_image and told.takes_clip


@pytest.mark.parametrize("field", ["image_asset_id", "clip_asset_id"])
def test_a_family_that_takes_neither_says_so(field):
    request = world_service_pb2.CreateSessionRequest(family="diorama", **{field: "x"})
    with pytest.raises(InputNotSupportedError, match="diorama takes no") as refusal:
        validate.world_spec(request, load_family("diorama").capabilities, AssetStore(AssetLimits()))
    assert refusal.value.field == field


async def test_assets_are_bounded_and_go_when_their_time_is_over(monkeypatch):
    limits = AssetLimits(max_assets=2, max_total_bytes=3 * 24 * 16 * 3, kept_s=0.3)
    monkeypatch.setattr(server_module, "AssetLimits", lambda: limits)
    async with serving() as (server, stub):
        messages = (header(), frame(png.encode(grey(1))))
        first = (await upload(server, *messages)).asset_id
        await upload(server, *messages)
        full = (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_ASSETS", "")
        assert await refused(upload(server, *messages)) == full

        with pytest.raises(grpc.aio.AioRpcError, match=r"0\.3 s"):
            while True:
                opened = await create(stub, image_asset_id=first)
                named = {"session_id": opened.session.session_id, "token": opened.token}
                await stub.CloseSession(world_service_pb2.CloseSessionRequest(**named))
        await eventually(lambda: not server.assets.num_kept)
        two = [header(CLIP, 2), *[frame(png.encode(grey(1)))] * 2]
        await upload(server, *two)
        assert await refused(upload(server, *two)) == full  # by their bytes, not their number


async def test_a_session_that_ended_lets_its_frames_go():
    async with serving() as (server, stub):
        asset = await upload(server, header(), frame(png.encode(grey(1))))
        created = await create(stub, image_asset_id=asset.asset_id)
        (session,) = server.engine.sessions()
        assert session.spec.image is not None
        named = {"session_id": created.session.session_id, "token": created.token}
        await stub.CloseSession(world_service_pb2.CloseSessionRequest(**named))
        assert session.spec.image is None
