"""The C++ and TypeScript programs of examples/: built as their files say, walked against a real server, held against Python.

They are built where their tools are (see BUILD.md) and skipped, saying why, where they are not.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keepworld as kw
import numpy as np
import pytest
from keepworld import png
from keepworld.camera import quat_from_rotation

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/axes/cameras.json"
PROMPT, SIZE, SCRIPT = "a village with a windmill by a lake", (128, 72), "forward 24 frames, look left 12 frames"
CAMERA = re.compile(r"chunk (\d+): camera at \(([^)]*)\), turned \(([^)]*)\), ([\d.]+) degrees high")


def run(*command: str | Path, cwd: Path = ROOT, status: int = 0, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=380, check=False
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done.stdout if status == 0 else done.stderr


@functools.cache
def built(language: str, folder: Path) -> Path:
    """Where the programs are, built once."""
    if language == "cpp":
        missing = [
            name for name in ("cmake", "c++", "protoc", "grpc_cpp_plugin", "pkg-config") if not shutil.which(name)
        ]
        if missing:
            pytest.skip(f"C++ needs {', '.join(missing)}: see BUILD.md")
        if subprocess.run(["pkg-config", "--exists", "grpc++", "protobuf"], check=False).returncode:
            pytest.skip("C++ needs libgrpc++-dev and libprotobuf-dev: see BUILD.md")
        run("cmake", "-S", ROOT / "examples/cpp", "-B", folder, "-DCMAKE_BUILD_TYPE=Debug")
        run("cmake", "--build", folder, "-j2")
        return folder
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("TypeScript needs node and npm: see BUILD.md")
    copy = folder / "examples/typescript"  # two levels below proto and tests, as it lies in the repository
    ignored = shutil.ignore_patterns("node_modules", "dist", "generated")
    shutil.copytree(ROOT / "examples/typescript", copy, ignore=ignored)
    shutil.copytree(ROOT / "proto", folder / "proto")
    shutil.copytree(ROOT / "tests/axes", folder / "tests/axes")
    run("npm", "ci", "--no-audit", "--no-fund", cwd=copy)
    run("npm", "run", "build", cwd=copy)
    return copy


@pytest.fixture(scope="module", params=["cpp", "typescript"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(language: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(language, tmp_path_factory.getbasetemp() / f"built-{language}")


@pytest.fixture(scope="module")
def walk(language: str, folder: Path) -> tuple[str | Path, ...]:
    """The command that walks."""
    return (folder / "walk",) if language == "cpp" else ("node", folder / "dist/walk.js")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "keepworld_runtime", "--port", "0", "--exit-with-stdin", "--log-level", "ERROR"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as server:
        assert server.stdin and server.stdout
        said = json.loads(server.stdout.readline())
        assert json.loads(server.stdout.readline())["ready"]
        yield said["listening"]
        server.stdin.close()
        assert server.wait(20) == 0


@pytest.fixture(scope="module")
def frames(address: str) -> list[kw.Frame]:
    """The same walk from Python."""
    with kw.Client(address) as client, client.sessions.open(PROMPT, seed=7, size=SIZE) as session:
        return [frame for chunk in session.stream(SCRIPT, pace="fast") for frame in chunk.frames]


def test_its_conversions_give_the_golden_cameras(language: str, folder: Path) -> None:
    if language == "cpp":
        said = run(folder / "axes_test", GOLDEN)
        assert said == f"{len(json.loads(GOLDEN.read_text())['cameras']) * 6} poses, 0 wrong\n"
    else:
        assert re.search(r"^# fail 0$", run("node", "--test", "dist/axes.test.js", cwd=folder), flags=re.MULTILINE)


def test_a_wrong_golden_value_is_noticed(language: str, folder: Path, tmp_path: Path) -> None:
    """The test of the conversions can fail."""
    content = json.loads(GOLDEN.read_text())
    content["cameras"][-1]["c2w"]["unity"][0][3] += 1e-9
    if language == "cpp":
        (tmp_path / "wrong.json").write_text(json.dumps(content))
        assert "all at once" in run(folder / "axes_test", tmp_path / "wrong.json", status=1)
    else:
        copy = tmp_path / "examples/typescript"
        shutil.copytree(folder / "dist", copy / "dist")
        shutil.copy(folder / "package.json", copy)
        (tmp_path / "tests/axes").mkdir(parents=True)
        (tmp_path / "tests/axes/cameras.json").write_text(json.dumps(content))
        with pytest.raises(AssertionError, match="all at once"):
            run("node", "--test", "dist/axes.test.js", cwd=copy)


@pytest.mark.parametrize("axes", ["unreal", "blender"])  # the conversions themselves are held to the golden cameras
def test_it_sees_the_pictures_and_cameras_that_python_sees(
    axes: str, walk: tuple[str | Path, ...], address: str, frames: list[kw.Frame], tmp_path: Path
) -> None:
    options = ("--fast", "--size", "128x72", "--chunks", "2", "--axes", axes, "--png", tmp_path / "last.png")
    said = run(*walk, address, *options)
    cameras = {int(chunk): numbers for chunk, *numbers in CAMERA.findall(said)}
    assert sorted(cameras) == [0, 1]
    for chunk, (place, turn, fov) in cameras.items():
        camera = next(frame.camera for frame in frames if (frame.chunk, frame.index) == (chunk, 0))
        there = camera.to(axes)
        np.testing.assert_allclose(numbers(place), there[:3, 3], atol=6e-4)
        w, x, y, z = quat_from_rotation(there[:3, :3])
        np.testing.assert_allclose(numbers(turn), [x, y, z, w], atol=6e-4)
        assert abs(float(fov) - np.degrees(camera.fov_y)) < 0.06
    last = [frame for frame in frames if frame.chunk == 1][-1]
    np.testing.assert_array_equal(png.decode((tmp_path / "last.png").read_bytes(), max_pixels=128 * 72), last.image)


def test_it_walks_by_script_then_by_hand_and_hears_when_the_storm_comes(
    walk: tuple[str | Path, ...], address: str, tmp_path: Path
) -> None:
    said = run(*walk, address, "--fast", "--size", "128x72", "--chunks", "9", "--png", tmp_path / "last.png")
    assert re.search(r"^opened: 3 words of the prompt understood, 0 not$", said, flags=re.MULTILINE)
    storm = re.search(r"the storm comes with chunk (\d+)", said)
    assert storm and 2 <= int(storm[1]) <= 5
    assert "by hand from here on" in said
    places = [numbers(place) for _, place, _, _ in CAMERA.findall(said)]
    turns = [numbers(turn) for _, _, turn, _ in CAMERA.findall(said)]
    assert places[3] == pytest.approx(places[4], abs=2.5)  # standing until the first control has come
    assert np.linalg.norm(np.subtract(places[-1], places[-2])) > 0.5  # walking at the end
    assert turns[-1][1] > turns[-2][1]  # and looking to the right: positive about Unity's y
    assert "closed after" in said


def test_what_the_server_refuses_is_said_with_its_reason(walk: tuple[str | Path, ...], address: str) -> None:
    assert "size.width must be at least 64, got 8 [INVALID_FIELD]" in run(*walk, address, "--size", "8x72", status=1)
    assert "axes must be" in run(*walk, address, "--axes", "quake", status=1)
    assert "onnect" in run(*walk, "127.0.0.1:1", status=1)


def test_the_session_is_closed_behind_it(walk: tuple[str | Path, ...], address: str, tmp_path: Path) -> None:
    run(*walk, address, "--fast", "--size", "128x72", "--chunks", "1", "--png", tmp_path / "last.png")
    with kw.Client(address) as client:
        assert {session.state for session in client.sessions.list()} <= {"closed"}


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split(", ")]
