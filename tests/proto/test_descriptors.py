"""The descriptor set of a release: all that a program needs that has neither our .proto files nor a protoc."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.runtime.serving.client import serving

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pb2.FileDescriptorSet:
    file = tmp_path_factory.mktemp("release") / "dist/keepworld.v1.binpb"
    command = [sys.executable, ROOT / "proto/generate.py", "--venv", "--descriptors", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No matching distribution" in done.stderr or "Could not find a version" in done.stderr:
        pytest.skip("the pinned generator cannot be installed here: no package index")
    assert done.returncode == 0, done.stderr
    return descriptor_pb2.FileDescriptorSet.FromString(file.read_bytes())


def test_it_says_what_the_committed_code_says(described: descriptor_pb2.FileDescriptorSet) -> None:
    ours = [file for file in described.file if file.package == "keepworld.v1"]
    assert {file.name for file in ours} == {
        str(path.relative_to(ROOT / "proto")) for path in ROOT.glob("proto/keepworld/v1/*.proto")
    }
    for file in ours:
        module = importlib.import_module(file.name.replace("/", ".").replace(".proto", "_pb2"))
        committed = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        assert any(location.leading_comments for location in file.source_code_info.location), "comments are part of it"
        bare = descriptor_pb2.FileDescriptorProto.FromString(file.SerializeToString())
        bare.ClearField("source_code_info")
        for message in [bare, committed]:
            _forget_json_names(message)
        assert bare == committed


async def test_a_server_can_be_called_with_nothing_else(described: descriptor_pb2.FileDescriptorSet) -> None:
    pool = descriptor_pool.DescriptorPool()
    for file in described.file:  # imports come before what imports them
        pool.Add(file)
    method = pool.FindServiceByName("keepworld.v1.WorldService").methods_by_name["GetCapabilities"]
    request, response = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
    async with serving() as (server, _), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        answer = await call(request())
    assert [family.name for family in answer.families] == ["gradient"]


def _forget_json_names(message: descriptor_pb2.FileDescriptorProto | descriptor_pb2.DescriptorProto) -> None:
    """protoc writes them out in a set, and leaves them out of code where they follow from the names."""
    nested = message.message_type if isinstance(message, descriptor_pb2.FileDescriptorProto) else message.nested_type
    for inner in nested:
        for field in inner.field:
            field.ClearField("json_name")
        _forget_json_names(inner)
