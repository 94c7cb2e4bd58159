"""Where glands, lumens and nuclei lie in one tile, and how a tumour rearranges them."""

from dataclasses import dataclass

import numpy as np

from hpsearch.datasets.histology.ellipses import Array, Ellipses, join, rim
from hpsearch.datasets.histology.slides import Architecture, Tumour

SIZE = 64  # px, side of a tile
MARGIN = 20  # px laid out beyond the tile's edge, so that the edge cuts through structures


@dataclass(frozen=True, eq=False)
class Layout:
    """The structures of one tile, in px."""

    epithelium: Ellipses
    lumens: Ellipses
    nuclei: Ellipses  # normal ones
    malignant: Ellipses  # nuclei of tumour cells


def lay_out(architecture: Architecture, tumour: Tumour, rng: np.random.Generator) -> Layout:
    """One tile of tissue; tumour cells take up the area of the nuclei and lumens they replace."""
    lumens = _glands(architecture, rng)
    epithelium = lumens.with_radius(lumens.radius + architecture.epithelium)
    rows = lumens.with_radius(lumens.radius + 0.68 * architecture.epithelium)
    lost = rng.random(len(lumens)) < tumour.lost_glands
    spindles = _stroma_cells(architecture, epithelium, rng)
    replaced = _palisades(rows[lost], architecture.nucleus, rng)
    return Layout(
        epithelium=epithelium,
        lumens=join(lumens[~lost], _clefts(lumens[lost], rng)),
        nuclei=join(_palisades(rows[~lost], architecture.nucleus, rng), spindles),
        malignant=_malignant(replaced, rows[lost].centre, tumour, rng),
    )


def _glands(architecture: Architecture, rng: np.random.Generator) -> Ellipses:
    """Lumens of glands on a jittered hexagonal lattice of random offset and direction."""
    row, column = (axis.ravel() for axis in np.mgrid[-4:5, -4:5])
    down, right = rng.random(2)
    lattice = np.stack([(row + down) * np.sqrt(0.75), column + right + (row + down) / 2], 1)
    cosine, sine = _cosine_sine(2 * np.pi * rng.random())
    lattice = lattice @ np.array([[cosine, -sine], [sine, cosine]])
    lattice += rng.normal(0, 0.05, lattice.shape)
    centre = SIZE / 2 + architecture.spacing * lattice
    centre = centre[np.all((centre > -MARGIN) & (centre < SIZE + MARGIN), axis=1)]
    n = len(centre)
    return Ellipses(
        centre,
        architecture.lumen * rng.uniform(0.8, 1.2, n),
        np.full(n, architecture.elongation),
        rng.uniform(0, np.pi, n),
    )


def _palisades(rows: Ellipses, nucleus: float, rng: np.random.Generator) -> Ellipses:
    """Nuclei side by side along each outline of `rows`, pointing at the gland's lumen."""
    counts = (2 * np.pi * rows.radius / (2.1 * nucleus)).astype(int)
    which = np.repeat(np.arange(len(rows)), counts)
    place = np.concatenate([np.arange(count) for count in counts] or [np.empty(0)])
    place = place + rng.random(len(rows))[which] + rng.uniform(-0.15, 0.15, len(which))
    centre, tangent = rim(rows[which], 2 * np.pi * place / counts[which])
    n = len(which)
    return Ellipses(
        centre + rng.normal(0, 0.35, (n, 2)),
        nucleus * np.exp(rng.normal(0, 0.1, n)),
        rng.uniform(1.1, 1.5, n),
        tangent + np.pi / 2 + rng.normal(0, 0.2, n),
    )


def _stroma_cells(
    architecture: Architecture, epithelium: Ellipses, rng: np.random.Generator
) -> Ellipses:
    """Slender nuclei between the glands, lying around the nearest one."""
    n = rng.poisson(architecture.stroma_cells * (SIZE + 2 * MARGIN) ** 2 / 1000)
    centre = rng.uniform(-MARGIN, SIZE + MARGIN, (n, 2))
    offset = centre[:, None] - epithelium.centre
    gap = np.linalg.norm(offset, axis=2) - epithelium.radius
    outward = offset[np.arange(n), gap.argmin(1)]
    cells = Ellipses(
        centre,
        np.full(n, 0.7 * architecture.nucleus),
        rng.uniform(2.2, 3.5, n),
        np.arctan2(outward[:, 1], outward[:, 0]) + np.pi / 2 + rng.normal(0, 0.3, n),
    )
    return cells[gap.min(1) > 0.5]


def _clefts(lumens: Ellipses, rng: np.random.Generator) -> Ellipses:
    """Ragged gaps that hold the area of the lumens that they replace."""
    counts = rng.integers(2, 6, len(lumens))
    which = np.repeat(np.arange(len(lumens)), counts)
    n = len(which)
    return Ellipses(
        _around(lumens.centre[which], 20.0, rng),
        1.15 * lumens.radius[which] / np.sqrt(counts[which]),  # 1.15: some of them overlap
        rng.uniform(1.0, 2.5, n),
        rng.uniform(0, np.pi, n),
    )


def _malignant(
    replaced: Ellipses, homes: Array, tumour: Tumour, rng: np.random.Generator
) -> Ellipses:
    """Fewer, larger, uneven nuclei in disarray around `homes`, of the area of those replaced."""
    growth = tumour.enlargement * np.exp(rng.normal(0, tumour.anisokaryosis, len(replaced)))
    radius = rng.permutation(replaced.radius) * np.minimum(growth, 2.2)
    radius = radius[np.cumsum(radius**2) <= np.sum(replaced.radius**2)]
    n = len(radius)
    choices = _around(rng.choice(homes, (n, 6)), 26.0, rng) if n else np.empty((0, 6, 2))
    return Ellipses(
        _spread(choices, radius),
        radius,
        rng.uniform(1.0, 1.7, n),
        rng.uniform(0, np.pi, n),
    )


def _around(centre: Array, reach: float, rng: np.random.Generator) -> Array:
    """Points drawn evenly from discs of radius `reach` px around `(..., 2)` centres."""
    distance = reach * np.sqrt(rng.random(centre.shape[:-1]))
    cosine, sine = _cosine_sine(2 * np.pi * rng.random(centre.shape[:-1]))
    return centre + np.stack([distance * cosine, distance * sine], -1)


def _cosine_sine(angle: "Array | float") -> tuple[Array, Array]:
    return np.asarray(np.cos(angle)), np.asarray(np.sin(angle))


def _spread(choices: Array, radius: Array) -> Array:
    """For each nucleus in turn the one of its choices `(n, c, 2)` farthest from those placed."""
    placed = np.empty((len(choices), 2))
    for i, places in enumerate(choices):
        gaps = np.linalg.norm(places[:, None] - placed[None, :i], axis=2) - radius[:i]
        placed[i] = places[gaps.min(1, initial=np.inf).argmax()]
    return placed
