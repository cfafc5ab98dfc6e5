"""The walk from above as an SVG drawing: the camera's path, where it began and ended, and what happened on the way."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIZE, MARGIN = 520.0, 44.0
LABEL_GAP = 24.0  # nearer together, two places share a label


def draw_map(c2ws: NDArray[np.float64], events: Sequence[tuple[int, str]], units: str) -> str:
    """Draw cameras [N, 4, 4] from above, x to the right and forward (z) up; events are (frame index, text)."""
    places = c2ws[:, [0, 2], 3]
    low, high = places.min(0), places.max(0)
    span = max(float((high - low).max()), 1e-6)
    scale = (SIZE - 2 * MARGIN) / span
    middle = (low + high) / 2

    def at(place: NDArray[np.float64]) -> tuple[float, float]:
        x, y = (place - middle) * scale
        return SIZE / 2 + float(x), SIZE / 2 - float(y)

    parts = [
        f'<svg viewBox="0 0 {SIZE:g} {SIZE:g}" role="img" aria-label="The walk from above" class="map">',
        '<polyline class="path" points="' + " ".join("{:.1f},{:.1f}".format(*at(place)) for place in places) + '"/>',
    ]
    parts += [_view_cone(at(places[k]), c2ws[k, [0, 2], 2]) for k in range(0, len(c2ws), max(1, len(c2ws) // 16))]
    for number, (index, text) in enumerate(events, 1):
        x, y = at(places[min(index, len(places) - 1)])
        parts.append(
            f'<g class="event"><title>{html.escape(text)}</title><circle cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
            f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">{number}</text></g>'
        )
    came_home = float(np.linalg.norm(places[0] - places[-1])) * scale < LABEL_GAP
    for name, place, label in (
        ("end", places[-1], "" if came_home else "end"),
        ("start", places[0], "start and end" if came_home else "start"),
    ):
        x, y = at(place)
        parts.append(
            f'<g class="{name}"><circle cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
            f'<text x="{x + 11:.1f}" y="{y + 4:.1f}">{label}</text></g>'
        )
    parts.append(_scale_bar(span, scale, units))
    return "".join(parts) + "</svg>"


def _view_cone(place: tuple[float, float], forward: NDArray[np.float64]) -> str:
    """A small wedge that shows where the camera looks."""
    x, y = place
    angle = math.atan2(-float(forward[1]), float(forward[0]))
    left = (x + 17 * math.cos(angle - 0.5), y + 17 * math.sin(angle - 0.5))
    right = (x + 17 * math.cos(angle + 0.5), y + 17 * math.sin(angle + 0.5))
    return f'<path class="cone" d="M{x:.1f} {y:.1f}L{left[0]:.1f} {left[1]:.1f}L{right[0]:.1f} {right[1]:.1f}Z"/>'


def _scale_bar(span: float, scale: float, units: str) -> str:
    """A bar of a round length."""
    power = 10 ** math.floor(math.log10(span / 3))
    length = max(step * power for step in (1, 2, 5) if step * power <= span / 3 * 1.0001)
    end = 16 + length * scale
    unit = "m" if units == "metres" else "units"
    return (
        f'<g class="scale"><path d="M16 {SIZE - 20:g}v6H{end:.1f}v-6"/>'
        f'<text x="16" y="{SIZE - 26:g}">{length:g} {unit}</text></g>'
    )
