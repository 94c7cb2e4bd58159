import numpy as np
import pytest
import torch

from dpa_core.loss import relative_l1, relative_l1_map

SHAPE = (4, 5, 3, 3)


def features(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_equals_the_formula() -> None:
    target, reconstruction = features(0), features(1)
    x, y = target.numpy(), reconstruction.numpy()
    expected = [np.abs(x[n] - y[n]).mean() / np.abs(x[n]).mean() for n in range(len(x))]
    np.testing.assert_allclose(relative_l1(target, reconstruction).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e4])
def test_does_not_depend_on_the_scale_of_the_features(scale: float) -> None:
    target, reconstruction = features(0), features(1)
    torch.testing.assert_close(
        relative_l1(scale * target, scale * reconstruction), relative_l1(target, reconstruction)
    )


def test_known_values() -> None:
    target = features(0)
    torch.testing.assert_close(relative_l1(target, target), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(relative_l1(target, 0 * target), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(
        relative_l1(target, -target), torch.full((4,), 2, dtype=torch.float64)
    )


def test_images_do_not_influence_each_other() -> None:
    target, reconstruction = features(0), features(1)
    together = relative_l1(target, reconstruction)
    alone = [relative_l1(target[n : n + 1], reconstruction[n : n + 1]) for n in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_denominator_carries_no_gradient() -> None:
    target, reconstruction = features(0).requires_grad_(), features(1).requires_grad_()
    relative_l1(target, reconstruction).sum().backward()
    norm = target.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
    sign = (target - reconstruction).detach().sign()
    expected = sign / (norm * target[0].numel())
    torch.testing.assert_close(target.grad, expected)
    torch.testing.assert_close(reconstruction.grad, -expected)


def test_map_has_the_loss_as_its_mean() -> None:
    target, reconstruction = features(0), features(1)
    errors = relative_l1_map(target, reconstruction)
    assert errors.shape == (4, 3, 3)
    torch.testing.assert_close(errors.mean(dim=(1, 2)), relative_l1(target, reconstruction))


def test_an_image_without_any_response_gives_a_finite_loss() -> None:
    blank = torch.zeros(SHAPE)
    reconstruction = features(1).float().requires_grad_()
    loss = relative_l1(blank, reconstruction)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(reconstruction.grad).all()
    assert not relative_l1(blank, blank).any()
