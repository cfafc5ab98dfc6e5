"""All that events have brought to one scene: made when first needed, the same whenever that is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.event_words import CREATURES, SPECTACLES, THINGS
from keepworld_runtime.families.diorama.events import Change
from keepworld_runtime.families.diorama.placing import Place, Viewer
from keepworld_runtime.families.diorama.scene import Scene
from keepworld_runtime.families.diorama.shown import Shown
from keepworld_runtime.families.diorama.things import BUILDERS, Thing
from keepworld_runtime.families.diorama.timeline import Entry, Timeline

Floats = NDArray[np.float64]

MAX_THINGS = 24  # drawn at a time; older ones give way


class Stage:
    """A scene as `placing.Place` sees it."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.spec, self.spots, self.ground, self.blocked = scene.spec, scene.spots, scene.ground, scene.blocked

    def sees(self, eye: Floats, points: Floats) -> NDArray[np.bool_]:
        """See `placing.Place`."""
        rays = np.ascontiguousarray((points - eye).reshape(-1, 3), np.float32)
        origins = np.ascontiguousarray(np.broadcast_to(eye, rays.shape), np.float32)
        tracer = self._scene.body.tracer
        assert tracer is not None  # there always is some land
        free = np.ones(len(rays), np.uint8)
        tracer.block(origins, rays, 0.99, free)
        return np.asarray(free.astype(np.bool_)).reshape(points.shape[:-1])


class Cast:
    """The things of one session."""

    def __init__(self, place: Place, seed: int) -> None:
        self._place, self._seed = place, seed
        self._things: dict[tuple[Entry, Change], Thing] = {}

    def shown_at(self, timeline: Timeline, time_s: float) -> Shown:
        """What there is at a time."""
        shown = Shown()
        present = list(timeline.present_at(time_s))[-MAX_THINGS:]
        if present:
            self._make(timeline)
        for presence in present:
            thing = self._things[timeline.entries[presence.entry], presence.change]
            thing.show(shown, age_s=presence.age_s, time_s=time_s, amount=presence.amount)
        return shown

    def _make(self, timeline: Timeline) -> None:
        """Make what is not there yet, in the order of the events, each keeping away from all before it."""
        taken: list[tuple[float, float]] = []
        for number, entry in enumerate(timeline.entries):
            for change in entry.changes:
                if change.goes or change.heading not in (THINGS, CREATURES, SPECTACLES):
                    continue
                if (entry, change) not in self._things:
                    viewer = Viewer(c2w=entry.c2w, seed=self._seed, entry=number, taken=tuple(taken))
                    self._things[entry, change] = BUILDERS[change.subject](self._place, viewer)
                taken += self._things[entry, change].footprint()
