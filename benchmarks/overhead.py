"""What the server adds to drawing: chunk time less time in the family, as clients are told it in every ChunkEnd.

    python benchmarks/overhead.py [--family diorama] [--chunks 100] [--size 512x288]

Without --family it is the test family, which sleeps 5 ms a frame and so leaves the processor to the server.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
from keepworld.v1 import frame_pb2, session_pb2, world_service_pb2, world_service_pb2_grpc

ROOT = Path(__file__).parent.parent
WARM_CHUNKS = 3
ENCODINGS = {
    "raw": frame_pb2.IMAGE_ENCODING_RAW_RGB8,
    "jpeg": frame_pb2.IMAGE_ENCODING_JPEG,
    "png": frame_pb2.IMAGE_ENCODING_PNG,
}


@contextmanager
def serving(family: str) -> Iterator[str]:
    """Run a server; gives its address once it is ready."""
    module = "gradient=tests.families" if family == "gradient" else family
    command = (sys.executable, "-m", "keepworld_runtime", "--port", "0", "--family", module, "--log-level", "WARNING")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as server:
        assert server.stdout
        address = json.loads(server.stdout.readline())["listening"]
        assert json.loads(server.stdout.readline())["ready"]
        yield address
        server.terminate()


def walk(address: str, family: str, size: tuple[int, int], config: session_pb2.StreamConfig, chunks: int) -> np.ndarray:
    """Read so many chunks; gives their (draw, encode, chunk) times [N, 3], milliseconds."""
    options = [("grpc.max_receive_message_length", 64 << 20)]
    with grpc.insecure_channel(address, options=options) as channel:
        stub = world_service_pb2_grpc.WorldServiceStub(channel)
        created = stub.CreateSession(
            world_service_pb2.CreateSessionRequest(
                family=family,
                prompt="slow=0.005" if family == "gradient" else "a village by a lake",
                size=world_service_pb2.Size(width=size[0], height=size[1]),
            )
        )
        attach = session_pb2.Attach(
            session_id=created.session.session_id,
            token=created.token,
            config=config,
            pace=session_pb2.Pace(mode=session_pb2.PACE_MODE_AS_FAST_AS_POSSIBLE),
        )
        call = stub.StreamSession(iter([world_service_pb2.StreamSessionRequest(attach=attach)]))
        times = []
        for response in call:
            if response.WhichOneof("message") == "chunk_end":
                timing = response.chunk_end.timing
                times.append((timing.draw_us, timing.encode_us, timing.chunk_us))
            if len(times) == chunks + WARM_CHUNKS:
                break
        call.cancel()
        stub.CloseSession(
            world_service_pb2.CloseSessionRequest(session_id=created.session.session_id, token=created.token)
        )
    return np.array(times[WARM_CHUNKS:]) / 1e3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="gradient")
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--size", default="512x288")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    print(f"{options.family} {width}x{height}, {options.chunks} chunks of 16 frames; milliseconds a chunk")
    print(f"{'':24}{'draw':>8}{'encode':>8}{'overhead p50':>14}{'p99':>8}")
    with serving(options.family) as address:
        for name, encoding in ENCODINGS.items():
            for pixel_data in (False, True):
                config = session_pb2.StreamConfig(encoding=encoding, pixel_data=pixel_data)
                times = walk(address, options.family, (width, height), config, options.chunks)
                overhead = times[:, 2] - times[:, 0]
                draw, encode = np.median(times[:, :2], axis=0)
                p50, p99 = np.percentile(overhead, (50, 99))
                label = name + (" + depth and labels" if pixel_data else "")
                print(f"{label:24}{draw:8.1f}{encode:8.1f}{p50:14.2f}{p99:8.2f}")


if __name__ == "__main__":
    main()
