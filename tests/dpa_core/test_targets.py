from collections.abc import Callable

import pytest
import torch

from dpa_core.batches import as_input
from dpa_core.config import LossConfig
from dpa_core.fit import Targets
from dpa_core.growth import Phase, shrink
from dpa_core.loss import ReconstructionLoss

SETTLED = Phase(16)
BYTES_PER_IMAGE = 4 * (32 * 8 * 8 + 64 * 4 * 4)  # float32 of r22 and r32 at 16 px


@pytest.fixture
def loss(make_loss: Callable[..., ReconstructionLoss]) -> ReconstructionLoss:
    return make_loss("r22", "r32")


@pytest.fixture
def raw_images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (130, 16, 16, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("spare", "cached"), [(-1, False), (0, True)])
def test_caches_exactly_what_fits(
    spare: int, cached: bool, loss: ReconstructionLoss, raw_images: torch.Tensor
) -> None:
    targets = Targets(loss, raw_images, budget_bytes=130 * BYTES_PER_IMAGE + spare)
    targets.of(torch.tensor([0]), as_input(raw_images[:1]), SETTLED)
    assert (targets.cache is not None) is cached


@pytest.mark.parametrize("budget_bytes", [0, 1 << 30])
def test_features_of_the_positions(
    budget_bytes: int, loss: ReconstructionLoss, raw_images: torch.Tensor
) -> None:
    """130 images need two passes to fill the cache."""
    targets = Targets(loss, raw_images, budget_bytes=budget_bytes)
    positions = torch.tensor([129, 0, 127, 128, 0])
    found = targets.of(positions, as_input(raw_images[positions]), SETTLED)
    expected = loss.extractor(as_input(raw_images[positions]))
    assert found is not None
    assert set(found) == {"r22", "r32"}
    for layer, values in found.items():
        torch.testing.assert_close(values, expected[layer])
        assert not values.requires_grad


@pytest.mark.parametrize("budget_bytes", [0, 1 << 30])
def test_follows_a_network_that_grows(
    make_loss: Callable[..., ReconstructionLoss], budget_bytes: int, raw_images: torch.Tensor
) -> None:
    loss = make_loss(config=LossConfig({0: {"r12": 1.0}, 16: {"r32": 1.0}}))
    targets = Targets(loss, raw_images, budget_bytes=budget_bytes)
    positions = torch.tensor([7, 128])
    for resolution, layer in ((8, "r12"), (16, "r32")):
        pixels = shrink(as_input(raw_images[positions]), resolution)
        assert targets.of(positions, pixels, Phase(resolution, alpha=0.5)) is None
        found = targets.of(positions, pixels, Phase(resolution))
        torch.testing.assert_close(found, {layer: loss.extractor(pixels)[layer]})
        assert targets.cache is None or set(targets.cache) == {layer}  # the other one is dropped
