"""Who may call what: every method by every kind of caller, and what tenants see of each other."""

import uuid

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from keepworld import AccessError, AsyncClient, png
from keepworld.v1 import asset_service_pb2, export_service_pb2, world_service_pb2
from keepworld_runtime.serving.rules import RULES, owned_fields

from tests.runtime.serving.callers import CUT_OFF, Keys, calling, guarded, refusal
from tests.runtime.serving.client import WITHIN_S, Walk, create, eventually, script, serving
from tests.runtime.serving.test_assets import frame, grey, header

OK, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
DENIED, NOT_FOUND = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND
NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
STRANGERS = ("nothing", "unknown", "expired", "revoked")


@pytest.fixture
def keys(tmp_path):
    made = Keys(tmp_path)
    yield made
    made.file.close()


async def let_in(channel, method: str) -> grpc.StatusCode:
    """How a method takes an empty message: OK whatever it says to it, but for refusing who asks."""
    for _ in range(10):
        call = channel.stream_stream(method)(iter([b""]), timeout=WITHIN_S)
        try:
            await call.read()
            return OK
        except grpc.aio.AioRpcError as error:
            if error.details() == CUT_OFF:
                continue
            assert error.code() not in NO_ANSWER, (method, error)
            return error.code() if error.code() in (UNAUTHENTICATED, DENIED) else OK
        finally:
            call.cancel()
    raise AssertionError(f"{method} was never answered")


async def test_every_method_takes_exactly_the_callers_that_its_rule_names(tmp_path, keys):
    keys.make("expired", lasts_s=1.0)
    keys.make("revoked")
    keys.file.revoke(keys.ids["revoked"])
    keys.now_s += 2.0
    keys.shown |= {"unknown": keys.shown["acme"][:-1] + "-"}
    async with guarded(tmp_path, keys) as server:
        for name in (*STRANGERS, "stream", "export", "admin"):
            async with calling(server, keys.shown.get(name)) as caller:
                found = {method: await let_in(caller.channel, method) for method in RULES}
            for method, rule in RULES.items():
                if rule.is_public:
                    wanted = OK
                elif name in STRANGERS:
                    wanted = UNAUTHENTICATED
                else:
                    wanted = OK if rule.scope in (None, name) or name == "admin" else DENIED
                assert found[method] is wanted, (method, name)


@pytest.mark.parametrize(
    "shown", [[], ["Bearer"], ["Basic {}"], ["{}"], ["Bearer {}", "Bearer {}"], ["Bearer  {}"], ["Bearer {} "]]
)
async def test_a_key_is_shown_once_and_as_a_bearers(tmp_path, keys, shown):
    async with guarded(tmp_path, keys) as server, calling(server, None) as caller:
        metadata = [("authorization", each.format(keys.shown["acme"])) for each in shown]
        call = caller.worlds.ListSessions(world_service_pb2.ListSessionsRequest(), metadata=metadata)
        code, reason = await refusal(call)
        assert (code, reason) == (UNAUTHENTICATED, "KEY_REFUSED")


async def test_a_method_that_nobody_decided_about_is_refused(tmp_path, keys, monkeypatch):
    method = "/keepworld.v1.WorldService/ListSessions"
    monkeypatch.delitem(RULES, method)
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["admin"]) as caller:
        assert await let_in(caller.channel, method) is DENIED


async def things_of(caller) -> dict[str, str]:
    """One of each thing that a tenant can have, by the fields that name them."""
    created = await create(caller.worlds)
    named = {"session_id": created.session.session_id, "token": created.token}
    taken = await caller.worlds.CreateSnapshot(world_service_pb2.CreateSnapshotRequest(**named))
    uploads = {
        f"{kind}_asset_id": (
            await caller.assets.UploadAsset(iter([header(number), frame(png.encode(grey(1)))]))
        ).asset_id
        for kind, number in (("image", asset_service_pb2.ASSET_KIND_IMAGE), ("clip", asset_service_pb2.ASSET_KIND_CLIP))
    }
    begun = await caller.assets.BeginUpload(asset_service_pb2.BeginUploadRequest(header=header().header))
    walk = Walk(caller.worlds, created)
    await walk.attach(only_scripted=True)
    await walk.send(script=script((1.0, 12)))
    await walk.chunk()
    walk.call.cancel()
    captured = await caller.exports.CreateCapture(export_service_pb2.CreateCaptureRequest(**named))
    operations = dict.fromkeys(("operation_id", "capture_id"), captured.operation.operation_id)
    uploads["upload_id"] = begun.upload_id
    return {**named, "snapshot_id": taken.snapshot.snapshot_id, **uploads, **operations}


