"""Embree's own C interface, as far as it is needed to cast rays in packets: the library that embreex brings along.

embreex casts rays one by one; the same library takes sixteen at a time. Constants and layouts are those of Embree 4
(`embree4/rtcore*.h`).
"""

from __future__ import annotations

import ctypes
import weakref
from functools import cache
from pathlib import Path
from typing import ClassVar

import embreex
import embreex.rtcore_scene  # loads what the library needs, wherever the wheel has put it
import numpy as np
from numpy.typing import NDArray

_PLACES = (
    "embreex.libs/libembree4*",
    "embreex/.dylibs/libembree4*",
    "embreex.libs/embree4*.dll",
)  # Linux, macOS, Windows
_TRIANGLES, _INDICES, _VERTICES, _UINT3, _FLOAT3 = 0, 0, 1, 0x5003, 0x9003
_ROBUST = 4  # scene flag: no ray slips between two triangles; with it embreex's results are met to the bit
_COHERENT = 1 << 16  # query flag: the rays of a packet are traced together
_ALL_FEATURES = 0xFFFFFFFF
_VERSION = 0  # device property: 40400 for 4.4.0
_POINTER, _SIZE, _INT, _UINT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_uint
_CALLS = {
    "rtcNewDevice": (_POINTER, (ctypes.c_char_p,)),
    "rtcGetDeviceProperty": (ctypes.c_ssize_t, (_POINTER, _INT)),
    "rtcGetDeviceError": (_INT, (_POINTER,)),
    "rtcNewScene": (_POINTER, (_POINTER,)),
    "rtcSetSceneFlags": (None, (_POINTER, _INT)),
    "rtcCommitScene": (None, (_POINTER,)),
    "rtcReleaseScene": (None, (_POINTER,)),
    "rtcNewGeometry": (_POINTER, (_POINTER, _INT)),
    "rtcSetNewGeometryBuffer": (_POINTER, (_POINTER, _INT, _UINT, _INT, _SIZE, _SIZE)),
    "rtcCommitGeometry": (None, (_POINTER,)),
    "rtcAttachGeometry": (_UINT, (_POINTER, _POINTER)),
    "rtcReleaseGeometry": (None, (_POINTER,)),
}


class EmbreeUnavailableError(RuntimeError):
    """The library is not where it is expected, or is not the one expected."""


class _Arguments(ctypes.Structure):
    """RTCIntersectArguments, which RTCOccludedArguments equals."""

    _fields_: ClassVar = [
        ("flags", _UINT),
        ("feature_mask", _UINT),
        ("context", _POINTER),
        ("filter", _POINTER),
        ("intersect", _POINTER),
        ("min_width_distance_factor", ctypes.c_float),
    ]


class Embree:
    """The library with a device that works in the calling thread alone.

    Attributes:
        intersect16, occluded16: addresses of the calls of those names.
        arguments: address of what they are to be given last.

    Raises:
        EmbreeUnavailableError: see there.
    """

    def __init__(self) -> None:
        root = Path(embreex.__file__).parent.parent
        found = sorted(path for place in _PLACES for path in root.glob(place))
        if not found:
            raise EmbreeUnavailableError(f"no Embree library beside {root / 'embreex'}")
        try:
            self._library = ctypes.CDLL(str(found[0]))
            for name, (gives, takes) in _CALLS.items():
                call = getattr(self._library, name)
                call.restype, call.argtypes = gives, takes
            self.intersect16, self.occluded16 = self._address("rtcIntersect16"), self._address("rtcOccluded16")
        except (OSError, AttributeError) as error:
            raise EmbreeUnavailableError(f"{found[0].name}: {error}") from error
        self._device = self._library.rtcNewDevice(b"threads=1,set_affinity=0")
        version = self._library.rtcGetDeviceProperty(self._device, _VERSION) if self._device else 0
        if version // 10000 != 4:
            raise EmbreeUnavailableError(f"{found[0].name}: version {version}, not 4")
        self._arguments = _Arguments(flags=_COHERENT, feature_mask=_ALL_FEATURES)
        self.arguments = ctypes.addressof(self._arguments)

    def _address(self, name: str) -> int:
        return ctypes.cast(getattr(self._library, name), _POINTER).value or 0

    def new_scene(self, vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> int:
        """Build a scene of triangles, vertices [V, 3], faces [F, 3], which are copied; to be released."""
        library = self._library
        scene: int = library.rtcNewScene(self._device)
        library.rtcSetSceneFlags(scene, _ROBUST)
        geometry = library.rtcNewGeometry(self._device, _TRIANGLES)
        # Buffers that Embree makes itself have the padding it reads into behind their ends.
        for kind, layout, rows, dtype in (
            (_VERTICES, _FLOAT3, vertices, np.float32),
            (_INDICES, _UINT3, faces, np.int32),
        ):
            values = np.ascontiguousarray(rows, dtype)
            buffer = library.rtcSetNewGeometryBuffer(geometry, kind, 0, layout, 12, len(values))
            if not buffer:
                raise MemoryError(f"Embree has no room for {len(values)} rows")
            ctypes.memmove(buffer, values.ctypes.data, values.nbytes)
        library.rtcCommitGeometry(geometry)
        library.rtcAttachGeometry(scene, geometry)
        library.rtcReleaseGeometry(geometry)  # the scene keeps it
        library.rtcCommitScene(scene)
        error = library.rtcGetDeviceError(self._device)
        if error:
            self.release(scene)
            raise RuntimeError(f"Embree could not build a scene of {len(faces)} triangles: error {error}")
        return scene

    def release(self, scene: int) -> None:
        """Give a scene back."""
        self._library.rtcReleaseScene(scene)


class EmbreeScene:
    """A scene of triangles, vertices [V, 3], faces [F, 3], for as long as this object lives.

    Attributes:
        handle: as the calls at Embree's addresses want it.
    """

    def __init__(self, embree: Embree, vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> None:
        self.handle = embree.new_scene(vertices, faces)
        weakref.finalize(self, embree.release, self.handle).atexit = False


@cache
def load_embree() -> Embree:
    """The process's one Embree. Raises what `Embree` does."""
    return Embree()
