"""What an export came to: files, and what they are worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keepworld.errors import ExportError


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What the written files are worth.

    Attributes:
        psnr_roundtrip: decibels, from the walk to a file and back to pictures: the written splats, or else the mesh, are read
            back and drawn at the cameras of frames that they were not made from, and compared with those frames. Over the
            lasting world, without sky and what moves; what the file does not show there counts as black. None where no
            frame was held out, or no file can be drawn.
        page: report.html, which shows and measures the files; None if none was asked for.
    """

    psnr_roundtrip: float | None = None
    page: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What an export came to.

    Attributes:
        paths: the files written.
        metrics: figures measured on the written files, as in "psnr".
        report: what they are worth.
    """

    paths: tuple[Path, ...]
    metrics: Mapping[str, float]
    report: Report = field(default_factory=Report)

    @classmethod
    def of(cls, paths: Sequence[Path], metrics: Mapping[str, float], page: Path | None) -> Exported:
        """With its report, of what was measured."""
        report = Report(psnr_roundtrip=metrics.get("psnr"), page=page)
        return cls(paths=tuple(paths), metrics=metrics, report=report)


def exported(lines: Sequence[str]) -> Exported:
    """What the exporters said in the last of the lines that they wrote.

    Raises:
        ExportError: they did not say it.
    """
    try:
        content = json.loads(lines[-1])
        metrics, page = content["metrics"], content["report"]
        return Exported.of(
            [Path(entry["path"]) for entry in content["files"].values()],
            {str(name): float(value) for name, value in metrics.items() if isinstance(value, int | float)},
            None if page is None else Path(page),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ExportError(f"the exporters ended without saying what they wrote: {error!r}") from error