def unary_requests():
    """Every method of one request that names something of a tenant's, with the field that does."""
    for method in RULES:
        service, name = method.strip("/").split("/")
        described = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
        if not described.client_streaming:
            for path in owned_fields(described.input_type):
                yield method, described, ".".join(path)


async def test_what_another_tenant_has_was_never_there(tmp_path, keys):
    async with (
        guarded(tmp_path, keys) as server,
        calling(server, keys.shown["acme"]) as owner,
        calling(server, keys.shown["rival"]) as rival,
    ):
        theirs = await things_of(owner)
        for method, described, field in unary_requests():
            request = GetMessageClass(described.input_type)
            fields = {name: theirs[name] for name in (field, "token") if name in described.input_type.fields_by_name}
            if "family" in described.input_type.fields_by_name and field != "snapshot_id":
                fields["family"] = "gradient"
            kind = "unary_stream" if described.server_streaming else "unary_unary"
            call = getattr(rival.channel, kind)(method, request_serializer=request.SerializeToString)
            asked = call(request(**fields), timeout=WITHIN_S)
            code, _ = await refusal(asked.read() if described.server_streaming else asked)
            assert code is NOT_FOUND, (method, field)

        walk = Walk(rival.worlds, _created(theirs))
        await walk.send(attach={"session_id": theirs["session_id"], "token": theirs["token"]})
        assert (await walk.status())[0] is NOT_FOUND
        assert await create(owner.worlds, image_asset_id=theirs["image_asset_id"])


def _created(named):
    session = world_service_pb2.Session(session_id=named["session_id"])
    return world_service_pb2.CreateSessionResponse(session=session, token=named["token"])


async def test_an_answer_about_anothers_session_is_the_answer_about_none(tmp_path, keys):
    async with (
        guarded(tmp_path, keys) as server,
        calling(server, keys.shown["acme"]) as owner,
        calling(server, keys.shown["rival"]) as rival,
    ):
        theirs = await things_of(owner)
        answers = []
        for session_id in (theirs["session_id"], "0" * 32):
            request = world_service_pb2.GetSessionRequest(session_id=session_id, token=theirs["token"])
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await rival.worlds.GetSession(request)
            answers.append((error.value.details(), dict(error.value.trailing_metadata())["grpc-status-details-bin"]))
        assert answers[0] == answers[1]


async def test_lists_have_what_is_the_tenants_and_all_of_it_for_an_admin(tmp_path, keys):
    keys.make("colleague", tenant="acme")
    async with guarded(tmp_path, keys) as server:
        async with calling(server, keys.shown["acme"]) as owner:
            made = [(await create(owner.worlds)).session.session_id for _ in range(2)]
        async with calling(server, keys.shown["rival"]) as rival:
            made.append((await create(rival.worlds)).session.session_id)
        for name, expected in (("colleague", made[:2]), ("rival", made[2:]), ("admin", made)):
            async with calling(server, keys.shown[name]) as caller:
                listed = await caller.worlds.ListSessions(world_service_pb2.ListSessionsRequest())
                assert [each.session_id for each in listed.sessions] == expected


async def snapshots(caller) -> list[str]:
    listed = await caller.worlds.ListSnapshots(world_service_pb2.ListSnapshotsRequest())
    return [each.snapshot_id for each in listed.snapshots]


async def test_a_journal_is_its_tenants_until_they_hand_it_on_and_then_the_takers_too(tmp_path, keys):
    async with (
        guarded(tmp_path, keys) as server,
        calling(server, keys.shown["acme"]) as owner,
        calling(server, keys.shown["rival"]) as rival,
    ):
        theirs = await things_of(owner)
        asked = world_service_pb2.GetJournalRequest(snapshot_id=theirs["snapshot_id"])
        assert (await refusal(rival.worlds.GetJournal(asked).read()))[0] is NOT_FOUND
        parts = [
            world_service_pb2.ImportJournalRequest(data=part.data) async for part in owner.worlds.GetJournal(asked)
        ]
        taken = (await rival.worlds.ImportJournal(iter(parts))).snapshot.snapshot_id
        assert await snapshots(owner) == [theirs["snapshot_id"]] and await snapshots(rival) == [taken]
        assert await create(rival.worlds, snapshot_id=taken)
        assert (await refusal(create(owner.worlds, snapshot_id=taken)))[0] is NOT_FOUND


