"""Learning rate and batch of the autoencoder where a study names none: the authors'."""

import math
from collections.abc import Mapping

import numpy as np

from dpa_core.config import AutoencoderConfig, LossConfig

# Adam's rates by `latent_dim`, and batches, of the authors' configurations (studies/published.csv).
_RATES_AT_32_PX = {8: 1e-2, 16: 5e-3, 32: 2e-3, 64: 1e-3, 256: 2e-4}  # vectors
_RATES_AT_64_PX = {16: 2e-3, 64: 5e-4}  # vectors and 4x4 maps
_RATES_OF_GROWING = {16: 1e-3, 64: 5e-4}  # the same while the network grows
_RATES_OF_MAPS = {4: 1e-3, 32: 2e-4, 64: 1e-4}  # 8x8 and 16x16
_RATE_WITH_CRITIC = 2e-4  # of both networks, whatever the bottleneck
_BATCH, _BATCH_OF_WIDE, _BATCH_WITH_CRITIC = 128, 56, 32
_WIDE = 64  # channels, of a network that goes down to 4 px from 64 px or more


def learning_rate(network: AutoencoderConfig, loss: LossConfig) -> float:
    """Adam's rate: the authors', by the shape of the network.

    Log-log interpolated in `latent_dim` between their configurations, and constant beyond them.
    """
    if loss.adversarial:
        return _RATE_WITH_CRITIC
    table = _rates(network)
    widths, rates = np.log(list(table)), np.log(list(table.values()))
    return float(np.exp(np.interp(math.log(network.latent_dim), widths, rates)))


def batch_size(network: AutoencoderConfig, loss: LossConfig) -> int:
    """Images a step: the authors', fewer for the widest networks and beside a critic."""
    if loss.adversarial:
        return _BATCH_WITH_CRITIC
    wide = network.latent_dim >= _WIDE and network.image_size >= 64 and network.latent_res <= 4
    return _BATCH_OF_WIDE if wide else _BATCH


def _rates(network: AutoencoderConfig) -> Mapping[int, float]:
    if network.latent_res > 4:
        return _RATES_OF_MAPS
    if network.grows:
        return _RATES_OF_GROWING
    if network.latent_res == 1 and network.image_size <= 32:
        return _RATES_AT_32_PX
    return _RATES_AT_64_PX
