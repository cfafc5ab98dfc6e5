"""The learned models as a user runs them: files pulled and verified, a server on them, walks through it; at reduced size."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import keepworld as kw
import numpy as np
import pytest
from PIL import Image

from tests import checkpoints

README = Path(__file__).parents[2] / "README.md"

SIZE = (64, 64)
WRITE = {"worldplay-8b": checkpoints.write_worldplay_8b, "worldplay-5b": checkpoints.write_worldplay_5b}
CLI = (sys.executable, "-m", "keepworld.cli")


def keepworld(*arguments):
    return subprocess.run([*CLI, *map(str, arguments)], capture_output=True, text=True, timeout=120)


@contextmanager
def serving(*options):
    """A server by its command line; gives its address."""
    command = [
        *CLI,
        "serve",
        "--port",
        "0",
        "--threads",
        "1",
        "--exit-with-stdin",
        "--log-level",
        "WARNING",
        *map(str, options),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        address = json.loads(process.stdout.readline())["listening"]
        assert json.loads(process.stdout.readline())["ready"]
        yield address
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


@pytest.fixture(scope="module", params=WRITE)
def served(request, tmp_path_factory):
    """Pulled from a local folder, verified, and served."""
    released, here = tmp_path_factory.mktemp("released"), tmp_path_factory.mktemp("here")
    WRITE[request.param](released)
    pulled = keepworld("models", "pull", request.param, "--to", here, "--from", released, "--accept-licence")
    assert pulled.returncode == 0, pulled.stderr
    verified = keepworld("models", "verify", here)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    with serving("--family", request.param, "--checkpoint", here) as address:
        yield request.param, address, here


def opened(client, model, **options):
    return client.sessions.open(
        'a valley with a sign that says "open"', **{"model": model, "seed": 4, "size": SIZE, **options}
    )


def images(chunks):
    return np.concatenate([[frame.image for frame in chunk.frames] for chunk in chunks])


def test_a_walk_takes_an_event_and_its_snapshot_gives_the_same_next_chunks(served):
    model, address, _ = served
    with kw.Client(address) as client, opened(client, model) as session:
        walked = list(session.stream("forward 28frames", pace="fast"))
        assert [len(chunk.frames) for chunk in walked] == [13, 16]
        receipt = session.event("it begins to snow", ramp=1.0)
        assert receipt.applies_to_chunk == 2
        assert receipt.used == ("it begins to snow",)
        walked += session.stream("look right 16frames", pace="fast")
        assert walked[-1].frames[-1].camera.c2w[0, 2] > 0.15  # twelve degrees to the right
        snapshot = session.snapshot()
        ahead = images(session.stream("forward 32frames", pace="fast"))
        with client.sessions.open(snapshot=snapshot) as again:
            restored = list(again.stream("forward 32frames", pace="fast"))
    assert restored[0].index == snapshot.chunks == 3
    assert np.array_equal(images(restored), ahead)


def test_a_given_video_is_gone_on_from(served):
    model, address, _ = served
    video = np.random.default_rng(0).integers(0, 255, (33, 48, 80, 3), np.uint8)
    cameras = np.repeat(np.eye(4)[None], 33, axis=0)
    cameras[:, 2, 3] = np.arange(33) * 0.02
    with kw.Client(address) as client:
        with opened(client, model, clip=kw.Clip(video, cameras)) as session:
            (chunk,) = session.stream("forward 16frames", pace="fast")
        with opened(client, model) as session:
            (unled, _) = session.stream("forward 28frames", pace="fast")
    assert len(chunk.frames) == 16
    assert chunk.frames[0].camera.c2w[2, 3] == pytest.approx(cameras[-1, 2, 3] + 0.02)
    assert not np.array_equal(images([chunk])[:13], images([unled]))


def test_a_walk_goes_on_from_a_video_in_its_middle(served):
    model, address, _ = served
    video = np.random.default_rng(2).integers(0, 255, (20, 48, 80, 3), np.uint8)
    with kw.Client(address) as client:
        with opened(client, model) as session:
            before = list(session.stream("forward 12frames", pace="fast"))
            with session.branch() as other:
                unled = images(other.stream("forward 16frames", pace="fast"))
            assert session.extend(video).applies_to_chunk == 1
            (led,) = session.stream("forward 16frames", pace="fast")
            assert led.extended and not np.array_equal(images([led]), unled)
            last, step = before[-1].frames[-1].camera.c2w[2, 3], 0.02
            assert led.frames[0].camera.c2w[2, 3] == pytest.approx(last + step)  # from where it stood
            session.undo(1)
            assert np.array_equal(images(session.stream("forward 16frames", pace="fast")), unled)
            with pytest.raises(ValueError, match="at least 13 frames, got 12"):
                session.extend(video[:12])
        with pytest.raises(kw.InvalidRequestError, match="at least 13 frames, got 12"):
            opened(client, model, clip=video[:12])


def test_a_picture_begins_a_world_and_a_capture_of_it_is_kept_with_its_cameras(served, tmp_path):
    model, address, _ = served
    picture = np.random.default_rng(1).integers(0, 255, (48, 80, 3), np.uint8)
    with kw.Client(address) as client, opened(client, model, image=picture) as session:
        session.steer("forward 28frames + look left 28frames")
        capture = session.capture(tmp_path / "walk")
    assert len(capture.frames) == 29
    assert capture.provenance.units == kw.Units.MODEL
    assert capture.frames[0].camera.K[0, 0] == pytest.approx(0.505051 * SIZE[0], abs=1e-3)


def test_two_processes_dream_what_one_does(served):
    model, address, here = served
    with kw.Client(address) as client, opened(client, model) as session:
        alone = images(session.stream("forward 44frames", pace="fast"))
    options = ("--family", model, "--checkpoint", here, "--ranks", "2")
    with serving(*options) as other, kw.Client(other) as client, opened(client, model) as session:
        together = images(session.stream("forward 44frames", pace="fast"))
    assert np.abs(alone.astype(int) - together).max() <= 1  # of 255: sums in another order


def test_the_readme_program_runs_as_written(served, tmp_path):
    model, address, _ = served
    (program,) = re.findall(r"^```python\n([^`]*worldplay[^`]*)^```", README.read_text(), flags=re.MULTILINE)
    Image.effect_noise((160, 90), 80).convert("RGB").save(tmp_path / "harbour.png")
    (tmp_path / "program.py").write_text(program.replace("127.0.0.1:7600", address).replace("worldplay-8b", model))
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "harbour" / "capture.json").is_file()


def test_weights_that_are_not_there_are_named_with_what_to_do(tmp_path):
    missing = keepworld("serve", "--family", "worldplay-8b", "--port", "0")
    assert missing.returncode == 2
    assert "--checkpoint" in missing.stderr
    empty = keepworld("serve", "--family", "worldplay-8b", "--port", "0", "--checkpoint", tmp_path)
    assert empty.returncode == 2
    assert "keepworld models pull worldplay-8b" in empty.stderr
