from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from dpa_core.autoencoder import Autoencoder
from dpa_core.config import AutoencoderConfig
from dpa_core.errors import ConfigError
from dpa_core.growth import Phase, final_phase

Convolutions = Iterator[tuple[Tensor, Tensor]]


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("channels", "size", "latent_dim", "latent_res", "encoder", "decoder"),
    [
        (3, 32, 8, 1, 10_600, 8_259),
        (3, 32, 256, 1, 3_841_472, 2_061_507),
        (3, 64, 4, 8, 2_776, 2_183),
        (3, 64, 64, 16, 518_784, 371_011),
        (1, 64, 16, 1, 50_672, 41_377),
        (1, 64, 64, 1, 804_800, 657_025),
    ],
)
def test_parameter_counts_of_the_reference(
    channels: int, size: int, latent_dim: int, latent_res: int, encoder: int, decoder: int
) -> None:
    network = Autoencoder(AutoencoderConfig(size, channels, latent_dim, latent_res))
    assert (count(network.encoder), count(network.decoder)) == (encoder, decoder)


@pytest.mark.parametrize("size", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("latent_res", [1, 2, 4, 8])
def test_shapes(size: int, channels: int, latent_res: int) -> None:
    config = AutoencoderConfig(size, channels, 2, latent_res)
    network, phase = Autoencoder(config), final_phase(config)
    images = torch.zeros(2, channels, size, size)
    assert network.encoder(images, phase).shape == (2, 2, latent_res, latent_res)
    assert network(images, phase).shape == images.shape


def test_seed_decides_the_initialisation() -> None:
    config = AutoencoderConfig(16, 3, 4)
    torch.manual_seed(1)
    first = Autoencoder(config, seed=7).state_dict()
    torch.manual_seed(2)  # the global generator has no say
    again = Autoencoder(config, seed=7).state_dict()
    other = Autoencoder(config, seed=8).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first if key.endswith("weight"))


@pytest.mark.parametrize("phase", [Phase(16), Phase(64), Phase(32, alpha=0.5)])
def test_only_the_final_phase_runs(phase: Phase) -> None:
    network = Autoencoder(AutoencoderConfig(32, 1, 4))
    with pytest.raises(ConfigError, match="phase must be of a network of 32 px"):
        network(torch.zeros(1, 1, 32, 32), phase)


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def double(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def convolutions(module: torch.nn.Module) -> Convolutions:
    """Weight and bias of each convolution, in the order of the method's description."""
    parameters = iter(module.state_dict().values())
    return zip(parameters, parameters, strict=True)


def plain(x: Tensor, parameters: Convolutions, padding: int) -> Tensor:
    return conv2d(x, *next(parameters), padding=padding)


def block(x: Tensor, parameters: Convolutions, width: int) -> Tensor:
    """A residual block of `width` channels whose input is resampled already."""
    residual = plain(leaky(plain(leaky(x), parameters, 1)), parameters, 1)
    return residual + (x if x.shape[1] == width else plain(x, parameters, 0))


def pooled_block(x: Tensor, parameters: Convolutions, width: int) -> Tensor:
    residual = plain(leaky(plain(avg_pool2d(leaky(x), 2), parameters, 1)), parameters, 1)
    skip = avg_pool2d(x, 2)
    return residual + (skip if x.shape[1] == width else plain(skip, parameters, 0))


@pytest.mark.parametrize("latent_res", [1, 4])
def test_network_computes_the_description(latent_res: int) -> None:
    """At 32 px with 96 channels, so that every halving but the last changes the width."""
    config = AutoencoderConfig(32, 3, 96, latent_res)
    network = Autoencoder(config, seed=3)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        latent = network.encoder(images, final_phase(config))
        output = network.decoder(latent, final_phase(config))

    parameters = convolutions(network.encoder)
    x = plain(images, parameters, 1)
    x = block(block(x, parameters, 32), parameters, 32)
    for width in (64, 96, 96):
        x = block(pooled_block(x, parameters, width), parameters, width)
    x = plain(leaky(x), parameters, 0) if latent_res == 1 else block(x, parameters, 96)
    torch.testing.assert_close(latent, x, rtol=1e-4, atol=1e-4)
    assert next(parameters, None) is None

    parameters = convolutions(network.decoder)
    x = plain(leaky(latent), parameters, 3) if latent_res == 1 else block(latent, parameters, 96)
    for width in (96, 64, 32):
        x = block(block(double(x), parameters, width), parameters, width)
    x = plain(leaky(x), parameters, 1)
    torch.testing.assert_close(output, x, rtol=1e-4, atol=1e-4)
    assert next(parameters, None) is None
