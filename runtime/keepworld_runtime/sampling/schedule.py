"""Noise levels."""

from __future__ import annotations


def shifted_sigmas(num_steps: int, shift: float) -> tuple[float, ...]:
    """The num_steps + 1 levels from 1 to 0: even steps u, moved towards noise by shift·u / (1 + (shift − 1)·u).

    Source: the flow shift of Esser et al., arXiv 2403.03206, section 5.3.2, in the form that HunyuanVideo and Wan use.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    even = (1 - step / num_steps for step in range(num_steps + 1))
    return tuple(shift * u / (1 + (shift - 1) * u) for u in even)
