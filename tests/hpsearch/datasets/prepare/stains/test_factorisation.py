import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpsearch.datasets.prepare.stains.optics import optical_density, planes
from hpsearch.datasets.prepare.stains.vahadane import concentrations, learn_stains

DEGREES = 5  # the largest angle between a stain and its estimate


def angle(a: np.ndarray, b: np.ndarray) -> float:
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def densities_of(tile: np.ndarray) -> torch.Tensor:
    return optical_density(planes(torch.tensor(tile[None]))).double()


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32 - 1), sparsity=st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_concentrations_meet_the_conditions_of_the_optimum(seed: int, sparsity: float) -> None:
    rng = np.random.default_rng(seed)
    stains = rng.uniform(0, 1, (2, 3, 2))
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    densities = rng.uniform(0, 2, (2, 3, 50))
    amounts = concentrations(
        torch.tensor(densities), torch.tensor(stains), sparsity=sparsity
    ).numpy()
    # Karush, Kuhn and Tucker: nothing negative, no descent, and no slope where there is some.
    slope = stains.transpose(0, 2, 1) @ (stains @ amounts - densities) + sparsity
    assert amounts.min() >= 0
    assert slope.min() >= -1e-9
    np.testing.assert_allclose(amounts * slope, 0, atol=1e-8)


def test_all_four_cases_of_the_optimum_occur() -> None:
    stains = torch.eye(3, dtype=torch.float64)[None, :, :2]
    densities = torch.tensor([[[1.0, 1.0, 0.1, 0.1], [1.0, 0.1, 1.0, 0.1], [0, 0, 0, 0]]]).double()
    amounts = concentrations(densities, stains, sparsity=0.2)
    np.testing.assert_allclose(amounts[0], [[0.8, 0.8, 0, 0], [0.8, 0, 0.8, 0]], atol=1e-12)


def test_equal_stains_give_finite_concentrations() -> None:
    stains = torch.full((1, 3, 2), 3**-0.5, dtype=torch.float64)
    amounts = concentrations(torch.ones(1, 3, 4).double(), stains, sparsity=0.1)
    assert torch.isfinite(amounts).all()


@pytest.mark.parametrize("seed", range(5))
def test_stains_of_a_mixture_are_recovered(mix, stains, seed: int) -> None:
    for stain in stains:
        found = learn_stains(densities_of(mix(stain, seed=seed)), sparsity=0.1)[0].numpy()
        np.testing.assert_allclose(np.linalg.norm(found, axis=0), 1)
        angles = [angle(found[:, j], stain.matrix[j]) for j in range(2)]  # haematoxylin is first
        assert max(angles) < DEGREES


def test_without_sparsity_the_stains_are_not_found(mix, stains) -> None:
    found = [learn_stains(densities_of(mix(stain, seed=0)), sparsity=0.0) for stain in stains]
    angles = [
        angle(w[0, :, 1].numpy(), stain.matrix[1]) for w, stain in zip(found, stains, strict=True)
    ]
    assert np.median(angles) > DEGREES


def test_haematoxylin_is_first_also_where_there_is_less_of_it(mix, stains) -> None:
    tile = mix(stains[0], seed=0)
    pink = densities_of(tile)[:, :, tile.reshape(-1, 3)[:, 0] > 200]  # little red is absorbed
    first, second = learn_stains(pink, sparsity=0.1)[0].unbind(dim=1)
    assert first[0] > second[0]


def test_one_stain_alone_leaves_the_other_where_it_was() -> None:
    colour = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)
    densities = colour[None, :, None] * torch.linspace(0.2, 2, 50, dtype=torch.float64)
    found = learn_stains(densities, sparsity=0.1)
    assert torch.isfinite(found).all()
    amounts = concentrations(densities, found, sparsity=0.0)
    np.testing.assert_allclose(found @ amounts, densities, atol=1e-3)
