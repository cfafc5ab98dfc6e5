"""Small files that would unpack to large scenes, or lead out of themselves, are refused before memory is spent."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import zstandard
from keepworld_exporters.formats import FORMATS, archive, camera_usd, e57, encode, sog, spz, usd_crate
from keepworld_exporters.formats.picture import decode_picture, decode_pixels, encode_pixels, encode_png

from tests.exporters.formats.made import SOME, some_points, some_splats, some_views, tetrahedron

MANY = 20_000_000


def assert_refused(read, data, match=None):
    """It is refused, and what was allocated for that stays below 30 MB."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=match):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_an_spz_of_nothing_but_zeros():
    header = struct.pack("<IIIBBBB", 0x5053474E, 3, MANY, 3, 12, 0, 0)
    assert_refused(spz.decode, gzip.compress(header + bytes(2_000_000)), match="claims 20000000 splats")


@pytest.mark.parametrize("told", [True, False], ids=["frames that know their size", "frames that do not"])
def test_an_spz_whose_streams_unpack_to_more_than_their_splats(told):
    """The table says what 40 splats need; the first stream holds a hundred million zeros."""
    data = bytearray(spz.encode(some_splats(40, 0), version=4))
    at = struct.unpack_from("<I", data, 16)[0]
    packer = zstandard.ZstdCompressor(write_content_size=told).compressobj(size=10**8 if told else -1)
    bomb = b"".join(packer.compress(bytes(10**7)) for _ in range(10)) + packer.flush()
    rest = bytes(data[at + 80 + struct.unpack_from("<Q", data, at)[0] :])
    data[at : at + 8] = struct.pack("<Q", len(bomb))
    assert_refused(spz.decode, bytes(data[: at + 80]) + bomb + rest)


def sog_with(**changed):
    files = archive.unpack(sog.encode(some_splats(40, 3)), "SOG")
    meta = json.loads(files["meta.json"])
    files |= {name: value for name, value in changed.items() if isinstance(value, bytes)}
    meta |= {name: value for name, value in changed.items() if not isinstance(value, bytes)}
    return archive.pack({**files, "meta.json": json.dumps(meta).encode()})


def test_a_sog_that_claims_millions():
    assert_refused(sog.decode, sog_with(count=MANY), match="more than")
    assert_refused(sog.decode, sog_with(count=-1))
    assert_refused(sog.decode, sog_with(count=True))


def test_a_sog_whose_pictures_are_larger_than_its_splats():
    wide = encode_pixels(np.zeros((4096, 4096, 4), np.uint8))
    assert len(wide) < 5000
    assert_refused(sog.decode, sog_with(**{"sh0.webp": wide}), match="4096 x 4096")


def test_a_sog_whose_names_lead_elsewhere():
    for name in ("../../etc/passwd", "/etc/passwd", 3, None):
        assert_refused(sog.decode, sog_with(scales={"codebook": [0.0] * 256, "files": [name]}))


def test_a_sog_whose_codebooks_or_labels_are_too_short():
    files = archive.unpack(sog.encode(some_splats(40, 3)), "SOG")
    shn = json.loads(files["meta.json"])["shN"]
    assert_refused(sog.decode, sog_with(scales={"codebook": [0.0] * 3, "files": ["scales.webp"]}), match="codebook")
    assert_refused(sog.decode, sog_with(shN={**shn, "count": 7}), match="palette of 7")
    assert_refused(sog.decode, sog_with(shN={**shn, "bands": 3}), match="palette")


@pytest.mark.parametrize("suffix", [".sog", ".usdz"])
def test_archives_that_unpack_to_more_than_they_can_hold(suffix):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as zipped:
        for k in range(10):
            zipped.writestr(f"{k}.webp", bytes(20_000_000))
    assert_refused(FORMATS[suffix].read, bomb.getvalue())


def test_a_picture_that_lies_about_its_size():
    data = bytearray(encode_pixels(np.zeros((8, 8, 4), np.uint8)))
    assert data[12:16] == b"VP8L"
    data[21:25] = struct.pack("<I", 16382 | 16382 << 14 | 1 << 28)
    assert_refused(lambda given: decode_pixels(given, most=10**9), bytes(data))
    assert_refused(lambda given: decode_pixels(given, most=64), bytes(data), match="16383 x 16383")


