"""Laws of all formats: the letter is upright in each and under each profile, same bytes twice, nothing hostile gets in."""

from __future__ import annotations

import json
import struct
import tracemalloc

import numpy as np
import pytest
from keepworld.camera import CONVENTIONS
from keepworld_exporters import formats
from keepworld_exporters.formats import FORMATS, archive, e57, usd_crate
from keepworld_exporters.profiles import PROFILES

from tests import scenes
from tests.exporters.formats import fuzz
from tests.exporters.formats.made import LETTERS, SOME, colour_at, places_and_colours

EVERY = pytest.mark.parametrize("suffix", FORMATS)
COLOURLESS = {".stl"}
# What a place in the session's frame, x right, y down, z forward, is called by the programs; written out by hand.
THERE = {
    "opencv": lambda x, y, z: (x, y, z),
    "gltf": lambda x, y, z: (x, -y, -z),
    "blender": lambda x, y, z: (x, z, -y),
    "unity": lambda x, y, z: (x, -y, z),
    "unreal": lambda x, y, z: (100 * z, 100 * x, -100 * y),
}


@EVERY
def test_the_same_scene_is_the_same_bytes(suffix):
    scene = SOME[FORMATS[suffix].holds]()
    about = {"prompt": "a garden", "seed": 7}
    assert formats.encode(scene, suffix, about) == formats.encode(scene, suffix, about)


@EVERY
def test_what_a_file_says_about_itself_is_in_it(suffix):
    """Where the format has a place for it; a file of these has none."""
    kind = FORMATS[suffix]
    data = kind.write(SOME[kind.holds](), {"licence": "CC0-1.0", "seed": 71})
    if suffix in (".usdc", ".splat.usdc"):
        data = usd_crate.unpack(data)
    if suffix == ".usdz":
        data = usd_crate.unpack(next(iter(archive.unpack(data, "USDZ").values())))
    assert (b"CC0-1.0" in data) == (suffix not in {".spz", ".splat", ".xyz", ".stl"})


@pytest.mark.parametrize("profile", [None, *PROFILES])
@EVERY
def test_the_letter_is_upright_unmirrored_and_to_scale(suffix, profile):
    """In the numbers of the file, of which the program's own axes make what is up, right and a metre."""
    kind = FORMATS[suffix]
    letter = LETTERS[kind.holds]()
    wanted = None if profile is None else PROFILES[profile].convention
    data = formats.encode(letter, suffix, {}, convention=wanted)
    if kind.fixed and profile is not None:
        assert data == formats.encode(letter, suffix, {})
        return
    places, colours = places_and_colours(kind.read(data))
    there = THERE[formats.axes_of(kind, wanted)]
    extent = there(*np.ptp(places_and_colours(letter)[0], axis=0))
    np.testing.assert_allclose(np.ptp(places, axis=0), np.abs(extent), atol=2e-3 * np.abs(extent).max())
    if suffix in COLOURLESS:
        return
    for dark in scenes.F_DARK_PLACES:
        assert colour_at(places, colours, np.array(there(*dark))).mean() < 60, dark
    for light in scenes.F_LIGHT_PLACES:
        assert colour_at(places, colours, np.array(there(*light))).mean() > 190, light
    for name, place in scenes.BAR_PLACES.items():
        assert np.abs(colour_at(places, colours, np.array(there(*place))) - scenes.BARS[name][2]).max() < 8, name


@EVERY
@pytest.mark.parametrize("name", sorted(THERE))
def test_what_was_written_in_any_axes_is_read_into_the_sessions(suffix, name):
    kind = FORMATS[suffix]
    if kind.fixed and name != kind.convention:
        pytest.skip("its readers take its axes for granted")
    letter = LETTERS[kind.holds]()
    before, _ = places_and_colours(letter)
    after, _ = places_and_colours(
        formats.decode(formats.encode(letter, suffix, {}, convention=name), suffix, convention=name)
    )
    for place in before[::97]:
        assert np.linalg.norm(after - place, axis=1).min() < 3e-3


