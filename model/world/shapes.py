"""Outlines of the kinds of things, as signed distances.

Every function takes coordinates in radii, u to the right and v down, and returns the distance to
the outline in radii, negative inside. Arrays broadcast: u (1, W), v (H, 1) -> (H, W).
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.world.story import Kind

Array: TypeAlias = NDArray[Any]

POINT_ANGLE = np.float32(np.pi / 5)  # half the angle between two points of a star
STAR_DENT = 0.45  # radius at which two arms of a star meet


def _circle(u: Array, v: Array) -> Array:
    distance: Array = np.hypot(u, v) - np.float32(1)
    return distance


def _square(u: Array, v: Array) -> Array:
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.86)


def _triangle(u: Array, v: Array) -> Array:
    return np.maximum(v - np.float32(0.7), 0.866 * np.abs(u) - 0.5 * v - np.float32(0.52))


def _ring(u: Array, v: Array) -> Array:
    distance: Array = np.abs(np.hypot(u, v) - np.float32(0.76)) - np.float32(0.24)
    return distance


def _cross(u: Array, v: Array) -> Array:
    across, along = np.abs(u), np.abs(v)
    lying = np.maximum(across - np.float32(0.98), along - np.float32(0.3))
    standing = np.maximum(across - np.float32(0.3), along - np.float32(0.98))
    return np.minimum(lying, standing)


def _diamond(u: Array, v: Array) -> Array:
    return 0.8 * np.abs(u) + 0.58 * np.abs(v) - np.float32(0.6)


def _star(u: Array, v: Array) -> Array:
    radius = np.hypot(u, v)
    angle = np.arctan2(u, -v)
    angle = np.abs((angle + POINT_ANGLE) % (2 * POINT_ANGLE) - POINT_ANGLE)
    dent_along, dent_across = STAR_DENT * np.cos(POINT_ANGLE), STAR_DENT * np.sin(POINT_ANGLE)
    length = np.hypot(1.08 - dent_along, dent_across)
    along, across = radius * np.cos(angle), radius * np.sin(angle)
    distance: Array = ((along - 1.08) * dent_across + across * (1.08 - dent_along)) / np.float32(
        length
    )
    return distance


def _heart(u: Array, v: Array) -> Array:
    across = np.abs(u)
    lobe = np.hypot(across - np.float32(0.46), v + np.float32(0.36)) - np.float32(0.52)
    tip = 0.758 * across + 0.652 * (v - np.float32(0.98))
    wedge = np.maximum(np.maximum(tip, -np.float32(0.36) - v), across - np.float32(0.95))
    return np.minimum(lobe, wedge)


OUTLINES: dict[Kind, Callable[[Array, Array], Array]] = {
    Kind.CIRCLE: _circle,
    Kind.SQUARE: _square,
    Kind.TRIANGLE: _triangle,
    Kind.STAR: _star,
    Kind.RING: _ring,
    Kind.CROSS: _cross,
    Kind.DIAMOND: _diamond,
    Kind.HEART: _heart,
}