async def test_the_same_request_id_of_another_tenant_is_another_request(tmp_path, keys):
    asked = str(uuid.uuid4())
    async with (
        guarded(tmp_path, keys) as server,
        calling(server, keys.shown["acme"]) as owner,
        calling(server, keys.shown["rival"]) as rival,
    ):
        first, again = [await create(owner.worlds, request_id=asked) for _ in range(2)]
        other = await create(rival.worlds, request_id=asked)
        assert first == again and other.token != first.token
        assert (await refusal(create(owner.worlds, request_id="not a UUID")))[1] == "INVALID_FIELD"


async def test_a_session_is_still_its_tenants_after_the_server_was_started_again(tmp_path, keys):
    journal = tmp_path / "journal"
    async with guarded(tmp_path, keys, journal=journal) as server, calling(server, keys.shown["acme"]) as owner:
        created = await create(owner.worlds)
        walk = Walk(owner.worlds, created)
        await walk.attach(only_scripted=True)
        await walk.send(script=script((0.1, 5)))
        await walk.chunk()
    request = world_service_pb2.GetSessionRequest(session_id=created.session.session_id, token=created.token)
    async with guarded(tmp_path, keys, journal=journal) as server:
        async with calling(server, keys.shown["acme"]) as owner:
            assert (await owner.worlds.GetSession(request)).session.chunks == 1
        async with calling(server, keys.shown["rival"]) as rival:
            assert (await refusal(rival.worlds.GetSession(request)))[0] is NOT_FOUND


async def test_a_session_outlives_the_key_that_made_it(tmp_path, keys):
    keys.make("newer", tenant="acme")
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["newer"]) as newer:
        async with calling(server, keys.shown["acme"]) as older:
            theirs = await things_of(older)
        keys.file.revoke(keys.ids["acme"])
        request = world_service_pb2.GetSessionRequest(session_id=theirs["session_id"], token=theirs["token"])
        assert (await newer.worlds.GetSession(request)).session.session_id == theirs["session_id"]


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_stream_ends_when_its_key_does_and_the_session_stays(tmp_path, keys, how):
    keys.make("short", lasts_s=60.0)
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["short"]) as caller:
        created = await create(caller.worlds)
        walk = Walk(caller.worlds, created)
        await walk.attach(only_scripted=True)
        server._guard.sweep()
        if how == "revoked":
            keys.file.revoke(keys.ids["short"])
        else:
            keys.now_s += 60.0
        server._guard.sweep()
        code, info = await walk.status()
        assert (code, info.reason, info.metadata["cause"]) == (UNAUTHENTICATED, "KEY_REFUSED", how)
        await eventually(lambda: server.engine.sessions()[0].attachment is None)
        async with calling(server, keys.shown["acme"]) as colleague:
            again = Walk(colleague.worlds, created)
            assert (await again.attach(only_scripted=True)).epoch == 2


async def test_a_caller_who_goes_is_no_refusal(tmp_path, keys):
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["acme"]) as caller:
        walk = Walk(caller.worlds, await create(caller.worlds))
        await walk.attach(only_scripted=True)
        walk.call.cancel()
        await eventually(lambda: server.engine.sessions()[0].attachment is None)
        assert not server._guard._calls


async def test_a_server_without_keys_takes_everyone_of_this_machine(keys):
    async with serving() as (server, _), calling(server, keys.shown["acme"]) as caller:
        assert (await create(caller.worlds)).token


async def test_the_sdk_shows_its_key_and_says_when_there_is_none(tmp_path, keys):
    async with guarded(tmp_path, keys) as server:
        address = f"127.0.0.1:{server.port}"
        async with (
            AsyncClient(address, api_key=keys.shown["acme"]) as client,
            client.sessions.open("", model="gradient") as session,
        ):
            assert [each.id for each in await client.sessions.list()] == [session.id]
            assert (await session.steer("forward 1s", depth=False)).frames >= 24
        for shown, code in ((None, "KEY_REFUSED"), (keys.shown["export"], "SCOPE_MISSING")):
            async with AsyncClient(address, api_key=shown) as client:
                with pytest.raises(AccessError) as refused:
                    await client.sessions.list()
                assert refused.value.code == code and not refused.value.retryable
