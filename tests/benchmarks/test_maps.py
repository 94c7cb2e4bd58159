"""How well the maps of a trained model find the marked pixels of anomalies.

    HPSEARCH_MAPS_MODEL=runs/NAME/final/0/model HPSEARCH_MAPS_DATA=DIR/manifest.csv \
        pytest tests/benchmarks/test_maps.py -s

The data are a CSV manifest with masks. Over the part of each test image that is scored, normal ones
included, with mask and map brought to 256 px, since images differ in size: ROC AUC of all pixels,
and AUPRO, the mean share of each marked region that is found, up to a false-positive rate of 0.3 of
the unmarked pixels (Bergmann et al. 2020, arXiv 1911.02357, section 4).
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import hpsearch
from hpsearch.datasets.manifest import load_manifest
from hpsearch.datasets.pixels import preprocess
from hpsearch.datasets.reading import read_mask
from hpsearch.datasets.table import Dataset
from hpsearch.model.images import PreprocessingFacts

_LIMIT = 0.3  # false-positive rate up to which AUPRO is integrated
_THRESHOLDS = 200
_SIDE = 256  # px


def _scored_mask(dataset: Dataset, position: int, how: PreprocessingFacts) -> np.ndarray:
    """Marked pixels `(256, 256)` of the part that is scored."""
    width, height = dataset.open(position).size
    name = dataset.table["mask_path"].iloc[position]
    mask = Image.new("L", (width, height))
    if name:
        mask = read_mask(Path(str(dataset.root), name))
    large = max(width, height)  # so that no marked pixel is lost by shrinking
    square = preprocess(mask, replace(how.steps, size=large, equalize=False))
    kept = round(large * how.resolution / how.steps.size)
    start = (large - kept) // 2
    scored = square.crop((start, start, start + kept, start + kept))
    return np.asarray(scored.resize((_SIDE, _SIDE), Image.Resampling.NEAREST)) >= 128


def _enlarged(values: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(values).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))


def test_maps_find_the_marked_pixels() -> None:
    if not {"HPSEARCH_MAPS_MODEL", "HPSEARCH_MAPS_DATA"} <= os.environ.keys():
        pytest.skip("needs HPSEARCH_MAPS_MODEL and HPSEARCH_MAPS_DATA")
    model = Path(os.environ["HPSEARCH_MAPS_MODEL"])
    print_pixel_figures(model, load_manifest(Path(os.environ["HPSEARCH_MAPS_DATA"])))


def print_pixel_figures(folder: Path, dataset: Dataset) -> None:
    """Print the figures of the model in a folder, of all anomalies and of each type."""
    au_pro = pytest.importorskip("adeval.au_pro")
    model = hpsearch.load(folder)
    in_test = np.flatnonzero(dataset.table["split"] == "test")
    files = [dataset.file(position) for position in in_test]
    labels = dataset.table["label"].to_numpy()[in_test]
    kinds = dataset.table["anomaly_type"].to_numpy()[in_test]
    masks = [
        _scored_mask(dataset, position, model.preprocessings[model.mapped]) for position in in_test
    ]
    maps = [_enlarged(values) for values in model.maps(files)]
    marked = sum(mask.any() for mask in masks)
    print(
        f"\n{len(files)} test images, {labels.sum()} anomalous, {marked} of them in what is scored"
    )
    print(f"image ROC AUC {roc_auc_score(labels, model.score(files)):.3f}")
    for kind in ("all", *sorted(set(kinds) - {""})):
        chosen = np.flatnonzero((labels == 0) | (kinds == kind) | (kind == "all"))
        truth, found = [masks[n] for n in chosen], [maps[n] for n in chosen]
        flat = [np.concatenate([part.ravel() for part in parts]) for parts in (truth, found)]
        aupro, _ = au_pro.calculate_au_pro(truth, found, _LIMIT, num_thresholds=_THRESHOLDS)
        print(
            f"{kind:>10}: pixel ROC AUC {roc_auc_score(*flat):.3f}, AUPRO {aupro:.3f}", flush=True
        )
        assert 0 <= aupro <= 1
