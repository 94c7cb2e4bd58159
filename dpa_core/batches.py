"""Images that live on the device as uint8, and their seeded batches, crops and flips."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpa_core.errors import ConfigError


class Batch(NamedTuple):
    """Images `(B, C, S, S)` in [-1, 1] and their positions `(B,)` in the training set."""

    images: Tensor
    positions: Tensor


def to_device(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Copy `(N, H, W, C)` uint8 images to the device.

    Raises:
        ConfigError: another shape or type.
    """
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] not in (1, 3):
        raise ConfigError(
            f"images must be uint8 (N, H, W, 1 or 3), got {images.dtype} {images.shape}"
        )
    return torch.from_numpy(np.array(images)).to(device)


def as_input(images: Tensor) -> Tensor:
    """uint8 `(N, H, W, C)` to float32 `(N, C, H, W)` in [-1, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def centre_crop(images: Tensor, size: int) -> Tensor:
    """The central `size` px of uint8 `(N, H, W, C)`.

    Raises:
        ConfigError: a side is shorter than `size`.
    """
    _require_sides(images, size)
    top, left = ((side - size) // 2 for side in images.shape[1:3])
    return images[:, top : top + size, left : left + size]


class Batches:
    """Shuffled batches of a training set, as a pure function of the step.

    Each epoch is a fresh permutation; crops and flips are drawn anew at each step. Nothing is
    carried from one step to the next, so a training resumes at any step without a generator state.

    Args:
        images: uint8 `(N, H, W, C)` on the device.
        size: side S in px of the crop; where S = H = W there is nothing to crop.
        batch_size: images a step; at most N are used.
        flips: random horizontal and vertical flips.
        seed: of permutations, crops and flips.
        stream: which of several independent sequences with one seed.
    """

    def __init__(
        self,
        images: Tensor,
        *,
        size: int,
        batch_size: int,
        flips: bool,
        seed: int,
        stream: int = 0,
    ) -> None:
        if len(images) == 0:
            raise ConfigError("images: at least one training image is needed, got none")
        _require_sides(images, size)
        self.images = images
        self.size = size
        self.batch_size = min(batch_size, len(images))
        self.flips = flips
        self.seed = seed
        self.stream = stream
        self._generator = torch.Generator(images.device)
        self._epoch = -1
        self._order = torch.empty(0)

    @property
    def deterministic(self) -> bool:
        """Whether an image looks the same each time that it is drawn."""
        return not self.flips and self.images.shape[1:3] == (self.size, self.size)

    def at(self, step: int) -> Batch:
        """The batch of `step`, counted from 0."""
        positions = self._order_at(step)
        if self.deterministic:
            return Batch(as_input(self.images[positions]), positions)
        self._seed("crops", step)
        rows = self._window(self.images.shape[1], len(positions))
        columns = self._window(self.images.shape[2], len(positions))
        crops = self.images[positions[:, None, None], rows[:, :, None], columns[:, None, :]]
        return Batch(as_input(crops), positions)

    def _order_at(self, step: int) -> Tensor:
        batches_per_epoch = len(self.images) // self.batch_size
        epoch, position = divmod(step, batches_per_epoch)
        if epoch != self._epoch:
            self._seed("order", epoch)
            self._order = torch.randperm(
                len(self.images), generator=self._generator, device=self.images.device
            )
            self._epoch = epoch
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]

    def _window(self, side: int, count: int) -> Tensor:
        """Source positions `(count, size)` along one side: a random offset, perhaps reversed."""
        device = self.images.device
        window = torch.arange(self.size, device=device).expand(count, -1)
        if self.flips:
            flip = torch.rand(count, 1, generator=self._generator, device=device) < 0.5
            window = torch.where(flip, self.size - 1 - window, window)
        last = side - self.size
        offset = torch.randint(last + 1, (count, 1), generator=self._generator, device=device)
        return window + offset

    def _seed(self, purpose: str, number: int) -> None:
        seed_generator(self._generator, self.seed, f"{purpose} {self.stream}", number)


def seed_generator(generator: torch.Generator, seed: int, purpose: str, number: int) -> None:
    """Seed `generator` for one step of one purpose, apart from all other steps and purposes."""
    entropy = (seed, number, *purpose.encode())
    mixed = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    generator.manual_seed(int(mixed[0] >> np.uint64(1)))


def _require_sides(images: Tensor, size: int) -> None:
    if min(images.shape[1:3]) < size:
        raise ConfigError(
            f"images must be at least {size} px on each side, got {tuple(images.shape[1:3])}"
        )
