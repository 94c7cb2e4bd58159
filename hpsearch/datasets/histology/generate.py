"""The embedded data sets of drawn tissue, and how they were examined.

`synthetic-histology` is a toy that is to be a fair exam: what marks a tumour is the arrangement and
the shape of its cells, not their colour. Its tissue covers the same area with larger nuclei, breaks
lumens into clefts of the same area, and takes up as much of either stain; stains differ from slide
to slide instead.

Test ROC AUC for seed 0, 600 normal against 500 tumour tiles of 12 + 10 slides of their own, trained
on the 2,000 normal tiles of 40 slides:

| detector                                                       | test AUC                   |
|----------------------------------------------------------------|----------------------------|
| means and deviations of the three channels, isolation forest   | 0.365                      |
| the same six numbers, Mahalanobis distance (Ledoit-Wolf)       | 0.361                      |
| pixel-L1 autoencoder, bottleneck 4 x 8x8                       | 0.624                      |
| best DPA of the twelve below                                   | 0.985                      |
| worst DPA of the twelve below                                  | 0.563                      |
| vgg-mini's r12, r22, r32, r42, averaged, Mahalanobis           | 0.871, 0.966, 0.968, 0.946 |

| DPA     | r12   | r22   | r32   | r42   |
|---------|-------|-------|-------|-------|
| 4 x 8x8 | 0.740 | 0.968 | 0.985 | 0.803 |
| 4 x 4x4 | 0.626 | 0.829 | 0.856 | 0.820 |
| 4 x 1x1 | 0.563 | 0.644 | 0.807 | 0.801 |

The first two rows are asserted by `pytest tests/hpsearch/datasets/test_histology.py`; seeds 1 to 3
gave 0.34 to 0.65 there. The order of best, worst and pixels is asserted by `test_histology_exam.py`
beside it. The figures: `dpa_core.fit` with `FitConfig(learning_rate=1e-2,
batch_size=16, max_steps=200, check_every=200)`, training seed 0, colour tiles reduced to 32 px
(bilinear), the bundled vgg-mini (weight digest dd87068c) with its statistics, CPU, one thread,
torch 2.15. Each figure is one training: of five repeated with training seed 1 the best
moved by 0.01, one (4 x 8x8, r12) by 0.12; read the spread, not the ranks.

`synthetic-histology-hard` is the same slides (stains, optics and normal architecture, for one seed)
with tumours that show every sign of malignancy more weakly and in fewer glands, at least in the
one nearest to the middle of a tile; and a quarter of the tiles of each normal slide has a mimic:
glands without lumen as in a tumour, whose nuclei show one of its signs or none. Distances from
frozen features, which are all but perfect above, are not here (seed 0, the same counts; `lite0` is
EfficientNet-Lite0, the others are vgg-mini's; 64 px):

| detector                                                      | hard  | above |
|---------------------------------------------------------------|-------|-------|
| means and deviations of the three channels, isolation forest  | 0.377 | 0.365 |
| the same six numbers, Mahalanobis distance (Ledoit-Wolf)      | 0.376 | 0.361 |
| pixel-L1 autoencoder, bottleneck 4 x 8x8                      | 0.526 | 0.624 |
| best DPA of the twelve (4 x 8x8, r32)                         | 0.820 | 0.985 |
| worst DPA of the twelve                                       | 0.506 | 0.563 |
| r22, mean and deviation, Mahalanobis                          | 0.792 | 0.979 |
| r22, nearest of 2,000 patches, mean of the top 5 %            | 0.825 | 0.990 |
| lite0, all stages, mean and deviation, Mahalanobis            | 0.818 | 0.992 |
| lite0 s4, a Gaussian at each position, mean                   | 0.834 | 0.992 |
| lite0 s2, nearest of 2,000 patches, mean                      | 0.874 | 0.994 |
| lite0 s2, nearest of 2,000 patches, maximum                   | 0.725 | 0.966 |
| lite0, logistic regression on 20 labelled tiles of one tumour | 0.904 | 0.996 |
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpsearch.datasets.histology.style import draw_style
from hpsearch.datasets.histology.tile import render_tile
from hpsearch.io.processes import Progress, in_order, silent

TILES_PER_SLIDE = 50
SLIDE_COUNTS = {  # (split, kind): number of slides
    ("train", "normal"): 40,
    ("train", "tumour"): 8,
    ("test", "normal"): 12,
    ("test", "tumour"): 10,
}


def generate(
    *, seed: int, workers: int, hard: bool = False, progress: Progress = silent
) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    """Render all tiles.

    Args:
        seed: same seed, same bytes, whatever the number of workers.
        workers: processes.
        hard: whether tumours are faint and some normal tiles look like one in part.
        progress: told of each finished slide.

    Returns:
        the image table and the tiles `(3500, 64, 64, 3)`, rows aligned.
    """
    slides = [
        (split, kind, f"{split}/{kind}_{number:03d}")
        for (split, kind), n in SLIDE_COUNTS.items()
        for number in range(n)
    ]
    seeds = np.random.SeedSequence(seed).spawn(len(slides))
    jobs = [_Job(name, kind, own, hard) for (_, kind, name), own in zip(slides, seeds, strict=True)]
    tiles = []
    for done, rendered in enumerate(in_order(_render_slide, jobs, workers=workers), 1):
        tiles.append(rendered)
        progress("rendering slides", done, len(slides))
    rows = [
        {
            "image_id": f"{slide}/{number:03d}",
            "path": "",
            "label": int(kind == "tumour"),
            "anomaly_type": slide if kind == "tumour" else "",
            "group": slide,
            "split": split,
            "mask_path": "",
        }
        for split, kind, slide in slides
        for number in range(TILES_PER_SLIDE)
    ]
    return pd.DataFrame(rows), np.concatenate(tiles)


class _Job(NamedTuple):
    """A slide to render.

    Attributes:
        name: for messages.
        kind: normal or tumour.
        seed: of all its tiles.
        hard: as of `generate`.
    """

    name: str
    kind: str
    seed: np.random.SeedSequence
    hard: bool

    def __str__(self) -> str:
        return self.name


def _render_slide(job: _Job) -> NDArray[np.uint8]:
    rng = np.random.default_rng(job.seed)
    slide = draw_style(rng, tumour=job.kind == "tumour", hard=job.hard)
    return np.stack([render_tile(slide, rng) for _ in range(TILES_PER_SLIDE)])
