import pytest

from dpa_core.config import AutoencoderConfig, LossConfig
from hpsearch.detectors.dpa import batch_size, learning_rate

PERCEPTUAL = LossConfig({0: {"r42": 1.0}})


@pytest.mark.parametrize(
    ("image", "dim", "res", "rate"),
    [
        (32, 8, 1, 1e-2),
        (32, 16, 1, 5e-3),
        (32, 32, 1, 2e-3),
        (32, 64, 1, 1e-3),
        (32, 256, 1, 2e-4),
        (64, 16, 1, 2e-3),
        (64, 64, 1, 5e-4),
        (64, 64, 4, 5e-4),
        (64, 4, 8, 1e-3),
        (64, 32, 16, 2e-4),
        (64, 64, 16, 1e-4),
    ],
)
def test_published_learning_rates(image: int, dim: int, res: int, rate: float) -> None:
    """Those of the authors' published configurations."""
    network = AutoencoderConfig(image_size=image, channels=3, latent_dim=dim, latent_res=res)
    assert learning_rate(network, PERCEPTUAL) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(("dim", "res", "rate"), [(16, 1, 1e-3), (64, 1, 5e-4), (4, 8, 1e-3)])
def test_published_learning_rates_of_growing(dim: int, res: int, rate: float) -> None:
    network = AutoencoderConfig(64, 3, dim, res, start_resolution=16)
    assert learning_rate(network, PERCEPTUAL) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("size", "dim", "res", "rate"),
    [
        (64, 32, 1, (2e-3 * 5e-4) ** 0.5),  # between 16 and 64 numbers
        (32, 128, 1, (1e-3 * 2e-4) ** 0.5),  # between 64 and 256
    ],
)
def test_half_way_between_two_widths_is_the_geometric_mean_of_their_rates(
    size: int, dim: int, res: int, rate: float
) -> None:
    network = AutoencoderConfig(size, 3, dim, res)
    assert learning_rate(network, PERCEPTUAL) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("start", [None, 8])
@pytest.mark.parametrize("size", [32, 64, 256])
@pytest.mark.parametrize("res", [1, 4, 8])
def test_the_rate_falls_as_the_bottleneck_widens(size: int, res: int, start: int | None) -> None:
    rates = [
        learning_rate(AutoencoderConfig(size, 3, dim, res, start), PERCEPTUAL)
        for dim in range(1, 300, 7)
    ]
    assert rates == sorted(rates, reverse=True)
    assert 0.99e-4 <= min(rates) <= max(rates) <= 1.01e-2


@pytest.mark.parametrize(
    ("size", "dim", "res", "batch"),
    [(32, 256, 1, 128), (64, 16, 1, 128), (64, 64, 1, 56), (64, 64, 4, 56), (64, 64, 16, 128)],
)
def test_published_batches(size: int, dim: int, res: int, batch: int) -> None:
    network = AutoencoderConfig(size, 3, dim, res)
    assert batch_size(network, PERCEPTUAL) == batch
    assert batch_size(network, LossConfig({0: {"r42": 1.0}}, adversarial=0.1)) == 32


def test_beside_a_critic_the_rate_is_the_critics() -> None:
    loss = LossConfig({0: {"r42": 1.0}}, adversarial=0.1)
    assert learning_rate(AutoencoderConfig(32, 3, 8), loss) == 2e-4
