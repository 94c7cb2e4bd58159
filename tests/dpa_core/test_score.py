from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dpa_core.autoencoder import Autoencoder
from dpa_core.config import AutoencoderConfig, FitConfig, LossConfig
from dpa_core.errors import ConfigError
from dpa_core.fit import fit
from dpa_core.growth import final_phase
from dpa_core.loss import ReconstructionLoss, relative_l1
from dpa_core.score import MEAN, POOLS, Scorer, maps, pooled, score

Images = NDArray[np.uint8]
MakeLoss = Callable[..., ReconstructionLoss]
CONFIG = AutoencoderConfig(image_size=16, channels=3, latent_dim=4)


@pytest.fixture(scope="module")
def loss(make_loss: MakeLoss) -> ReconstructionLoss:
    return make_loss("r12", "r22")


@pytest.fixture(scope="module")
def autoencoder() -> Autoencoder:
    return Autoencoder(CONFIG, seed=1)


def random_images(count: int, side: int = 16) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_is_the_training_loss_of_each_image(
    autoencoder: Autoencoder, loss: ReconstructionLoss
) -> None:
    images = random_images(5)
    expected = []
    for image in images:
        x = torch.tensor(image.transpose(2, 0, 1)[None] / 127.5 - 1, dtype=torch.float32)
        with torch.no_grad():
            y = autoencoder(x, final_phase(CONFIG))
            of_x, of_y = loss.extractor(x), loss.extractor(y)
            each = [relative_l1(of_x[layer], of_y[layer]).item() for layer in ("r12", "r22")]
            expected.append(np.mean(each))
    scores = score(autoencoder, loss, images)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert scores.dtype == np.float32


@pytest.mark.parametrize("count", [0, 1, 128, 131])
def test_neither_chunks_nor_order_matter(
    count: int, autoencoder: Autoencoder, loss: ReconstructionLoss
) -> None:
    images = random_images(131)
    each = score(autoencoder, loss, images)
    assert score(autoencoder, loss, images[:count]).shape == (count,)
    np.testing.assert_allclose(score(autoencoder, loss, images[:count]), each[:count], rtol=1e-5)
    np.testing.assert_allclose(score(autoencoder, loss, images[::-1]), each[::-1], rtol=1e-5)


def test_reads_a_memory_map(
    tmp_path: Path, autoencoder: Autoencoder, loss: ReconstructionLoss
) -> None:
    images = random_images(5)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        score(autoencoder, loss, mapped), score(autoencoder, loss, images)
    )


def test_larger_images_are_cropped_centrally(
    autoencoder: Autoencoder, loss: ReconstructionLoss
) -> None:
    images = random_images(3, side=22)
    np.testing.assert_array_equal(
        score(autoencoder, loss, images), score(autoencoder, loss, images[:, 3:19, 3:19])
    )


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (random_images(2).astype(np.float32), "must be uint8"),
        (random_images(2, side=8), "at least 16 px on each side"),
    ],
)
def test_unfit_images(
    images: Images, message: str, autoencoder: Autoencoder, loss: ReconstructionLoss
) -> None:
    with pytest.raises(ConfigError, match=message):
        score(autoencoder, loss, images)


@pytest.mark.parametrize(("pool", "share"), [("max", 0), ("top1", 0.01), ("top5", 0.05)])
@pytest.mark.parametrize("sides", [(3, 5), (10, 10), (20, 21)])
def test_a_pool_is_the_mean_of_the_highest_errors(
    pool: str, share: float, sides: tuple[int, int]
) -> None:
    errors = np.random.default_rng(1).random((4, *sides))
    ascending = np.sort(errors.reshape(4, -1), axis=1)
    n = max(1, int(np.ceil(share * sides[0] * sides[1])))
    found = pooled(torch.from_numpy(errors), pool)
    np.testing.assert_allclose(found, ascending[:, -n:].mean(axis=1))
    mean = pooled(torch.from_numpy(errors), MEAN)
    np.testing.assert_allclose(mean, errors.mean(axis=(1, 2)))


