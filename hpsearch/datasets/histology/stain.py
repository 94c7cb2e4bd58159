"""Haematoxylin and eosin by the Beer-Lambert law: light falls exponentially with the stain."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Absorbance of red, green and blue light by a unit of stain (Ruifrok & Johnston 2001, normalised).
HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.17, 0.94, 0.30])
HUE_SPREAD = 0.12  # slide to slide, standard deviation of the log absorbances
AMOUNT_SPREAD = 0.20  # slide to slide, standard deviation of the log amounts


@dataclass(frozen=True, eq=False)
class Stain:
    """How one slide was stained and scanned."""

    matrix: NDArray[
        np.float64
    ]  # (2, 3): haematoxylin and eosin x red, green and blue, rows of length 1
    haematoxylin: float  # mean optical density of a tile
    eosin: float  # mean optical density of a tile
    glass: NDArray[np.float64]  # (3,), the grey levels of an empty slide


def draw_stain(rng: np.random.Generator) -> Stain:
    """One slide's stain; the spread is what batches, section thickness and scanners bring about."""
    matrix = np.stack([HAEMATOXYLIN, EOSIN]) * np.exp(HUE_SPREAD * rng.standard_normal((2, 3)))
    amounts = np.exp(AMOUNT_SPREAD * rng.standard_normal(2))
    return Stain(
        matrix=matrix / np.linalg.norm(matrix, axis=1, keepdims=True),
        haematoxylin=0.30 * float(amounts[0]),
        eosin=0.30 * float(amounts[1]),
        glass=rng.uniform(232, 250) + rng.uniform(-4, 4, 3),
    )


def transmit(
    stain: Stain, haematoxylin: NDArray[np.float64], eosin: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Grey levels `(H, W, 3)` behind tissue holding optical densities `(H, W)` of either stain."""
    density = haematoxylin[..., None] * stain.matrix[0] + eosin[..., None] * stain.matrix[1]
    light: NDArray[np.float64] = stain.glass * np.exp(-density)
    return light
