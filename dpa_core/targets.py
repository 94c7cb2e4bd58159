"""Features f̂(x) of the input, computed once per image where they fit into memory."""

import torch
from torch import Tensor

from dpa_core.batches import as_input
from dpa_core.features import FeatureExtractor

_CHUNK = 128  # images a pass


class Targets:
    """What reconstructions of a fixed set of images are compared with.

    Where the features of all images fit into `budget_bytes` they are computed at once and looked up
    afterwards; otherwise they are computed whenever a batch is asked for.

    Args:
        extractor: the frozen network.
        images: uint8 `(N, S, S, C)` on the extractor's device, as the autoencoder will see them.
        budget_bytes: for float32 features on the device.
    """

    def __init__(self, extractor: FeatureExtractor, images: Tensor, *, budget_bytes: int) -> None:
        self.extractor = extractor
        self.cache: dict[str, Tensor] | None = None
        if len(images) * _bytes_per_image(extractor, images) <= budget_bytes:
            self.cache = _features(extractor, images)

    def at(self, positions: Tensor, images: Tensor) -> dict[str, Tensor]:
        """f̂(x) of the images at `positions` `(B,)`, whose pixels are `images` `(B, C, S, S)`.

        Returns:
            per layer `(B, C', H', W')`.
        """
        if self.cache is not None:
            return {layer: values[positions] for layer, values in self.cache.items()}
        with torch.no_grad():
            features: dict[str, Tensor] = self.extractor(images)
        return features


def _bytes_per_image(extractor: FeatureExtractor, images: Tensor) -> int:
    with torch.no_grad():
        one = extractor(as_input(images[:1]))
    return sum(4 * values.numel() for values in one.values())


def _features(extractor: FeatureExtractor, images: Tensor) -> dict[str, Tensor]:
    """Filled in place: joining chunks would take the budget twice."""
    cache: dict[str, Tensor] = {}
    for start in range(0, len(images), _CHUNK):
        with torch.no_grad():
            chunk = extractor(as_input(images[start : start + _CHUNK]))
        for layer, values in chunk.items():
            if layer not in cache:
                shape = (len(images), *values.shape[1:])
                cache[layer] = torch.empty(
                    shape, device=values.device, memory_format=torch.channels_last
                )
            cache[layer][start : start + len(values)] = values
    return cache
