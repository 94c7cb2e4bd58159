"""Ellipses with wavy outlines, the one shape of this tissue: nuclei, glands and lumens."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ellipses:
    """`n` ellipses; lengths in px of the tile."""

    centre: Array  # (n, 2), row and column
    radius: Array  # (n,), of the circle of equal area
    elongation: Array  # (n,), long over short axis
    angle: Array  # (n,), of the long axis, radians

    @property
    def area(self) -> float:
        """Sum of the areas, px²."""
        return float(np.pi * np.sum(self.radius**2))

    @property
    def long_axis(self) -> Array:
        """Half the longest diameter, px, `(n,)`."""
        return self.radius * np.sqrt(self.elongation)

    def __len__(self) -> int:
        return len(self.radius)

    def __getitem__(self, chosen: "NDArray[np.intp] | NDArray[np.bool_] | slice") -> "Ellipses":
        return Ellipses(
            self.centre[chosen], self.radius[chosen], self.elongation[chosen], self.angle[chosen]
        )

    def magnified(self, factor: float) -> "Ellipses":
        """The same ellipses on a grid `factor` times as fine."""
        return Ellipses(self.centre * factor, self.radius * factor, self.elongation, self.angle)

    def scaled(self, factor: "float | Array") -> "Ellipses":
        """The same ellipses with their radii multiplied."""
        return Ellipses(self.centre, self.radius * factor, self.elongation, self.angle)


def join(*parts: Ellipses) -> Ellipses:
    """All ellipses of `parts`, in order."""
    return Ellipses(
        np.concatenate([part.centre for part in parts]),
        np.concatenate([part.radius for part in parts]),
        np.concatenate([part.elongation for part in parts]),
        np.concatenate([part.angle for part in parts]),
    )


def rim(ellipses: Ellipses, which: int, turns: Array) -> tuple[Array, Array]:
    """Points on the outline of ellipse `which`, and its direction there.

    Args:
        ellipses: to choose from.
        which: the ellipse.
        turns: `(m,)`, where on the outline, radians.

    Returns:
        points `(m, 2)` and angles of the tangent `(m,)`.
    """
    stretch = np.sqrt(ellipses.elongation[which])
    along = ellipses.radius[which] * stretch * np.exp(1j * turns).real
    across = ellipses.radius[which] / stretch * np.exp(1j * turns).imag
    axis = np.exp(1j * ellipses.angle[which])
    offset = (along + 1j * across) * axis
    tangent = (-across * stretch**2 + 1j * along / stretch**2) * axis
    return ellipses.centre[which] + np.stack([offset.real, offset.imag], 1), np.angle(tangent)


def paint(
    ellipses: Ellipses,
    strength: Array,
    shade: Callable[[Array], Array],
    irregularity: float,
    size: int,
    rng: np.random.Generator,
) -> Array:
    """Draw ellipses over each other; where they overlap the larger value stays.

    Args:
        ellipses: lengths in px of the canvas.
        strength: `(n,)`, multiplies what `shade` gives.
        shade: from depth below the outline `(n, P, P)` in px, negative outside, to values >= 0.
        irregularity: waves of the outline, fraction of the radius.
        size: side of the canvas, px.
        rng: draws the phases of the waves.

    Returns:
        `(size, size)`, zero where nothing was drawn.
    """
    reach = int(np.ceil(2 + 1.2 * np.max(ellipses.long_axis, initial=0)))
    near = np.all((ellipses.centre > -reach) & (ellipses.centre < size + reach - 1), axis=1)
    ellipses, strength = ellipses[near], strength[near]
    canvas = np.zeros((size + 4 * reach + 1, size + 4 * reach + 1))
    corners = np.rint(ellipses.centre).astype(int) + reach
    patches = strength[:, None, None] * shade(_depth(ellipses, irregularity, reach, rng))
    for (row, column), patch in zip(corners, patches, strict=True):
        window = canvas[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
        np.maximum(window, patch, out=window)
    return canvas[2 * reach : 2 * reach + size, 2 * reach : 2 * reach + size]


def _depth(ellipses: Ellipses, irregularity: float, reach: int, rng: np.random.Generator) -> Array:
    """Depth below the outline on a patch around each centre, `(n, 2 reach + 1, 2 reach + 1)`."""
    grid = np.arange(-reach, reach + 1)
    offset = np.rint(ellipses.centre) - ellipses.centre
    y, x = offset[:, :1] + grid, offset[:, 1:] + grid
    cosine, sine, radius, elongation = (
        values[:, None, None]
        for values in (
            np.cos(ellipses.angle),
            np.sin(ellipses.angle),
            ellipses.radius,
            ellipses.elongation,
        )
    )
    y, x = y[:, :, None], x[:, None, :]
    along = (y * cosine + x * sine) / np.sqrt(elongation)
    across = (x * cosine - y * sine) * np.sqrt(elongation)
    distance = np.sqrt(along**2 + across**2) + 1e-9
    cosine, sine = along / distance, across / distance  # of the direction seen from the centre
    twice = cosine**2 - sine**2, 2 * cosine * sine
    thrice = twice[0] * cosine - twice[1] * sine, twice[1] * cosine + twice[0] * sine
    weights = rng.standard_normal((4, len(ellipses), 1, 1))
    waves = sum(w * wave for w, wave in zip(weights, (*twice, *thrice), strict=True))
    return radius * (1 + irregularity * waves) - distance
