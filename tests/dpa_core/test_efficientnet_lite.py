"""EfficientNet-Lite against the code that its weights were published for."""

from collections.abc import Mapping

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from dpa_core.efficientnet_lite import LITE0, LITE1, LITE2, EfficientNetLite
from dpa_core.errors import ConfigError
from dpa_core.features import FeatureExtractor

FAMILY = (LITE0, LITE1, LITE2)


def reference(architecture: EfficientNetLite, side: int) -> nn.Module:
    """With random weights, padded for images of `side` px as TensorFlow pads them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = EfficientNet.from_name(f"efficientnet-{architecture.name}", image_size=side)
        for key, values in network.state_dict().items():
            if key.endswith(("running_mean", ".bias")):
                values.normal_(std=0.1)
            if "_bn" in key and key.endswith((".weight", "running_var")):
                values.uniform_(0.5, 1.5)
    return network.eval()


def weights_of(network: nn.Module, architecture: EfficientNetLite) -> Mapping[str, Tensor]:
    published = network.state_dict()
    return {
        key: published[architecture.published_key(key)]
        for key in architecture.build("s5").state_dict()
    }


@torch.no_grad()
def outputs_of_blocks(network: nn.Module, images: Tensor) -> list[Tensor]:
    x = network._swish(network._bn0(network._conv_stem(images)))
    outputs = []
    for block in network._blocks:
        x = block(x)
        outputs.append(x)
    return outputs


@pytest.mark.parametrize("architecture", FAMILY, ids=[member.name for member in FAMILY])
@pytest.mark.parametrize("side", [32, 64, 75])  # 75 px: odd sides, where padding is uneven or even
def test_every_layer_equals_the_published_code(architecture: EfficientNetLite, side: int) -> None:
    network = reference(architecture, side)
    images = 2 * torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) - 1
    found = FeatureExtractor(architecture, architecture.layers, weights_of(network, architecture))(
        images
    )
    expected = outputs_of_blocks(network, images)
    assert tuple(found) == ("s1", "s2", "s3", "s4", "s5")
    for layer, values in found.items():
        wanted = expected[architecture.depth(layer) - 2]
        assert values.shape == wanted.shape
        assert (values - wanted).abs().max() < 1e-5 * wanted.abs().max(), layer


def test_keys_follow_one_another_as_in_the_published_file() -> None:
    for architecture in FAMILY:
        with torch.device("meta"):
            network = architecture.build("s5")
            published = EfficientNet.from_name(f"efficientnet-{architecture.name}")
        ours = [architecture.published_key(key) for key in network.state_dict()]
        assert ours == list(published.state_dict())[: len(ours)]


def test_channels_and_strides() -> None:
    strides = {layer: LITE0.stride(layer) for layer in LITE0.layers}
    assert strides == {"s1": 2, "s2": 4, "s3": 8, "s4": 16, "s5": 32}
    assert [LITE0.channels(layer) for layer in LITE0.layers] == [16, 24, 40, 112, 320]
    assert [LITE2.channels(layer) for layer in LITE2.layers] == [16, 24, 48, 120, 352]
    for layer in LITE0.layers:
        assert len(LITE0.build(layer)) == LITE0.depth(layer)


def test_an_image_of_the_least_side_is_one_position() -> None:
    weights = weights_of(reference(LITE0, 32), LITE0)
    for layer in LITE0.layers:
        side = LITE0.smallest_image(layer)
        values = FeatureExtractor(LITE0, [layer], weights)(torch.zeros(1, 1, side, side))[layer]
        assert values.shape == (1, LITE0.channels(layer), 1, 1)


def test_unknown_layer_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="lite0 has s1, s2, s3, s4, s5; choose among them"):
        LITE0.channels("r32")


def test_normalised_statistics_add_up_along_the_blocks_that_add_their_input() -> None:
    """s3 of lite0: the block that halves, then one that adds what it is given."""
    weights = {key: value.clone() for key, value in LITE0.build("s3").state_dict().items()}
    for number, (mean, std) in {4: (1.0, 3.0), 5: (0.5, -4.0)}.items():
        weights[f"{number}.project.1.bias"].fill_(mean)
        weights[f"{number}.project.1.weight"].fill_(std)
    mean, std = LITE0.normalised_statistics(weights, "s3")
    assert torch.equal(mean, torch.full((40,), 1.5))
    assert torch.equal(std, torch.full((40,), 5.0))
