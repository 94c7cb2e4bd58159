"""The training that gives vgg-mini its filters: the classification of small images."""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

from dpa_core.vgg import IMAGENET_MEAN, IMAGENET_STD, VGGArchitecture
from tools.vgg_mini.image_folders import LabelledImages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How the classifier is trained.

    Attributes:
        epochs: passes over the images.
        batch_size: images a step.
        peak_learning_rate: reached after `warmup` of the steps, then a cosine to zero.
        warmup: fraction of all steps.
        momentum: Nesterov's.
        weight_decay: of SGD.
        label_smoothing: of the cross-entropy.
        crop_padding: px, reflected.
        seed: of initialisation, batches and crops.
    """

    epochs: int = 45
    batch_size: int = 256
    peak_learning_rate: float = 0.3
    warmup: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05
    crop_padding: int = 4
    seed: int = 0


class Classifier(nn.Module):
    """A VGG's convolutions with batch normalisation, a global average and a linear layer."""

    def __init__(self, architecture: VGGArchitecture, n_classes: int) -> None:
        super().__init__()
        plan: list[str | int] = []
        for widths in architecture.blocks:
            plan += [*widths, "M"]
        self.features = make_layers(plan[:-1], batch_norm=True)
        self.head = nn.Linear(architecture.blocks[-1][-1], n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` of normalised images `(N, 3, H, W)`."""
        deepest: Tensor = self.features(images)
        logits: Tensor = self.head(deepest.mean(dim=(2, 3)))
        return logits


def train_classifier(
    architecture: VGGArchitecture, data: LabelledImages, recipe: Recipe
) -> Classifier:
    """Train with random flips and crops; the same seed repeats it on the same machine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = Classifier(architecture, len(data.classes))
    network = network.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(recipe.seed)
    batch_size = min(recipe.batch_size, len(data.images))
    steps = recipe.epochs * (len(data.images) // batch_size)
    optimizer, schedule = _optimizer(network, recipe, steps)
    padded, labels = pad(data.images, recipe.crop_padding), torch.from_numpy(data.labels)
    for epoch in range(recipe.epochs):
        total = torch.zeros(())
        batches = _batches(len(labels), batch_size, generator)
        for chosen in batches:
            views = augment(padded[chosen], data.images.shape[1], generator)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(normalise(views))
            loss = nn.functional.cross_entropy(
                logits.float(), labels[chosen], label_smoothing=recipe.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.detach()
        log.info("epoch %d: training loss %.4f", epoch + 1, total / len(batches))
    return network.eval()


def pad(images: NDArray[np.uint8], padding: int) -> Tensor:
    """Images `(N, H, W, 3)` grown by `padding` reflected pixels on each side."""
    sides = (padding, padding)
    return torch.from_numpy(np.pad(images, ((0, 0), sides, sides, (0, 0)), mode="reflect"))


def augment(padded: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A random `size` x `size` crop of each image `(N, H, W, 3)`, mirrored half of the time."""
    count, room = len(padded), padded.shape[1] - size + 1
    top, left = torch.randint(room, (2, count, 1), generator=generator)
    mirrored = torch.randint(2, (count, 1), generator=generator).bool()
    ahead = torch.arange(size)
    rows, columns = top + ahead, left + torch.where(mirrored, ahead.flip(0), ahead)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def normalise(images: Tensor) -> Tensor:
    """Bytes `(N, H, W, 3)` as ImageNet-normalised floats `(N, 3, H, W)`."""
    scaled = (images.float() / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    return scaled.permute(0, 3, 1, 2)


def _batches(count: int, size: int, generator: torch.Generator) -> list[Tensor]:
    order = torch.randperm(count, generator=generator)
    return [order[n * size : (n + 1) * size] for n in range(count // size)]


def _optimizer(
    network: nn.Module, recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.peak_learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=recipe.peak_learning_rate,
        total_steps=steps,
        pct_start=recipe.warmup,
        cycle_momentum=False,
    )
    return optimizer, schedule
