from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.models import vgg19

from dpa_core.errors import ConfigError, WeightsError
from dpa_core.features import FeatureExtractor
from dpa_core.vgg import VGG19, VGG_MINI

MakeExtractor = Callable[..., FeatureExtractor]

# Positions of the ReLUs in torchvision's vgg19().features, counted by hand.
RELUS = {
    **dict(zip(("r11", "r12", "r21", "r22"), (1, 3, 6, 8), strict=True)),
    **dict(zip(("r31", "r32", "r33", "r34"), (11, 13, 15, 17), strict=True)),
    **dict(zip(("r41", "r42", "r43", "r44"), (20, 22, 24, 26), strict=True)),
    **dict(zip(("r51", "r52", "r53", "r54"), (29, 31, 33, 35), strict=True)),
}
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def random_images(channels: int = 3, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(2, channels, size, size, generator=generator) - 1


@pytest.fixture(scope="module")
def torchvision_features() -> torch.nn.Sequential:
    """The reference, with random weights and without the memory of its classifier."""
    with torch.device("meta"):
        network = vgg19(weights=None)
    features: torch.nn.Sequential = network.features.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    for values in features.state_dict().values():
        fan_in = values[0].numel()
        values.normal_(std=(2 / fan_in) ** 0.5 if values.ndim == 4 else 0.1, generator=generator)
    return features


@torch.no_grad()
def test_every_layer_equals_torchvisions(torchvision_features: torch.nn.Sequential) -> None:
    state = {f"features.{key}": v for key, v in torchvision_features.state_dict().items()}
    images = random_images()
    found = FeatureExtractor(VGG19, VGG19.layers, state)(images)

    x = ((images + 1) / 2 - MEAN) / STD
    expected = []
    for module in torchvision_features:
        x = module(x)
        expected.append(x.clone())  # the next ReLU works in place
    assert list(found) == list(RELUS)
    for layer, position in RELUS.items():
        assert found[layer].abs().mean() > 0.01
        torch.testing.assert_close(found[layer], expected[position], msg=layer)


def test_names_depths_and_channels() -> None:
    assert VGG19.layers == tuple(RELUS)
    assert {layer: VGG19.depth(layer) - 1 for layer in VGG19.layers} == RELUS
    widths = {"1": 64, "2": 128, "3": 256, "4": 512, "5": 512}
    assert all(VGG19.channels(layer) == widths[layer[1]] for layer in VGG19.layers)
    assert VGG_MINI.layers == ("r11", "r12", "r21", "r22", "r31", "r32", "r41", "r42")


@pytest.mark.parametrize("layer", ["r13", "r51", "r00", "conv4_2", "", "r422"])
def test_unknown_layer_names_the_known_ones(layer: str, mini_weights: dict[str, Tensor]) -> None:
    with pytest.raises(ConfigError, match=r"vgg-mini has r11, .*, r42; choose among them"):
        FeatureExtractor(VGG_MINI, [layer], mini_weights)


def test_at_least_one_layer(mini_weights: dict[str, Tensor]) -> None:
    with pytest.raises(ConfigError, match="at least one layer"):
        FeatureExtractor(VGG_MINI, [], mini_weights)


def test_several_layers_equal_each_alone(make_extractor: MakeExtractor) -> None:
    images = random_images()
    together = make_extractor("r42", "r22", "r42")(images)
    assert set(together) == {"r22", "r42"}
    for layer, values in together.items():
        torch.testing.assert_close(values, make_extractor(layer)(images)[layer])


@pytest.mark.parametrize("prefix", ["", "features."])
def test_nothing_deeper_is_built_or_needed(prefix: str, mini_weights: dict[str, Tensor]) -> None:
    shallow = {prefix + key: v for key, v in mini_weights.items() if int(key.split(".")[0]) < 7}
    extractor = FeatureExtractor(VGG_MINI, ["r12", "r21"], shallow)
    assert len(extractor.features) == VGG_MINI.depth("r21") == 7
    assert set(extractor(random_images())) == {"r12", "r21"}


def test_grey_is_repeated(make_extractor: MakeExtractor) -> None:
    extractor, grey = make_extractor("r32"), random_images(channels=1)
    torch.testing.assert_close(extractor(grey)["r32"], extractor(grey.repeat(1, 3, 1, 1))["r32"])


def test_statistics_normalise_each_channel(mini_weights: dict[str, Tensor]) -> None:
    mean, std = torch.linspace(-1, 1, 64), torch.linspace(0.5, 3, 64)
    images = random_images()
    raw = FeatureExtractor(VGG_MINI, ["r32"], mini_weights)(images)["r32"]
    found = FeatureExtractor(VGG_MINI, ["r32"], mini_weights, {"r32": (mean, std)})(images)["r32"]
    for channel in range(64):
        torch.testing.assert_close(
            found[:, channel], (raw[:, channel] - mean[channel]) / std[channel]
        )


@torch.no_grad()
def test_precision_is_the_callers_and_nothing_elses(make_extractor: MakeExtractor) -> None:
    """Emulated on the CPU: an autocast around a call in float32 changes no bit of it."""
    extractor, images = make_extractor("r12", "r32"), random_images()
    exact, rounded = extractor(images), extractor(images, precision="bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        inside = extractor(images)
    for layer in ("r12", "r32"):
        assert torch.equal(inside[layer], exact[layer])
        assert rounded[layer].dtype == torch.float32
        assert not torch.equal(rounded[layer], exact[layer])
        torch.testing.assert_close(rounded[layer], exact[layer], atol=0.1, rtol=0.1)


def test_frozen_but_differentiable_by_the_image(make_extractor: MakeExtractor) -> None:
    extractor, images = make_extractor("r22"), random_images().requires_grad_()
    extractor(images)["r22"].sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_weights_are_copied(mini_weights: dict[str, Tensor]) -> None:
    weights = {key: value.clone() for key, value in mini_weights.items()}
    extractor = FeatureExtractor(VGG_MINI, ["r12"], weights)
    before = extractor(random_images())["r12"]
    for value in weights.values():
        value.zero_()
    torch.testing.assert_close(extractor(random_images())["r12"], before)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("2.weight", None, "'features.2.weight' is missing"),
        ("2.bias", torch.zeros(15), r"must have shape \(16,\), got \(15,\)"),
        ("0.bias", torch.full((16,), torch.nan), "'features.0.bias' holds values .* not finite"),
        ("0.bias", torch.full((16,), torch.inf), "'features.0.bias' holds values .* not finite"),
    ],
)
def test_unfit_weights(
    key: str, value: Tensor | None, message: str, mini_weights: dict[str, Tensor]
) -> None:
    weights = {name: v for name, v in mini_weights.items() if name != key}
    if value is not None:
        weights[key] = value
    with pytest.raises(WeightsError, match=message):
        FeatureExtractor(VGG_MINI, ["r12"], weights)


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ({}, "layer 'r12' is missing"),
        ({"r12": (torch.zeros(3), torch.ones(16))}, "must have 16 channels"),
        ({"r12": (torch.zeros(16), torch.zeros(16))}, "finite with std > 0"),
        ({"r12": (torch.full((16,), torch.nan), torch.ones(16))}, "finite with std > 0"),
    ],
)
def test_unfit_statistics(
    statistics: dict[str, tuple[Tensor, Tensor]], message: str, mini_weights: dict[str, Tensor]
) -> None:
    with pytest.raises(WeightsError, match=message):
        FeatureExtractor(VGG_MINI, ["r12"], mini_weights, statistics)
