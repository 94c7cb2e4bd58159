"""One tile of a slide: where its structures lie, what stain they take up, and their photograph.

Glands, lumens and nuclei are laid out, and a tumour rearranges them. The optical densities of the
two stains are drawn on a grid of sub-pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from hpsearch.datasets.histology.ellipses import Array, Ellipses, join, paint, rim
from hpsearch.datasets.histology.style import Architecture, SlideStyle, Tumour, transmit

SIZE = 64  # px, side of a tile
MARGIN = 20  # px laid out beyond the tile's edge, so that the edge cuts through structures
FINE = 2  # sub-pixels along a side of a pixel: averaging them smooths the edges of nuclei
AMOUNT_JITTER = 0.06  # tile to tile, standard deviation of the log amounts of stain


@dataclass(frozen=True, eq=False)
class Layout:
    """The structures of one tile, in px.

    Attributes:
        epithelium: of the glands.
        lumens: of the glands, and the clefts that a tumour leaves of them.
        nuclei: normal ones.
        malignant: nuclei of tumour cells.
    """

    epithelium: Ellipses
    lumens: Ellipses
    nuclei: Ellipses
    malignant: Ellipses


def render_tile(slide: SlideStyle, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One tile of a slide, `(64, 64, 3)`."""
    changes = slide.changes(rng)
    layout = draw_layout(slide.architecture, changes, rng)
    epithelium = _coverage(layout.epithelium, 0.0, rng)
    tissue = 1 - _coverage(layout.lumens, 0.1, rng)
    cytoplasm = 0.55 + 0.12 * _noise(1.5, rng)
    stroma = _fibres(slide.architecture, changes, rng)
    eosin = tissue * (stroma * (1 - epithelium) + cytoplasm * epithelium)
    haematoxylin = tissue * (0.10 + 0.06 * epithelium)
    grain = _refined(_noise(0.8, rng))
    normal = _nuclei(layout.nuclei, Tumour(), grain, rng)
    nuclei = np.maximum(normal, _nuclei(layout.malignant, changes, grain, rng))
    haematoxylin = _refined(haematoxylin) + nuclei
    eosin = _refined(eosin) * (1 - 0.5 * np.minimum(nuclei, 1))
    # The tile's mean amount of either stain is the slide's, so that neither crowded nor empty
    # tissue is told by its mean colour, in tumours or elsewhere.
    jitter = np.exp(AMOUNT_JITTER * rng.standard_normal(2))
    light = transmit(
        slide.stain,
        haematoxylin * (slide.stain.haematoxylin * jitter[0] / haematoxylin.mean()),
        eosin * (slide.stain.eosin * jitter[1] / eosin.mean()),
    )
    light = gaussian_filter(light, (slide.blur * FINE, slide.blur * FINE, 0), truncate=3)
    pixels = light.reshape(SIZE, FINE, SIZE, FINE, 3).mean((1, 3))
    pixels = pixels + slide.noise * rng.standard_normal(pixels.shape)
    grey_levels: NDArray[np.uint8] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return grey_levels


def draw_layout(architecture: Architecture, tumour: Tumour, rng: np.random.Generator) -> Layout:
    """One tile of tissue; tumour cells take up the area of the nuclei and lumens they replace."""
    lumens = _glands(architecture, rng)
    epithelium = lumens.with_radius(lumens.radius + architecture.epithelium)
    rows = lumens.with_radius(lumens.radius + 0.68 * architecture.epithelium)
    lost = rng.random(len(lumens)) < tumour.lost_glands
    if tumour.focal:
        lost[np.linalg.norm(lumens.centre - SIZE / 2, axis=1).argmin()] = True
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
    # For each nucleus in turn the one of its choices that is farthest from those placed.
    placed = np.empty((n, 2))
    for i, places in enumerate(choices):
        gaps = np.linalg.norm(places[:, None] - placed[None, :i], axis=2) - radius[:i]
        placed[i] = places[gaps.min(1, initial=np.inf).argmax()]
    return Ellipses(
        placed,
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


def _coverage(ellipses: Ellipses, irregularity: float, rng: np.random.Generator) -> Array:
    """How much of each pixel lies inside any ellipse, 0..1, with an edge that is 1.5 px soft."""

    def shade(depth: Array) -> Array:
        inside: Array = np.clip(0.5 + depth / 1.5, 0, 1)
        return inside

    return paint(
        ellipses,
        shade,
        strength=np.ones(len(ellipses)),
        irregularity=irregularity,
        size=SIZE,
        rng=rng,
    )


def _nuclei(nuclei: Ellipses, tumour: Tumour, grain: Array, rng: np.random.Generator) -> Array:
    """Haematoxylin of the nuclei, `(128, 128)`, about 1 inside: clumped, darker at the membrane."""
    dividing = rng.random(len(nuclei)) < tumour.mitoses
    darkness = np.exp(rng.normal(0, 0.12, len(nuclei))) * np.where(dividing, 1.6, 1.0)

    def shade(depth: Array) -> Array:
        membrane = np.clip(1 - np.abs(depth / FINE - 0.7), 0, 1)
        density: Array = np.clip(0.5 + depth / FINE, 0, 1) * (0.8 + 0.25 * membrane)
        return density

    density = paint(
        nuclei.magnified(FINE),
        shade,
        strength=darkness,
        irregularity=tumour.irregularity,
        size=SIZE * FINE,
        rng=rng,
    )
    return density * (1 + tumour.clumping * grain)


def _fibres(architecture: Architecture, tumour: Tumour, rng: np.random.Generator) -> Array:
    """Eosin of the stroma, about 1: wavy bundles in one direction."""
    contrast = 0.085 * (1 + tumour.desmoplasia)
    thickness = architecture.fibre
    turn = rng.uniform(0, np.pi)
    y, x = np.mgrid[:SIZE, :SIZE]
    across = x * np.cos(turn) + y * np.sin(turn) + 3 * _noise(6, rng)
    bundles = np.sin(across * np.pi / (1.6 * thickness) + 2 * _noise(4, rng))
    stroma: Array = np.maximum(1 + contrast * (bundles + _noise(thickness, rng)), 0)
    return stroma


def _noise(grain: float, rng: np.random.Generator) -> Array:
    """Smooth noise `(64, 64)` of mean 0 and standard deviation 1; `grain` in px."""
    field = gaussian_filter(rng.standard_normal((SIZE, SIZE)), grain, truncate=3, mode="wrap")
    noise: Array = (field - field.mean()) / field.std()
    return noise


def _refined(field: Array) -> Array:
    """A field of pixels on the grid of sub-pixels."""
    return field.repeat(FINE, axis=0).repeat(FINE, axis=1)
