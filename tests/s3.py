"""A real S3 on this machine, for tests: moto's server, spoken to over HTTP by the ordinary client."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server; the environment names it to every client."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        S3FileSystem.clear_instance_cache()  # clients that know another server
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def bucket(s3: str) -> str:
    """The URL of a folder in a bucket of its own."""
    name = f"walks-{secrets.token_hex(4)}"
    boto3.client("s3", endpoint_url=s3).create_bucket(Bucket=name)
    return f"s3://{name}/blobs"
