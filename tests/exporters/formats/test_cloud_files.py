"""Cloud files: what is written is read within the format's step; laspy, plyfile and numpy read it the same way."""

from __future__ import annotations

import io

import laspy
import numpy as np
import pytest
from keepworld_exporters.formats import e57, laz, pcd, points_ply, xyz

from tests.exporters.formats.made import assert_same, some_points


@pytest.mark.parametrize("module", [points_ply, pcd])
def test_binary_clouds_lose_nothing(module):
    points = some_points()
    assert_same(module.decode(module.encode(points)), points)


def test_laz_keeps_a_tenth_of_a_millimetre_and_everything_else():
    points = some_points()
    back = laz.decode(laz.encode(points))
    assert np.abs(back.positions - points.positions).max() <= 0.5e-4 + 2e-6
    for name in ("normals", "colours", "confidence"):
        np.testing.assert_array_equal(getattr(back, name), getattr(points, name))


def test_text_keeps_six_digits_behind_the_point():
    points = some_points()
    back = xyz.decode(xyz.encode(points))
    assert np.abs(back.positions - points.positions).max() <= 1.5e-6
    np.testing.assert_array_equal(back.colours, points.colours)


def test_laspy_reads_the_cloud_and_what_it_says_about_itself():
    points = some_points()
    las = laspy.read(io.BytesIO(laz.encode(points, {"prompt": "a grey façade"})))
    np.testing.assert_allclose(np.stack([las.x, las.y, las.z], 1), points.positions, atol=1e-4)
    np.testing.assert_array_equal(np.stack([las.red, las.green, las.blue], 1) // 257, points.colours)
    assert las.header.version == laspy.header.Version(1, 4) and las.header.point_format.id == 7
    told = next(record for record in las.header.vlrs if record.user_id == "keepworld")
    assert b"a grey fa" in told.record_data


def test_a_las_file_of_others_is_read():
    las = laspy.create(point_format=2, file_version="1.2")
    las.x, las.y, las.z = np.arange(30).reshape(3, 10) * 0.25
    las.red = np.arange(10) * 20  # bytes in 16 bits, as some leave them
    file = io.BytesIO()
    las.write(file)
    points = laz.decode(file.getvalue())
    np.testing.assert_allclose(points.positions[:, 1], np.arange(10, 20) * 0.25, atol=0.01)
    np.testing.assert_array_equal(points.colours[:, 0], np.arange(10) * 20)


def test_a_pcd_of_others_is_read():
    """The example of the format's own text: no normals, colours in a float's bits, text."""
    text = b"""# .PCD v.7 - Point Cloud Data file format
VERSION .7
FIELDS x y z rgb
SIZE 4 4 4 4
TYPE F F F F
COUNT 1 1 1 1
WIDTH 2
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS 2
DATA ascii
0.93773 0.33763 0 4.2108e+06
0.90805 0.35641 0 4.2108e+06
"""
    points = pcd.decode(text)
    np.testing.assert_allclose(points.positions[1], [0.90805, 0.35641, 0])
    assert bytes(points.colours[0]) == int(np.float32(4.2108e6).view(np.uint32)).to_bytes(4, "big")[1:]


@pytest.mark.parametrize(
    "text", [b"1 2\n", b"1 2 3\n4 5\n", b"a b c\n", b"", b"1 2 3 400 0 0\n", b"nan 0 0\n", b"1 2 3 4\n"]
)
def test_text_that_is_no_cloud_is_refused(text):
    with pytest.raises(ValueError):
        xyz.decode(text)


def test_e57_keeps_floats_and_colours():
    points = some_points()
    back = e57.decode(e57.encode(points))
    for name in ("positions", "normals", "colours"):
        np.testing.assert_array_equal(getattr(back, name), getattr(points, name))


def test_the_checksum_of_e57_is_castagnolis():
    """Its check value for the digits 1 to 9 (RFC 3720 and every catalogue of CRCs)."""
    assert bytes(e57._checksums(np.frombuffer(b"123456789", np.uint8)[None])[0]) == bytes.fromhex("e3069283")


def test_a_page_that_was_changed_is_refused():
    data = bytearray(e57.encode(some_points()))
    data[100] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        e57.decode(bytes(data))


def test_libe57_reads_our_clouds_over_many_packets(tmp_path):
    pye57 = pytest.importorskip("pye57", reason="pye57 is not installed")
    points = some_points(5000)
    (tmp_path / "x.e57").write_bytes(e57.encode(points, {"prompt": "a <garden> & ]]> more"}))
    scan = pye57.E57(str(tmp_path / "x.e57")).read_scan(0, colors=True, ignore_missing_fields=True)
    np.testing.assert_array_equal(np.stack([scan[f"cartesian{a}"] for a in "XYZ"], 1), points.positions)
    np.testing.assert_array_equal(np.stack([scan[f"color{c}"] for c in ("Red", "Green", "Blue")], 1), points.colours)


def test_we_read_libe57s_clouds_where_their_pose_puts_them(tmp_path):
    pye57 = pytest.importorskip("pye57", reason="pye57 is not installed")
    points = some_points(5000)
    columns = {f"cartesian{a}": points.positions[:, k].astype(np.float64) for k, a in enumerate("XYZ")}
    columns |= {f"color{c}": points.colours[:, k] for k, c in enumerate(("Red", "Green", "Blue"))}
    file = pye57.E57(str(tmp_path / "x.e57"), mode="w")
    file.write_scan_raw(
        columns, rotation=np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)]), translation=np.array([1.0, 2, 3])
    )
    file.close()
    back = e57.decode((tmp_path / "x.e57").read_bytes())
    turned = points.positions[:, [1, 0, 2]] * [-1, 1, 1] + [1, 2, 3]
    np.testing.assert_allclose(back.positions, turned, atol=1e-5)
    np.testing.assert_array_equal(back.colours, points.colours)


def test_what_breaks_the_reader_of_packed_clouds_breaks_it_apart():
    """The first chunk of a LAZ file says how large its layers are, and lazrs makes room for whatever that is."""
    data = bytearray(laz.encode(some_points()))
    start = int.from_bytes(data[96:100], "little") + 8
    for at in range(start + 38, start + 120, 4):
        data[at : at + 4] = b"\xff\xff\xff\xf0"
    with pytest.raises(ValueError):
        laz.decode(bytes(data))


def test_a_cloud_with_thousands_of_millions_of_records_is_refused_by_its_header():
    data = bytearray(laz.encode(some_points()))
    data[243:247] = (2**32 - 1).to_bytes(4, "little")
    with pytest.raises(ValueError, match="more than"):
        laz.decode(bytes(data))
