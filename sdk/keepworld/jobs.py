"""Jobs of a file, for programs that make them in their own way; ``keepworld run`` makes the same files by itself.

for job in jobs.read("shots.jsonl"):
    with client.sessions.open(job.prompt, image=job.image, seed=job.seed, idempotency_key=job.id) as session:
        session.follow(paths.load(job.camera), events=job.events)
"""

from keepworld.shots import Shot as Job
from keepworld.shots import read

__all__ = ["Job", "read"]
