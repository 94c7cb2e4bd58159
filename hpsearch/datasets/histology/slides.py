"""What is drawn once per slide: stain, architecture, and what a tumour changed in it."""

from dataclasses import dataclass

import numpy as np

from hpsearch.datasets.histology.stain import Stain, draw_stain


@dataclass(frozen=True)
class Architecture:
    """Glandular tissue of one patient; lengths in px of the 64-px tile."""

    spacing: float  # px between the centres of neighbouring glands
    lumen: float  # radius of a gland's lumen, px
    epithelium: float  # height of the cells around the lumen, px
    elongation: float  # of glands, long over short axis
    nucleus: float  # radius of an epithelial nucleus, px
    stroma_cells: float  # spindle nuclei per 1000 px²
    fibre: float  # thickness of stromal fibres, px


@dataclass(frozen=True)
class Tumour:
    """What malignancy changes; the defaults are normal tissue."""

    lost_glands: float = 0.0  # fraction of glands that dissolved into solid nests
    enlargement: float = 1.0  # of the nuclear radius
    anisokaryosis: float = 0.0  # added standard deviation of the log nuclear radius
    irregularity: float = 0.0  # waves of the nuclear outline, fraction of the radius
    clumping: float = 0.10  # contrast of the chromatin, fraction of its optical density
    mitoses: float = 0.0  # fraction of nuclei in division
    desmoplasia: float = 0.0  # extra contrast of stromal fibres


@dataclass(frozen=True)
class Slide:
    """One slide: all its tiles share these."""

    stain: Stain
    architecture: Architecture
    tumour: Tumour
    blur: float  # focus and section thickness: standard deviation of a Gaussian, px
    noise: float  # of the camera, grey levels


def draw_slide(rng: np.random.Generator, *, tumour: bool) -> Slide:
    """A slide's parameters; stain, architecture and optics spread alike in both kinds."""
    return Slide(
        stain=draw_stain(rng),
        architecture=draw_architecture(rng),
        blur=rng.uniform(0.45, 0.65),
        noise=rng.uniform(0.5, 2.0),
        tumour=draw_tumour(rng) if tumour else Tumour(),
    )


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
