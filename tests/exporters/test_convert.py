"""`keepworld convert`: any file of a scene into any other of its kind, for the program it is going to."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from keepworld.cli import main as keepworld
from keepworld.errors import ExportError
from keepworld_exporters.convert import convert, main, points_of_splats
from keepworld_exporters.formats import FORMATS, decode, encode
from keepworld_exporters.formats.picture import encode_png
from keepworld_exporters.profiles import PROFILES
from scipy.spatial.transform import Rotation

from tests import scenes
from tests.exporters.formats.made import LETTERS, colour_at, places_and_colours, some_splats, tetrahedron

KINDS = {holds: [suffix for suffix, kind in FORMATS.items() if kind.holds == holds] for holds in LETTERS}
# Between reading and writing there is a scene in memory, so that each into one and one into each is any into any.
PAIRS = [pair for first, *others in KINDS.values() for other in others for pair in ((first, other), (other, first))]
TO_POINTS = [(suffix, ".points.ply") for suffix in (*KINDS["splats"], *KINDS["mesh"])]


def assert_is_the_letter(scene, *, coloured=True):
    places, colours = places_and_colours(scene)
    wanted, _ = places_and_colours(LETTERS["points"]())
    assert np.abs(places.min(0) - wanted.min(0)).max() < 0.05 and np.abs(places.max(0) - wanted.max(0)).max() < 0.05
    if coloured:
        for place in scenes.F_DARK_PLACES:
            assert colour_at(places, colours, np.array(place)).mean() < 60
        for place in scenes.F_LIGHT_PLACES:
            assert colour_at(places, colours, np.array(place)).mean() > 190


@pytest.mark.parametrize(("given", "wanted"), [*PAIRS, *TO_POINTS])
def test_the_letter_comes_through_every_conversion(given, wanted, tmp_path):
    source, target = tmp_path / f"letter{given}", tmp_path / f"out{wanted}"
    source.write_bytes(encode(LETTERS[FORMATS[given].holds](), given, {}))
    convert(source, target)
    assert_is_the_letter(decode(target.read_bytes(), wanted), coloured=".stl" not in (given, wanted))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("holds", LETTERS)
def test_a_profile_names_the_file_and_there_and_back_is_the_same(profile, holds, tmp_path):
    """On the way back the manifest beside the file says which axes it is in."""
    source = tmp_path / f"letter{KINDS[holds][0]}"
    source.write_bytes(encode(LETTERS[holds](), KINDS[holds][0], {}))
    (tmp_path / "there").mkdir()
    there, told = convert(source, tmp_path / "there", profile=profile)
    assert there.name == f"letter{PROFILES[profile].suffixes[holds]}"
    assert json.loads((there.parent / f"{there.name}.manifest.json").read_bytes()) == told
    back, _ = convert(there, tmp_path / f"back{KINDS[holds][0]}")
    assert_is_the_letter(decode(back.read_bytes(), KINDS[holds][0]))


def test_unreal_counts_centimetres_along_its_own_axes(tmp_path):
    (tmp_path / "a.points.ply").write_bytes(encode(LETTERS["points"](), ".points.ply", {}))
    there, told = convert(tmp_path / "a.points.ply", tmp_path / "b.points.ply", profile="unreal")
    places, _ = places_and_colours(FORMATS[".points.ply"].read(there.read_bytes()))
    assert places[:, 0].max() == pytest.approx(300, abs=0.1)  # the wall is three metres ahead
    transform = np.array(told["transform_from_session"])
    np.testing.assert_allclose(transform @ [1, 2, 3], [300, 100, -200])
    assert "centimetres" in told["axes"]


def test_a_plain_ply_is_known_by_what_is_in_it(tmp_path):
    for suffix in (".splat.ply", ".compressed.ply", ".points.ply", ".mesh.ply"):
        source = tmp_path / f"theirs-{suffix[1:4]}.ply"
        source.write_bytes(encode(LETTERS[FORMATS[suffix].holds](), suffix, {}))
        convert(source, tmp_path / "out.points.ply")
        assert_is_the_letter(decode((tmp_path / "out.points.ply").read_bytes(), ".points.ply"))


def test_axes_can_be_said_for_a_file_that_does_not(tmp_path):
    (tmp_path / "a.ply").write_bytes(encode(LETTERS["splats"](), ".splat.ply", {}, convention="unity"))
    convert(tmp_path / "a.ply", tmp_path / "b.spz", axes="unity")
    assert_is_the_letter(decode((tmp_path / "b.spz").read_bytes(), ".spz"))


def test_what_the_manifest_told_goes_along(tmp_path):
    (tmp_path / "a.spz").write_bytes(encode(some_splats(), ".spz", {}))
    (tmp_path / "a.spz.manifest.json").write_text(json.dumps({"prompt": "a garden", "licence": "CC0-1.0"}))
    _, told = convert(tmp_path / "a.spz", tmp_path / "b.splat.glb")
    assert told["prompt"] == "a garden" and told["licence"] == "CC0-1.0" and told["converted_from"] == "a.spz"
    assert b"a garden" in (tmp_path / "b.splat.glb").read_bytes()


def test_an_exports_files_share_a_manifest(tmp_path):
    (tmp_path / "scene.splat.ply").write_bytes(encode(some_splats(), ".splat.ply", {}))
    (tmp_path / "scene.manifest.json").write_text(json.dumps({"prompt": "a garden"}))
    assert convert(tmp_path / "scene.splat.ply", tmp_path / "b.spz")[1]["prompt"] == "a garden"


def test_a_texture_goes_from_file_to_file(tmp_path):
    mesh = tetrahedron(textured=True)
    (tmp_path / "a.glb").write_bytes(encode(mesh, ".glb", {}))
    names = ["a.glb", "b.obj", "c.usdz", "d.obj", "e.glb"]
    for source, target in pairwise(names):
        convert(tmp_path / source, tmp_path / target)
    assert (tmp_path / "b.mtl").is_file() and (tmp_path / "b.png").is_file()
    back = decode((tmp_path / "e.glb").read_bytes(), ".glb")
    np.testing.assert_array_equal(back.texture, mesh.texture)
    by_place = [m.uvs[np.lexsort(np.round(m.vertices, 3).T)] for m in (back, mesh)]
    np.testing.assert_allclose(*by_place, atol=1e-6)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "..", ".", "folder/x.png", "link.png"])
def test_a_material_does_not_lead_to_files_elsewhere(name, tmp_path):
    (tmp_path / "in/folder").mkdir(parents=True)
    for place in ("secret.png", "in/folder/x.png"):
        (tmp_path / place).write_bytes(encode_png(np.zeros((2, 2, 3), np.uint8)))
    (tmp_path / "in/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in/a.obj").write_text("mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    (tmp_path / "in/a.mtl").write_text(f"newmtl world\nmap_Kd {name}\n")
    convert(tmp_path / "in/a.obj", tmp_path / "out.glb")
    assert decode((tmp_path / "out.glb").read_bytes(), ".glb").texture is None


def test_splats_become_points_with_the_thin_axis_as_normal():
    flat = some_splats(20)
    flat.scales[:, 1] = 1e-4
    points = points_of_splats(flat)
    turned = Rotation.from_quat(flat.quats[:, [1, 2, 3, 0]]).apply([0, 1, 0])
    np.testing.assert_allclose(points.normals, turned, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"ply\nrubbish", "a.ply", "PLY"),
        (b"", "a.spz", "SPZ"),
        (b"{}", "a.usdz", "USDZ"),
    ],
)
def test_a_bad_input_is_named_and_leaves_nothing(content, name, message, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    assert main([str(tmp_path / name), str(tmp_path / "out.glb")]) == 1
    told = capsys.readouterr().err
    assert name in told and message in told
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_manifest_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.spz").write_bytes(encode(some_splats(), ".spz", {}))
    for content in ("[1]", "{", "[" * 100_000):
        (tmp_path / "a.spz.manifest.json").write_text(content)
        with pytest.raises(ExportError, match="manifest"):
            convert(tmp_path / "a.spz", tmp_path / "b.splat")


def test_what_cannot_be_is_refused_in_words(tmp_path):
    (tmp_path / "a.points.ply").write_bytes(encode(LETTERS["points"](), ".points.ply", {}))
    with pytest.raises(ExportError, match="points cannot be converted to mesh"):
        convert(tmp_path / "a.points.ply", tmp_path / "b.glb")
    with pytest.raises(ValueError, match=r"\.glb"):
        convert(tmp_path / "a.points.ply", tmp_path / "b.fbx")
    with pytest.raises(ValueError, match="--profile"):
        convert(tmp_path / "a.points.ply", tmp_path)


def test_the_command_prints_one_object(tmp_path, capsys):
    (tmp_path / "a.points.ply").write_bytes(encode(LETTERS["points"](), ".points.ply", {}))
    assert main([str(tmp_path / "a.points.ply"), str(tmp_path / "b.laz"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"].endswith("b.laz") and told["bytes"] == (tmp_path / "b.laz").stat().st_size


def test_the_command_line_knows_the_command(monkeypatch):
    class BecameError(Exception):
        pass

    def become(module, arguments, *, extra):
        raise BecameError(module, arguments, extra)

    monkeypatch.setattr("keepworld.cli.convert.become", become)
    with pytest.raises(BecameError) as became:
        keepworld(["convert", "a", "b"])
    assert became.value.args == ("keepworld_exporters.convert", ["a", "b"], "export")


def test_a_captures_cameras_tell_what_they_were_made_by(letter_capture, tmp_path):
    target, told = convert(letter_capture.folder, tmp_path / "walk.cameras.json")
    assert told["family"] == "closed-form" and told["licence"] == "CC0-1.0" and told["converted_from"] == "walk"
    assert json.loads((tmp_path / "walk.cameras.json.manifest.json").read_bytes()) == told
    assert json.loads(target.read_bytes())["about"] == told


def test_what_was_measured_of_one_file_is_not_said_of_another(tmp_path):
    (tmp_path / "a.spz").write_bytes(encode(some_splats(), ".spz", {}))
    (tmp_path / "a.spz.manifest.json").write_text(json.dumps({"metrics": {"psnr": 30.0}}))
    _, told = convert(tmp_path / "a.spz", tmp_path / "b.splat")
    assert "metrics" not in told and told["source_metrics"] == {"psnr": 30.0}


def test_axes_that_are_said_outright_count_in_every_format(tmp_path):
    """SPZ is y up by its text, but PlayCanvas' programs write it y down."""
    (tmp_path / "theirs.spz").write_bytes(FORMATS[".spz"].write(LETTERS["splats"](), {}))
    convert(tmp_path / "theirs.spz", tmp_path / "ours.splat.ply", axes="opencv")
    assert_is_the_letter(decode((tmp_path / "ours.splat.ply").read_bytes(), ".splat.ply"))


