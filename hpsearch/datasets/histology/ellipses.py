"""Ellipses with wavy outlines, the one shape of this tissue: nuclei, glands and lumens."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_Choice = NDArray[np.intp] | NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Ellipses:
    """`n` ellipses; lengths in px of the tile.

    Attributes:
        centre: `(n, 2)`, row and column.
        radius: `(n,)`, of the circle of equal area.
        elongation: `(n,)`, long over short axis.
        angle: `(n,)`, of the long axis from the direction of rows, radians.
    """

    centre: Array
    radius: Array
    elongation: Array
    angle: Array

    def __len__(self) -> int:
        return len(self.radius)

    def __getitem__(self, chosen: _Choice) -> "Ellipses":
        return Ellipses(
            self.centre[chosen], self.radius[chosen], self.elongation[chosen], self.angle[chosen]
        )

    def with_radius(self, radius: Array) -> "Ellipses":
        """The same centres and shapes in another size, `(n,)` px."""
        return replace(self, radius=radius)

    def magnified(self, factor: float) -> "Ellipses":
        """The same ellipses on a grid `factor` times as fine."""
        return replace(self, centre=self.centre * factor, radius=self.radius * factor)


def join(*parts: Ellipses) -> Ellipses:
    """All ellipses of `parts`, in order."""
    return Ellipses(
        np.concatenate([part.centre for part in parts]),
        np.concatenate([part.radius for part in parts]),
        np.concatenate([part.elongation for part in parts]),
        np.concatenate([part.angle for part in parts]),
    )


def rim(ellipses: Ellipses, turns: Array) -> tuple[Array, Array]:
    """One point on the outline of each ellipse, and the direction of the outline there.

    Args:
        ellipses: `n` of them.
        turns: `(n,)`, how far around the outline, radians.

    Returns:
        points `(n, 2)` and angles of the tangents `(n,)`, radians.
    """
    stretch = np.sqrt(ellipses.elongation)
    cosine, sine = np.cos(ellipses.angle), np.sin(ellipses.angle)
    along, across = stretch * np.cos(turns), np.sin(turns) / stretch
    forward, sideways = (
        -stretch * np.sin(turns),
        np.cos(turns) / stretch,
    )  # d(along, across)/d turns
    offset = np.stack([along * cosine - across * sine, along * sine + across * cosine], 1)
    tangent = np.arctan2(forward * sine + sideways * cosine, forward * cosine - sideways * sine)
    return ellipses.centre + ellipses.radius[:, None] * offset, tangent


def paint(
    ellipses: Ellipses,
    shade: Callable[[Array], Array],
    *,
    strength: Array,
    irregularity: float,
    size: int,
    rng: np.random.Generator,
) -> Array:
    """Draw ellipses over each other; where they overlap the larger value stays.

    Args:
        ellipses: lengths in px of the canvas.
        shade: from depth below the outline `(n, P, P)` in px, negative outside, to values >= 0.
        strength: `(n,)`, multiplies what `shade` gives.
        irregularity: waves of the outline, fraction of the radius.
        size: side of the canvas, px.
        rng: draws the waves.

    Returns:
        `(size, size)`, zero where nothing was drawn.
    """
    longest = np.max(ellipses.radius * np.sqrt(ellipses.elongation), initial=0)
    reach = int(np.ceil(2 + 1.2 * longest))  # px from a centre to the edge of its patch
    near = np.all((ellipses.centre > -reach) & (ellipses.centre < size - 1 + reach), axis=1)
    ellipses, strength = ellipses[near], strength[near]
    patches = strength[:, None, None] * shade(_depth(ellipses, irregularity, reach, rng))
    canvas = np.zeros((size + 4 * reach, size + 4 * reach))
    corners = np.rint(ellipses.centre).astype(int) + reach
    for (row, column), patch in zip(corners, patches, strict=True):
        window = canvas[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
        np.maximum(window, patch, out=window)
    return canvas[2 * reach : 2 * reach + size, 2 * reach : 2 * reach + size]


def _depth(ellipses: Ellipses, irregularity: float, reach: int, rng: np.random.Generator) -> Array:
    """Depth below the outline on a patch around each centre, `(n, 2 reach + 1, 2 reach + 1)`."""
    grid = np.arange(-reach, reach + 1)
    offset = np.rint(ellipses.centre) - ellipses.centre
    y, x = (offset[:, :1] + grid)[:, :, None], (offset[:, 1:] + grid)[:, None, :]
    cosine, sine = np.cos(ellipses.angle)[:, None, None], np.sin(ellipses.angle)[:, None, None]
    stretch = np.sqrt(ellipses.elongation)[:, None, None]
    along, across = (y * cosine + x * sine) / stretch, (x * cosine - y * sine) * stretch
    distance = np.sqrt(along**2 + across**2) + 1e-9
    depth: Array = ellipses.radius[:, None, None] - distance
    if irregularity:
        # Random waves of two and of three periods around each centre.
        cosine, sine = along / distance, across / distance
        cosine2, sine2 = cosine**2 - sine**2, 2 * cosine * sine
        cosine3, sine3 = cosine2 * cosine - sine2 * sine, sine2 * cosine + cosine2 * sine
        a, b, c, d = rng.standard_normal((4, len(cosine), 1, 1))
        waves = a * cosine2 + b * sine2 + c * cosine3 + d * sine3
        depth += irregularity * ellipses.radius[:, None, None] * waves
    return depth
