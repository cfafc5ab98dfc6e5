"""Make many captures unattended, each from a prompt, a seed and a camera path, the same again on every run.

    python examples/03_pipeline.py out                the two jobs below
    python examples/03_pipeline.py out jobs.jsonl     one job a line, with "camera" a file: transforms.json, a list of
                                                      matrices (then with "frame"), or a capture

Shows `paths`, checked before a server spends time, `follow` with events, captures as folders, and exports of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import keepworld as kw

JOBS = [
    {"id": "lake", "text": "a lake with a boathouse, autumn", "seed": 1, "events": [[1.0, "night falls"]]},
    {"id": "hills", "text": "snowy hills with a cabin, dusk", "seed": 2},
]


def main() -> int:
    options = arguments()
    jobs = [json.loads(line) for line in options.jobs.read_text().splitlines()] if options.jobs else JOBS
    ways = [camera_path(job, options.frames) for job in jobs]  # all of them are checked before any is walked
    failed = 0
    with kw.Client(progress=True) as client:  # KEEPWORLD_URL, or a server of its own
        for job, path in zip(jobs, ways, strict=True):
            try:
                make(client, job, path, options)
            except kw.KeepworldError as error:
                print(f"{job['id']} failed: {error} ({error.code}{', worth a retry' if error.retryable else ''})")
                failed += 1
    return 1 if failed else 0


def camera_path(job, frames: int):
    """The cameras [N, 4, 4] of a job: from its file, or a slow pan with a step to the side."""
    if "camera" in job:
        return kw.paths.load(job["camera"], frame=job.get("frame"))
    # y points down, and walks begin at the origin with the ground just below: this is 2.5 m above it.
    looks = [kw.paths.look_at([step, -2.5, 0], [to, -2.5, 10]) for step, to in ((0, -4), (1, 0), (2, 4))]
    return kw.paths.through(looks, frames)


def make(client: kw.Client, job, path, options: argparse.Namespace) -> None:
    with client.sessions.open(job["text"], seed=job["seed"], size=options.size, mode="fly", progress=True) as session:
        session.follow(path, events=job.get("events", ()))
        capture = session.capture(options.out / job["id"])
    print(capture)
    if options.export:
        exported = capture.export(options.out / f"{job['id']}.points.ply", progress=True)
        print(*exported.paths)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a new folder for the captures and what is made of them")
    parser.add_argument("jobs", type=Path, nargs="?", help="a file of jobs, one JSON object a line")
    parser.add_argument("--frames", type=int, default=61, help="of a path that comes from no file")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(512, 288))
    parser.add_argument("--no-export", dest="export", action="store_false", help="only capture")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
