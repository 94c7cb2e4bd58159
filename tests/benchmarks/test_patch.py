"""Memory and speed of the detector patch, and its figures beside anomalib's PatchCore.

    pytest tests/benchmarks/test_patch.py -s

HPSEARCH_SHARED names the folder of the real images, for anomalib; HPSEARCH_PATCH_NETWORK is
vgg-mini or lite0.
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
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate

from hpsearch.config.spec import TrainingSpec
from hpsearch.datasets.manifest import load_manifest
from hpsearch.datasets.pixels import Preprocessing, load_pixels
from hpsearch.detectors.backbones.backbone import build_extractor, load_backbone
from hpsearch.detectors.base import ImageView, Setup, load_detector
from hpsearch.detectors.patch import PatchDetector

SIDE = 64
N_FEW, N_MANY = 2_000, 20_000
ALLOWED = 1.3  # of the peak memory with many images, in units of that with few
LEAST_SPEED = 0.8  # of a loop by hand
N_TILES = 200  # to train on, for a coreset of anomalib takes long
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
    memory = detector.fitted.get_buffer("memory")
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
    backbone = load_backbone(NETWORK)
    for coreset in (0.01, 0.1):
        detector = PatchDetector(setup_of(images, tmp_path, coreset=coreset))
        detector.fit(ImageView(pixels, np.arange(400), None), None, max_steps=1)
        network = build_extractor(backbone, detector.layers)
        network.to(memory_format=torch.channels_last)
        seconds = np.empty((3, 2))
        for turn in seconds:  # in turns and by its own time, for others may use the machine
            started = time.process_time()
            scores = detector.score(images)
            turn[0] = time.process_time() - started
            expected = by_hand(detector, network, pixels)
            turn[1] = time.process_time() - started - turn[0]
        np.testing.assert_allclose(scores, expected, rtol=1e-2)
        ours, theirs = len(pixels) / seconds.min(axis=0)
        print(f"\n{NETWORK}, coreset {coreset}: {ours:.0f} images a second, by hand {theirs:.0f}")
        assert ours > LEAST_SPEED * theirs


def test_beside_patchcore_of_anomalib(shared_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("anomalib")
    archive = shared_folder / "magnetic_tile.tar.gz"
    if not archive.is_file():
        pytest.skip(f"needs {archive}")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    dataset = load_manifest(tmp_path / "magnetic_tile/manifest.csv")
    pixels = load_pixels(dataset, Preprocessing(SIDE), cache_dir=tmp_path)
    table = dataset.table
    is_normal = (table["label"] == 0).to_numpy()
    in_test = (table["split"] == "test").to_numpy()
    train = ImageView(pixels, np.flatnonzero(is_normal & ~in_test)[:N_TILES], "tiles")
    test = ImageView(pixels, np.flatnonzero(in_test), "tiles")
    n_members = 640
    n_positions = len(train) * (SIDE // 4) ** 2
    found = {}
    for name, own in (
        ("patch", {"coreset": n_members / 32_000, "reweight": True}),
        (
            "anomalib:Patchcore",
            {"coreset_sampling_ratio": n_members / n_positions, "num_neighbors": 9},
        ),
    ):
        setup = setup_of(train, tmp_path, layer="r32+r42", random_crop=1.0, **own)
        detector = load_detector(name)(setup)
        started = time.perf_counter()
        detector.fit(train, None, max_steps=1)
        scores = detector.score(test)
        seconds = time.perf_counter() - started
        auc = roc_auc_score(table["label"].to_numpy()[in_test], scores)
        found[name] = auc, seconds
        print(f"\n{name}: test ROC AUC {auc:.3f}, {seconds:.1f} s")
    (ours, our_seconds), (theirs, their_seconds) = found.values()
    print(f"anomalib takes {their_seconds / our_seconds:.1f} times as long")
    assert ours > theirs - ALIKE
    assert our_seconds < their_seconds


if __name__ == "__main__":
    torch.set_num_threads(1)
    fit_and_score(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
