"""What exports may take."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportLimits:
    """Bounds on exports.

    Attributes:
        max_operations: that are kept, ended ones included.
        max_bytes: of all captures and files on disk.
        max_running: exports at once.
        kept_s: how long what came of an operation is kept.
        export_bytes: that one export may write; so much is held for it while it runs.
        memory_bytes: that one export may take.
        time_s: that one export may take.
        max_files: of one export.

    Raises:
        ValueError: one is not positive.
    """

    max_operations: int = 64
    max_bytes: int = 20 << 30
    max_running: int = 1
    kept_s: float = 3600.0
    export_bytes: int = 2 << 30
    memory_bytes: int = 8 << 30
    time_s: float = 4 * 3600.0
    max_files: int = 16

    def __post_init__(self) -> None:
        for each in fields(self):
            if not getattr(self, each.name) > 0:
                raise ValueError(f"export.{each.name} must be positive, got {getattr(self, each.name)}")
