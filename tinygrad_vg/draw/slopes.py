"""The curve of σ′ beside a strip, with a dot at the z of each neuron.

This module is internal to `draw`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tinygrad_vg.draw import style
from tinygrad_vg.draw.plane import Plane, Point
from tinygrad_vg.draw.product import Step
from tinygrad_vg.instruments.factors import slopes_at

_WIDTH, _HEIGHT = 112.0, 96.0  # of the frame; it is wider if its title is
_LETTERS = 11.0
_SIDE, _TITLE, _ABOVE, _BELOW = 13.0, 9.0, 34.0, 18.0  # the room beside, above and below the curve; y of its title
_REACH = 6.0  # z from −6 to 6, or further if a neuron has its z there
_POINTS = 97  # an odd number, so that 0 is one of them
_APART = 7.0  # dots nearer than this have one label


@dataclass(frozen=True)
class _Scale:
    """Where a slope is drawn in the frame."""

    corner: Point
    width: float
    reach: float
    low: float
    high: float

    def at(self, z: float, slope: float) -> Point:
        x = _SIDE + (z + self.reach) / (2 * self.reach) * (self.width - 2 * _SIDE)
        y = _ABOVE + (self.high - slope) / (self.high - self.low) * (_HEIGHT - _ABOVE - _BELOW)
        return self.corner[0] + x, self.corner[1] + y


def draw_slopes(plane: Plane, key: str, corner: Point, steps: Sequence[Step]) -> None:
    """Draw the slopes of each activation against z in a frame, and a dot with its number for each neuron.

    Args:
        plane: where to draw.
        key: what the keys of the nodes begin with.
        corner: the left top corner of the frame.
        steps: the steps of a product; nothing is drawn if none has an activation.
    """
    bent = [step for step in steps if step.z is not None]
    if not bent:
        return
    seen = {}
    for step in bent:
        point = float(step.z or 0.0), float(slopes_at(step.activation, np.array(step.z)))
        if all(map(math.isfinite, point)):
            seen[step.layer or 0] = point
    reach = max([_REACH, *(float(math.ceil(abs(z))) for z, _ in seen.values())])
    grid = np.linspace(-reach, reach, _POINTS)
    curves = {step.activation.symbol: slopes_at(step.activation, grid) for step in bent}
    high = max([float(np.max(curve)) for curve in curves.values()]) or 1.0
    names = ", ".join(f"{symbol}′(z)" for symbol in curves)
    title = f"{names} ≤ {style.three_digits(high)}"
    width = max(_WIDTH, style.width_of(title, _LETTERS) + _SIDE)
    scale = _Scale(corner, width, reach, min([0.0, *(float(np.min(curve)) for curve in curves.values())]), high)
    middle = corner[0] + width / 2, corner[1] + _HEIGHT / 2
    tip = style.tooltip(f"{names}, and a dot at each z")
    plane.box(key, middle, (width, _HEIGHT), [], style="rounded", tooltip=tip)
    plane.words(f"{key} title", (middle[0], corner[1] + _TITLE), title, _LETTERS)
    plane.line([scale.at(-reach, 0.0), scale.at(reach, 0.0)], color=style.FRAME)
    for curve in curves.values():
        plane.line([scale.at(*point) for point in zip(grid.tolist(), curve.tolist(), strict=True)],
                   color=style.BAR, penwidth="1.5")  # fmt: skip
    for z in (-reach, 0.0, reach):
        words, x = style.with_minus(f"{z:g}"), scale.at(z, 0.0)[0]
        plane.words(f"{key} at {z:g}", (x, corner[1] + _HEIGHT - _BELOW / 2), words, _LETTERS)
    _draw_dots(plane, key, {layer: scale.at(*point) for layer, point in seen.items()}, middle[0], width)


def _draw_dots(plane: Plane, key: str, dots: Mapping[int, Point], middle: float, width: float) -> None:
    """Draw a dot for each neuron, and its number beside it, away from the middle, or above it if there is no room
    beside. Neighbours that are too near have one label.
    """
    groups: list[list[int]] = []
    for layer in sorted(dots, key=lambda layer: dots[layer][0]):
        if not groups or dots[layer][0] - dots[groups[-1][-1]][0] >= _APART:
            groups.append([])
        groups[-1].append(layer)
    for layer, point in dots.items():
        plane.box(f"{key} dot {layer}", point, (6.0, 6.0), [], shape="circle", style="filled",
                  fill=style.HIGHLIGHT_FRAME, frame=style.INK, penwidth="0.5", tooltip=f"layer {layer}")  # fmt: skip
    for group in groups:
        x = sum(dots[layer][0] for layer in group) / len(group)
        y = min(dots[layer][1] for layer in group)
        group.sort()
        words = _numbers(group)
        if style.width_of(words, _LETTERS) > width - 2 * _SIDE:
            words = f"{len(group)} neurons"
        half = style.width_of(words, _LETTERS) / 2
        fits = _APART < abs(x - middle) < width / 2 - 2 * half - _APART
        place = (x + math.copysign(half + _APART, x - middle), y) if fits else (x, y - 10.0)
        plane.words(f"{key} label {group[0]}", place, words, _LETTERS)


def _numbers(layers: Sequence[int]) -> str:
    """Rising numbers in words; a run of more than three has its ends only.

    >>> _numbers([1, 2, 3, 5, 6, 7, 8])
    '1 2 3 5–8'
    """
    runs = [[layer for _, layer in run] for _, run in groupby(enumerate(layers), lambda pair: pair[1] - pair[0])]
    return " ".join(f"{run[0]}–{run[-1]}" if len(run) > 3 else " ".join(map(str, run)) for run in runs)
