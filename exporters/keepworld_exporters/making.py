"""The parts of an export, each made once: a cloud, a surface with its texture, levels and colliders, splats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from keepworld.capture import CapturedFrame
from numpy.typing import NDArray

from keepworld_exporters import survey
from keepworld_exporters.plan import Plan
from keepworld_exporters.progress import Clock
from keepworld_exporters.rasterize.fit import Target, fit_colours
from keepworld_exporters.scene import Mesh, Points, Scene, Splats
from keepworld_exporters.stages import collider, fuse, lod
from keepworld_exporters.stages.depth import View, load_view, typical_depth
from keepworld_exporters.stages.holes import Holes
from keepworld_exporters.stages.layout import lay_out
from keepworld_exporters.stages.paint import vertex_normals
from keepworld_exporters.stages.points import FINER, Cloud, gather_points
from keepworld_exporters.stages.relief import normal_map
from keepworld_exporters.stages.select import evenly
from keepworld_exporters.stages.sky import sky_shell
from keepworld_exporters.stages.sources import DepthSource, FoundDepth
from keepworld_exporters.stages.splats import join, splats_from_cloud
from keepworld_exporters.stages.texture import texture
from keepworld_exporters.survey import Surveyed
from keepworld_exporters.train.hybrid import hybrid_depth
from keepworld_exporters.train.preset import train_splats
from keepworld_exporters.unfinished import Unfinished

FIT_VIEWS, FIT_ROUNDS = 28, 2
SMOOTHING = 8  # rounds, where depth was worked out from pictures


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Made:
    """All parts that were asked for, in the session's frame.

    Attributes:
        scenes: by part, as `keepworld_exporters.outputs` names them; a mesh has normals.
        hulls: the convex parts of a collider.
        holes: what became of the mesh's holes, None without one.
    """

    scenes: dict[str, Scene]
    hulls: tuple[Mesh, ...]
    holes: Holes | None


class Maker:
    """Makes the parts of a plan from frames.

    Args:
        plan: what to make.
        seen: how fine, and how far.
        used: the frames.
        source: their depth.
        clock: told of every step.
        unfinished: where what is done is kept until all is.
        rough: whether the depth was worked out from pictures.
    """

    def __init__(
        self,
        plan: Plan,
        seen: Surveyed,
        used: tuple[CapturedFrame, ...],
        source: DepthSource | None,
        clock: Clock,
        unfinished: Unfinished,
        rough: bool,
    ) -> None:
        self._plan, self._seen, self._used, self._source = plan, seen, used, source
        self._clock, self._unfinished = clock, unfinished
        self._rough, self._fills = rough, rough and plan.fills_depth

    def make(self) -> Made:
        """Make all of it."""
        parts = self._plan.parts
        scenes: dict[str, Scene] = {}
        hulls: tuple[Mesh, ...] = ()
        holes = None
        cloud, splats = None, None
        if parts & {"points", "splats"} or self._fills:
            cloud = self._cloud("points")
        if cloud is not None and self._fills:
            splats = self._splats(cloud)
            self._source = self._filled(splats)
            if "points" in parts:
                cloud = self._cloud("filled points")
        if cloud is not None:
            scenes["points"] = cloud.points
        if self._plan.wants_mesh:
            surface = self._surface()
            holes = surface.holes
            mesh = self._textured(surface)
            scenes["mesh"] = mesh
            scenes |= self._levels(mesh)
            if "collider" in parts:
                with self._clock.stage("collider"):
                    scenes["collider"] = _with_normals(
                        collider.triangle_collider(surface.mesh, self._plan.budget.collider_faces)
                    )
            if "hulls" in parts:
                with self._clock.stage("hulls"):
                    hulls = tuple(collider.convex_parts(surface.mesh, self._plan.budget.hulls))
                    vertices, faces = fuse.joined([(hull.vertices, hull.faces) for hull in hulls])
                    colours = np.concatenate([hull.colours for hull in hulls])
                    scenes["hulls"] = Mesh(vertices=vertices, faces=faces, colours=colours)
            del surface
        if "splats" in parts:
            assert cloud is not None
            scenes["splats"] = splats or self._splats(cloud)
        return Made(scenes=scenes, hulls=hulls, holes=holes)

    def _views(self) -> Iterator[View]:
        return (load_view(frame, self._source) for frame in self._used)

    def _filled(self, splats: Splats) -> FoundDepth:
        """The depth of the frames, with that of trained splats where there was none."""
        source = self._source
        assert source is not None
        with self._clock.stage("filled depth", 2 * len(self._used)) as step:

            def make() -> FoundDepth:
                typical = typical_depth(self._used, source)
                return hybrid_depth(self._used, source, splats, typical=typical, on_view=step)

            return self._unfinished.keep("filled depth", FoundDepth, make)

    def _cloud(self, stage: str) -> Cloud:
        with self._clock.stage(stage, len(self._used)) as step:
            finest = self._seen.resolution.voxel / FINER

            def make() -> Cloud:
                return gather_points(self._views, finest, max_points=self._plan.budget.points, on_view=step)

            return self._unfinished.keep(stage, Cloud, make)

    def _surface(self) -> fuse.Surface:
        smoothing = self._plan.smoothing
        shape = fuse.Shape(
            max_faces=self._plan.amounts().faces,
            rings=self._seen.rings,
            smoothing=(SMOOTHING if self._rough else 0) if smoothing is None else smoothing,
            budget_bytes=survey.BUDGET_BYTES,
        )
        with self._clock.stage("mesh", fuse.passes(shape) * len(self._used)) as step:

            def make() -> fuse.Surface:
                return fuse.fuse_mesh(self._views, self._seen.resolution, shape, on_view=step)

            return self._unfinished.keep("surface", fuse.Surface, make)

    def _textured(self, surface: fuse.Surface) -> Mesh:
        amounts = self._plan.amounts()
        if not amounts.texture:
            return _with_normals(surface.mesh)
        with self._clock.stage("texture", len(self._used)) as step:

            def make() -> Mesh:
                layout = lay_out(surface.mesh, size=amounts.texture, cells=surface.cells)
                return replace(layout.mesh, texture=texture(layout, self._views(), on_view=step))

            mesh = self._unfinished.keep("texture", Mesh, make)
        if not amounts.normal_map:
            return mesh
        with self._clock.stage("relief"):

            def carve() -> Mesh:
                layout = lay_out(surface.mesh, size=amounts.texture, cells=surface.cells)
                tangents, relief = normal_map(layout, surface.fine)
                return replace(mesh, tangents=tangents, normal_map=relief)

            return self._unfinished.keep("relief", Mesh, carve)

    def _levels(self, mesh: Mesh) -> dict[str, Scene]:
        wanted = max((output.level for output in self._plan.outputs), default=0)
        if not wanted:
            return {}
        shares = [lod.SHARES[k] if k < len(lod.SHARES) else lod.SHARES[-1] / 4 ** (k - 3) for k in range(wanted + 1)]
        with self._clock.stage("levels"):
            made = lod.levels(mesh, shares)
        # A surface too small for the coarsest levels shows its coarsest one there.
        return {f"lod{k}": made[min(k, len(made) - 1)] for k in range(1, wanted + 1)}

    def _splats(self, cloud: Cloud) -> Splats:
        with self._clock.stage("splats"):
            shell = sky_shell(self._views(), cloud.points.positions)
        training = self._plan.trained_as
        if training is None:
            ground = splats_from_cloud(cloud)
            laid = ground if shell is None else join(ground, shell)
            chosen = evenly(self._used, FIT_VIEWS)
            with self._clock.stage("colours", FIT_ROUNDS * len(chosen)) as step:
                targets = [partial(_target, frame, self._source) for frame in chosen]
                return fit_colours(laid, targets, rounds=FIT_ROUNDS, on_step=step)
        settings = self._plan.training.settings(training, self._seen.megapixels)
        with self._clock.stage(training, settings.iterations or 1) as step:

            def make() -> Splats:
                return train_splats(
                    cloud, shell, self._views(), settings,
                    checkpoint=training_file(self._plan), watch=self._plan.training.watch, on_step=step,
                )  # fmt: skip

            return self._unfinished.keep("splats", Splats, make)


def training_file(plan: Plan) -> Path:
    """Where the state of a plan's training is kept, if it has one."""
    file = next((output.path for output in plan.outputs if output.part == "splats"), plan.files[0])
    return file.with_name(f".{file.name}.training")


def _with_normals(mesh: Mesh) -> Mesh:
    return mesh if mesh.normals is not None else replace(mesh, normals=vertex_normals(mesh.vertices, mesh.faces))


def places_of(scene: Scene) -> NDArray[np.float32]:
    """Where a scene is: [N, 3]."""
    match scene:
        case Points():
            return scene.positions
        case Mesh():
            return scene.vertices
        case Splats():
            return scene.means


def _target(frame: CapturedFrame, source: DepthSource | None) -> Target:
    """A frame's picture for fitting colours: the lasting world and the sky, without what moves."""
    view = load_view(frame, source)
    mask = (view.depth > 0).astype(np.float32)
    return Target(image=view.image, mask=mask, viewmat=view.viewmat, K=view.K)
