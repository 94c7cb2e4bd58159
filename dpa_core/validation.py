"""The loss on normal images that are held out of training."""

import numpy as np
import torch
from numpy.typing import NDArray

from dpa_core.autoencoder import Autoencoder
from dpa_core.batches import as_input, centre_crop, to_device
from dpa_core.errors import ConfigError
from dpa_core.growth import Phase
from dpa_core.loss import ReconstructionLoss
from dpa_core.resampling import images_at
from dpa_core.targets import Targets


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
