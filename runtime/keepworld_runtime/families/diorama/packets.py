"""Rays cast sixteen at a time (numba calling Embree): neighbours walk down the tree of triangles together.

Sixteen neighbouring rays cost about a quarter of sixteen single ones. What a ray hits does not depend on the others of
its packet, but for triangles at the very same distance: which of them is named may. So packets are made up in the same
way every time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.embree import EmbreeScene, load_embree
from keepworld_runtime.families.diorama.hits import Hits

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
_WIDTH = 16
# Where the rows of RTCRay16 and, after it, RTCHit16 begin, counted in floats; before them here a row says which lanes
# are in use. The last is the first of two rows of instance numbers, which are there or not as Embree was built.
_LANES, _ORIGIN, _NEAR, _DIR, _TIME, _END, _MASK, _ID, _FLAGS = 0, 16, 64, 80, 128, 144, 160, 176, 192
_NORMAL, _U, _V, _FACE, _GEOMETRY, _INSTANCE, _SIZE = 208, 256, 272, 288, 304, 320, 352


class PacketTracer:
    """Casts packets of rays at triangles, vertices [V, 3], faces [F, 3].

    Raises:
        EmbreeUnavailableError: they cannot be cast in packets here.
    """

    def __init__(self, vertices: F32, faces: I32) -> None:
        embree = load_embree()
        self._scene = EmbreeScene(embree, vertices, faces)
        self._to_intersect = (embree.intersect16, self._scene.handle, embree.arguments)
        self._to_block = (embree.occluded16, self._scene.handle, embree.arguments)

    def find(self, origins: F32, dirs: F32, order: I32 | None, owner: int, hits: Hits) -> None:
        """See `tracing.Tracer`."""
        _find(self._to_intersect, origins, dirs, order, owner, hits.t, hits.u, hits.v, hits.Ng, hits.prim, hits.owner)

    def block(self, origins: F32, dirs: F32, far: float, free: U8) -> None:
        """See `tracing.Tracer`."""
        _block(self._to_block, origins, dirs, far, free)


@intrinsic
def _call(_: Any, address: Any, valid: Any, scene: Any, rays: Any, arguments: Any) -> Any:
    """Call the C function at an address with four pointers. An address as argument, unlike a function, can be cached."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 4)
        builder.call(builder.inttoptr(values[0], function.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@njit(cache=True, nogil=True, error_model="numpy")
def _new_packet() -> F32:
    """Floats [_SIZE], so aligned as Embree wants it, with all set that is the same for all rays."""
    room = np.empty(_SIZE + _WIDTH, np.float32)
    packet = room[(64 - room.ctypes.data % 64) % 64 // 4 :][:_SIZE]
    packet[:] = 0.0
    packet.view(np.int32)[_MASK : _MASK + _WIDTH] = -1
    return packet


@njit(cache=True, nogil=True, error_model="numpy")
def _find(
    call: tuple[int, int, int],
    origins: F32,
    dirs: F32,
    order: I32 | None,
    owner: int,
    t: F32,
    u: F32,
    v: F32,
    Ng: F32,
    prim: I32,
    owners: U8,
) -> None:
    """Write down, of rays [N], those that hit something before `t`. call: the function, the scene, the arguments."""
    packet = _new_packet()
    codes = packet.view(np.int32)
    address = np.int64(packet.ctypes.data)
    count = len(dirs)
    for first in range(0, count, _WIDTH):
        lanes = min(_WIDTH, count - first)
        for k in range(_WIDTH):
            i = first + min(k, lanes - 1)
            if order is not None:
                i = order[i]
            codes[_LANES + k] = -1 if k < lanes else 0
            for c in range(3):
                packet[_ORIGIN + _WIDTH * c + k] = origins[i, c]
                packet[_DIR + _WIDTH * c + k] = dirs[i, c]
            packet[_END + k] = t[i]
            codes[_FACE + k] = codes[_GEOMETRY + k] = codes[_INSTANCE + k] = codes[_INSTANCE + _WIDTH + k] = -1
        _call(call[0], address, call[1], address + 4 * _ORIGIN, call[2])  # type: ignore[call-arg]
        for k in range(lanes):
            if codes[_FACE + k] < 0:
                continue
            i = first + k
            if order is not None:
                i = order[i]
            t[i], u[i], v[i] = packet[_END + k], packet[_U + k], packet[_V + k]
            for c in range(3):
                Ng[i, c] = packet[_NORMAL + _WIDTH * c + k]
            prim[i], owners[i] = codes[_FACE + k], owner


@njit(cache=True, nogil=True, error_model="numpy")
def _block(call: tuple[int, int, int], origins: F32, dirs: F32, far: float, free: U8) -> None:
    """Set to 0, of `free` [N], rays with something on their way. call: the function, the scene, the arguments."""
    packet = _new_packet()
    codes = packet.view(np.int32)
    address = np.int64(packet.ctypes.data)
    count = len(dirs)
    for first in range(0, count, _WIDTH):
        lanes = min(_WIDTH, count - first)
        for k in range(_WIDTH):
            i = first + min(k, lanes - 1)
            codes[_LANES + k] = -1 if k < lanes and free[i] else 0
            for c in range(3):
                packet[_ORIGIN + _WIDTH * c + k] = origins[i, c]
                packet[_DIR + _WIDTH * c + k] = dirs[i, c]
            packet[_END + k] = far
        _call(call[0], address, call[1], address + 4 * _ORIGIN, call[2])  # type: ignore[call-arg]
        for k in range(lanes):
            if packet[_END + k] < 0.0:
                free[first + k] = 0
