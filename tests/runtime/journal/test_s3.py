"""What is big in a journal lies in a bucket: what was kept there is there, and what is gone is said."""

import boto3
import pytest
from keepworld_runtime.journal.blobs import StoredBlobs

from tests.faults.harness import check_walk, server_process
from tests.faults.test_network_cut import STEP, attached
from tests.runtime.journal.chunks import opened, walked
from tests.runtime.serving.client import connect, create, script


def test_what_is_closed_and_opened_again_is_as_it_was(tmp_path, bucket):
    journal = opened(tmp_path, StoredBlobs(bucket))
    digests = walked(journal, 5)
    state = journal.state(journal.line("s", 1).point)
    journal.close()
    journal = opened(tmp_path, StoredBlobs(bucket))
    (kept,) = journal.sessions()
    again = journal.state(kept.line.point)
    assert journal.digests(kept.line.point) == digests
    assert (again.head, dict(again.parts)) == (state.head, dict(state.parts))
    journal.remove_session("s")
    assert list(journal.blobs.names()) == []


def test_a_walk_is_cut_back_to_what_is_whole(tmp_path, s3, bucket):
    journal = opened(tmp_path, StoredBlobs(bucket))
    walked(journal, 5)
    lost = next(iter(journal.records(journal.line("s", 1).point)[3].parts.added.values()))
    journal.close()
    name, _, folder = bucket.removeprefix("s3://").partition("/")
    boto3.client("s3", endpoint_url=s3).delete_object(Bucket=name, Key=f"{folder}/{lost[:2]}/{lost}")
    (kept,) = opened(tmp_path, StoredBlobs(bucket)).sessions()
    assert kept.line.point.chunks == 3


def test_a_bucket_that_is_not_there_is_said_at_once(tmp_path, s3):
    with pytest.raises(OSError, match="bucket"):
        opened(tmp_path, StoredBlobs("s3://nobody-made-this/blobs"))


def test_a_url_that_nothing_understands_is_said_at_once():
    with pytest.raises(ValueError, match="carrier-pigeon"):
        StoredBlobs("carrier-pigeon://walks")


async def test_a_server_that_was_killed_goes_on_from_what_is_there(tmp_path, bucket):
    options = ("--journal", str(tmp_path / "journal"), "--journal-blobs", bucket)
    created, frames = None, []
    for life in range(3):
        async with server_process(*options) as (port, process), connect(port) as stub:
            created = created or await create(stub)
            walk = await attached(stub, created, frames[-1].seq if frames else None)
            await walk.send(script=script((STEP, 16 * 5), request_id=f"life {life}"))
            frames += [await walk.until("frame") for _ in range(40)]
            process.kill()
    check_walk(frames, 120, step=STEP)
    assert StoredBlobs(bucket).names()
    assert not [path for path in tmp_path.rglob("*") if path.is_dir() and path.name == "blobs"]
