"""Where glands, lumens and nuclei lie in one tile, and how a tumour rearranges them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hpsearch.datasets.histology.ellipses import Array, Ellipses, join, rim
from hpsearch.datasets.histology.slides import Architecture, Tumour

CHOICES = 8  # places tried for each malignant nucleus
MARGIN = 12  # px beyond the tile's edge that are laid out too, so that structures are cut by it


@dataclass(frozen=True, eq=False)
class Layout:
    """The structures of one tile, in px."""

    epithelium: Ellipses
    lumens: Ellipses
    nuclei: Ellipses


def lay_out(
    architecture: Architecture, tumour: Tumour, size: int, rng: np.random.Generator
) -> Layout:
    """One tile of tissue; tumour cells take up the area of the nuclei and lumens they replace."""
    glands = _place_glands(architecture, size, rng)
    lumens = glands.scaled(rng.uniform(0.8, 1.2, len(glands)))
    epithelium = Ellipses(
        glands.centre, lumens.radius + architecture.epithelium, glands.elongation, glands.angle
    )
    lost = rng.random(len(glands)) < tumour.lost_glands
    rings = [_ring(epithelium, lumens, which, architecture, rng) for which in range(len(glands))]
    cells = _stroma_cells(architecture, epithelium, size, rng)
    normal = join(*[ring for ring, gone in zip(rings, lost, strict=True) if not gone], cells)
    layout = Layout(epithelium, lumens, normal)
    if not lost.any():
        return layout
    malignant = join(*[ring for ring, gone in zip(rings, lost, strict=True) if gone])
    return replace(
        layout,
        epithelium=epithelium.scaled(np.where(lost, 1.05, 1.0)),
        lumens=join(lumens[~lost], _clefts(lumens[lost], rng)),
        nuclei=join(normal, _malignant(malignant, glands[lost], tumour, rng)),
    )


def _place_glands(architecture: Architecture, size: int, rng: np.random.Generator) -> Ellipses:
    """Lumen-sized ellipses on a jittered hexagonal lattice of random offset and direction."""
    steps = np.arange(-4, 5)
    row, column = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
    lattice = architecture.spacing * (column + row * np.exp(1j * np.pi / 3) + rng.random())
    lattice = (lattice + 1j * architecture.spacing * rng.random()) * np.exp(
        2j * np.pi * rng.random()
    )
    centre = np.stack([lattice.real, lattice.imag], 1) + size / 2
    centre += rng.normal(0, 0.05 * architecture.spacing, centre.shape)
    near = np.all((centre > -1.5 * MARGIN) & (centre < size + 1.5 * MARGIN), axis=1)
    centre = centre[near]
    return Ellipses(
        centre,
        np.full(len(centre), architecture.lumen),
        np.full(len(centre), architecture.elongation),
        rng.uniform(0, np.pi, len(centre)),
    )


def _ring(
    epithelium: Ellipses,
    lumens: Ellipses,
    which: int,
    architecture: Architecture,
    rng: np.random.Generator,
) -> Ellipses:
    """Nuclei of one gland: a single row near the base of the cells, pointing at the lumen."""
    middle = Ellipses(
        epithelium.centre,
        lumens.radius + 0.68 * architecture.epithelium,
        epithelium.elongation,
        epithelium.angle,
    )
    n = int(2 * np.pi * middle.radius[which] / (2.1 * architecture.nucleus))
    turns = 2 * np.pi * (np.arange(n) + rng.random() + rng.uniform(-0.15, 0.15, n)) / n
    points, tangents = rim(middle, which, turns)
    return Ellipses(
        points + rng.normal(0, 0.35, points.shape),
        architecture.nucleus * np.exp(rng.normal(0, 0.1, n)),
        rng.uniform(1.1, 1.5, n),
        tangents + np.pi / 2 + rng.normal(0, 0.2, n),
    )


def _stroma_cells(
    architecture: Architecture, epithelium: Ellipses, size: int, rng: np.random.Generator
) -> Ellipses:
    """Slender nuclei between the glands."""
    side = size + 2 * MARGIN
    n = rng.poisson(architecture.stroma_cells * side**2 / 1000)
    centre = rng.uniform(-MARGIN, size + MARGIN, (n, 2))
    offset = centre[:, None] - epithelium.centre
    nearest = np.linalg.norm(offset, axis=2) - epithelium.radius
    outside = nearest.min(1, initial=np.inf) > 0.5
    around = offset[np.arange(n), nearest.argmin(1)] if len(epithelium) else centre
    angle = np.arctan2(around[:, 1], around[:, 0]) + np.pi / 2
    cells = Ellipses(
        centre,
        np.full(n, 0.7 * architecture.nucleus),
        rng.uniform(2.2, 3.5, n),
        angle + rng.normal(0, 0.3, n),
    )
    return cells[outside]


def _clefts(lumens: Ellipses, rng: np.random.Generator) -> Ellipses:
    """Ragged gaps that hold the area of the lumens that they replace."""
    n = rng.integers(2, 6, len(lumens))
    which: NDArray[np.intp] = np.repeat(np.arange(len(lumens)), n)
    return Ellipses(
        _around(lumens.centre[which], 20.0, rng),
        1.08 * lumens.radius[which] / np.sqrt(n[which]),  # some overlap
        rng.uniform(1.0, 2.5, len(which)),
        rng.uniform(0, np.pi, len(which)),
    )


def _malignant(
    nuclei: Ellipses, glands: Ellipses, tumour: Tumour, rng: np.random.Generator
) -> Ellipses:
    """Fewer, larger, uneven nuclei in disarray, of the same area in sum, where glands were."""
    n = len(nuclei)
    growth = tumour.enlargement * np.exp(rng.normal(0, tumour.anisokaryosis, n))
    grown = nuclei.scaled(growth)[rng.permutation(n)]
    grown = grown[np.cumsum(grown.radius**2) <= np.sum(nuclei.radius**2)]
    n = len(grown)
    homes = glands.centre[rng.integers(0, len(glands), (n, CHOICES))]
    return Ellipses(
        _spread(_around(homes, 26.0, rng), grown.radius),
        grown.radius,
        rng.uniform(1.0, 1.7, n),
        rng.uniform(0, np.pi, n),
    )


def _around(centre: Array, reach: float, rng: np.random.Generator) -> Array:
    """Points drawn evenly from discs of radius `reach` px around `(..., 2)` centres."""
    distance = reach * np.sqrt(rng.random(centre.shape[:-1]))
    turn = 2 * np.pi * rng.random(centre.shape[:-1])
    return centre + np.stack([distance * np.cos(turn), distance * np.sin(turn)], -1)


def _spread(choices: Array, radius: Array) -> Array:
    """For each nucleus in turn the choice `(n, c, 2)` that is freest of those already placed."""
    placed = np.empty((len(choices), 2))
    for i, places in enumerate(choices):
        gaps = np.linalg.norm(places[:, None] - placed[None, :i], axis=2) - radius[:i]
        placed[i] = places[gaps.min(1, initial=np.inf).argmax()]
    return placed
