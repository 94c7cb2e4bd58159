"""Channel statistics over natural images against those of the normals: test ROC AUC on CIFAR-10.

Each finished training is a line of a file, which HPSEARCH_FIGURES names; a rerun with the same file
goes on. Twelve trainings of 300 steps: on two cores more than an hour.
"""

import csv
import itertools
import os
import statistics
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.config.spec import TrainingSpec
from hpsearch.datasets.pixels import Preprocessing, load_pixels
from hpsearch.datasets.registry import DatasetRequest, load_dataset
from hpsearch.detectors.backbones.backbone import load_backbone
from hpsearch.detectors.base import ImageView, Setup
from hpsearch.detectors.dpa import PerceptualAutoencoder
from hpsearch.evaluation.auroc import auroc
from hpsearch.protocol.folds import final_split

NORMAL_CLASSES = ("automobile", "ship")
CHOICES = ("natural", "own")
SEEDS = (0, 1, 2)
STEPS = 300
BATCH = 128
STAND_IN = "vgg19_standin.fp16.safetensors"
COLUMNS = ("normal_class", "statistics", "seed", "test_auroc", "seconds")
PARAMS = {
    "resolution": 32,
    "random_crop": 1.0,
    "central_crop": 1.0,
    "fit": "stretch",
    "greyscale": False,
    "equalize": False,
    "latent_dim": 8,
    "latent_res": 1,
    "layers": "r42",
    "loss": "perceptual",
    "start_resolution": 0,
    "steps_per_phase": 1,
}

Figure = tuple[str, str, int]
"""Normal class, statistics and seed of a training."""


@pytest.mark.shared_data
@pytest.mark.slow
def test_on_cifar10(shared_folder: Path, tmp_path: Path) -> None:
    figures = Path(os.environ.get("HPSEARCH_FIGURES", tmp_path / "figures.csv"))
    with tarfile.open(shared_folder / "cifar10_jpeg.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    measure(tmp_path / "cifar10_jpeg", shared_folder / STAND_IN, figures, tmp_path / "cache")
    found = read_figures(figures)
    print(table(found))
    assert len(found) == len(NORMAL_CLASSES) * len(CHOICES) * len(SEEDS)
    assert all(0 <= value <= 1 for value in found.values())


def measure(images: Path, weights: Path, figures: Path, cache_dir: Path) -> None:
    """Train what is not in `figures` yet, and append each figure as soon as it is known.

    Args:
        images: folder of train/<class>/* and test/<class>/*.
        weights: of a vgg19.
        figures: the file.
        cache_dir: folder of what can be computed again.
    """
    backbone = load_backbone("vgg19", weights_file=weights)
    data = {name: load(images, name, cache_dir) for name in NORMAL_CLASSES}
    for seed, name, choice in itertools.product(SEEDS, NORMAL_CLASSES, CHOICES):
        if (name, choice, seed) in read_figures(figures):
            continue
        started = time.monotonic()
        normals, test, labels = data[name]
        setup = Setup(
            params={**PARAMS, "statistics": choice},
            training=TrainingSpec(max_steps=STEPS, batch_size=BATCH),
            backbone=backbone,
            normals=normals,
            seed=seed,
            device="cpu",
            cache_dir=cache_dir,
        )
        detector = PerceptualAutoencoder(setup)
        detector.fit(normals, None, max_steps=STEPS)
        scores = detector.score(test)
        found = auroc(scores[labels == 0], scores[labels == 1])
        append(figures, name, choice, seed, f"{found:.4f}", f"{time.monotonic() - started:.0f}")


def load(
    images: Path, normal_class: str, cache_dir: Path
) -> tuple[ImageView, ImageView, np.ndarray]:
    """All training normals, the whole test set, and its labels."""
    request = DatasetRequest(str(images), normal_class=normal_class)
    dataset = load_dataset(request, cache_dir=cache_dir)
    pixels = load_pixels(dataset, Preprocessing(32), cache_dir=cache_dir)
    in_test = np.flatnonzero(dataset.table["split"] == "test")
    return (
        ImageView(pixels, final_split(dataset.table), dataset.fingerprint),
        ImageView(pixels, in_test, dataset.fingerprint),
        dataset.table["label"].to_numpy()[in_test],
    )


def append(figures: Path, *row: Any) -> None:
    first = not figures.exists()
    with figures.open("a", newline="") as file:
        csv.writer(file).writerows([COLUMNS, row] if first else [row])


def read_figures(figures: Path) -> dict[Figure, float]:
    if not figures.exists():
        return {}
    with figures.open(newline="") as file:
        return {
            (row["normal_class"], row["statistics"], int(row["seed"])): float(row["test_auroc"])
            for row in csv.DictReader(file)
        }


def table(found: dict[Figure, float]) -> str:
    lines = [f"\nCIFAR-10 as JPEG, stand-in VGG-19, r42, 8 x 1, {STEPS} steps of {BATCH}"]
    for name, choice in itertools.product(NORMAL_CLASSES, CHOICES):
        values = [found[key] for key in found if key[:2] == (name, choice)]
        if values:
            each = ", ".join(f"{value:.3f}" for value in values)
            lines.append(f"  {name:12} {choice:8} {statistics.mean(values):.3f} ({each})")
    return "\n".join(lines)
