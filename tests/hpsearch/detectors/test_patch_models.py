"""Distances of positions against scikit-learn, closed forms and the rules that they follow."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from hpsearch.detectors.patch_models import (
    GaussianPatches,
    NearestPatch,
    ReweightedMaximum,
    coreset,
    gaussian_of_each_position,
    one_gaussian,
)

CHANNELS = 6
RNG = np.random.default_rng(0)


def _maps(n: int, *, far: float = 0.0) -> np.ndarray:
    """Vectors `(n, 2, 3, 6)` of unlike channels, far from the origin."""
    spread = np.linspace(0.1, 4, CHANNELS)
    values: np.ndarray = RNG.normal(50 + far, spread, (n, 2, 3, CHANNELS)).astype(np.float32)
    return values


def _distances(model: nn.Module, maps: np.ndarray) -> np.ndarray:
    found: Tensor = model(torch.from_numpy(maps))
    return found.numpy()


@pytest.mark.parametrize("n_members", [1, 40, 2500])
def test_the_nearest_of_a_memory_is_that_of_scikit_learn(n_members: int) -> None:
    memory = RNG.normal(1000, 0.1, (n_members, CHANNELS)).astype(np.float32)
    new = RNG.normal(1000, 0.1, (5, 2, 3, CHANNELS)).astype(np.float32)
    index = NearestNeighbors(n_neighbors=1).fit(memory.astype(np.float64))
    expected, _ = index.kneighbors(new.reshape(-1, CHANNELS).astype(np.float64))
    found = _distances(NearestPatch(torch.from_numpy(memory)), new)
    np.testing.assert_allclose(found.ravel(), expected[:, 0], rtol=1e-4)


def test_each_of_a_coreset_is_the_farthest_from_those_before_it() -> None:
    vectors = _maps(60).reshape(-1, CHANNELS)
    taken = coreset(torch.from_numpy(vectors), 30, seed=3).tolist()
    assert len(set(taken)) == 30
    between = cdist(vectors, vectors)
    for number in range(1, 30):
        to_taken = between[:, taken[:number]].min(axis=1)
        assert to_taken[taken[number]] == pytest.approx(to_taken.max(), rel=1e-4)


def test_a_coreset_hangs_on_the_seed_alone_and_holds_no_copies() -> None:
    vectors = torch.from_numpy(RNG.normal(size=(300, 200)).astype(np.float32))
    once, again, other = (coreset(vectors, 40, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert set(once.tolist()) != set(other.tolist())
    copies = vectors[:7].repeat(10, 1)
    assert len({number % 7 for number in coreset(copies, 40, seed=0).tolist()}) == 7
    assert len(coreset(copies, 40, seed=0)) == 7
    assert len(coreset(torch.ones(50, 6), 40, seed=0)) == 1


@pytest.mark.parametrize("n_members", [4, 30])
def test_the_maximum_is_reweighted_by_the_members_around_its_nearest(n_members: int) -> None:
    memory = _maps(n_members)[:, 0, 0]
    new = _maps(8, far=1.0)
    found = _distances(ReweightedMaximum(NearestPatch(torch.from_numpy(memory))), new)
    for image, score in zip(new.reshape(8, 6, CHANNELS), found, strict=True):
        distances = cdist(image, memory)
        position = distances.min(axis=1).argmax()
        member = distances[position].argmin()
        around = cdist(memory[[member]], memory)[0].argsort()[:9]
        share = softmax(distances[position, around])[0]
        assert score == pytest.approx((1 - share) * distances[position, member], rel=1e-4)


def test_a_memory_of_one_is_not_reweighted() -> None:
    memory = NearestPatch(torch.ones(1, CHANNELS))
    new = _maps(4)
    expected = _distances(memory, new).max(axis=(1, 2))
    np.testing.assert_allclose(_distances(ReweightedMaximum(memory), new), expected)


def test_one_gaussian_is_that_of_ledoit_and_wolf() -> None:
    vectors, new = _maps(40), _maps(5)
    fitted = LedoitWolf().fit(vectors.reshape(-1, CHANNELS).astype(np.float64))
    expected = np.sqrt(fitted.mahalanobis(new.reshape(-1, CHANNELS)))
    model = one_gaussian(torch.from_numpy(vectors.reshape(-1, CHANNELS)))
    np.testing.assert_allclose(_distances(model, new).ravel(), expected, rtol=1e-3)


@pytest.mark.parametrize("n", [3, 40])
def test_each_position_has_a_gaussian_of_its_own(n: int) -> None:
    vectors, new = _maps(n) * np.linspace(1, 2, 6).reshape(2, 3, 1).astype(np.float32), _maps(5)
    model = gaussian_of_each_position(torch.from_numpy(vectors).split(7))
    flat, flat_new = (maps.reshape(-1, 6, CHANNELS).astype(np.float64) for maps in (vectors, new))
    ridge = 0.01 * flat.var(axis=0).mean()
    found = _distances(model, new).reshape(-1, 6)
    for position in range(6):
        covariance = LedoitWolf().fit(flat[:, position]).covariance_ + ridge * np.eye(CHANNELS)
        centred = flat_new[:, position] - flat[:, position].mean(axis=0)
        squares = np.einsum("ij,ij->i", centred @ np.linalg.inv(covariance), centred)
        np.testing.assert_allclose(found[:, position], np.sqrt(squares), rtol=1e-3)


def _memory(vectors: Tensor) -> NearestPatch:
    flat = vectors.flatten(0, 2)
    return NearestPatch(flat[coreset(flat, 10, seed=0)])


FITTED: dict[str, Callable[[Tensor], NearestPatch | GaussianPatches]] = {
    "nearest": _memory,
    "gaussian_position": lambda vectors: gaussian_of_each_position([vectors]),
    "gaussian": lambda vectors: one_gaussian(vectors.flatten(0, 2)),
}


@pytest.mark.parametrize("n", [1, 5], ids=["one", "five alike"])
@pytest.mark.parametrize("fit", FITTED.values(), ids=FITTED)
def test_normals_without_spread_are_told_from_what_is_unlike_them(
    fit: Callable[[Tensor], nn.Module], n: int
) -> None:
    normals = torch.from_numpy(_maps(1)).repeat(n, 1, 1, 1)
    unlike = normals[:1] + torch.from_numpy(RNG.normal(0, 20, (8, 2, 3, CHANNELS))).float()
    model = fit(normals)
    assert model(unlike).amax(dim=(1, 2)).amin() > 2 * model(normals).amax()


@pytest.mark.parametrize("fit", FITTED.values(), ids=FITTED)
def test_images_of_one_colour_are_told_from_others(fit: Callable[[Tensor], nn.Module]) -> None:
    normals = torch.ones(4, 2, 3, CHANNELS)
    model = fit(normals)
    assert model(normals).amax() < 1e-3
    assert model(normals + 1).amin() > 1
