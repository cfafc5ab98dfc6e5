# /// script
# requires-python = ">=3.11"
# dependencies = ["grpcio-tools==1.76.0", "mypy-protobuf==5.1.0", "setuptools<81"]
# ///
"""Generate sdk/keepworld/v1 from the .proto files, with a generator pinned apart from the project's environment.

uv run proto/generate.py            or: python proto/generate.py --venv   (makes an environment of its own, in build/)
uv run proto/generate.py --check    fail if what is committed is not what the .proto files give
uv run proto/generate.py --descriptors dist/keepworld.v1.binpb    the protocol as one file, for those without a protoc
"""

from __future__ import annotations

import argparse
import fcntl
import filecmp
import hashlib
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PROTO = Path(__file__).resolve().parent
GENERATED = PROTO.parent / "sdk" / "keepworld" / "v1"
REQUIREMENTS = ["grpcio-tools==1.76.0", "mypy-protobuf==5.1.0", "setuptools<81"]


def proto_files() -> list[str]:
    """Every .proto file, as protoc wants them."""
    return sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("keepworld/v1/*.proto"))


def run_protoc(*arguments: str) -> None:
    """Run the pinned protoc."""
    import grpc_tools
    from grpc_tools import protoc

    include = [f"-I{PROTO}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    if protoc.main(["protoc", *include, *arguments]):
        raise SystemExit("protoc failed")


def write_descriptors(file: Path) -> None:
    """Write a FileDescriptorSet of the whole protocol: what it imports and its comments too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    run_protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={file}", *proto_files())


def generate(target: Path) -> None:
    """Write the modules and stubs of every .proto file into `target`/keepworld/v1."""
    sources = proto_files()
    services = [source for source in sources if source.endswith("_service.proto")]
    scripts = Path(sys.executable).parent
    plugins = [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    messages = [f"--python_out={target}", f"--mypy_out={target}"]
    calls = [f"--grpc_python_out={target}", f"--mypy_grpc_out=only_async:{target}"]
    for outputs, files in ((messages, sources), (calls, services)):
        run_protoc(*plugins, *outputs, *files)
    (target / "keepworld" / "v1" / "__init__.py").write_text('"""Generated from proto/keepworld/v1; do not edit."""\n')


def differing_files(fresh: Path) -> list[str]:
    """Name the files that are committed and generated differently, or only one of the two."""
    names = {path.name for folder in (fresh, GENERATED) for path in folder.glob("*.py*") if path.is_file()}
    return sorted(
        name
        for name in names
        if not (fresh / name).is_file()
        or not (GENERATED / name).is_file()
        or not filecmp.cmp(fresh / name, GENERATED / name, shallow=False)
    )


def run_in_own_environment(arguments: list[str]) -> int:
    """Run this file again inside a virtual environment that holds the pinned generator: made once, kept in build/."""
    pins = hashlib.sha256(f"{REQUIREMENTS} {sys.version}".encode()).hexdigest()[:12]
    folder = PROTO.parent / "build" / f"generator-{pins}"
    python, whole = str(folder / "bin" / "python"), folder / "whole"
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            venv.create(folder, with_pip=True, clear=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
            whole.touch()
    return subprocess.run([python, __file__, *arguments], check=False).returncode


def main() -> int:
    """Generate, or with --check compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with what is committed and write nothing")
    parser.add_argument(
        "--descriptors", type=Path, metavar="FILE", help="write the protocol as a descriptor set there, and no code"
    )
    parser.add_argument(
        "--venv", action="store_true", help="run in an environment of its own that has the pinned generator"
    )
    options = parser.parse_args()
    if options.venv:
        return run_in_own_environment([word for word in sys.argv[1:] if word != "--venv"])
    if options.descriptors:
        write_descriptors(options.descriptors)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = Path(folder) / "keepworld" / "v1"
        if options.check:
            differing = differing_files(fresh)
            if differing:
                print("not what the .proto files give; run proto/generate.py: " + ", ".join(differing))
            return 1 if differing else 0
        GENERATED.mkdir(parents=True, exist_ok=True)
        for stale in GENERATED.glob("*.py*"):
            stale.unlink()
        for path in fresh.iterdir():
            (GENERATED / path.name).write_bytes(path.read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
