"""Growing against not growing: test ROC AUC and seconds on real tissue, and the cost of a pass."""

import statistics
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dpa_core.autoencoder import Autoencoder
from dpa_core.config import AutoencoderConfig
from dpa_core.growth import final_phase
from hpsearch.config.spec import TrainingSpec
from hpsearch.datasets.pixels import Preprocessing, load_pixels
from hpsearch.datasets.registry import DatasetRequest, load_dataset
from hpsearch.detectors.backbones.backbone import load_backbone
from hpsearch.detectors.base import ImageView, Setup
from hpsearch.detectors.dpa import PerceptualAutoencoder
from hpsearch.evaluation.auroc import auroc
from hpsearch.protocol.folds import final_split

SEEDS = (0, 1, 2)
STEPS = 240  # of every training; growing spends a half of them below 64 px and on the way
TRAINING = TrainingSpec(max_steps=STEPS, batch_size=16, check_every=STEPS, learning_rate=3e-3)
SHARED = {
    "resolution": 64,
    "random_crop": 1.0,
    "central_crop": 1.0,
    "fit": "crop",
    "greyscale": False,
    "equalize": False,
    "latent_dim": 4,
    "latent_res": 8,
    "loss": "perceptual",
    "steps_per_phase": STEPS // 4,
    "statistics": "natural",
}
VARIANTS = {
    "r42 at 64 px": {"layers": "r42", "start_resolution": 0},
    "growing from 32 px: r32, then r42": {"layers": "32:r32 64:r42", "start_resolution": 32},
}


@pytest.mark.shared_data
def test_on_tissue(shared_folder: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_folder / "lc25000_lung.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    setup, test, labels = load_tissue(tmp_path)
    print(f"\n{torch.get_num_threads()} threads, {len(setup['normals'])} normals, {STEPS} steps")
    for name, own in VARIANTS.items():
        found = [train_and_test({**SHARED, **own}, seed, setup, test, labels) for seed in SEEDS]
        aurocs, seconds = zip(*found, strict=True)
        assert all(0 <= value <= 1 for value in aurocs)
        print(
            f"  {name:36} AUC {statistics.mean(aurocs):.3f} +- {statistics.stdev(aurocs):.3f} "
            f"({', '.join(f'{value:.3f}' for value in aurocs)}), {statistics.mean(seconds):.0f} s",
            flush=True,
        )


def load_tissue(folder: Path) -> tuple[dict[str, Any], ImageView, np.ndarray]:
    request = DatasetRequest(str(folder / "lc25000_lung" / "manifest.csv"))
    dataset = load_dataset(request, cache_dir=folder / "cache")
    pixels = load_pixels(dataset, Preprocessing(64), cache_dir=folder / "cache", workers=2)
    in_test = np.flatnonzero(dataset.table["split"] == "test")
    setup = {
        "normals": ImageView(pixels, final_split(dataset.table), dataset.fingerprint),
        "backbone": load_backbone("vgg-mini"),
        "device": "cpu",
        "cache_dir": folder / "cache",
    }
    labels = dataset.table["label"].to_numpy()[in_test]
    return setup, ImageView(pixels, in_test, dataset.fingerprint), labels


def train_and_test(
    params: Mapping[str, Any],
    seed: int,
    setup: Mapping[str, Any],
    test: ImageView,
    labels: np.ndarray,
) -> tuple[float, float]:
    """Test ROC AUC, and seconds of training."""
    detector = PerceptualAutoencoder(Setup(params=params, training=TRAINING, seed=seed, **setup))
    started = time.perf_counter()
    detector.fit(setup["normals"], None, max_steps=STEPS)
    seconds = time.perf_counter() - started
    scores = detector.score(test)
    return auroc(scores[labels == 0], scores[labels == 1]), seconds


@pytest.mark.parametrize("latent_dim", [8, 64])
def test_forward_at_the_last_phase(latent_dim: int) -> None:
    """Costs what a network without growing costs."""
    networks = {
        "plain": Autoencoder(AutoencoderConfig(64, 3, latent_dim)),
        "grown": Autoencoder(AutoencoderConfig(64, 3, latent_dim, start_resolution=8)),
    }
    images = torch.randn(32, 3, 64, 64)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for _ in range(21):
            for name, network in networks.items():
                started = time.perf_counter()
                network(images, final_phase(network.config))
                seconds[name].append(time.perf_counter() - started)
    plain, grown = (statistics.median(values[1:]) for values in seconds.values())
    print(
        f"\n  latent {latent_dim}: plain {plain:.4f} s, grown {grown:.4f} s, {grown / plain:.3f} x"
    )
