"""The embedded data set `synthetic-histology`."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from hpsearch.datasets.histology.slides import draw_slide
from hpsearch.datasets.histology.tissue import render_tile
from hpsearch.progress import Progress, silent

TILES_PER_SLIDE = 50
SLIDES = {  # (split, kind): number of slides
    ("train", "normal"): 40,
    ("train", "tumour"): 8,
    ("test", "normal"): 12,
    ("test", "tumour"): 10,
}


def generate(
    *, seed: int, workers: int, progress: Progress = silent
) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    """Render all tiles.

    Args:
        seed: same seed, same bytes, whatever the number of workers.
        workers: processes.
        progress: told of each finished slide.

    Returns:
        the image table and the tiles `(3500, 64, 64, 3)`, rows aligned.
    """
    slides = [
        (split, kind, f"{split}/{kind}_{number:03d}")
        for (split, kind), n in SLIDES.items()
        for number in range(n)
    ]
    seeds = np.random.SeedSequence(seed).spawn(len(slides))
    jobs = (
        delayed(_render_slide)(kind, own) for (_, kind, _), own in zip(slides, seeds, strict=True)
    )
    tiles = []
    for done, rendered in enumerate(Parallel(n_jobs=workers, return_as="generator")(jobs), 1):
        tiles.append(rendered)
        progress("rendering slides", done, len(slides))
    rows = [row for split, kind, name in slides for row in _rows(split, kind, name)]
    return pd.DataFrame(rows), np.concatenate(tiles)


def _render_slide(kind: str, seed: np.random.SeedSequence) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    slide = draw_slide(rng, tumour=kind == "tumour")
    return np.stack([render_tile(slide, rng) for _ in range(TILES_PER_SLIDE)])


def _rows(split: str, kind: str, slide: str) -> Iterator[dict[str, str | int]]:
    for number in range(TILES_PER_SLIDE):
        yield {
            "image_id": f"{slide}/{number:03d}",
            "path": "",
            "label": int(kind == "tumour"),
            "anomaly_type": slide if kind == "tumour" else "",
            "group": slide,
            "split": split,
            "mask_path": "",
        }
