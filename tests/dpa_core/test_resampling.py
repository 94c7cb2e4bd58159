import numpy as np
import pytest
import torch

from dpa_core.growth import Phase
from dpa_core.resampling import double, halve, images_at, shrink


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_halving_is_bilinear(images: torch.Tensor) -> None:
    expected = torch.nn.functional.interpolate(images, scale_factor=0.5, mode="bilinear")
    torch.testing.assert_close(halve(images), expected)


def test_doubling_repeats_and_halving_undoes_it_exactly(images: torch.Tensor) -> None:
    expected = images.numpy().repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_array_equal(double(images).numpy(), expected)
    assert torch.equal(halve(double(images)), images)


@pytest.mark.parametrize("resolution", [16, 8, 4])
def test_shrinking_takes_means_of_squares(images: torch.Tensor, resolution: int) -> None:
    side = 16 // resolution
    squares = images.reshape(2, 3, resolution, side, resolution, side)
    torch.testing.assert_close(shrink(images, resolution), squares.mean(dim=(3, 5)))


def test_an_image_in_a_transition_is_mixed_with_its_coarse_copy(images: torch.Tensor) -> None:
    fine, coarse = shrink(images, 8), shrink(images, 4)
    assert torch.equal(images_at(images, Phase(8)), fine)
    assert torch.equal(images_at(images, Phase(8, alpha=0.0)), double(coarse))
    mixed = images_at(images, Phase(8, alpha=0.25))
    torch.testing.assert_close(mixed, 0.25 * fine + 0.75 * double(coarse))
    torch.testing.assert_close(halve(mixed), coarse)  # whatever α is
