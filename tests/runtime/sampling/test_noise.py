"""Randomness is a function of what it is for."""

import subprocess
import sys

import numpy as np
from keepworld_runtime.sampling.noise import generator


def test_one_purpose_gives_the_same_numbers_in_another_process():
    code = "from keepworld_runtime.sampling.noise import generator; print(generator(7, 'rain', 3).random().hex())"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert float.fromhex(there) == generator(7, "rain", 3).random()


def test_what_was_drawn_before_does_not_matter():
    first = generator(1, "a").random(4)
    generator(1, "b").random(1000)
    assert np.array_equal(generator(1, "a").random(4), first)


def test_purposes_that_read_alike_when_joined_are_different():
    draws = [generator(1, *purpose).random() for purpose in (("a", "b"), ("ab",), ("a", "b", 0), ("a", 1), ("a", "1"))]
    assert len(set(draws)) == len(draws)


def test_neighbouring_seeds_and_chunks_share_nothing():
    table = np.stack(
        [generator(seed, "latents", chunk).standard_normal(4096) for seed in range(4) for chunk in range(4)]
    )
    correlation = np.corrcoef(table) - np.eye(len(table))
    assert np.abs(correlation).max() < 5 / np.sqrt(4096)  # five standard errors of independent draws
    assert abs(table.mean()) < 0.02 and abs(table.std() - 1) < 0.02
