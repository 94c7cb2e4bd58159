"""The autoencoder and the critic while they grow (paper, section 3.2)."""

import itertools

import pytest
import torch
from torch import Tensor

from dpa_core.autoencoder import Autoencoder
from dpa_core.config import AutoencoderConfig
from dpa_core.critic import Critic
from dpa_core.errors import ConfigError
from dpa_core.growth import Phase, double, final_phase, halve

CONFIG = AutoencoderConfig(64, 3, latent_dim=4, latent_res=4, start_resolution=8)
RESOLUTIONS = (8, 16, 32, 64)


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return Autoencoder(CONFIG, seed=3)


def plain(network: Autoencoder, resolution: int) -> Autoencoder:
    """The network that does not grow, with the growing one's weights of the same names."""
    size = AutoencoderConfig(resolution, 3, CONFIG.latent_dim, CONFIG.latent_res)
    found = Autoencoder(size)
    weights = network.state_dict()
    found.load_state_dict({key: weights[key] for key in found.state_dict()})
    return found


def random_images(resolution: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, resolution, resolution, generator=generator)


@pytest.mark.parametrize("resolution", RESOLUTIONS[1:])
def test_alpha_one_equals_the_plain_network(network: Autoencoder, resolution: int) -> None:
    images = random_images(resolution)
    grown = network(images, Phase(resolution))
    assert torch.equal(grown, plain(network, resolution)(images, Phase(resolution)))


@pytest.mark.parametrize("resolution", RESOLUTIONS[2:])
def test_alpha_zero_equals_the_plain_network_of_half_the_size(
    network: Autoencoder, resolution: int
) -> None:
    images = random_images(resolution)
    faded = network(images, Phase(resolution, alpha=0.0))
    half = plain(network, resolution // 2)(halve(images), Phase(resolution // 2))
    assert torch.equal(faded, double(half))


@pytest.mark.parametrize("resolution", RESOLUTIONS[1:])
def test_a_transition_starts_and_ends_without_a_jump(network: Autoencoder, resolution: int) -> None:
    images = random_images(resolution)
    for alpha, end in ((1e-6, Phase(resolution, 0.0)), (1 - 1e-6, Phase(resolution))):
        near = network(images, Phase(resolution, alpha))
        torch.testing.assert_close(near, network(images, end), rtol=1e-3, atol=1e-3)


def test_both_ends_are_blended(network: Autoencoder) -> None:
    """Latent and image are affine in α, each on its own."""
    images = random_images(32)
    low, half, high = (network.encoder(images, Phase(32, alpha)) for alpha in (0.0, 0.5, 1.0))
    entered = [
        network.encoder.from_image["16"](halve(images)),
        network.encoder.down["32"](network.encoder.from_image["32"](images)),
    ]
    blended = network.encoder.down["16"](sum(entered) / 2)
    expected = network.encoder.to_latent(network.encoder.down["8"](blended))
    torch.testing.assert_close(half, expected)
    assert not torch.allclose(low, high)
    latent = high
    coarse, mean, fine = (network.decoder(latent, Phase(32, alpha)) for alpha in (0.0, 0.5, 1.0))
    torch.testing.assert_close(mean, (coarse + fine) / 2)


@pytest.mark.parametrize("latent_res", [1, 4, 16])
@pytest.mark.parametrize(("start", "end"), [(8, 64), (16, 64), (16, 128), (8, 256), (32, 32)])
def test_shapes_in_every_phase(latent_res: int, start: int, end: int) -> None:
    start = max(start, latent_res)
    network = Autoencoder(AutoencoderConfig(end, 1, 2, latent_res, start_resolution=start))
    for resolution in network.config.resolutions:
        alphas = (0.0, 0.3, 1.0) if resolution > start else (1.0,)
        for phase in (Phase(resolution, alpha) for alpha in alphas):
            images = torch.zeros(1, 1, resolution, resolution)
            latent = network.encoder(images, phase)
            assert latent.shape == (1, 2, latent_res, latent_res)
            assert network.decoder(latent, phase).shape == images.shape


def used(network: torch.nn.Module, images: Tensor, phase: Phase) -> set[str]:
    """Names of the parameters that a gradient reaches in a phase."""
    network.zero_grad()
    network(images, phase).square().mean().backward()
    return {name for name, p in network.named_parameters() if p.grad is not None}


def test_phases_share_parameters_and_torch_sees_them_all(network: Autoencoder) -> None:
    phases = [Phase(resolution) for resolution in RESOLUTIONS]
    of_phase = [used(network, random_images(phase.resolution), phase) for phase in phases]
    for smaller, larger in itertools.pairwise(of_phase):
        own = {name for name in smaller if "from_image" in name or "to_image" in name}
        assert smaller - own <= larger  # but for its ends, a network lives on in the next
        assert not own & larger
    assert set.union(*of_phase) == {name for name, _ in network.named_parameters()}
    transition = used(network, random_images(32), Phase(32, alpha=0.5))
    assert transition == of_phase[1] | of_phase[2]
    assert {p.dtype for p in network.double().parameters()} == {torch.float64}
    network.float()


@pytest.mark.parametrize(
    "phase",
    [Phase(4), Phase(128), Phase(24), Phase(8, alpha=0.5), Phase(16, -0.1), Phase(16, 1.1)],
)
def test_other_phases_are_refused(network: Autoencoder, phase: Phase) -> None:
    images = random_images(phase.resolution)
    with pytest.raises(ConfigError, match="phase must be of a network of 8, 16, 32, 64 px"):
        network(images, phase)


def test_the_critic_grows_alike() -> None:
    critic = Critic(CONFIG, seed=0)
    for resolution in RESOLUTIONS:
        assert critic(random_images(resolution), Phase(resolution)).shape == (2,)
    images = random_images(32)
    faded = critic(images, Phase(32, alpha=0.0))
    assert torch.equal(faded, critic(halve(images), Phase(16)))
    final = final_phase(CONFIG)
    assert not torch.equal(
        critic(random_images(64), final), Critic(CONFIG, seed=1)(random_images(64), final)
    )
