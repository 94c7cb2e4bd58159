import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from dpa_core.autoencoder import ResidualBlock, initialise


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def convolve(x: Tensor, convolution: nn.Module) -> Tensor:
    assert isinstance(convolution, nn.Conv2d)
    padding = convolution.weight.shape[-1] // 2
    return conv2d(x, convolution.weight, convolution.bias, padding=padding)


def double(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


@pytest.mark.parametrize("widths", [(6, 6), (6, 10)])
@pytest.mark.parametrize("resampling", ["none", "halve", "double"])
def test_formula(widths: tuple[int, int], resampling: str) -> None:
    torch.manual_seed(0)
    layer, resample = {
        "none": (None, lambda x: x),
        "halve": (nn.AvgPool2d(2), lambda x: avg_pool2d(x, 2)),
        "double": (nn.Upsample(scale_factor=2), double),
    }[resampling]
    block = ResidualBlock(*widths, layer)
    first, second = (module for module in block.residual if isinstance(module, nn.Conv2d))
    x = torch.randn(2, widths[0], 8, 8)

    residual = convolve(leaky(convolve(resample(leaky(x)), first)), second)
    skip = resample(x) if widths[0] == widths[1] else convolve(resample(x), block.shortcut)

    torch.testing.assert_close(block(x), residual + skip)


def test_equal_widths_need_no_convolution_in_the_shortcut() -> None:
    assert sum(p.numel() for p in ResidualBlock(6, 6).parameters()) == 2 * (6 * 6 * 9 + 6)
    assert sum(p.numel() for p in ResidualBlock(6, 4).parameters()) == (
        (6 * 4 * 9 + 4) + (4 * 4 * 9 + 4) + (6 * 4 + 4)
    )


@pytest.mark.parametrize("kernel_size", [1, 3, 4])
def test_initialisation_is_kaiming_normal_by_fan_out(kernel_size: int) -> None:
    network = nn.Sequential(nn.Conv2d(256, 512, kernel_size))
    initialise(network, torch.Generator().manual_seed(0))
    weight = network[0].weight
    expected = math.sqrt(2 / (1 + 0.2**2) / (512 * kernel_size**2))
    assert weight.std().item() == pytest.approx(expected, rel=0.008)  # 4 standard errors
    assert weight.mean().item() == pytest.approx(0, abs=0.02 * expected)
    kurtosis = (weight / weight.std()).pow(4).mean().item()
    assert kurtosis == pytest.approx(3, abs=0.2)  # normal; a uniform has 1.8


@pytest.mark.parametrize("kernel_size", [1, 3, 4])
def test_biases_are_uniform_by_fan_in(kernel_size: int) -> None:
    """What torch gives a convolution, and the authors leave as it is."""
    network = nn.Sequential(nn.Conv2d(16, 4096, kernel_size))
    initialise(network, torch.Generator().manual_seed(0))
    bias = network[0].bias
    assert isinstance(bias, Tensor)
    bound = 1 / math.sqrt(16 * kernel_size**2)
    assert bias.abs().max().item() == pytest.approx(bound, rel=2e-3)
    assert bias.abs().max().item() <= bound
    assert bias.mean().item() == pytest.approx(0, abs=0.04 * bound)  # 4 standard errors
    assert bias.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_the_seed_decides_weights_and_biases() -> None:
    networks = [nn.Sequential(nn.Conv2d(2, 3, 3)) for _ in range(3)]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        initialise(network, torch.Generator().manual_seed(seed))
    once, again, other = (network.state_dict() for network in networks)
    assert all(torch.equal(value, again[key]) for key, value in once.items())
    assert not any(torch.equal(value, other[key]) for key, value in once.items())
