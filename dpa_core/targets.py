"""Features f̂(x) of the input, computed once per image where they fit into memory.

The loss on normal images that are held out of training.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpa_core.autoencoder import Autoencoder
from dpa_core.batches import as_input, centre_crop, to_device
from dpa_core.errors import ConfigError
from dpa_core.growth import Phase, images_at, shrink
from dpa_core.loss import ReconstructionLoss

_CHUNK = 128  # images a pass


class Targets:
    """What reconstructions of a fixed set of images are compared with.

    Where the features of all images fit into `budget_bytes` they are computed at once and looked up
    afterwards; otherwise they are computed whenever a batch is asked for. Those of one resolution
    are kept: a network that grows asks for the next when it has done with the one before.

    Args:
        loss: computes the features.
        images: uint8 `(N, S, S, C)` on the loss's device, as the autoencoder will see them.
        budget_bytes: for float32 features on the device.
    """

    def __init__(self, loss: ReconstructionLoss, images: Tensor, *, budget_bytes: int) -> None:
        self.loss = loss
        self.images = images
        self.budget_bytes = budget_bytes
        self.resolution: int | None = None
        self.cache: dict[str, Tensor] | None = None

    @torch.no_grad()
    def of(self, positions: Tensor, images: Tensor, phase: Phase) -> dict[str, Tensor] | None:
        """f̂(x) of the images at `positions` `(B,)`, whose pixels are `images` `(B, C, R, R)`.

        Returns:
            per layer `(B, C', H', W')`; None in a transition, where images change with each step.
        """
        if phase.alpha < 1:
            return None
        if images.shape[-1] != self.resolution:
            self._begin(images.shape[-1])
        if self.cache is not None:
            return {layer: values[positions] for layer, values in self.cache.items()}
        return self.loss.features(images)

    def _begin(self, resolution: int) -> None:
        self.resolution, self.cache = resolution, None  # the old one's memory is free first
        if len(self.images) * self._bytes_per_image() <= self.budget_bytes:
            self.cache = self._all_features()

    def _bytes_per_image(self) -> int:
        return sum(4 * values.numel() for values in self._features(0, 1).values())

    def _all_features(self) -> dict[str, Tensor]:
        """Filled in place: joining chunks would take the budget twice."""
        cache: dict[str, Tensor] = {}
        for start in range(0, len(self.images), _CHUNK):
            for layer, values in self._features(start, start + _CHUNK).items():
                if layer not in cache:
                    shape = (len(self.images), *values.shape[1:])
                    cache[layer] = torch.empty(
                        shape, device=values.device, memory_format=torch.channels_last
                    )
                cache[layer][start : start + len(values)] = values
        return cache

    def _features(self, start: int, stop: int) -> dict[str, Tensor]:
        images = as_input(self.images[start:stop])
        return self.loss.features(shrink(images, self.resolution or images.shape[-1]))


class Validation:
    """Mean reconstruction loss of held-out normals, in whatever phase the network is.

    Args:
        loss: its device is where everything runs.
        held_out: uint8 `(N, H, W, C)`; larger than `size` they are cropped centrally.
        size: side in px of the autoencoder's images.
        chunk: images a pass.
        budget_bytes: on the device, for features of the images.

    Raises:
        ConfigError: images of another type or shape, too small, or none.
    """

    def __init__(
        self,
        loss: ReconstructionLoss,
        held_out: NDArray[np.uint8],
        *,
        size: int,
        chunk: int,
        budget_bytes: int,
    ) -> None:
        if len(held_out) == 0:
            raise ConfigError("held_out must hold at least one image; give None to hold out none")
        self.loss = loss
        self.chunk = chunk
        self.images = centre_crop(to_device(held_out, loss.device), size)
        self.targets = Targets(loss, self.images, budget_bytes=budget_bytes)

    @torch.no_grad()
    def __call__(self, autoencoder: Autoencoder, phase: Phase) -> float:
        """The mean over the images."""
        autoencoder.eval()
        losses = []
        everything = torch.arange(len(self.images), device=self.images.device)
        for positions in torch.split(everything, self.chunk):
            images = as_input(self.images[positions])
            x = images_at(images, phase)
            target = self.targets.of(positions, x, phase)
            losses.append(self.loss(x, autoencoder(x, phase), phase, target))
        return torch.cat(losses).mean().item()
