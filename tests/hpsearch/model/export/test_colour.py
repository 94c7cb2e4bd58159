import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from hpsearch.datasets.pixels import Preprocessing, preprocess
from hpsearch.model.export.pillow import equalized, grey


def _planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].double()


@pytest.fixture(scope="module")
def colours() -> np.ndarray:
    """A quarter of a million colours, the corners of the cube among them."""
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    pixels[0, :8] = np.indices((2, 2, 2)).reshape(3, 8).T * 255
    return pixels


def test_grey_is_pillows(colours: np.ndarray) -> None:
    found = grey(_planes(colours))[0, 0].numpy()
    np.testing.assert_array_equal(found, np.asarray(Image.fromarray(colours).convert("L")))


def test_colour_images_are_equalized_as_pillow_does(colours: np.ndarray) -> None:
    dark = colours // 3 + 20
    expected = preprocess(Image.fromarray(dark), Preprocessing(512, equalize=True))
    found = equalized(_planes(dark))[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("levels", [1, 2, 3, 30, 256])
@pytest.mark.parametrize("side", [8, 20, 200])
def test_grey_images_are_equalized_as_pillow_does(levels: int, side: int) -> None:
    rng = np.random.default_rng(levels)
    dark = np.floor(rng.beta(0.5, 3, (side, side)) * levels)
    pixels = (dark + 256 - levels).astype(np.uint8)
    found = equalized(_planes(pixels[:, :, None]))[0, 0].numpy()
    np.testing.assert_array_equal(found, np.asarray(ImageOps.equalize(Image.fromarray(pixels))))


def test_each_image_of_a_batch_has_its_own_histogram(colours: np.ndarray) -> None:
    batch = torch.cat([_planes(colours // 4), _planes(colours // 2 + 100)])
    alone = torch.cat([equalized(batch[:1]), equalized(batch[1:])])
    assert torch.equal(equalized(batch), alone)