@pytest.mark.parametrize("holds", LETTERS)
def test_a_plain_ply_holds_what_the_scene_is(holds, tmp_path):
    given = KINDS[holds][-1]
    (tmp_path / f"a{given}").write_bytes(encode(LETTERS[holds](), given, {}))
    path, _ = convert(tmp_path / f"a{given}", tmp_path / "new" / "folder" / "out.ply")
    suffix = {"splats": ".splat.ply", "points": ".points.ply", "mesh": ".mesh.ply"}[holds]
    assert_is_the_letter(decode(path.read_bytes(), suffix))


def test_a_file_is_not_written_over_while_it_is_read(tmp_path):
    (tmp_path / "a.spz").write_bytes(encode(some_splats(), ".spz", {}))
    with pytest.raises(ValueError, match="another name"):
        convert(tmp_path / "a.spz", tmp_path / "." / "a.spz")


def test_cameras_do_not_become_a_scene(letter_capture, tmp_path):
    for source in (letter_capture.folder, letter_capture.folder / "transforms.json", tmp_path):
        with pytest.raises(ValueError, match=r"cameras.*\.cameras\.json"):
            convert(source, tmp_path / "a.spz")
    with pytest.raises(ExportError, match="is not there"):
        convert(tmp_path / "nothing.ply", tmp_path / "a.spz")
