"""What `keepworld` offers by name: taking one away is a decision, not an accident. And what importing it costs."""

from __future__ import annotations

import json
import subprocess
import sys

import keepworld

NAMES = set(
    """
    AccessError Asset AsyncClient AsyncExport AsyncSession
    BrokenChunkError Camera Capabilities CapacityError Capture CaptureError Chunk Client
    Clip Control CONVENTIONS Export ExportError Exported ExportStatus FamilyCapabilities FencedError Frame InvalidRequestError
    KeepworldError Label Latency Limits MissingExtraError NotFoundError Operation OperationStatus PlannedEvent PoseSource
    ProtocolError Provenance Reading Receipt Report Retry
    ServerError Session SessionInfo SessionLostError Snapshot StreamStalledError
    Timeline UnavailableError Units WaitingEvent Walk WorkerError __version__ inputs jobs paths
    """.split()  # noqa: SIM905
)

IMPORT = """
import json, sys, time
before = set(sys.modules)
start = time.process_time()
import keepworld
spent = time.process_time() - start
new = {name.partition(".")[0] for name in set(sys.modules) - before}
origins = {name: getattr(sys.modules[name], "__file__", None) or "" for name in new if name in sys.modules}
outside = sorted(name for name, file in origins.items() if "site-packages" in file or name == "google")
print(json.dumps({"spent": spent, "outside": outside}))
"""


def test_the_public_names_are_these() -> None:
    assert set(keepworld.__all__) == NAMES
    assert all(hasattr(keepworld, name) for name in NAMES)


def test_importing_it_needs_numpy_grpc_and_protobuf_alone() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    print(f"import keepworld: {said['spent']:.2f} s of processor time")
    by_grpc = {"grpc_health", "grpc_reflection", "grpc_status", "grpc_tools", "typing_extensions"}  # what it finds
    assert set(said["outside"]) <= {"google", "grpc", "numpy"} | by_grpc
