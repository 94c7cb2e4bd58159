import numpy as np
import pytest
import torch

from hpsearch.datasets.prepare.stains.optics import planes
from hpsearch.datasets.prepare.stains.vahadane import Vahadane, staining_of
from hpsearch.errors import DataError


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean Euclidean distance of the colours of two tiles' pixels, in grey levels."""
    return float(np.linalg.norm(a.astype(float) - b, axis=-1).mean())


def test_two_stains_of_the_same_tissue_come_closer(mix, stains) -> None:
    normalise = Vahadane(mix(stains[0], seed=100), "cpu")
    before, after = [], []
    for seed in range(5):
        ours, theirs = (mix(stain, seed=seed) for stain in (stains[2 * seed], stains[2 * seed + 1]))
        before.append(distance(ours, theirs))
        after.append(distance(*normalise(np.stack([ours, theirs]))))
    assert np.mean(before) > 5
    assert np.mean(after) < 0.15 * np.mean(before)


def test_tissue_looks_as_if_the_targets_laboratory_had_stained_it(mix, stains) -> None:
    target, other = stains[3], stains[5]
    normalise = Vahadane(mix(target, seed=100), "cpu")
    result = normalise(mix(other, seed=1)[None])[0]
    assert distance(result, mix(target, seed=1)) < 0.4 * distance(
        mix(other, seed=1), mix(target, seed=1)
    )


def test_the_target_hardly_changes_and_keeps_its_structure(mix, stains) -> None:
    target = mix(stains[0], seed=0)
    result = Vahadane(target, "cpu")(target[None])[0]
    assert distance(result, target) < 3
    correlation = np.corrcoef(result.mean(axis=2).ravel(), target.mean(axis=2).ravel())[0, 1]
    assert correlation > 0.995


def test_staining_becomes_the_targets(mix, stains) -> None:
    target = mix(stains[0], seed=0)
    tiles = Vahadane(target, "cpu")(np.stack([mix(stain, seed=7) for stain in stains]))
    wanted, got = (staining_of(planes(torch.tensor(t))) for t in (target[None], tiles))
    np.testing.assert_allclose(got.colours, wanted.colours.expand(10, 3, 2), atol=0.06)
    np.testing.assert_allclose(got.maxima, wanted.maxima.expand(10, 2), rtol=0.06)


@pytest.mark.parametrize("kind", ["white", "black", "pen", "glass", "speck", "noise on glass"])
def test_tiles_without_two_stains_are_left_as_they_are(mix, stains, kind: str) -> None:
    shape = (128, 128, 3)
    rng = np.random.default_rng(0)
    tile = {
        "white": np.full(shape, 255),
        "black": np.zeros(shape),
        "pen": np.broadcast_to([20, 90, 40], shape),
        "glass": np.full(shape, 243),
        "speck": np.full(shape, 250),
        "noise on glass": rng.normal(240, 3, shape).clip(0, 255),
    }[kind].astype(np.uint8)
    if kind == "speck":
        tile[:12, :12] = mix(stains[0], seed=0)[:12, :12]
    normalise = Vahadane(mix(stains[1], seed=0), "cpu")
    np.testing.assert_array_equal(normalise(tile[None])[0], tile)


def test_glass_stays_clear_beside_tissue(mix, stains) -> None:
    tile = mix(stains[4], seed=0)
    tile[:, :96] = 255
    result = Vahadane(mix(stains[1], seed=0), "cpu")(tile[None])[0]
    assert (result[:, :96] == 255).all()
    assert (result[:, 96:] != tile[:, 96:]).any()


def test_a_tile_does_not_depend_on_its_batch_nor_on_the_run(mix, stains) -> None:
    tiles = np.stack([mix(stain, seed=n, shape=(96, 160)) for n, stain in enumerate(stains)])
    target = mix(stains[0], seed=50, shape=(64, 64))
    together = Vahadane(target, "cpu")(tiles)
    alone = [Vahadane(target, "cpu")(tile[None])[0] for tile in tiles]
    assert together.shape == tiles.shape
    np.testing.assert_array_equal(together, np.stack(alone))


def test_no_tiles_and_a_blank_target(mix, stains) -> None:
    assert Vahadane(mix(stains[0], seed=0), "cpu")(np.zeros((0, 8, 8, 3), np.uint8)).shape[0] == 0
    with pytest.raises(DataError, match="stain target: shows too little tissue; choose"):
        Vahadane(np.full((64, 64, 3), 240, np.uint8), "cpu")


@pytest.mark.gpu
def test_the_gpu_gives_the_same_tiles(mix, stains) -> None:
    tiles = np.stack([mix(stain, seed=1) for stain in stains])
    target = mix(stains[0], seed=0)
    on_cpu, on_gpu = (Vahadane(target, device)(tiles).astype(int) for device in ("cpu", "cuda"))
    assert np.abs(on_cpu - on_gpu).max() <= 1
