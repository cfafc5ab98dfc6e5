"""Encrypted connections: who may connect, what is refused, and certificates replaced while they serve."""

import asyncio
import shutil
import ssl

import grpc
import pytest
from keepworld import AsyncClient
from keepworld.errors import UnavailableError
from keepworld.v1 import world_service_pb2, world_service_pb2_grpc
from keepworld_runtime.config import ServerConfig, TlsFiles
from keepworld_runtime.serving import tls

from tests.runtime.serving import certificates
from tests.runtime.serving.client import WITHIN_S, Walk, create, script, serving


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two authorities, and a pair of each."""
    folder = tmp_path_factory.mktemp("certificates")
    ours, theirs = certificates.authority(folder, "ours"), certificates.authority(folder, "theirs")
    pairs = {name: certificates.vouched_for(folder, name, ours) for name in ("first", "second", "client")}
    return {"ours": ours, "theirs": theirs, "stranger": certificates.vouched_for(folder, "stranger", theirs), **pairs}


@pytest.fixture
def files(made, tmp_path):
    """Where a server reads its pair, the first one."""
    found = TlsFiles(cert=tmp_path / "server.pem", key=tmp_path / "server.key")
    made["first"].put(found.cert, found.key)
    return found


def channel(server, ca, client=None):
    key, cert = client.bytes() if client else (None, None)
    trust = grpc.ssl_channel_credentials(ca.cert.read_bytes(), key, cert)
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(f"localhost:{server.port}", trust, options=options)


async def answers(channel) -> bool:
    async with channel:
        stub = world_service_pb2_grpc.WorldServiceStub(channel)
        try:
            await stub.GetCapabilities(world_service_pb2.GetCapabilitiesRequest(), timeout=WITHIN_S)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return False
        return True


def presented(port: int) -> bytes:
    """The certificate that a new connection is shown."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port), timeout=WITHIN_S))


def der(pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.cert.read_text())


async def test_only_who_encrypts_and_trusts_the_right_authority_gets_an_answer(made, files):
    async with serving(tls=files) as (server, _):
        assert await answers(channel(server, made["ours"]))
        assert not await answers(channel(server, made["theirs"]))
        assert not await answers(grpc.aio.insecure_channel(f"localhost:{server.port}"))


async def test_clients_without_a_certificate_of_the_authority_are_not_let_in(made, files):
    mutual = TlsFiles(cert=files.cert, key=files.key, client_ca=made["ours"].cert)
    async with serving(tls=mutual) as (server, _):
        assert await answers(channel(server, made["ours"], made["client"]))
        assert not await answers(channel(server, made["ours"], made["stranger"]))
        assert not await answers(channel(server, made["ours"]))


async def test_versions_of_tls_that_can_be_broken_are_refused(made, files):
    async with serving(tls=files) as (server, _):
        for version, is_taken in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(made["ours"].cert)
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.set_alpn_protocols(["h2"])
            context.minimum_version = context.maximum_version = version
            try:
                _, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
                writer.close()
                was_taken = True
            except (ssl.SSLError, ConnectionError):
                was_taken = False
            assert was_taken == is_taken, version


async def test_certificates_are_replaced_while_a_stream_goes_on(made, files):
    async with serving(tls=files) as (server, _), channel(server, made["ours"]) as held:
        stub = world_service_pb2_grpc.WorldServiceStub(held)
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        assert await asyncio.to_thread(presented, server.port) == der(made["first"])
        made["second"].put(files.cert, files.key)
        assert await asyncio.to_thread(presented, server.port) == der(made["second"])
        await walk.send(script=script((0.1, 5)))
        assert len((await walk.chunk())[0]) > 0


async def test_half_a_new_pair_is_not_taken_up(made, files):
    async with serving(tls=files) as (server, _):
        shutil.copy(made["second"].key, files.key)
        assert await asyncio.to_thread(presented, server.port) == der(made["first"])
        files.cert.unlink()
        assert await asyncio.to_thread(presented, server.port) == der(made["first"])
        made["second"].put(files.cert, files.key)
        assert await asyncio.to_thread(presented, server.port) == der(made["second"])


@pytest.mark.parametrize("damage", ["missing", "empty", "swapped", "other"])
def test_files_that_cannot_serve_are_refused_at_once_and_without_their_paths(made, files, damage):
    if damage == "missing":
        files.key.unlink()
    elif damage == "empty":
        files.cert.write_bytes(b"")
    elif damage == "swapped":
        files = TlsFiles(cert=files.key, key=files.cert)
    else:
        shutil.copy(made["second"].key, files.key)
    with pytest.raises(ValueError, match=r"tls\.") as refusal:
        tls.credentials(files)
    assert str(files.cert.parent) not in str(refusal.value)


async def test_the_sdk_speaks_to_an_encrypted_server_by_its_address(made, files):
    mutual = TlsFiles(cert=files.cert, key=files.key, client_ca=made["ours"].cert)
    async with serving(tls=mutual) as (server, _):
        address, own = f"grpcs://localhost:{server.port}", (made["client"].cert, made["client"].key)
        trust = {"root_certificates": made["ours"].cert}
        async with AsyncClient(address, client_certificate=own, **trust) as client:
            assert (await client.capabilities()).families
        async with AsyncClient(address, deadline_s=2.0, **trust) as client:
            with pytest.raises(UnavailableError):
                await client.capabilities()


def test_listening_beyond_this_machine_takes_encryption_and_a_way_to_know_callers(tmp_path):
    cert, key = tmp_path / "a", tmp_path / "b"
    for settings in (
        {"tls": TlsFiles(cert=cert, key=key), "keys": tmp_path / "keys"},
        {"tls": TlsFiles(cert=cert, key=key, client_ca=cert)},
        {"insecure": True},
    ):
        assert ServerConfig(host="0.0.0.0", **settings)
    for settings in ({"keys": tmp_path / "keys"}, {"tls": TlsFiles(cert=cert, key=key)}):
        with pytest.raises(ValueError, match="insecure"):
            ServerConfig(host="0.0.0.0", **settings)
    for pieces in ({"cert": cert}, {"key": key}, {"client_ca": cert}):
        with pytest.raises(ValueError, match="tls"):
            TlsFiles(**pieces)
