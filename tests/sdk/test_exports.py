"""What a server says of exports is measured before it is believed."""

import hashlib

import pytest
from keepworld import ProtocolError, wire_export
from keepworld.download import _Coming
from keepworld.v1 import asset_service_pb2, export_service_pb2
from keepworld.wire_export import ExportedFile

DATA = b"a file's bytes"
SIZE = len(DATA)
SHA256 = hashlib.sha256(DATA).hexdigest()


def operation(**fields):
    values = {
        "operation_id": "x",
        "kind": export_service_pb2.OPERATION_KIND_EXPORT,
        "state": export_service_pb2.OPERATION_STATE_DONE,
        **fields,
    }
    return export_service_pb2.Operation(**values)


def with_files(*names, size=SIZE, sha256=SHA256):
    files = [export_service_pb2.OperationFile(name=name, size=size, sha256=sha256) for name in names]
    return operation(files=files)


def test_what_is_well_is_read():
    status = wire_export.status(with_files("world.glb", "tiles/a.glb"))
    assert (status.kind, status.state, status.has_ended) == ("export", "done", True)
    assert [file.name for file in status.files] == ["world.glb", "tiles/a.glb"]


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "",
        ".",
        "..",
        "a/",
        "a//b",
        ".hidden",
        "a/.b",
        "a\\b",
        "a\0b",
        "a\n",
        "C:x",
        "a" * 200,
    ],
)
def test_no_name_leads_elsewhere(name):
    with pytest.raises(ProtocolError, match="name"):
        wire_export.status(with_files(name))


@pytest.mark.parametrize(
    "message",
    [
        operation(state=0),
        operation(kind=0),
        operation(progress={"share": 1.5}),
        operation(progress={"share": float("nan")}),
        operation(progress={"left_s": -1.0}),
        operation(created_s=float("inf")),
        with_files("a", size=1 << 60),
        with_files("a", sha256="x"),
        with_files("a", "a"),
        with_files(*(f"f{i}" for i in range(1001))),
    ],
)
def test_what_cannot_be_is_refused(message):
    with pytest.raises(ProtocolError):
        wire_export.status(message)


def part(**fields):
    return asset_service_pb2.DownloadAssetResponse(**fields)


def test_a_file_must_be_the_one_that_was_said():
    file = ExportedFile(name="a", size=len(DATA), sha256=SHA256)
    coming = _Coming(file)
    coming.take(part(size=len(DATA), sha256=SHA256))
    coming.take(part(data=DATA[:5]))
    coming.take(part(size=len(DATA), sha256=SHA256))  # asked for again, from there
    coming.take(part(data=DATA[5:]))
    coming.check_whole()
    with pytest.raises(ProtocolError, match="more"):
        coming.take(part(data=b"x"))
    with pytest.raises(ProtocolError, match="another"):
        _Coming(file).take(part(size=len(DATA), sha256="0" * 64))
    damaged = _Coming(file)
    damaged.take(part(data=b"x" * len(DATA)))
    with pytest.raises(ProtocolError, match="SHA-256"):
        damaged.check_whole()


def test_a_status_is_one_line_that_people_read():
    waiting = operation(
        state=export_service_pb2.OPERATION_STATE_WAITING, progress={"stage": "capture", "share": 0.125, "ahead": 2}
    )
    assert str(wire_export.status(waiting)) == " 12% waiting, 2 before it"
    running = operation(
        state=export_service_pb2.OPERATION_STATE_RUNNING,
        progress={"stage": "mesh", "share": 0.5, "left_s": 12.3, "memory_bytes": 300 << 20},
    )
    assert str(wire_export.status(running)) == " 50% mesh, 12 s left, 300 MiB"
