"""Counter-based randomness: a number is a function of what it is for, never of what was drawn before."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Make the generator for one purpose of one world: equal arguments, equal numbers, in any process and order.

    Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) keyed by a hash of the seed and the purpose.

    Args:
        seed: the session's seed.
        purpose: what the numbers are for, as in ``generator(seed, "rain", chunk)``.
    """
    digest = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, np.uint64)))
