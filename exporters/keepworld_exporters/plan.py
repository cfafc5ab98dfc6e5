"""What an export is asked to make, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keepworld_exporters.outputs import Output, outputs_of
from keepworld_exporters.placement import ORIGINS, SESSION
from keepworld_exporters.profiles import PROFILES
from keepworld_exporters.stages.predicted import KINDS, Kind
from keepworld_exporters.stages.sources import Own
from keepworld_exporters.train.settings import BUDGETS, PRESETS, PREVIEW, Training


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How much of everything there may be; what is None is the preset's choice, and the scene's.

    Attributes:
        faces: triangles of the mesh.
        texture: texels along a side of its texture, about; 0 for colours at its vertices.
        normal_map: whether the directions of the fine surface are kept in a picture.
        backdrop: whether the mesh goes on, coarser and coarser, beyond its range.
        points: points of the cloud, which splats are laid on.
        collider_faces: triangles of a collider.
        hulls: convex parts of a collider.
    """

    faces: int | None = None
    texture: int | None = None
    normal_map: bool | None = None
    backdrop: bool | None = None
    points: int = 600_000  # 248 bytes each as splats: about 150 MB
    collider_faces: int = 100_000
    hulls: int = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Amounts:
    """A budget in which nothing is left open."""

    faces: int
    texture: int
    normal_map: bool
    backdrop: bool


_AMOUNTS = {
    "preview": Amounts(faces=600_000, texture=0, normal_map=False, backdrop=False),
    "standard": Amounts(faces=200_000, texture=2048, normal_map=False, backdrop=True),
    "final": Amounts(faces=400_000, texture=4096, normal_map=True, backdrop=True),
}
TEXTURED_FACES = 200_000  # the texture holds the detail


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to make.

    Attributes:
        files: where to; each name says what: see `keepworld_exporters.outputs`.
        report: folder for report.html and report.json, or None.
        holdout: every so many-th frame is kept for measuring; 0 for none.
        holdout_first: the first of them; None for one in the middle of the first so many.
        voxel, max_depth: cell size and range of the mesh, the capture's units; None to choose them from the frames.
        truth: a triangle mesh of the true surface, or None.
        depth: predicted depth to use instead of the session's, as `predicted.PredictedDepth` says; "session" for the session's
            and no other, "sweep" for what is found from the pictures, "hybrid" for that and, where nothing was found, what
            trained splats show; None for the session's, and if it has none, found.
        depth_kind: in what it may be off: one of `predicted.KINDS`.
        preset: how much work goes into all of it: one of `PRESETS`.
        training: what else is asked of the splats' training, where the preset has any.
        budget: what there may be of everything.
        profile: the program the files are for, one of `PROFILES`, or None.
        origin: "session", or "ground": straight below the first camera.
        scale: how much larger everything is to be.
        smoothing: rounds of smoothing of the mesh; None for what its depth wants.
        max_memory: bytes that the export may hold; None for what the machine can spare.
        told: what was done to the capture before, for the manifest.
    """

    files: tuple[Path, ...]
    report: Path | None = None
    holdout: int = 8
    holdout_first: int | None = None
    voxel: float | None = None
    max_depth: float | None = None
    truth: Path | None = None
    depth: Path | Own | None = None
    depth_kind: Kind = "metric"
    preset: str = PREVIEW
    training: Training = field(default_factory=Training)
    budget: Budget = field(default_factory=Budget)
    profile: str | None = None
    origin: str = SESSION
    scale: float = 1.0
    smoothing: int | None = None
    max_memory: int | None = None
    told: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("preset", self.preset, PRESETS),
            ("origin", self.origin, ORIGINS),
            ("depth_kind", self.depth_kind, KINDS),
            ("profile", self.profile, (None, *PROFILES)),
            ("training.budget", self.training.budget, (None, *BUDGETS)),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
        if self.depth == "hybrid" and self.trained_as is None:
            raise ValueError(
                "depth 'hybrid' needs splats that are trained: another preset than preview, or training.budget"
            )

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What each file is to hold."""
        return outputs_of(self.files)

    @property
    def parts(self) -> set[str]:
        """All that is to be in the files."""
        return {output.part for output in self.outputs}

    @property
    def wants_mesh(self) -> bool:
        """Whether a surface is to be made."""
        return bool(self.parts - {"splats", "points", "video"})

    @property
    def trained_as(self) -> str | None:
        """Which budget or preset the splats are trained by; None if they are not trained."""
        return self.training.budget or (None if self.preset == PREVIEW else self.preset)

    @property
    def fills_depth(self) -> bool:
        """Whether depth found from the pictures is filled from trained splats before anything but those is made of it."""
        return self.depth == "hybrid" and (self.wants_mesh or "points" in self.parts)

    @property
    def convention(self) -> str | None:
        """The axes of files that leave them open, None for each format's own."""
        return None if self.profile is None else PROFILES[self.profile].convention

    def amounts(self) -> Amounts:
        """The budget of the mesh, with the preset's choice where none was made."""
        own, budget = _AMOUNTS[self.preset], self.budget
        texture = own.texture if budget.texture is None else budget.texture
        usual = min(own.faces, TEXTURED_FACES) if texture and not own.texture else own.faces
        return Amounts(
            faces=usual if budget.faces is None else budget.faces,
            texture=texture,
            normal_map=bool(texture) and (own.normal_map if budget.normal_map is None else budget.normal_map),
            backdrop=bool(texture) if budget.backdrop is None else budget.backdrop,
        )
