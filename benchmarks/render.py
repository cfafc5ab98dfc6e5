"""How fast the diorama renders: rays cast, milliseconds a frame and where they go, frames a second.

    python benchmarks/render.py

Milliseconds are those of a core's own time (``time.thread_time``), so other work on the machine hardly counts; frames a
second are of wall-clock time.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from keepworld.camera import intrinsics
from keepworld_runtime.families.diorama import antialias, shade
from keepworld_runtime.families.diorama.render import Renderer, Shot, _Frame
from keepworld_runtime.families.diorama.scene import build_scene
from keepworld_runtime.families.diorama.spec import Conditions, Moment, SceneSpec
from keepworld_runtime.families.diorama.view import View

SCENES = (
    ("meadow", "hamlet", "windmill", "pond"),
    ("forest", "cottage", "none", "river"),
    ("mountains", "village", "castle", "lake"),
    ("coast", "village", "lighthouse", "sea"),
)
SIZES = ((512, 288), (832, 480))
FRAMES = 12


class Clock:
    """Adds up the core time of chosen calls, and the rays they are given."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.rays = 0

    def watch(self, owner: Any, name: str, heading: str) -> None:
        """From now on, time this attribute of a class or module under a heading."""
        call: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            result = call(*args, **kwargs)
            self.seconds[heading] += time.thread_time() - began
            if heading == "cast":
                self.rays += len(args[2])
            return result

        setattr(owner, name, timed)


def main() -> None:
    """Print the table."""
    clock = Clock()
    clock.watch(View, "cast", "cast")
    clock.watch(View, "_lit", "shadow")
    clock.watch(shade, "shade", "shade")
    clock.watch(_Frame, "finish", "aa")
    clock.watch(antialias, "encode", "encode")
    print("ms are core time; cast and shade include what aa casts and shades")
    print(f"{'scene':10} {'size':>8} {'faces':>7} {'build s':>7} {'Mrays/s':>8} {'cast':>6} {'shadow':>6} {'shade':>6} "
          f"{'aa':>6} {'all ms':>7} {'FPS 1':>6} {'FPS 2':>6}")  # fmt: skip
    for biome, settlement, landmark, water in SCENES:
        began = time.process_time()
        scene = build_scene(
            SceneSpec(
                seed=1,
                biome=biome,
                settlement=settlement,
                density="normal",
                palette="natural",
                landmark=landmark,
                water=water,
            )
        )
        build_s = time.process_time() - began
        for width, height in SIZES:
            fps = []
            for threads in (1, 2):
                renderer = Renderer(scene, width, height, threads)
                K, moment = intrinsics(width, height, 1.3), Moment(time_s=0.0, conditions=Conditions())
                renderer.render(Shot(c2w=scene.start, K=K, moment=moment))
                clock.seconds.clear()
                clock.rays = 0
                wall, core = time.perf_counter(), time.process_time()
                steps = np.repeat(scene.start[None], FRAMES, axis=0)
                steps[:, 2, 3] += 0.2 * np.arange(FRAMES)
                for _ in renderer.render_all(Shot(c2w=c2w, K=K, moment=moment) for c2w in steps):
                    pass
                fps.append(FRAMES / (time.perf_counter() - wall))
                if threads == 1:
                    ms = {name: 1e3 * seconds / FRAMES for name, seconds in clock.seconds.items()}
                    total = 1e3 * (time.process_time() - core) / FRAMES
                    speed = clock.rays / clock.seconds["cast"] / 1e6
            print(f"{biome:10} {width:4}x{height:3} {len(scene.body.faces):7} {build_s:7.2f} {speed:8.2f} {ms['cast']:6.1f} "
                  f"{ms['shadow']:6.1f} {ms['shade']:6.1f} {ms['aa']:6.1f} {total:7.1f} {fps[0]:6.1f} {fps[1]:6.1f}")  # fmt: skip
    print(f"{os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
