"""Walk a generated world in real time, and keep it in 3D."""

from keepworld import inputs, jobs, paths
from keepworld.camera import CONVENTIONS, Camera, PoseSource, Units
from keepworld.capabilities import (
    Capabilities,
    FamilyCapabilities,
    Limits,
    Reading,
    SessionInfo,
    Snapshot,
    WaitingEvent,
)
from keepworld.capture import Capture
from keepworld.capture_writer import Provenance
from keepworld.client import AsyncClient
from keepworld.errors import (
    AccessError,
    BrokenChunkError,
    CapacityError,
    CaptureError,
    ExportError,
    FencedError,
    InvalidRequestError,
    KeepworldError,
    MissingExtraError,
    NotFoundError,
    ProtocolError,
    ServerError,
    SessionLostError,
    StreamStalledError,
    UnavailableError,
    WorkerError,
)
from keepworld.exported import Exported, Report
from keepworld.exports import AsyncExport
from keepworld.frames import Chunk, Frame, Label, Latency, Receipt, Walk
from keepworld.motion import Control
from keepworld.operation import Operation, OperationStatus
from keepworld.patience import Retry
from keepworld.session import AsyncSession
from keepworld.sync import Client, Session
from keepworld.sync_exports import Export
from keepworld.timeline import PlannedEvent, Timeline
from keepworld.uploads import Asset, Clip
from keepworld.wire_export import ExportStatus

__version__ = "0.1.0"

__all__ = [
    "CONVENTIONS",
    "AccessError",
    "Asset",
    "AsyncClient",
    "AsyncExport",
    "AsyncSession",
    "BrokenChunkError",
    "Camera",
    "Capabilities",
    "CapacityError",
    "Capture",
    "CaptureError",
    "Chunk",
    "Client",
    "Clip",
    "Control",
    "Export",
    "ExportError",
    "ExportStatus",
    "Exported",
    "FamilyCapabilities",
    "FencedError",
    "Frame",
    "InvalidRequestError",
    "KeepworldError",
    "Label",
    "Latency",
    "Limits",
    "MissingExtraError",
    "NotFoundError",
    "Operation",
    "OperationStatus",
    "PlannedEvent",
    "PoseSource",
    "ProtocolError",
    "Provenance",
    "Reading",
    "Receipt",
    "Report",
    "Retry",
    "ServerError",
    "Session",
    "SessionInfo",
    "SessionLostError",
    "Snapshot",
    "StreamStalledError",
    "Timeline",
    "UnavailableError",
    "Units",
    "WaitingEvent",
    "Walk",
    "WorkerError",
    "__version__",
    "inputs",
    "jobs",
    "paths",
]
