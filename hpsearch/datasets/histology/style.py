"""What all tiles of a slide share: how it is stained, its tissue, and what a tumour changed in it.

Haematoxylin and eosin follow the Beer-Lambert law: light falls exponentially with the stain.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

# Absorbance of red, green and blue light by a unit of stain (Ruifrok & Johnston 2001, normalised).
HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.17, 0.94, 0.30])
HUE_SPREAD = 0.12  # slide to slide, standard deviation of the log absorbances
AMOUNT_SPREAD = 0.20  # slide to slide, standard deviation of the log amounts
MIMICS = 0.25  # share of the normal tiles of the hard setting that look like a tumour in one way


@dataclass(frozen=True, eq=False)
class SlideStain:
    """How one slide was stained and scanned.

    Attributes:
        matrix: `(2, 3)`, haematoxylin and eosin by red, green and blue, rows of length 1.
        haematoxylin: mean optical density of a tile.
        eosin: mean optical density of a tile.
        glass: `(3,)`, the grey levels of an empty slide.
    """

    matrix: NDArray[np.float64]
    haematoxylin: float
    eosin: float
    glass: NDArray[np.float64]


@dataclass(frozen=True)
class Architecture:
    """Glandular tissue of one patient; lengths in px of the 64-px tile.

    Attributes:
        spacing: between the centres of neighbouring glands.
        lumen: radius of a gland's lumen.
        epithelium: height of the cells around the lumen.
        elongation: of glands, long over short axis.
        nucleus: radius of an epithelial nucleus.
        stroma_cells: spindle nuclei per 1000 px².
        fibre: thickness of stromal fibres.
    """

    spacing: float
    lumen: float
    epithelium: float
    elongation: float
    nucleus: float
    stroma_cells: float
    fibre: float


@dataclass(frozen=True)
class Tumour:
    """What malignancy changes; the defaults are normal tissue.

    Attributes:
        lost_glands: fraction of glands that dissolved into solid nests.
        focal: whether the gland nearest to the middle of a tile is always one of them.
        enlargement: of the nuclear radius.
        anisokaryosis: added standard deviation of the log nuclear radius.
        irregularity: waves of the nuclear outline, fraction of the radius.
        clumping: contrast of the chromatin, fraction of its optical density.
        mitoses: fraction of nuclei in division.
        desmoplasia: extra contrast of stromal fibres.
    """

    lost_glands: float = 0.0
    focal: bool = False
    enlargement: float = 1.0
    anisokaryosis: float = 0.0
    irregularity: float = 0.0
    clumping: float = 0.10
    mitoses: float = 0.0
    desmoplasia: float = 0.0


@dataclass(frozen=True)
class SlideStyle:
    """One slide: all its tiles share these.

    Attributes:
        stain: how it was stained.
        architecture: of its tissue.
        tumour: what one changed in it.
        blur: focus and section thickness: standard deviation of a Gaussian, px.
        noise: of the camera, grey levels.
        mimic: what a benign change, which has one sign of malignancy, changed in some tiles.
        mimics: share of the tiles that have it.
    """

    stain: SlideStain
    architecture: Architecture
    tumour: Tumour
    blur: float
    noise: float
    mimic: Tumour = Tumour()
    mimics: float = 0.0

    def changes(self, rng: np.random.Generator) -> Tumour:
        """What is changed in one tile."""
        return self.mimic if self.mimics and rng.random() < self.mimics else self.tumour


def draw_style(rng: np.random.Generator, *, tumour: bool, hard: bool = False) -> SlideStyle:
    """A slide's parameters; stain, architecture and optics spread alike in both kinds."""
    slide = SlideStyle(
        stain=draw_stain(rng),
        architecture=draw_architecture(rng),
        blur=rng.uniform(0.45, 0.65),
        noise=rng.uniform(0.5, 2.0),
        tumour=Tumour(),
    )
    if tumour:
        return replace(slide, tumour=draw_faint_tumour(rng) if hard else draw_tumour(rng))
    return replace(slide, mimic=draw_mimic(rng), mimics=MIMICS) if hard else slide


def draw_architecture(rng: np.random.Generator) -> Architecture:
    """The normal tissue of one patient."""
    return Architecture(
        spacing=rng.uniform(42, 50),
        lumen=rng.uniform(8.0, 11.0),
        epithelium=rng.uniform(9.0, 10.5),
        elongation=rng.uniform(1.05, 1.3),
        nucleus=rng.uniform(1.9, 2.2),
        stroma_cells=rng.uniform(1.0, 2.0),
        fibre=rng.uniform(1.0, 1.6),
    )


def draw_tumour(rng: np.random.Generator) -> Tumour:
    """One tumour's own mixture of changes."""
    return Tumour(
        lost_glands=rng.uniform(0.7, 1.0),
        enlargement=rng.uniform(1.3, 1.7),
        anisokaryosis=rng.uniform(0.2, 0.35),
        irregularity=rng.uniform(0.06, 0.14),
        clumping=rng.uniform(0.25, 0.5),
        mitoses=rng.uniform(0.0, 0.06),
        desmoplasia=rng.uniform(0.0, 0.8),
    )


def draw_faint_tumour(rng: np.random.Generator) -> Tumour:
    """Every sign of malignancy, each weaker, in a part of the glands."""
    return Tumour(
        lost_glands=rng.uniform(0.3, 0.8),
        focal=True,
        enlargement=rng.uniform(1.25, 1.5),
        anisokaryosis=rng.uniform(0.12, 0.25),
        irregularity=rng.uniform(0.04, 0.10),
        clumping=rng.uniform(0.15, 0.35),
        mitoses=rng.uniform(0.0, 0.04),
        desmoplasia=rng.uniform(0.0, 0.4),
    )


def draw_mimic(rng: np.random.Generator) -> Tumour:
    """Nests without lumen, as in a tumour, whose nuclei have one of its signs, or none."""
    one_sign = (
        Tumour(),
        Tumour(enlargement=rng.uniform(1.25, 1.5)),
        Tumour(anisokaryosis=rng.uniform(0.12, 0.25)),
        Tumour(clumping=rng.uniform(0.15, 0.35)),
    )
    chosen = one_sign[rng.integers(len(one_sign))]
    return replace(chosen, lost_glands=rng.uniform(0.3, 0.8), focal=True)


def draw_stain(rng: np.random.Generator) -> SlideStain:
    """One slide's stain; the spread is what batches, section thickness and scanners bring about."""
    matrix = np.stack([HAEMATOXYLIN, EOSIN]) * np.exp(HUE_SPREAD * rng.standard_normal((2, 3)))
    amounts = np.exp(AMOUNT_SPREAD * rng.standard_normal(2))
    return SlideStain(
        matrix=matrix / np.linalg.norm(matrix, axis=1, keepdims=True),
        haematoxylin=0.30 * float(amounts[0]),
        eosin=0.30 * float(amounts[1]),
        glass=rng.uniform(232, 250) + rng.uniform(-4, 4, 3),
    )


def transmit(
    stain: SlideStain, haematoxylin: NDArray[np.float64], eosin: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Grey levels `(H, W, 3)` behind tissue holding optical densities `(H, W)` of either stain."""
    density = haematoxylin[..., None] * stain.matrix[0] + eosin[..., None] * stain.matrix[1]
    light: NDArray[np.float64] = stain.glass * np.exp(-density)
    return light
