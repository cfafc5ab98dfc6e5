"""Where a picture needs more than one ray a pixel, and how those rays and the picture are put together (numba)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = NDArray[np.float32]
# Extra samples in an edge pixel, offsets from its centre in pixels: with the centre, a rotated pattern.
OFFSETS = np.array([[0.36, -0.14], [-0.14, 0.36], [-0.30, -0.30]], np.float32)
_SAME_NORMAL, _SAME_DEPTH = 0.97, 0.03  # cosine; relative difference: what counts as one surface
_GLANCING = 0.2  # sine: a surface seen at less than about 12 degrees says little about where it is
_CONTRAST = 0.07  # difference in brightness (square root of linear) that shows as a step


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def camera_rays(first: int, rows: int, width: int, rays_from_pixels: NDArray[np.float64], dirs: F32) -> None:
    """Directions [rows * width, 3], z = 1 before turning, through the centres of whole rows from row `first`.

    rays_from_pixels: [3, 3], the camera's rotation times K inverse.
    """
    m = rays_from_pixels
    k = 0
    for row in range(first, first + rows):
        for column in range(width):
            px, py = column + 0.5, row + 0.5
            for c in range(3):
                dirs[k, c] = m[c, 0] * px + m[c, 1] * py + m[c, 2]
            k += 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def find_edges(
    first: int,
    rows: int,
    material: NDArray[np.uint8],
    picture: F32,
    bright: F32,
    depth: F32,
    normal: F32,
    face: NDArray[np.int32],
    body: NDArray[np.uint8],
    smoothed: F32,
    index: NDArray[np.int32],
) -> int:
    """List, as row * W + column, the pixels of some rows where one surface ends and another shows; gives how many.

    Within a surface, steps in brightness are shadows' edges: those are softened here.

    Args:
        material: of the static body's faces.
        picture: [H, W, 3] linear. bright, depth, normal, face, body: [H, W, ...] as `keep_hits` stores them.
        smoothed: [H, W, 3] written: the picture with soft shadow edges.
        index: [rows * W] written, square by square of 4 by 4 pixels.
    """
    height, width = depth.shape
    count = 0
    for top in range(first, first + rows, 4):
        for left in range(0, width, 4):
            for y in range(top, min(top + 4, first + rows)):
                above, below = max(y - 1, 0), min(y + 1, height - 1)
                for x in range(left, min(left + 4, width)):
                    for c in range(3):
                        smoothed[y, x, c] = picture[y, x, c]
                    here, before, after = bright[y, x], max(x - 1, 0), min(x + 1, width - 1)
                    if (
                        abs(here - bright[below, x]) <= _CONTRAST
                        and abs(here - bright[above, x]) <= _CONTRAST
                        and abs(here - bright[y, after]) <= _CONTRAST
                        and abs(here - bright[y, before]) <= _CONTRAST
                    ):
                        continue
                    is_edge = False
                    sum_r, sum_g, sum_b = 0.0, 0.0, 0.0
                    for a, c in ((below, x), (above, x), (y, after), (y, before)):
                        if abs(here - bright[a, c]) <= _CONTRAST:
                            a, c = y, x
                        f, h = face[y, x], face[a, c]
                        same = f == h and body[y, x] == body[a, c]
                        if not same and f >= 0 and h >= 0 and body[y, x] == 0 and body[a, c] == 0:
                            cosine = 0.0
                            for axis in range(3):
                                cosine += normal[y, x, axis] * normal[a, c, axis]
                            near = abs(depth[y, x] - depth[a, c]) < _SAME_DEPTH * depth[y, x]
                            same = cosine > _SAME_NORMAL and near and material[f] == material[h]
                        if not same:
                            is_edge = True
                            break
                        sum_r, sum_g, sum_b = (
                            sum_r + picture[a, c, 0],
                            sum_g + picture[a, c, 1],
                            sum_b + picture[a, c, 2],
                        )
                    if is_edge:
                        index[count] = y * width + x
                        count += 1
                        continue
                    smoothed[y, x, 0] = 0.5 * picture[y, x, 0] + 0.125 * sum_r
                    smoothed[y, x, 1] = 0.5 * picture[y, x, 1] + 0.125 * sum_g
                    smoothed[y, x, 2] = 0.5 * picture[y, x, 2] + 0.125 * sum_b
    return count


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def sample_rays(
    index: NDArray[np.int32], width: int, rays_from_pixels: NDArray[np.float64], offsets: F32, dirs: F32
) -> None:
    """Directions [N * S, 3] of S extra samples, at `offsets` [S, 2], in each of N pixels."""
    m = rays_from_pixels
    k = 0
    for pixel in index:
        for s in range(len(offsets)):
            px, py = pixel % width + 0.5 + offsets[s, 0], pixel // width + 0.5 + offsets[s, 1]
            for c in range(3):
                dirs[k, c] = m[c, 0] * px + m[c, 1] * py + m[c, 2]
            k += 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def keep_hits(
    first: int,
    width: int,
    dirs: F32,
    t: F32,
    Ng: F32,
    prim: NDArray[np.int32],
    owner: NDArray[np.uint8],
    rgb: F32,
    picture: F32,
    bright: F32,
    depth: F32,
    normal: F32,
    face: NDArray[np.int32],
    body: NDArray[np.uint8],
) -> None:
    """Store what rays [N] through whole rows hit, from row `first`, and their colours, in the picture's maps [H * W].

    The stored face is -1 for sky; the stored unit normal [H * W, 3] looks at the viewer; `bright` is the square root of
    linear brightness.
    """
    for i in range(len(t)):
        pixel = first * width + i
        r, g, b = rgb[i, 0], rgb[i, 1], rgb[i, 2]
        picture[pixel, 0], picture[pixel, 1], picture[pixel, 2] = r, g, b
        bright[pixel] = math.sqrt(0.3 * r + 0.6 * g + 0.1 * b)
        face[pixel], body[pixel] = prim[i], owner[i]
        if prim[i] < 0:
            depth[pixel] = 0.0
            normal[pixel, 0] = normal[pixel, 1] = normal[pixel, 2] = 0.0
            continue
        depth[pixel] = t[i]
        side = Ng[i, 0] * dirs[i, 0] + Ng[i, 1] * dirs[i, 1] + Ng[i, 2] * dirs[i, 2]
        scale = 1.0 / ((Ng[i, 0] ** 2 + Ng[i, 1] ** 2 + Ng[i, 2] ** 2) ** 0.5 + 1e-30)
        if side > 0.0:
            scale = -scale
        for c in range(3):
            normal[pixel, c] = Ng[i, c] * scale


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def reuse_samples(
    index: NDArray[np.int32],
    offsets: F32,
    t: F32,
    Ng: F32,
    prim: NDArray[np.int32],
    owner: NDArray[np.uint8],
    material: NDArray[np.uint8],
    variation: F32,
    picture: F32,
    depth: F32,
    normal: F32,
    face: NDArray[np.int32],
    body: NDArray[np.uint8],
    samples: F32,
    new: NDArray[np.int32],
) -> int:
    """Colour extra samples from the pixels about them that show the same surface; list the rest, giving how many.

    Textures never change faster than pixels do, so between pixels of one surface the colour may be interpolated.

    Args:
        index: [N] pixels. offsets: [S, 2]. t, Ng, prim, owner: [N * S], what the samples hit.
        material, variation: the static body's, by face.
        picture, depth, normal, face, body: the centres' maps [H, W, ...].
        samples: [N * S, 3] written. new: [N * S] written, the samples that nothing could be found for.
    """
    height, width = depth.shape
    extra = len(offsets)
    count = 0
    for n in range(len(index)):
        y, x = index[n] // width, index[n] % width
        for s in range(extra):
            k = n * extra + s
            length = (Ng[k, 0] ** 2 + Ng[k, 1] ** 2 + Ng[k, 2] ** 2) ** 0.5 + 1e-30
            ox, oy = offsets[s, 0], offsets[s, 1]
            sx, sy = (1 if ox > 0 else -1), (1 if oy > 0 else -1)
            total, r, g, b = 0.0, 0.0, 0.0, 0.0
            for corner in range(4):
                a, c = y + sy * (corner // 2), x + sx * (corner % 2)
                if a < 0 or c < 0 or a >= height or c >= width or body[a, c] != owner[k]:
                    continue
                f = face[a, c]
                same = f == prim[k]
                if not same and f >= 0 and prim[k] >= 0:
                    cosine = (
                        normal[a, c, 0] * Ng[k, 0] + normal[a, c, 1] * Ng[k, 1] + normal[a, c, 2] * Ng[k, 2]
                    ) / length
                    same = (
                        abs(cosine) > _SAME_NORMAL
                        and abs(depth[a, c] - t[k]) < _SAME_DEPTH * t[k]
                        and owner[k] == 0
                        and material[f] == material[prim[k]]
                        and variation[f] == variation[prim[k]]
                    )
                if same:
                    w = (abs(oy) if corner // 2 else 1.0 - abs(oy)) * (abs(ox) if corner % 2 else 1.0 - abs(ox))
                    total += w
                    r, g, b = r + w * picture[a, c, 0], g + w * picture[a, c, 1], b + w * picture[a, c, 2]
            if total > 0.0:
                samples[k, 0], samples[k, 1], samples[k, 2] = r / total, g / total, b / total
            else:
                new[count] = k
                count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def merge_samples(
    index: NDArray[np.int32],
    samples: F32,
    t: F32,
    prim: NDArray[np.int32],
    moved: NDArray[np.uint8],
    picture: F32,
    depth: F32,
    share: F32,
    touched: NDArray[np.uint8],
) -> None:
    """Average extra samples [N * S, 3] into pixels of `picture` [H * W, 3], in place.

    Args:
        index: [N] pixels.
        samples, t, prim: [N * S, ...] their colours and what they hit.
        moved: [N * S] whether anything moving has a part in that.
        picture, depth: [H * W, ...].
        share: [H * W] written where there are samples: how many of a pixel's samples lie on its centre's surface.
        touched: [H * W] set to 1 where that is so of a sample.
    """
    extra = len(samples) // max(len(index), 1)
    for n in range(len(index)):
        pixel = index[n]
        same = 1.0
        for c in range(3):
            total = picture[pixel, c]
            for s in range(extra):
                total += samples[n * extra + s, c]
            picture[pixel, c] = total / (extra + 1)
        for s in range(extra):
            k = n * extra + s
            if moved[k]:
                touched[pixel] = 1
            there = t[k] if prim[k] >= 0 else 0.0
            if (there > 0.0) == (depth[pixel] > 0.0) and abs(there - depth[pixel]) <= _SAME_DEPTH * depth[pixel]:
                same += 1.0
        share[pixel] = same / (extra + 1)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def label(
    first: int,
    rays_from_pixels: NDArray[np.float64],
    depth: F32,
    normal: F32,
    moved: NDArray[np.uint8],
    share: F32,
    touched: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    confidence: NDArray[np.uint8],
    codes: tuple[int, int],
) -> None:
    """Label rows of pixels [R, W] from row `first`, and say how sure they are. codes: sky, moving.

    A pixel moves if something that does has a part in its centre's colour (`moved` [H, W], of the whole picture), in one of
    its samples (`touched` [R, W]), or in a pixel beside it, from which samples may have taken their colour.
    """
    m = rays_from_pixels
    rows, width = depth.shape
    for y in range(rows):
        top, bottom = max(first + y - 1, 0), min(first + y + 2, len(moved))
        is_calm = not moved[top:bottom].any()
        for x in range(width):
            is_moving = touched[y, x] != 0
            if not is_calm:
                for a in range(top, bottom):
                    for c in range(max(x - 1, 0), min(x + 2, width)):
                        is_moving |= moved[a, c] != 0
            moves = codes[1] if is_moving else 0
            if depth[y, x] <= 0.0:
                labels[y, x], confidence[y, x] = codes[0] | moves, int(share[y, x] * 255.0 + 0.5)
                continue
            labels[y, x] = moves
            px, py, across, squared = x + 0.5, first + y + 0.5, 0.0, 0.0
            for c in range(3):
                d = m[c, 0] * px + m[c, 1] * py + m[c, 2]
                across, squared = across - d * normal[y, x, c], squared + d * d
            sure = share[y, x] * min(across / squared**0.5 / _GLANCING, 1.0)
            confidence[y, x] = int(max(sure, 0.0) * 255.0 + 0.5)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def encode(picture: F32, table: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
    """Turn linear [N, 3] into sRGB bytes [N, 3] by a table."""
    last = len(table) - 1
    for i in range(len(picture)):
        for c in range(3):
            image[i, c] = table[int(picture[i, c] * last + 0.5)]


def srgb_table(size: int = 16384) -> NDArray[np.uint8]:
    """The sRGB byte of `size` evenly spaced linear values."""
    x = np.linspace(0.0, 1.0, size)
    coded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(coded * 255.0), np.uint8)
