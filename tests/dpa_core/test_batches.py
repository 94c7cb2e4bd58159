import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpa_core.batches import Batches, as_input, centre_crop, to_device
from dpa_core.errors import ConfigError


def random_images(count: int = 12, side: int = 6, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, side, side, channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def make(
    images: Tensor, *, size: int = 6, batch_size: int = 4, flips: bool = False, seed: int = 0
) -> Batches:
    return Batches(images, size=size, batch_size=batch_size, flips=flips, seed=seed)


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_is_a_permutation(flips: bool, epoch: int) -> None:
    batches = make(random_images(), flips=flips)
    positions = torch.cat([batches.at(3 * epoch + n).positions for n in range(3)])
    assert sorted(positions.tolist()) == list(range(12))
    assert positions.tolist() != list(range(12))


def test_epochs_and_seeds_differ() -> None:
    images = random_images()
    orders = {
        tuple(torch.cat([make(images, seed=seed).at(step).positions for step in steps]).tolist())
        for seed in (0, 1)
        for steps in ((0, 1, 2), (3, 4, 5))
    }
    assert len(orders) == 4


def test_a_remainder_is_left_for_another_epoch() -> None:
    batches = make(random_images(count=10))
    first = torch.cat([batches.at(step).positions for step in (0, 1)])
    assert len(set(first.tolist())) == 8
    assert len(batches.at(2).positions) == 4


def test_batch_size_is_capped_by_the_number_of_images() -> None:
    batches = make(random_images(count=3), batch_size=128)
    assert sorted(batches.at(0).positions.tolist()) == [0, 1, 2]


@pytest.mark.parametrize(("size", "flips"), [(6, False), (6, True), (4, False), (4, True)])
def test_a_batch_depends_on_its_step_alone(size: int, flips: bool) -> None:
    images = random_images()
    in_order = [make(images, size=size, flips=flips).at(step) for step in range(9)]
    batches = make(images, size=size, flips=flips)
    for step in (8, 3, 3, 0, 7, 4):
        batch = batches.at(step)
        assert torch.equal(batch.positions, in_order[step].positions)
        assert torch.equal(batch.images, in_order[step].images)


def windows(image: Tensor, size: int, *, flips: bool) -> set[bytes]:
    """Every crop of `image` `(H, W, C)`, and its mirror images."""
    found = set()
    turns: list[tuple[int, ...]] = [(), (0,), (1,), (0, 1)] if flips else [()]
    for top in range(image.shape[0] - size + 1):
        for left in range(image.shape[1] - size + 1):
            crop = image[top : top + size, left : left + size]
            found |= {crop.flip(turn).numpy().tobytes() for turn in turns}
    return found


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("size", [4, 6])
def test_crops_are_windows_of_their_image(size: int, flips: bool) -> None:
    images = random_images()
    batches = make(images, size=size, flips=flips)
    seen = set()
    possible = [windows(image, size, flips=flips) for image in images]
    for step in range(400):
        batch = batches.at(step)
        pixels = ((batch.images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
        for position, crop in zip(batch.positions.tolist(), pixels, strict=True):
            crop_bytes = crop.contiguous().numpy().tobytes()
            assert crop_bytes in possible[position]
            seen.add((position, crop_bytes))
    # 133 draws of each image, which has at most 9 windows x 4 reflections: 98 % are expected.
    assert len(seen) > 0.95 * sum(len(each) for each in possible)


@pytest.mark.parametrize(
    ("side", "flips", "deterministic"),
    [(6, False, True), (6, True, False), (8, False, False), (8, True, False)],
)
def test_deterministic_means_the_same_pixels_each_time(
    side: int, flips: bool, deterministic: bool
) -> None:
    batches = make(random_images(count=4, side=side), flips=flips)
    assert batches.deterministic is deterministic
    views = []
    for step in range(8):
        batch = batches.at(step)
        views.append(batch.images[batch.positions.argsort()])
    assert all(torch.equal(view, views[0]) for view in views) is deterministic


def test_bytes_span_minus_one_to_one() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 3, 1)
    torch.testing.assert_close(as_input(images), torch.tensor([[[[-1.0, -0.6, 1.0]]]]))
    assert as_input(random_images()).shape == (12, 3, 6, 6)
    assert as_input(random_images()).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("side", "size", "first"), [(6, 6, 0), (6, 4, 1), (7, 4, 1), (6, 2, 2)])
def test_centre_crop(side: int, size: int, first: int) -> None:
    images = random_images(side=side)
    expected = images[:, first : first + size, first : first + size]
    assert torch.equal(centre_crop(images, size), expected)


def test_centre_crop_refuses_a_smaller_image() -> None:
    with pytest.raises(ConfigError, match=r"at least 8 px on each side, got \(6, 6\)"):
        centre_crop(random_images(side=6), 8)


def test_training_images_that_are_too_small_or_missing() -> None:
    with pytest.raises(ConfigError, match=r"at least 8 px on each side, got \(8, 6\)"):
        make(torch.zeros((2, 8, 6, 3), dtype=torch.uint8), size=8)
    with pytest.raises(ConfigError, match="at least one training image is needed, got none"):
        make(random_images(count=0))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 6, 6, 3), np.float32),
        np.zeros((2, 6, 6), np.uint8),
        np.zeros((2, 3, 6, 6), np.uint8),
    ],
)
def test_images_of_another_type_or_shape(images: NDArray[np.generic]) -> None:
    with pytest.raises(ConfigError, match=r"must be uint8 \(N, H, W, 1 or 3\), got"):
        to_device(images, torch.device("cpu"))  # type: ignore[arg-type]


def test_images_on_the_device_are_a_copy() -> None:
    images = np.zeros((2, 6, 6, 3), np.uint8)
    copy = to_device(images, torch.device("cpu"))
    images[:] = 1
    assert not copy.any()
