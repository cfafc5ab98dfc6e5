"""``.splat.usda``: Gaussian splats as a `ParticleField3DGaussianSplat` (OpenUSD 26.03), every value a float: nothing is lost.

Quaternions are w x y z, scales and opacities linear; a splat's coefficients follow each other, degree 0 first.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keepworld_exporters.formats import usd
from keepworld_exporters.formats.checks import checked_splats
from keepworld_exporters.formats.glb import linear_from_srgb
from keepworld_exporters.formats.harmonics import BANDS, SH_C0
from keepworld_exporters.scene import Splats

_COEFFICIENTS = "radiance:sphericalHarmonicsCoefficients"


def encode(splats: Splats, about: Mapping[str, object] | None = None) -> bytes:
    """Turn splats into a stage."""
    bands = splats.shN.shape[1]
    coefficients = np.concatenate([splats.sh0[:, None], splats.shN], 1).reshape(-1, 3)
    shown = linear_from_srgb(np.clip(SH_C0 * splats.sh0.astype(np.float64) + 0.5, 0, 1)).astype(np.float32)
    vertex = f'(\n            interpolation = "vertex"\n            elementSize = {bands + 1}\n        )'
    lines = [
        f"float3[] extent = {usd.bounds(splats.means, 3 * splats.scales.max(1, initial=0))}",
        f"point3f[] positions = {usd.tuples(splats.means)}",
        f"quatf[] orientations = {usd.tuples(splats.quats)}",
        f"float3[] scales = {usd.tuples(splats.scales)}",
        f"float[] opacities = {usd.tuples(np.clip(splats.opacities, 0, 1))}",
        f"uniform int radiance:sphericalHarmonicsDegree = {BANDS.index(bands)}",
        f"float3[] {_COEFFICIENTS} = {usd.tuples(coefficients)} {vertex}",
        f'color3f[] primvars:displayColor = {usd.tuples(shown)} (\n            interpolation = "vertex"\n        )',
    ]
    body = "\n        ".join(lines)
    prim = f'def Xform "world"\n{{\n    def ParticleField3DGaussianSplat "splats"\n    {{\n        {body}\n    }}\n}}\n'
    return usd.stage(prim, {**(about or {}), "antialiased": splats.antialiased})


def decode(data: bytes) -> Splats:
    """Read a stage of one field of splats that is not moved.

    Raises:
        ValueError: damaged, binary, or of another kind.
    """
    text = usd.decode_text(data)
    if "xformOp" in text or 'upAxis = "Z"' in text:
        raise ValueError("the USD file's splats are moved by their stage, which is not read; flatten it, y up")
    means = usd.read_array(text, "positions", 3)
    count = len(means)
    coefficients = usd.read_array(text, _COEFFICIENTS, 3)
    each = len(coefficients) // max(count, 1)
    if each * count != len(coefficients) or each - 1 not in BANDS:
        raise ValueError(
            f"{count} splats have 1, 4, 9 or 16 coefficients each, this file has {len(coefficients)} in all"
        )
    harmonics = coefficients.reshape(count, each, 3)
    return checked_splats(
        means=means,
        quats=usd.read_array(text, "orientations", 4),
        scales=usd.read_array(text, "scales", 3),
        opacities=usd.read_array(text, "opacities", 1)[:, 0],
        sh0=harmonics[:, 0],
        shN=harmonics[:, 1:],
        antialiased="antialiased: True" in text[:65_536],
    )