def changed_glb(scene, suffix, change):
    data = encode(scene, suffix, {})
    length = struct.unpack_from("<I", data, 12)[0]
    content = json.loads(data[20 : 20 + length])
    change(content)
    text = json.dumps(content).encode()
    rest = data[20 + length :]
    return struct.pack("<IIIII", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest


def test_a_mesh_that_is_placed_a_hundred_thousand_times():
    mesh = SOME["mesh"]()
    many = 3000
    wide = type(mesh)(
        vertices=np.zeros((many, 3), np.float32),
        faces=np.zeros((many, 3), np.int32),
        colours=np.zeros((many, 3), np.uint8),
    )

    def place(content):
        content["nodes"] = [{"mesh": 0}] * 100_000
        content["scenes"] = [{"nodes": list(range(100_000))}]

    with pytest.raises(ValueError, match="meshes, "):
        FORMATS[".glb"].read(changed_glb(wide, ".glb", place))


@pytest.mark.parametrize("uri", ["../../etc/passwd", "file:///etc/passwd", "https://example.org/x.bin", "data:,x"])
def test_a_glb_whose_numbers_lie_in_other_files(uri):
    def lead_out(content):
        content["buffers"].append({"uri": uri, "byteLength": 10})
        for view in content["bufferViews"]:
            view["buffer"] = 1

    with pytest.raises(ValueError, match="another file"):
        FORMATS[".glb"].read(changed_glb(tetrahedron(), ".glb", lead_out))
    with pytest.raises(ValueError, match="another file"):
        FORMATS[".splat.glb"].read(changed_glb(some_splats(), ".splat.glb", lead_out))


def test_a_texture_that_lies_in_another_file_is_not_fetched():
    def lead_out(content):
        content["images"] = [{"uri": "../../etc/passwd"}]

    assert FORMATS[".glb"].read(changed_glb(tetrahedron(textured=True), ".glb", lead_out)).texture is None


def test_a_texture_of_many_pixels_in_few_bytes():
    data = bytearray(encode_png(np.zeros((4, 4, 3), np.uint8)))
    data[16:24] = struct.pack(">II", 12_000, 12_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    assert_refused(decode_picture, bytes(data), match="12000 x 12000")


def test_an_e57_that_declares_types_in_another_encoding():
    """As UTF-16 the marks that declare have other bytes."""
    data = e57.encode(some_points())
    pages = np.frombuffer(data, np.uint8).reshape(-1, 1024)[:, :1020].tobytes()
    text = '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a [<!ENTITY b "cccccccccc">]><a>&b;</a>'.encode("utf-16")
    header = pages[:24] + struct.pack("<QQ", 48, len(text)) + pages[40:48]
    logical = header + text
    logical += b"\0" * (-len(logical) % 1020)
    header = header[:16] + struct.pack("<Q", len(logical) // 1020 * 1024) + header[24:]
    rows = np.frombuffer(header + logical[48:], np.uint8).reshape(-1, 1020)
    with pytest.raises(ValueError):
        e57.decode(np.concatenate([rows, e57._checksums(rows)], 1).tobytes())


@pytest.mark.parametrize("suffix", [".usdc", ".splat.usdc"])
def test_a_usd_file_that_leads_to_others_opens_none(suffix, tmp_path):
    """What it names is neither looked for nor let in: a stage is read alone."""
    text = b'#usda 1.0\n(\n    subLayers = [@/etc/passwd@, @../../secret.usda@]\n)\ndef "a" (references = @x.usda@</b>)\n{\n}\n'
    (tmp_path / "x.usda").write_bytes(b'#usda 1.0\ndef "b"\n{\n}\n')
    with pytest.raises(ValueError, match="arrays"):
        FORMATS[suffix].read(usd_crate.pack(text))


def test_a_crate_of_rubbish_is_refused():
    data = bytearray(encode(tetrahedron(), ".usdc", {}))
    for start in (8, 16, 88, len(data) - 200):
        broken = bytes(data[:start]) + b"\xff" * 60 + bytes(data[start + 60 :])
        with pytest.raises(ValueError):
            FORMATS[".usdc"].read(broken)


def test_a_camera_file_of_nothing_but_line_ends_is_soon_done_with():
    """Looking again from every one of them would take longer than any test may."""
    data = camera_usd.encode(some_views()).replace(b"timeSamples = {", b"timeSamples = {" + b"\n " * 200_000)
    data = data.replace(b"}\n        uniform token[] xformOpOrder", b"\n        uniform token[] xformOpOrder")
    with pytest.raises(ValueError):
        camera_usd.decode(data)
