import math
from dataclasses import replace
from typing import Any

import pytest

from dpa_core.config import AutoencoderConfig, FitConfig, LossConfig
from dpa_core.errors import ConfigError

NETWORK = {"image_size": 64, "channels": 3, "latent_dim": 16, "latent_res": 8}
POSITIVE = (
    "learning_rate",
    "batch_size",
    "max_steps",
    "steps_per_phase",
    "check_every",
    "patience",
    "critic_steps",
    "critic_learning_rate",
)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image_size": 8}, "image_size must be 16, 32, 64, 128 or 256 px, got 8"),
        ({"image_size": 48}, "image_size must be 16, 32, 64, 128 or 256 px, got 48"),
        ({"image_size": 512}, "image_size must be 16, 32, 64, 128 or 256 px, got 512"),
        ({"image_size": -16}, "image_size must be 16, 32, 64, 128 or 256 px, got -16"),
        ({"channels": 2}, "channels must be 1 or 3, got 2"),
        ({"latent_dim": 0}, "latent_dim must be at least 1, got 0"),
        (
            {"latent_res": 3},
            "latent_res must be 1 or a power of two below image_size (64), got 3",
        ),
        (
            {"latent_res": 64},
            "latent_res must be 1 or a power of two below image_size (64), got 64",
        ),
        (
            {"latent_res": 0},
            "latent_res must be 1 or a power of two below image_size (64), got 0",
        ),
        (
            {"start_resolution": 4},
            "start_resolution must be a power of two from 8 to image_size (64), got 4",
        ),
        (
            {"latent_res": 16, "start_resolution": 8},
            "start_resolution must be a power of two from 16 to image_size (64), got 8",
        ),
        (
            {"start_resolution": 128},
            "start_resolution must be a power of two from 8 to image_size (64), got 128",
        ),
        (
            {"start_resolution": 0},
            "start_resolution must be a power of two from 8 to image_size (64), got 0",
        ),
    ],
)
def test_network_rules(changed: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AutoencoderConfig(**(NETWORK | changed))
    assert str(caught.value) == message


@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_training_numbers_are_positive(name: str, value: float) -> None:
    changed: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError) as caught:
        FitConfig(**changed)
    assert str(caught.value) == f"{name} must be positive, got {value}"


def test_precision_is_one_of_two() -> None:
    with pytest.raises(ConfigError, match="must be float32 or bfloat16, got 'float16'"):
        FitConfig(precision="float16")


@pytest.mark.parametrize("name", ["min_improvement", "seed", "feature_cache_bytes"])
def test_zero_is_allowed_where_it_means_something(name: str) -> None:
    zero: dict[str, Any] = {name: 0}
    FitConfig(**zero)
    negative: dict[str, Any] = {name: -1}
    with pytest.raises(ConfigError) as caught:
        FitConfig(**negative)
    assert str(caught.value) == f"{name} must not be negative, got -1"


@pytest.mark.parametrize(
    ("image_size", "latent_dim", "widths"),
    [
        (32, 8, [8, 8, 8, 8]),
        (32, 64, [32, 64, 64, 64]),
        (32, 256, [32, 64, 128, 256]),
        (64, 64, [64, 64, 64, 64]),  # no cap at 64 px
    ],
)
def test_widths_of_the_method(image_size: int, latent_dim: int, widths: list[int]) -> None:
    config = AutoencoderConfig(image_size, 3, latent_dim)
    assert [config.width(resolution) for resolution in (32, 16, 8, 4)] == widths


@pytest.mark.parametrize(
    ("image_size", "latent_dim", "widths"),
    [
        (64, 64, [32, 32, 64, 64, 64]),  # of the authors' network for NIH AP
        (64, 16, [16, 16, 16, 16, 16]),
        (64, 256, [32, 32, 64, 128, 256]),
        (32, 64, [32, 64, 64, 64]),
    ],
)
def test_widths_of_a_network_that_grows(
    image_size: int, latent_dim: int, widths: list[int]
) -> None:
    config = AutoencoderConfig(image_size, 1, latent_dim, start_resolution=8)
    sides = [side for side in (64, 32, 16, 8, 4) if side <= image_size]
    assert [config.width(side) for side in sides] == widths
    whole = replace(config, start_resolution=image_size)  # it begins at its full size
    assert not whole.grows
    assert image_size == 32 or whole.width(64) == latent_dim
    older = replace(config, uncapped=True)
    assert image_size == 32 or [older.width(side) for side in sides] == [latent_dim] * 5


@pytest.mark.parametrize(("latent_res", "smallest"), [(1, 4), (2, 2), (8, 8), (32, 32)])
def test_smallest_resolution(latent_res: int, smallest: int) -> None:
    assert AutoencoderConfig(64, 3, 4, latent_res).smallest_resolution == smallest


@pytest.mark.parametrize(
    ("start", "resolutions"), [(None, (64,)), (64, (64,)), (16, (16, 32, 64)), (8, (8, 16, 32, 64))]
)
def test_resolutions_of_growing(start: int | None, resolutions: tuple[int, ...]) -> None:
    assert AutoencoderConfig(64, 3, 4, 8, start_resolution=start).resolutions == resolutions


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"perceptual": -1.0}, "perceptual must not be negative, got -1.0"),
        ({"l1": math.nan}, "l1 must not be negative, got nan"),
        ({"adversarial": -0.1}, "adversarial must not be negative, got -0.1"),
        ({"perceptual": 0.0, "adversarial": 1.0}, "perceptual or l1 must be above 0"),
        ({"layers": {}}, "layers must have weights above 0"),
        ({"layers": {8: {"r12": 1.0}, 16: {}}}, "layers must have weights above 0"),
        ({"layers": {8: {"r12": 0.0}}}, "layers must have weights above 0"),
    ],
)
def test_loss_rules(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LossConfig(**({"layers": {0: {"r42": 1.0}}} | changed))
    assert str(caught.value).startswith(message)


def test_a_layer_holds_until_the_next_takes_over() -> None:
    config = LossConfig({8: {"r12": 1.0}, 32: {"r32": 1.0, "r42": 1.0}, 16: {"r32": 2.0}})
    found = {resolution: tuple(config.layers_at(resolution)) for resolution in (8, 16, 32, 256)}
    assert found == {8: ("r12",), 16: ("r32",), 32: ("r32", "r42"), 256: ("r32", "r42")}
    assert config.every_layer == ("r12", "r32", "r42")
    with pytest.raises(ConfigError, match="layers begin at 8 px, and training at 4 px"):
        config.layers_at(4)
