"""Every code block of the documentation is run, or read by what it is for; what cannot be says so on its page."""

from __future__ import annotations

import configparser
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from keepworld import jobs
from keepworld.timeline import Timeline
from keepworld_runtime import config

from tests.docs import blocks
from tests.docs.blocks import Block

ROOT = blocks.ROOT
READ = {"python", "sh", "json", "toml", "ini", "dockerfile", "cpp", "csharp"}
_KEEPWORLD = re.compile(r"(?:^|[\s;&|])(?:\.venv/bin/)?keepworld (?P<words>[a-z][^|;&\n]*)", re.MULTILINE)
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """The environment of a page: a server to talk to, and the commands."""
    command = [sys.executable, "-m", "keepworld_runtime", "--port", "0", "--exit-with-stdin", "--log-level", "ERROR"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin and process.stdout
        address = json.loads(process.stdout.readline())["listening"]
        assert json.loads(process.stdout.readline())["ready"]
        yield os.environ | {"KEEPWORLD_URL": address, "PATH": f"{BIN}:{os.environ['PATH']}"}
        process.stdin.close()
        assert process.wait(20) == 0


def run(command: list[str | Path], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=380, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_every_block_is_of_a_kind_that_is_looked_at_here() -> None:
    assert len(blocks.ALL) > 25
    assert {block.language for block in blocks.ALL} <= READ


RUN = [
    page for page in blocks.PAGES if any(block.language == "python" or block.is_run for block in blocks.blocks(page))
]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_a_page_runs_as_it_is_written(page: Path, server: dict[str, str], tmp_path: Path) -> None:
    written = blocks.blocks(page)
    for block in written:
        if block.language == "json" and block.code.startswith('{"id"'):
            (tmp_path / "jobs.jsonl").write_text(block.code)
    for block in written:
        if block.is_run:
            assert block.language == "sh"
            if "openssl" in block.code and not shutil.which("openssl"):
                pytest.skip("openssl is not installed")
            run(["bash", "-euo", "pipefail", "-c", block.code], tmp_path, server)
    program = tmp_path / "page.py"
    program.write_text("\n".join(block.code for block in written if block.language == "python"))
    run([sys.executable, ROOT / "tests/docs/small.py", program], tmp_path, server)


@pytest.mark.parametrize("block", blocks.of("sh"), ids=str)
def test_a_shell_block_is_sound_and_its_commands_have_the_options_named(block: Block) -> None:
    assert subprocess.run(["bash", "-n"], input=block.code, text=True, check=False).returncode == 0
    for match in _KEEPWORLD.finditer(block.code.replace("\\\n", " ")):
        words = shlex.split(match["words"], comments=True)
        is_nested = (
            len(words) > 1 and words[0] in ("models", "keys", "snapshots", "exports", "bench") and words[1].isalpha()
        )
        said = helped(*words[: 2 if is_nested and words[1] != "diorama" else 1])
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", said), f"{option} is not in keepworld {words[0]} --help"


@functools.cache
def helped(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "keepworld.cli", *command, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"keepworld {' '.join(command)}: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("block", blocks.of("json"), ids=str)
def test_json_is_what_its_page_says_it_is(block: Block, tmp_path: Path) -> None:
    if block.code.startswith('{"id"'):
        (tmp_path / "jobs.jsonl").write_text(block.code)
        assert len(jobs.read(tmp_path / "jobs.jsonl")) == len(block.code.splitlines())
    else:
        (tmp_path / "timeline.json").write_text(block.code)
        assert Timeline.load(tmp_path / "timeline.json")


@pytest.mark.parametrize("block", blocks.of("toml"), ids=str)
def test_server_settings_are_settings(block: Block, tmp_path: Path) -> None:
    assert tomllib.loads(block.code)
    (tmp_path / "server.toml").write_text(block.code)
    settings = config.read(tmp_path / "server.toml", {})
    assert (settings.host, settings.port, settings.families) == ("0.0.0.0", 7600, ("diorama",))


@pytest.mark.parametrize("block", blocks.of("ini"), ids=str)
def test_a_unit_starts_what_there_is(block: Block) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.code)
    assert set(unit) >= {"Unit", "Service", "Install"}
    program, *options = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "keepworld-serve"
    assert all(option in helped("serve") for option in options if option.startswith("--"))


@pytest.mark.parametrize("block", blocks.of("dockerfile"), ids=str)
def test_an_image_installs_and_starts_what_there_is(block: Block) -> None:
    lines = re.sub(r"\\\n", " ", block.code).splitlines()
    instructions = [line.partition(" ") for line in lines if line.strip() and not line.startswith("#")]
    assert {word for word, _, _ in instructions} <= {
        "FROM", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "EXPOSE", "ENV", "HEALTHCHECK", "ENTRYPOINT", "CMD",
    }  # fmt: skip
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    installed = re.search(r"'\.\[([a-z,]+)\]'", block.code)
    assert installed and set(installed[1].split(",")) <= extras
    readme = (ROOT / "README.md").read_text()
    for package in re.findall(r"\blib[\w.-]+(?= )", block.code):
        assert package in readme, f"{package} is not among what the README installs"
    (started,) = (json.loads(rest) for word, _, rest in instructions if word == "CMD")
    assert all(option in helped("serve") for option in started if option.startswith("--"))


@pytest.mark.parametrize("block", blocks.of("cpp"), ids=str)
def test_cpp_compiles_and_runs(block: Block, tmp_path: Path) -> None:
    if not shutil.which("c++"):
        pytest.skip("no C++ compiler here: see BUILD.md")
    (tmp_path / "block.cpp").write_text(block.code)
    run(
        ["c++", "-std=c++17", "-Wall", "-Werror", f"-I{ROOT}/examples/cpp", "block.cpp", "-o", "block"],
        tmp_path,
        dict(os.environ),
    )
    said = subprocess.run([tmp_path / "block"], capture_output=True, text=True, check=True).stdout
    assert said == "300 100 200, yaw 0\n"


@pytest.mark.parametrize("block", blocks.of("csharp"), ids=str)
def test_what_is_not_run_is_said_to_be_not_run(block: Block) -> None:
    before, _, _ = block.page.read_text().partition(block.code)
    assert "not run by our tests" in " ".join(before.split())[-200:]
