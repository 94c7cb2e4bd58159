"""Memory and speed of the detector patch, and its figures beside anomalib's PatchCore.

    pytest tests/benchmarks/test_patch.py -s

HPSEARCH_SHARED names the folder of the real images, for anomalib; CONFIG picks a kind.
"""

import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from hpsearch.config.spec import TrainingSpec
from hpsearch.detectors.backbones.backbone import build_extractor, load_backbone
from hpsearch.detectors.base import ImageView, Setup
from hpsearch.detectors.patch import PatchDetector

SIDE = 64
N_FEW, N_MANY = 2_000, 20_000
ALLOWED = 1.3  # of the peak memory with many images, in units of that with few
LEAST_SPEED = 0.8  # of a loop by hand
ALIKE = 0.02  # of the ROC AUC, and anomalib's
NETWORK = os.environ.get("HPSEARCH_PATCH_NETWORK", "vgg-mini")
LAYERS = {"vgg-mini": "r22+r32", "lite0": "s2+s3"}[NETWORK]


def draw(path: Path, n: int) -> None:
    """Smooth coloured blots."""
    rng = np.random.default_rng(0)
    pixels = np.lib.format.open_memmap(path, "w+", np.uint8, (n, SIDE, SIDE, 3))
    for number in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        pixels[number] = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    pixels.flush()


def setup_of(images: ImageView, cache: Path, **changed: object) -> Setup:
    params = {
        "resolution": SIDE,
        "kind": "nearest",
        "layer": LAYERS,
        "pool": "max",
        "coreset": 0.1,
        "reweight": False,
    }
    return Setup(
        params={**params, **changed},  # type: ignore[dict-item]
        training=TrainingSpec(),
        backbone=load_backbone(NETWORK),
        normals=images,
        seed=0,
        device="cpu",
        cache_dir=cache,
    )


def fit_and_score(pixels: Path, kind: str, cache: Path) -> None:
    """What a worker does, in a process of its own; prints its largest resident memory in kB."""
    import resource

    stored = np.load(pixels, mmap_mode="r")
    images = ImageView(stored, np.arange(len(stored)), "drawn")
    detector = PatchDetector(setup_of(images, cache, kind=kind))
    started = time.perf_counter()
    detector.fit(images, None, max_steps=1)
    fitted = time.perf_counter()
    if kind != "nearest" or len(stored) <= N_FEW:  # the distances to a memory take long, not much
        detector.score(images)
    else:
        detector.score(ImageView(stored, np.arange(0, len(stored), 10), "drawn"))
    seconds = [fitted - started, time.perf_counter() - fitted]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, *seconds)


@pytest.mark.parametrize("kind", ["nearest", "gaussian_position", "gaussian"])
def test_memory_does_not_grow_with_the_images(kind: str, tmp_path: Path) -> None:
    peaks = []
    for n in (N_FEW, N_MANY):
        draw(tmp_path / f"{n}.npy", n)
        command = [sys.executable, __file__, tmp_path / f"{n}.npy", kind, tmp_path / f"cache-{n}"]
        ended = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        peak, fit, score = map(float, ended.stdout.split())
        peaks.append(peak)
        print(f"\n{kind}, {n:,} images: {peak / 1024:.0f} MB, fit {fit:.1f} s, score {score:.1f} s")
    assert peaks[1] < ALLOWED * peaks[0]


def by_hand(detector: PatchDetector, network: nn.Module, images: np.ndarray) -> np.ndarray:
    """The scores of `nearest` and `max` as one would write them."""
    assert detector.model is not None
    memory = detector.model.get_buffer("memory")
    scores = []
    with torch.inference_mode():
        for start in range(0, len(images), 64):
            batch = torch.from_numpy(images[start : start + 64])
            maps = network(batch.permute(0, 3, 1, 2).float() / 127.5 - 1)
            fine, coarse = (
                avg_pool2d(maps[layer], 3, 1, 1, count_include_pad=False)
                for layer in detector.layers
            )
            coarse = interpolate(coarse, size=fine.shape[-2:], mode="bilinear")
            vectors = torch.cat([fine, coarse], dim=1).permute(0, 2, 3, 1).flatten(1, 2)
            distances = torch.stack([torch.cdist(image, memory).amin(dim=1) for image in vectors])
            scores.append(distances.amax(dim=1).numpy())
    return np.concatenate(scores)


def test_speed_is_that_of_a_loop_by_hand(tmp_path: Path) -> None:
    draw(tmp_path / "drawn.npy", 1_000)
    pixels = np.load(tmp_path / "drawn.npy")
    images = ImageView(pixels, np.arange(1_000), None)
    for coreset in (0.01, 0.1):
        detector = PatchDetector(setup_of(images, tmp_path, coreset=coreset))
        detector.fit(ImageView(pixels, np.arange(400), None), None, max_steps=1)
        network = build_extractor(load_backbone(NETWORK), detector.layers)
        network.to(memory_format=torch.channels_last)
        rates: dict[str, float] = {}
        for name, score in (
            ("hpsearch", lambda: detector.score(images)),
            ("by hand", lambda: by_hand(detector, network, pixels)),
        ):
            score()
            started = time.perf_counter()
            scores = score()
            rates[name] = len(pixels) / (time.perf_counter() - started)
        np.testing.assert_allclose(detector.score(images), scores, rtol=1e-2)
        print(
            f"\n{NETWORK}, coreset {coreset}: {rates['hpsearch']:.0f} images a second, by hand "
            f"{rates['by hand']:.0f}"
        )
        assert rates["hpsearch"] > LEAST_SPEED * rates["by hand"]


def magnetic_tile(shared: Path, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training normals, test images and their labels, of 64 px."""
    raise NotImplementedError


if __name__ == "__main__":
    torch.set_num_threads(1)
    fit_and_score(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
