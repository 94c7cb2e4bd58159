"""Anomaly scores, and where in an image they come from: the reconstruction loss (section 3.1)."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpa_core.autoencoder import Autoencoder
from dpa_core.batches import as_input, centre_crop, to_device
from dpa_core.growth import final_phase
from dpa_core.loss import ReconstructionLoss

_CHUNK = 128  # images a pass


def score(
    autoencoder: Autoencoder, loss: ReconstructionLoss, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Anomaly scores, higher = more anomalous.

    Args:
        autoencoder: trained, on the same device as `loss`.
        loss: what the autoencoder was trained with.
        images: uint8 `(N, H, W, C)` with H, W at least the autoencoder's image size; larger images
            are cropped centrally. They are read chunk by chunk, so a memory map stays on disk.

    Returns:
        `(N,)`.

    Raises:
        ConfigError: images of another type or shape, or too small.
    """
    phase = final_phase(autoencoder.config)

    def of_batch(x: Tensor) -> Tensor:
        return loss(x, autoencoder(x, phase), phase)

    parts = list(_by_chunks(of_batch, images, autoencoder.config.image_size, loss.device))
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def maps(
    autoencoder: Autoencoder, loss: ReconstructionLoss, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """The anomaly score at each pixel: errors of the layers, up-sampled bilinearly.

    Args: as of `score`.

    Returns:
        `(N, S, S)` with S the autoencoder's image size: the part of each image that it sees.

    Raises:
        ConfigError: images of another type or shape, or too small.
    """
    size, phase = autoencoder.config.image_size, final_phase(autoencoder.config)

    def of_batch(x: Tensor) -> Tensor:
        return loss.maps(x, autoencoder(x, phase))

    parts = list(_by_chunks(of_batch, images, size, loss.device))
    return np.concatenate(parts) if parts else np.empty((0, size, size), np.float32)


@torch.inference_mode()
def _by_chunks(
    of_batch: Callable[[Tensor], Tensor],
    images: NDArray[np.uint8],
    size: int,
    device: torch.device,
) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(images), _CHUNK):
        chunk = to_device(images[start : start + _CHUNK], device)
        yield of_batch(as_input(centre_crop(chunk, size))).float().cpu().numpy()
