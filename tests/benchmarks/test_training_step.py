"""Seconds of a training step beside those of the VGG passes that it cannot do without."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from dpa_core.batches import as_input
from dpa_core.config import AutoencoderConfig, FitConfig, LossConfig
from dpa_core.features import FeatureExtractor, Precision
from dpa_core.fit import Trainer
from dpa_core.loss import ReconstructionLoss
from dpa_core.vgg import VGG19

NETWORK = AutoencoderConfig(image_size=32, channels=3, latent_dim=8, latent_res=1)
LAYER = "r42"
BATCH = 128  # images a step
N_IMAGES = 1024  # of which the features are cached
LIMIT_CACHED = 1.20  # of a step with cached features, in units of two VGG passes
LIMIT_UNCACHED = 1.15  # of a step without, in units of three
STAND_IN = "vgg19_standin.fp16.safetensors"  # random weights where it is missing

# Rounds and repetitions within a round: a GPU is waited for once a round and not at every step.
ROUNDS = {"cpu": (9, 1), "cuda": (20, 20)}
PRECISION: dict[str, Precision] = {"cpu": "float32", "cuda": "bfloat16"}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_training_step(device: str, shared_folder: Path) -> None:
    extractor = make_extractor(shared_folder / STAND_IN, device)
    images = random_images()
    cached = make_trainer(extractor, images, cache_bytes=1 << 30)
    uncached = make_trainer(extractor, images, cache_bytes=0)

    seconds = median_seconds(
        {
            "step_cached": Steps(cached),
            "step": Steps(uncached),
            "input": input_pass(extractor, images),
            "reconstruction": reconstruction_passes(extractor, images),
        },
        device,
    )

    assert cached.targets.cache is not None
    assert uncached.targets.cache is None
    print(table(seconds, device))


class Steps:
    """Each call is the next training step of `fit`."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.step = 0

    def __call__(self) -> None:
        self.trainer.step(self.step)
        self.step += 1


def make_extractor(weights: Path, device: str) -> FeatureExtractor:
    values = load_file(weights) if weights.is_file() else VGG19.build(LAYER).state_dict()
    extractor = FeatureExtractor(VGG19, [LAYER], values).to(device)
    return extractor.to(memory_format=torch.channels_last)


def random_images() -> NDArray[np.uint8]:
    side = NETWORK.image_size
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (N_IMAGES, side, side, 3), dtype=np.uint8)


def make_trainer(
    extractor: FeatureExtractor, images: NDArray[np.uint8], *, cache_bytes: int
) -> Trainer:
    training = FitConfig(learning_rate=1e-3, batch_size=BATCH, feature_cache_bytes=cache_bytes)
    on_device = torch.from_numpy(images).to(extractor.device)
    precision = PRECISION[extractor.device.type]
    loss = ReconstructionLoss(LossConfig({0: {LAYER: 1.0}}), extractor, precision)
    trainer = Trainer(NETWORK, training, loss, on_device)
    trainer.autoencoder.train()
    return trainer


def input_pass(extractor: FeatureExtractor, images: NDArray[np.uint8]) -> Callable[[], None]:
    """The forward pass of the input alone, as in a step."""
    batch = as_input(torch.from_numpy(images[:BATCH]).to(extractor.device))
    precision = PRECISION[extractor.device.type]

    def run() -> None:
        with torch.no_grad():
            extractor(batch, precision=precision)

    return run


def reconstruction_passes(
    extractor: FeatureExtractor, images: NDArray[np.uint8]
) -> Callable[[], None]:
    """Forward and backward of the reconstruction alone: the gradient with respect to its pixels."""
    batch = as_input(torch.from_numpy(images[:BATCH]).to(extractor.device)).requires_grad_()
    precision = PRECISION[extractor.device.type]
    with torch.no_grad():
        gradient = torch.randn_like(extractor(batch)[LAYER])

    def run() -> None:
        features = extractor(batch, precision=precision)
        torch.autograd.grad(features[LAYER], batch, gradient)

    return run


def median_seconds(variants: Mapping[str, Callable[[], None]], device: str) -> dict[str, float]:
    """Median over rounds; within a round the variants take turns, so that a busy machine slows
    all of them alike."""
    rounds, repetitions = ROUNDS[device]
    measured: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, variant in variants.items():
            seconds = block_seconds(variant, repetitions, device)
            if number > 0:  # the first round warms up
                measured[name].append(seconds / repetitions)
    return {name: statistics.median(values) for name, values in measured.items()}


def block_seconds(variant: Callable[[], None], repetitions: int, device: str) -> float:
    synchronise(device)
    started = time.perf_counter()
    for _ in range(repetitions):
        variant()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def table(seconds: Mapping[str, float], device: str) -> str:
    two = seconds["reconstruction"]
    three = two + seconds["input"]
    rows = [
        ("VGG, input: forward", seconds["input"], None),
        ("VGG, reconstruction: forward and backward", two, None),
        ("step with cached input features", seconds["step_cached"], (two, "two", LIMIT_CACHED)),
        ("step without", seconds["step"], (three, "three", LIMIT_UNCACHED)),
    ]
    return "\n".join(["", heading(device), *(table_row(*row) for row in rows)])


def heading(device: str) -> str:
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU {platform.machine()}"
    return (
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{PRECISION[device]}: VGG-19 to {LAYER}, 32x32, batch {BATCH}, latent 8x1; "
        f"medians of {ROUNDS[device][0]} interleaved rounds"
    )


def table_row(name: str, seconds: float, limit: tuple[float, str, float] | None) -> str:
    row = f"  {name:42} {seconds:9.5f} s {BATCH / seconds:9.0f} images/s"
    if limit is None:
        return row
    passes, count, most = limit
    return f"{row}   {seconds / passes:.3f} x {count} passes (limit {most:.2f})"
