"""One tile: structures drawn as optical densities of the two stains on a finer grid, then photographed."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from hpsearch.datasets.histology.ellipses import Array, Ellipses, paint
from hpsearch.datasets.histology.layout import lay_out
from hpsearch.datasets.histology.slides import Slide, Tumour
from hpsearch.datasets.histology.stain import transmit

SIZE = 64  # px, side of a tile
FINE = 2  # sub-pixels along a side: edges are anti-aliased by averaging them
AMOUNT_JITTER = 0.06  # tile to tile, standard deviation of the log amounts of stain


def render_tile(slide: Slide, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One tile of a slide, `(64, 64, 3)`."""
    layout = lay_out(slide.architecture, slide.tumour, SIZE, rng)
    lumen = _coverage(layout.lumens, 0.1, rng)
    epithelium = _coverage(layout.epithelium, 0.05, rng)
    nuclei = _nuclei(layout.nuclei, slide.tumour, rng)
    covered = np.minimum(nuclei, 1)
    cytoplasm = 0.55 + 0.12 * _noise(1.5, rng)
    eosin = (_fibres(slide, rng) * (1 - epithelium) + cytoplasm * epithelium) * (1 - lumen)
    haematoxylin = (0.10 + 0.06 * epithelium) * (1 - lumen)
    return _photograph(
        slide,
        _refined(haematoxylin) + nuclei,
        _refined(eosin) * (1 - 0.5 * covered),
        rng,
    )


def _noise(grain: float, rng: np.random.Generator) -> Array:
    """Smooth noise `(64, 64)` of mean 0 and standard deviation 1; `grain` in px."""
    field = gaussian_filter(rng.standard_normal((SIZE, SIZE)), grain, truncate=3, mode="wrap")
    return (field - field.mean()) / field.std()


def _refined(field: Array) -> Array:
    """A field of the tile's pixels on the grid of sub-pixels."""
    return field.repeat(FINE, axis=0).repeat(FINE, axis=1)


def _coverage(ellipses: Ellipses, irregularity: float, rng: np.random.Generator) -> Array:
    """How much of each pixel lies inside any ellipse, 0..1, with an edge that is 1.5 px soft."""

    def shade(depth: Array) -> Array:
        return np.clip(0.5 + depth / 1.5, 0, 1)

    return paint(ellipses, np.ones(len(ellipses)), shade, irregularity, SIZE, rng)


def _nuclei(nuclei: Ellipses, tumour: Tumour, rng: np.random.Generator) -> Array:
    """Relative optical density of the nuclei: a darker membrane around clumped chromatin."""
    dividing = rng.random(len(nuclei)) < tumour.mitoses
    darkness = np.exp(rng.normal(0, 0.12, len(nuclei))) * np.where(dividing, 1.6, 1.0)

    def shade(depth: Array) -> Array:
        inside = np.clip(0.5 + depth / FINE, 0, 1)
        membrane = 0.25 * np.clip(1 - np.abs(depth / FINE - 0.7), 0, 1)
        return inside * (0.8 + membrane)

    density = paint(nuclei.magnified(FINE), darkness, shade, tumour.irregularity, SIZE * FINE, rng)
    return density * (1 + tumour.clumping * _refined(_noise(0.8, rng)))


def _fibres(slide: Slide, rng: np.random.Generator) -> Array:
    """Optical density of the stroma: wavy bundles in one direction."""
    contrast = 0.12 * (1 + slide.tumour.desmoplasia)
    grain = slide.architecture.fibre
    turn = rng.uniform(0, np.pi)
    y, x = np.mgrid[:SIZE, :SIZE]
    warp = 3 * _noise(6, rng)
    across = x * np.cos(turn) + y * np.sin(turn) + warp
    waves = np.sin(across * np.pi / grain / 1.6 + 2 * _noise(4, rng))
    return np.clip(1 + contrast * (0.7 * waves + 0.7 * _noise(grain, rng)), 0, None)


def _photograph(
    slide: Slide, haematoxylin: Array, eosin: Array, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Grey levels of the camera's pixels."""
    jitter = np.exp(AMOUNT_JITTER * rng.standard_normal(2))
    haematoxylin = haematoxylin * (slide.stain.haematoxylin * jitter[0] / haematoxylin.mean())
    eosin = eosin * (slide.stain.eosin * jitter[1] / eosin.mean())
    sigma = slide.blur * FINE
    light = transmit(slide.stain, haematoxylin, eosin)
    light = gaussian_filter(light, (sigma, sigma, 0), truncate=3)
    pixels = light.reshape(SIZE, FINE, SIZE, FINE, 3).mean((1, 3))
    pixels = pixels + slide.noise * rng.standard_normal(pixels.shape)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