@EVERY
def test_a_file_cut_anywhere_is_refused(suffix):
    kind = FORMATS[suffix]
    data = formats.encode(SOME[kind.holds](), suffix, {})
    if suffix in (".xyz", ".obj", ".splat"):  # text lines, or rows without a header: a shorter file may be a whole one
        pytest.skip("no part of this format says how long it is")
    lengths = [len(data) // 2, len(data) - 30, 0, 1, 3, 11, 16, 20, 80, 84, len(data) // 3]
    for length in lengths[: 3 if suffix in fuzz.APART else None]:
        with pytest.raises(ValueError):
            kind.read(data[:length])


@pytest.mark.parametrize("name", fuzz.samples())
def test_damaged_files_are_read_or_refused_but_nothing_else(name):
    """A bounded run of what `tests.exporters.formats.fuzz` does by hand for as long as one likes."""
    files, read = fuzz.samples()[name]
    assert all(fuzz.is_read_or_refused(read, data) for data in files)
    for number in range(2 if name in fuzz.APART else 60):
        rng = np.random.default_rng((20_261_128, number))
        fuzz.is_read_or_refused(read, fuzz.damaged(files[number % len(files)], rng))


@EVERY
def test_places_that_are_not_numbers_are_refused(suffix):
    kind = FORMATS[suffix]
    scene = SOME[kind.holds]()
    name = {"splats": "means", "points": "positions", "mesh": "vertices"}[kind.holds]
    getattr(scene, name)[1, 1] = np.nan
    with np.errstate(all="ignore"), pytest.raises(ValueError):
        kind.read(kind.write(scene, {}))


def lying_files():
    """Headers that claim a thousand million of something, each in a file of a few hundred bytes."""
    many = 1_000_000_000
    ply = f"ply\nformat binary_little_endian 1.0\nelement vertex {many}\nproperty float x\nproperty float y\nproperty float z\n"
    yield ".points.ply", ply.encode() + b"end_header\n" + bytes(200)
    yield ".splat.ply", ply.encode() + b"end_header\n" + bytes(200)
    yield (
        ".mesh.ply",
        ply.encode() + b"element face 1\nproperty list uchar int vertex_indices\nend_header\n" + bytes(200),
    )
    chunks = formats.encode(SOME["splats"](), ".compressed.ply", {}).replace(b"vertex 40\n", b"vertex 1000000000\n")
    yield ".compressed.ply", chunks
    pcd = formats.encode(SOME["points"](), ".pcd", {})
    yield ".pcd", pcd.replace(b"POINTS 30\n", b"POINTS 1000000000\n")
    yield ".pcd", pcd.replace(b"POINTS 30\nDATA binary", b"POINTS 1000000000\nDATA ascii")
    stl = bytearray(formats.encode(SOME["mesh"](), ".stl", {}))
    stl[80:84] = struct.pack("<I", many)
    yield ".stl", bytes(stl)
    laz = bytearray(formats.encode(SOME["points"](), ".laz", {}))
    laz[247:255] = struct.pack("<Q", many)
    yield ".laz", bytes(laz)
    pages = np.frombuffer(formats.encode(SOME["points"](), ".e57", {}), np.uint8).reshape(-1, 1024)[:, :1020].tobytes()
    told = pages.replace(b'recordCount="30"', b'recordCount="1000000000"')[: len(pages)]
    told = told[:32] + struct.pack("<Q", struct.unpack_from("<Q", told, 32)[0] + 8) + told[40:]  # the XML is longer now
    rows = np.frombuffer(told, np.uint8).reshape(-1, 1020)
    yield ".e57", np.concatenate([rows, e57._checksums(rows)], 1).tobytes()
    for suffix, kind in ((".glb", "mesh"), (".splat.glb", "splats")):
        data = formats.encode(SOME[kind](), suffix, {})
        length = struct.unpack_from("<I", data, 12)[0]
        content = json.loads(data[20 : 20 + length])
        content["accessors"][0]["count"] = many
        text = json.dumps(content).encode()
        rest = data[20 + length :]
        yield (
            suffix,
            struct.pack("<IIIII", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest,
        )


@pytest.mark.parametrize(("suffix", "data"), list(lying_files()))
def test_a_header_that_claims_a_thousand_million_costs_nothing(suffix, data):
    FORMATS[suffix].read(
        formats.encode(SOME[FORMATS[suffix].holds](), suffix, {})
    )  # what is loaded once is not counted
    tracemalloc.start()
    with pytest.raises(ValueError):
        FORMATS[suffix].read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_every_convention_that_a_profile_names_is_tested_here():
    assert {profile.convention for profile in PROFILES.values()} <= set(THERE) <= set(CONVENTIONS)
