"""Squares and polygons: which lies inside which, exactly and for any outline.

A polygon is an array (V, 2) of corners x, y; the last is joined to the first. Inside means an odd
number of crossings to the outside, so that outlines drawn by hand may cross themselves.
"""

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.float64]


def covers_square(polygon: Polygon, x: float, y: float, side: float) -> bool:
    """Whether the square with its upper left corner at (x, y) lies wholly inside the polygon."""
    return not _crosses(polygon, x, y, side) and _holds(polygon, x + side / 2, y + side / 2)


def touches_square(polygon: Polygon, x: float, y: float, side: float) -> bool:
    """Whether the polygon and the inside of the square have a point in common."""
    return _crosses(polygon, x, y, side) or _holds(polygon, x + side / 2, y + side / 2)


def _crosses(polygon: Polygon, x: float, y: float, side: float) -> bool:
    """Whether the outline runs through the inside of the square.

    An edge misses it where an axis keeps them apart: x, y, or the normal of the edge.
    """
    begin, end = polygon, np.roll(polygon, -1, axis=0)
    low, high = np.minimum(begin, end), np.maximum(begin, end)
    corner = np.array([x, y])
    near = ((high > corner) & (low < corner + side)).all(axis=1)
    if not near.any():
        return False
    begin, along = begin[near], (end - begin)[near]
    corners = corner + side * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    to_corner = corners[None] - begin[:, None]  # (edges, 4, 2)
    sides = along[:, None, 0] * to_corner[..., 1] - along[:, None, 1] * to_corner[..., 0]
    return bool(((sides.min(axis=1) < 0) & (sides.max(axis=1) > 0)).any())


def _holds(polygon: Polygon, x: float, y: float) -> bool:
    """Whether the point is inside: an odd number of edges cross the ray from it to the right."""
    x0, y0 = polygon.T
    x1, y1 = np.roll(polygon, -1, axis=0).T
    spans = (y0 > y) != (y1 > y)
    x0, y0, x1, y1 = x0[spans], y0[spans], x1[spans], y1[spans]
    crossing = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    return bool(np.count_nonzero(crossing > x) % 2)
