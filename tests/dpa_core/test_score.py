from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dpa_core.autoencoder import Autoencoder
from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.errors import ConfigError
from dpa_core.features import FeatureExtractor
from dpa_core.fit import fit
from dpa_core.growth import final_phase
from dpa_core.loss import perceptual_loss
from dpa_core.score import score

Images = NDArray[np.uint8]
MakeExtractor = Callable[..., FeatureExtractor]
CONFIG = AutoencoderConfig(image_size=16, channels=3, latent_dim=4)


@pytest.fixture(scope="module")
def extractor(make_extractor: MakeExtractor) -> FeatureExtractor:
    return make_extractor("r12", "r22")


@pytest.fixture(scope="module")
def autoencoder() -> Autoencoder:
    return Autoencoder(CONFIG, seed=1)


def random_images(count: int, side: int = 16) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_is_the_training_loss_of_each_image(
    autoencoder: Autoencoder, extractor: FeatureExtractor
) -> None:
    images = random_images(5)
    expected = []
    for image in images:
        x = torch.tensor(image.transpose(2, 0, 1)[None] / 127.5 - 1, dtype=torch.float32)
        with torch.no_grad():
            y = autoencoder(x, final_phase(CONFIG))
            expected.append(perceptual_loss(extractor(x), extractor(y)).item())
    scores = score(autoencoder, extractor, images)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert scores.dtype == np.float32


@pytest.mark.parametrize("count", [0, 1, 128, 131])
def test_neither_chunks_nor_order_matter(
    count: int, autoencoder: Autoencoder, extractor: FeatureExtractor
) -> None:
    images = random_images(131)
    each = score(autoencoder, extractor, images)
    assert score(autoencoder, extractor, images[:count]).shape == (count,)
    np.testing.assert_allclose(
        score(autoencoder, extractor, images[:count]), each[:count], rtol=1e-5
    )
    np.testing.assert_allclose(score(autoencoder, extractor, images[::-1]), each[::-1], rtol=1e-5)


def test_reads_a_memory_map(
    tmp_path: Path, autoencoder: Autoencoder, extractor: FeatureExtractor
) -> None:
    images = random_images(5)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        score(autoencoder, extractor, mapped), score(autoencoder, extractor, images)
    )


def test_larger_images_are_cropped_centrally(
    autoencoder: Autoencoder, extractor: FeatureExtractor
) -> None:
    images = random_images(3, side=22)
    np.testing.assert_array_equal(
        score(autoencoder, extractor, images), score(autoencoder, extractor, images[:, 3:19, 3:19])
    )


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (random_images(2).astype(np.float32), "must be uint8"),
        (random_images(2, side=8), "at least 16 px on each side"),
    ],
)
def test_unfit_images(
    images: Images, message: str, autoencoder: Autoencoder, extractor: FeatureExtractor
) -> None:
    with pytest.raises(ConfigError, match=message):
        score(autoencoder, extractor, images)


def test_rises_for_images_unlike_the_training_set(
    extractor: FeatureExtractor, stripes: Callable[..., Images]
) -> None:
    network = AutoencoderConfig(image_size=16, channels=1, latent_dim=8)
    training = FitConfig(learning_rate=1e-2, batch_size=16, max_steps=150)
    fitted = fit(network, training, extractor, stripes(48, 16, 0))
    normal = stripes(20, 16, 1)
    anomalous = normal.transpose(0, 2, 1, 3).copy()  # the same wave, but upright
    normal_scores = score(fitted.autoencoder, extractor, normal)
    assert score(fitted.autoencoder, extractor, anomalous).min() > normal_scores.max()


@pytest.mark.gpu
def test_bfloat16_on_cuda_is_close_to_float32(make_extractor: MakeExtractor) -> None:
    images = random_images(131)
    on_cpu = score(Autoencoder(CONFIG, seed=1), make_extractor("r22", "r42"), images)
    on_cuda = score(Autoencoder(CONFIG, seed=1).cuda(), make_extractor("r22", "r42").cuda(), images)
    np.testing.assert_allclose(on_cuda, on_cpu, rtol=0.03)
