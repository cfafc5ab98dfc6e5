"""``.splat.glb``: Gaussian splats as glTF points with `KHR_gaussian_splatting`, every value a float: nothing is lost.

Source: the extension's ratified text (Khronos). Rotations are x y z w, scales and opacities linear; `COLOR_0` is what readers
without the extension show, and linear light as everywhere in glTF.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keepworld_exporters.formats import gltf
from keepworld_exporters.formats.checks import checked_splats
from keepworld_exporters.formats.glb import linear_from_srgb
from keepworld_exporters.formats.harmonics import SH_C0
from keepworld_exporters.scene import Splats

_NAME = "KHR_gaussian_splatting"
_POINTS = 0
_COEFFICIENTS = [f"{_NAME}:SH_DEGREE_{degree}_COEF_{k}" for degree in (1, 2, 3) for k in range(2 * degree + 1)]


def encode(splats: Splats, extras: Mapping[str, object] | None = None) -> bytes:
    """Turn splats into a file; `extras` are kept under the asset."""
    parts = gltf.Parts()
    colours = np.empty((len(splats.means), 4), "<u2")
    shown = np.clip(SH_C0 * splats.sh0.astype(np.float64) + 0.5, 0, 1)
    colours[:, :3] = np.round(65535 * linear_from_srgb(shown))
    colours[:, 3] = np.round(65535 * np.clip(splats.opacities, 0, 1))
    attributes = {
        "POSITION": parts.add(splats.means.astype("<f4"), target=gltf.ARRAY, bounds=True),
        "COLOR_0": parts.add(colours, target=gltf.ARRAY, normalized=True),
    }
    values = {
        f"{_NAME}:ROTATION": splats.quats[:, [1, 2, 3, 0]],
        f"{_NAME}:SCALE": splats.scales,
        f"{_NAME}:OPACITY": np.clip(splats.opacities, 0, 1)[:, None],
        f"{_NAME}:SH_DEGREE_0_COEF_0": splats.sh0,
        **{name: splats.shN[:, k] for k, name in enumerate(_COEFFICIENTS[: splats.shN.shape[1]])},
    }
    attributes |= {name: parts.add(array.astype("<f4"), target=gltf.ARRAY) for name, array in values.items()}
    about = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display", "sortingMethod": "cameraDistance"}
    primitive = {
        "attributes": attributes,
        "mode": _POINTS,
        "extensions": {_NAME: {**about, "projection": "perspective"}},
    }
    content = {
        "extensionsUsed": [_NAME],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "world"}],
        "meshes": [{"primitives": [primitive]}],
    }
    return gltf.encode(content, parts, {**(extras or {}), "antialiased": splats.antialiased})


def decode(data: bytes) -> Splats:
    """Read the splats of a file that holds them as floats, in one piece.

    Raises:
        ValueError: damaged, without splats, or with compressed ones.
    """
    content, body = gltf.split(data)
    try:
        found = [
            primitive
            for primitive, _ in gltf.placed_meshes(content)
            if _NAME in primitive.get("extensions", {})  # type: ignore[operator]
        ]
        if len(found) != 1:
            raise ValueError(f"a splat GLB has one primitive with {_NAME}, this file has {len(found)}")
        named = found[0]["attributes"]
        assert isinstance(named, dict)

        def values(name: str, width: int) -> np.ndarray:
            return gltf.read(content, body, named[name], width=width, kinds=(gltf.FLOAT,))

        bands = next((k for k, name in enumerate(_COEFFICIENTS) if name not in named), 15)
        rest = [values(name, 3) for name in _COEFFICIENTS[:bands]]
        means = values("POSITION", 3)
        extras = content["asset"].get("extras", {})  # type: ignore[attr-defined]
        return checked_splats(
            means=means,
            quats=values(f"{_NAME}:ROTATION", 4)[:, [3, 0, 1, 2]],
            scales=values(f"{_NAME}:SCALE", 3),
            opacities=values(f"{_NAME}:OPACITY", 1)[:, 0],
            sh0=values(f"{_NAME}:SH_DEGREE_0_COEF_0", 3),
            shN=np.stack(rest, 1) if rest else np.zeros((len(means), 0, 3)),
            antialiased=isinstance(extras, dict) and extras.get("antialiased") is True,
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"damaged GLB file: {error!r}") from error
