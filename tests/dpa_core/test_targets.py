from collections.abc import Callable

import pytest
import torch

from dpa_core.batches import as_input
from dpa_core.features import FeatureExtractor
from dpa_core.targets import Targets

BYTES_PER_IMAGE = 4 * (32 * 8 * 8 + 64 * 4 * 4)  # float32 of r22 and r32 at 16 px


@pytest.fixture
def extractor(make_extractor: Callable[..., FeatureExtractor]) -> FeatureExtractor:
    return make_extractor("r22", "r32")


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (130, 16, 16, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("spare", "cached"), [(-1, False), (0, True)])
def test_caches_exactly_what_fits(
    spare: int, cached: bool, extractor: FeatureExtractor, images: torch.Tensor
) -> None:
    targets = Targets(extractor, images, budget_bytes=130 * BYTES_PER_IMAGE + spare)
    assert (targets.cache is not None) is cached


@pytest.mark.parametrize("budget_bytes", [0, 1 << 30])
def test_features_of_the_positions(
    budget_bytes: int, extractor: FeatureExtractor, images: torch.Tensor
) -> None:
    """130 images need two passes to fill the cache."""
    targets = Targets(extractor, images, budget_bytes=budget_bytes)
    positions = torch.tensor([129, 0, 127, 128, 0])
    found = targets.at(positions, as_input(images[positions]))
    expected = extractor(as_input(images[positions]))
    assert set(found) == {"r22", "r32"}
    for layer, values in found.items():
        torch.testing.assert_close(values, expected[layer])
        assert not values.requires_grad