@pytest.mark.parametrize("pool", POOLS)
def test_the_score_is_the_pool_of_the_map_but_for_the_mean(
    pool: str, autoencoder: Autoencoder, loss: ReconstructionLoss
) -> None:
    images = random_images(5)
    scores = score(autoencoder, loss, images, pool)
    if pool == MEAN:
        assert np.array_equal(scores, score(autoencoder, loss, images))
    else:
        of_maps = pooled(torch.from_numpy(maps(autoencoder, loss, images)), pool)
        np.testing.assert_allclose(scores, of_maps, rtol=1e-5)
    with torch.no_grad():
        found = Scorer(autoencoder, loss, pool)(torch.from_numpy(images))
    np.testing.assert_allclose(found, scores, rtol=1e-5)


def test_rises_for_images_unlike_the_training_set(
    loss: ReconstructionLoss, stripes: Callable[..., Images]
) -> None:
    network = AutoencoderConfig(image_size=16, channels=1, latent_dim=8)
    training = FitConfig(learning_rate=1e-2, batch_size=16, max_steps=150)
    fitted = fit(network, training, loss, stripes(48, 16, 0))
    normal = stripes(20, 16, 1)
    anomalous = normal.transpose(0, 2, 1, 3).copy()  # the same wave, but upright
    normal_scores = score(fitted.autoencoder, loss, normal)
    assert score(fitted.autoencoder, loss, anomalous).min() > normal_scores.max()


def test_map_of_pixel_differences(make_loss: MakeLoss, autoencoder: Autoencoder) -> None:
    loss = make_loss(config=LossConfig({0: {"r12": 1.0}}, perceptual=0.0, l1=0.5))
    images = random_images(3, side=20)
    x = torch.from_numpy(images[:, 2:18, 2:18].transpose(0, 3, 1, 2) / 127.5 - 1).float()
    with torch.no_grad():
        y = autoencoder(x, final_phase(CONFIG))
    found = maps(autoencoder, loss, images)
    np.testing.assert_allclose(found, 0.5 * (x - y).abs().mean(dim=1).numpy(), rtol=1e-5)


@pytest.mark.parametrize("layers", [("r12",), ("r22", "r32")])
@pytest.mark.parametrize("l1", [0.0, 0.3])
def test_map_has_about_the_score_as_its_mean(
    make_loss: MakeLoss, autoencoder: Autoencoder, layers: tuple[str, ...], l1: float
) -> None:
    """Exactly so before coarser layers are up-sampled, which counts their border for more."""
    loss = make_loss(config=LossConfig({0: dict.fromkeys(layers, 1.0)}, l1=l1))
    images = random_images(130)
    found = maps(autoencoder, loss, images)
    assert found.shape == (130, 16, 16) and found.dtype == np.float32
    np.testing.assert_allclose(found.mean(axis=(1, 2)), score(autoencoder, loss, images), rtol=0.05)
    assert maps(autoencoder, loss, images[:0]).shape == (0, 16, 16)


def test_map_is_highest_where_the_image_is_unlike_the_training_set(
    loss: ReconstructionLoss, stripes: Callable[..., Images]
) -> None:
    network = AutoencoderConfig(image_size=32, channels=1, latent_dim=8, latent_res=4)
    training = FitConfig(learning_rate=1e-2, batch_size=16, max_steps=150)
    fitted = fit(network, training, loss, stripes(48, 32, 0))
    images = stripes(8, 32, 1)
    images[:, 16:28, 4:16] = images[:, 16:28, 4:16].transpose(0, 2, 1, 3)  # upright there
    found = maps(fitted.autoencoder, loss, images)
    inside = found[:, 16:28, 4:16].mean(axis=(1, 2))
    outside = found[:, :12].mean(axis=(1, 2))
    assert (inside > 1.3 * outside).all()


@pytest.mark.gpu
def test_scores_on_cuda_are_those_of_the_cpu(make_loss: MakeLoss) -> None:
    images = random_images(131)
    on_cpu = score(Autoencoder(CONFIG, seed=1), make_loss("r22", "r42"), images)
    loss = make_loss("r22", "r42")
    loss.extractor.cuda()
    on_cuda = score(Autoencoder(CONFIG, seed=1).cuda(), loss, images)
    np.testing.assert_allclose(on_cuda, on_cpu, rtol=1e-4)
