"""Every method that a server answers has a rule, and every rule a method."""

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from keepworld_runtime.serving.rules import OWNED, RULES, owned_fields

from tests.runtime.serving.client import serving

# Ids that name nothing of a tenant's: what a caller makes up for a request of its own.
OF_REQUESTS = {"request_id", "event_request_id"}
# Who has the one has the other: an export is started by who has its capture.
WITH = {"operation_id": {"capture_id"}}


def methods_of(service: str):
    return descriptor_pool.Default().FindServiceByName(service).methods


async def served() -> set[str]:
    """What a running server says that it answers."""
    async with serving() as (server, _), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = (await call.read()).list_services_response.service
        call.cancel()
        return {f"/{each.name}/{method.name}" for each in listed for method in methods_of(each.name)}


async def test_every_method_has_a_rule_and_every_rule_a_method():
    assert set(RULES) == await served()


def test_only_health_takes_no_key():
    assert {method.split("/")[1] for method, rule in RULES.items() if rule.is_public} == {"grpc.health.v1.Health"}


OURS = sorted(method for method in RULES if method.startswith("/keepworld."))


@pytest.mark.parametrize("method", OURS)
def test_every_id_that_a_request_can_hold_is_somebodys(method):
    _, service, name = method.split("/")
    request = next(each for each in methods_of(service) if each.name == name).input_type
    named = {".".join(path) for path in owned_fields(request)}
    assert {path for path in _ids(request) if path.rpartition(".")[2] not in OF_REQUESTS} == named


@pytest.mark.parametrize("method", OURS)
def test_every_new_id_that_an_answer_holds_is_given_to_somebody(method):
    _, service, name = method.split("/")
    described = next(each for each in methods_of(service) if each.name == name)
    told, asked = _ids(described.output_type), _ids(described.input_type)
    asked |= {other for path in asked for other in WITH.get(path, ())}
    new = {path for path in told if path.rpartition(".")[2] in OWNED} if not described.server_streaming else set()
    known = {path.rpartition(".")[2] for path in asked}
    rule = RULES[method]
    if rule.makes:
        assert ".".join(rule.makes) in new
    elif rule.lists:
        assert all(path.startswith(f"{rule.lists}.") for path in new) and new
    else:
        assert {path.rpartition(".")[2] for path in new} <= known


def _ids(message: Descriptor, prefix: str = "") -> set[str]:
    """The paths of all fields whose names say that they are ids."""
    found = set()
    for field in message.fields:
        if field.message_type is not None:
            found |= _ids(field.message_type, f"{prefix}{field.name}.")
        elif field.name.endswith("_id"):
            found.add(prefix + field.name)
    return found
