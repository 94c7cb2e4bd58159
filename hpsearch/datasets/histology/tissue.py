"""One tile: optical densities of the two stains on a grid of sub-pixels, then their photograph."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from hpsearch.datasets.histology.ellipses import Array, Ellipses, paint
from hpsearch.datasets.histology.layout import SIZE, lay_out
from hpsearch.datasets.histology.slides import Slide, Tumour
from hpsearch.datasets.histology.stain import transmit

FINE = 2  # sub-pixels along a side of a pixel: averaging them smooths the edges of nuclei
AMOUNT_JITTER = 0.06  # tile to tile, standard deviation of the log amounts of stain


def render_tile(slide: Slide, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One tile of a slide, `(64, 64, 3)`."""
    layout = lay_out(slide.architecture, slide.tumour, rng)
    epithelium = _coverage(layout.epithelium, 0.0, rng)
    tissue = 1 - _coverage(layout.lumens, 0.1, rng)
    cytoplasm = 0.55 + 0.12 * _noise(1.5, rng)
    eosin = tissue * (_fibres(slide, rng) * (1 - epithelium) + cytoplasm * epithelium)
    haematoxylin = tissue * (0.10 + 0.06 * epithelium)
    grain = _refined(_noise(0.8, rng))
    normal = _nuclei(layout.nuclei, Tumour(), grain, rng)
    nuclei = np.maximum(normal, _nuclei(layout.malignant, slide.tumour, grain, rng))
    return _photograph(
        slide,
        haematoxylin=_refined(haematoxylin) + nuclei,
        eosin=_refined(eosin) * (1 - 0.5 * np.minimum(nuclei, 1)),
        rng=rng,
    )


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


def _fibres(slide: Slide, rng: np.random.Generator) -> Array:
    """Eosin of the stroma, about 1: wavy bundles in one direction."""
    contrast = 0.085 * (1 + slide.tumour.desmoplasia)
    thickness = slide.architecture.fibre
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


def _photograph(
    slide: Slide, *, haematoxylin: Array, eosin: Array, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Grey levels of the camera's pixels; the tile's mean amount of either stain is the slide's.

    So neither crowded nor empty tissue is told by its mean colour, in tumours or elsewhere.
    """
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
