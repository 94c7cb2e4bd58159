"""Anomaly scores, and where in an image they come from: the reconstruction loss (section 3.1).

The paper's score is the mean of the loss over the image. A small defect hardly moves a mean, so
the highest errors alone can be the score as well.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpa_core.autoencoder import Autoencoder
from dpa_core.batches import as_input, centre_crop, to_device
from dpa_core.features import full_float32
from dpa_core.growth import final_phase
from dpa_core.loss import ReconstructionLoss

MEAN = "mean"
POOLS: Mapping[str, float] = {"max": 0.0, "top1": 0.01, "top5": 0.05, MEAN: 1.0}
"""How the errors of an image's positions become its score: the share of them, from the highest."""

_CHUNK = 128  # images a pass


def pooled(errors: Tensor, pool: str) -> Tensor:
    """The mean of the highest errors of each image, `(N,)`.

    Args:
        errors: `(N, H, W)`.
        pool: one of `POOLS`; of the share of positions, rounded up, at least one counts.
    """
    positions = errors.flatten(1)
    if pool == MEAN:
        return positions.mean(dim=1)
    n_highest = max(1, math.ceil(POOLS[pool] * positions.shape[1]))
    highest, _ = positions.topk(n_highest, dim=1)
    return highest.mean(dim=1)


class Scorer(nn.Module):
    """From stored pixels to anomaly scores as one network.

    Args:
        autoencoder: trained, on the same device as `loss`.
        loss: what the autoencoder was trained with.
        pool: one of `POOLS`; the mean is of the errors at each layer's own positions, as the loss
            is, the others are of the map.
    """

    def __init__(
        self, autoencoder: Autoencoder, loss: ReconstructionLoss, pool: str = MEAN
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.extractor = loss.extractor  # a module, so that its weights are part of this one
        self.loss = loss
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        """`(N,)` of uint8 `(N, H, W, C)`; images that are larger are cropped centrally.

        Raises:
            ConfigError: images that are smaller than the autoencoder's.
        """
        phase = final_phase(self.autoencoder.config)
        x = as_input(centre_crop(images, self.autoencoder.config.image_size))
        reconstruction = self.autoencoder(x, phase)
        if self.pool == MEAN:
            return self.loss(x, reconstruction, phase)
        return pooled(self.loss.maps(x, reconstruction), self.pool)


def score(
    autoencoder: Autoencoder,
    loss: ReconstructionLoss,
    images: NDArray[np.uint8],
    pool: str = MEAN,
) -> NDArray[np.float32]:
    """Anomaly scores, higher = more anomalous.

    Args:
        autoencoder: trained, on the same device as `loss`.
        loss: what the autoencoder was trained with, in float32 whatever it was trained in.
        images: uint8 `(N, H, W, C)` with H, W at least the autoencoder's image size; larger images
            are cropped centrally. They are read chunk by chunk, so a memory map stays on disk.
        pool: as of `Scorer`.

    Returns:
        `(N,)`.

    Raises:
        ConfigError: images of another type or shape, or too small.
    """
    parts = list(_by_chunks(Scorer(autoencoder, loss, pool), images, loss.device))
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def maps(
    autoencoder: Autoencoder, loss: ReconstructionLoss, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """The anomaly score at each pixel: errors of the layers, up-sampled bilinearly.

    Args: as of `score`, but for `pool`.

    Returns:
        `(N, S, S)` with S the autoencoder's image size: the part of each image that it sees.

    Raises:
        ConfigError: images of another type or shape, or too small.
    """
    size, phase = autoencoder.config.image_size, final_phase(autoencoder.config)

    def of_batch(chunk: Tensor) -> Tensor:
        x = as_input(centre_crop(chunk, size))
        return loss.maps(x, autoencoder(x, phase))

    parts = list(_by_chunks(of_batch, images, loss.device))
    return np.concatenate(parts) if parts else np.empty((0, size, size), np.float32)


@torch.inference_mode()
def _by_chunks(
    of_batch: Callable[[Tensor], Tensor],
    images: NDArray[np.uint8],
    device: torch.device,
) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(images), _CHUNK):
        chunk = to_device(images[start : start + _CHUNK], device)
        with full_float32():  # a threshold then holds on every device
            found = of_batch(chunk)
        yield found.cpu().numpy()
