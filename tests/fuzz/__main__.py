"""By hand: ``python -m tests.fuzz --count 1000000``. Prints what came back, and fails if anything came back wrong."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.faults.harness import Held, server_process
from tests.fuzz.calls import fuzz


async def run(count: int, seed: int) -> int:
    """Fuzz a server of its own, in rounds, so that a long run shows where it is."""
    wrong, done = 0, 0
    async with server_process("--max-sessions", "16") as (port, process):
        before = None
        while done < count:
            part = min(20_000, count - done)
            findings = await fuzz(f"127.0.0.1:{port}", part, seed + done)
            done, wrong = done + part, wrong + len(findings.wrong)
            held = Held.by(process)
            before = before or held
            print(
                f"{done} calls, {2 * done} messages or more; wrong {wrong}; longest {findings.longest_s:.2f} s; "
                f"RSS {held.rss >> 20} MiB ({(held.rss - before.rss) / 2**20:+.1f}), files {held.files}, threads {held.threads}",
                flush=True,
            )
            for line in findings.wrong[:10]:
                print("  " + line)
        for (method, status), number in sorted(findings.statuses.items()):
            print(f"  {method:24}{status:24}{number}")
    return 1 if wrong else 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return asyncio.run(run(options.count, options.seed))


if __name__ == "__main__":
    sys.exit(main())
