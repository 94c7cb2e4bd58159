import numpy as np
import pytest
import torch
from torch.nn import functional

from dpa_core.growth import Phase, double, halve, images_at, shrink


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_halving_is_bilinear(noise: torch.Tensor) -> None:
    expected = functional.interpolate(noise, scale_factor=0.5, mode="bilinear")
    torch.testing.assert_close(halve(noise), expected)


def test_doubling_repeats_and_halving_undoes_it_exactly(noise: torch.Tensor) -> None:
    expected = noise.numpy().repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_array_equal(double(noise).numpy(), expected)
    assert torch.equal(halve(double(noise)), noise)


@pytest.mark.parametrize("resolution", [16, 8, 4, 2])
def test_shrinking_is_torchs_bilinear_in_one_step(noise: torch.Tensor, resolution: int) -> None:
    scale = resolution / 16
    expected = functional.interpolate(noise, scale_factor=scale, mode="bilinear")
    torch.testing.assert_close(shrink(noise, resolution), expected)


@pytest.mark.parametrize("resolution", [8, 4, 2])
def test_a_pixel_is_the_mean_of_the_four_in_the_middle_of_its_square(
    noise: torch.Tensor, resolution: int
) -> None:
    side = 16 // resolution
    squares = noise.reshape(2, 3, resolution, side, resolution, side)
    middle = slice(side // 2 - 1, side // 2 + 1)
    expected = squares[:, :, :, middle, :, middle].mean(dim=(3, 5))
    torch.testing.assert_close(shrink(noise, resolution), expected)


@pytest.mark.parametrize("resolution", [16, 8, 4])
def test_an_image_in_a_transition_is_mixed_with_a_coarse_copy_of_the_full_size(
    noise: torch.Tensor, resolution: int
) -> None:
    fine, coarse = shrink(noise, resolution), shrink(noise, resolution // 2)
    assert torch.equal(images_at(noise, Phase(resolution)), fine)
    assert torch.equal(images_at(noise, Phase(resolution, alpha=0.0)), double(coarse))
    mixed = images_at(noise, Phase(resolution, alpha=0.25))
    torch.testing.assert_close(mixed, 0.25 * fine + 0.75 * double(coarse))
