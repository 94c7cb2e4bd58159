"""Anomaly scores: the training loss of each image (paper, section 3.1)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpa_core.autoencoder import Autoencoder
from dpa_core.batches import as_input, centre_crop, to_device
from dpa_core.features import FeatureExtractor
from dpa_core.growth import final_phase
from dpa_core.loss import perceptual_loss

_CHUNK = 128  # images a pass


def score(
    autoencoder: Autoencoder, extractor: FeatureExtractor, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Anomaly scores, higher = more anomalous.

    Args:
        autoencoder: trained, on the same device as `extractor`.
        extractor: the network that the autoencoder was trained with.
        images: uint8 `(N, H, W, C)` with H, W at least the autoencoder's image size; larger images
            are cropped centrally. They are read chunk by chunk, so a memory map stays on disk.

    Returns:
        `(N,)`.

    Raises:
        ConfigError: images of another type or shape, or too small.
    """
    size = autoencoder.config.image_size
    device = next(autoencoder.parameters()).device
    scores = []
    for start in range(0, len(images), _CHUNK):
        chunk = to_device(images[start : start + _CHUNK], device)
        scores.append(_score_batch(autoencoder, extractor, as_input(centre_crop(chunk, size))))
    return torch.cat(scores).cpu().numpy() if scores else np.empty(0, np.float32)


@torch.inference_mode()
def _score_batch(autoencoder: Autoencoder, extractor: FeatureExtractor, images: Tensor) -> Tensor:
    reconstruction = autoencoder(images, final_phase(autoencoder.config))
    return perceptual_loss(extractor(images), extractor(reconstruction)).float()
