"""Networks of the library timm, by its names."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpa_core.features import needed_weights
from hpsearch.detectors.backbones.library_networks import LibraryArchitecture
from hpsearch.errors import SpecError, WeightsError
from hpsearch.io.text import printable

OF_TIMM = "timm:"  # before timm's names
_NETWORK = "network."  # before timm's own keys


@dataclass(frozen=True)
class TimmArchitecture(LibraryArchitecture):
    """A network of timm: its stages `s1`, `s2`, ..., or the blocks `b1`, ... of a transformer.

    A transformer's maps are its patch tokens after its last normalisation. It was made for images
    of one size: its position embedding is interpolated, and sides that are no multiple of a patch
    are scaled up to the next one inside the network.

    Attributes:
        patch: px of a side of a patch, None for a network of convolutions.
        weights_name: timm's, of its default weights.
    """

    patch: int | None
    weights_name: str

    def depth(self, layer: str) -> int:
        """Place of `layer` among the layers, from 1."""
        return self.layers.index(self.known(layer)) + 1

    def build(self, deepest: str) -> nn.Module:
        """The network down to `deepest`, freshly initialised."""
        network = _created(self.name, dynamic=self.patch is not None)
        network.prune_intermediate_layers(
            [self.depth(deepest) - 1], prune_norm=self.patch is None, prune_head=True
        )
        return _Layers(network, self.layers, self.patch)

    def published_key(self, key: str) -> str:
        """Timm's."""
        return key.removeprefix(_NETWORK)

    def published_weights(self) -> dict[str, Tensor]:
        """Timm's default weights under the keys of `build`, downloaded unless its cache has them.

        Raises:
            WeightsError: they are missing and cannot be downloaded; names the ways out.
        """
        try:
            network = _created(self.name, dynamic=self.patch is not None, pretrained=True)
        except Exception as error:  # whatever its clients of HTTP raise
            model = self.name.removeprefix(OF_TIMM)
            raise WeightsError(
                printable(
                    f"backbone {self.name}: its weights cannot be downloaded ({error}); on a "
                    f"connected machine timm.create_model({model!r}, pretrained=True) downloads "
                    "them: let it, and copy its cache here, or give --backbone-weights FILE, or "
                    "take --backbone lite0"
                )
            ) from error
        published = network.state_dict()
        with torch.device("meta"):
            needed = needed_weights(self.build(self.layers[-1]))
        return {key: published[self.published_key(key)] for key in needed}


class _Layers(nn.Module):
    """The layers of a network of timm by our names."""

    def __init__(self, network: nn.Module, layers: tuple[str, ...], patch: int | None) -> None:
        super().__init__()
        self.network = network
        self.layers = layers
        self.patch = patch

    def forward(self, x: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Per layer `(N, C, H', W')` of normalised images `(N, 3, H, W)`."""
        if self.patch is not None:
            sides = [math.ceil(side / self.patch) * self.patch for side in x.shape[-2:]]
            if sides != list(x.shape[-2:]):
                x = functional.interpolate(x, sides, mode="bilinear")
        wanted = [position for position, layer in enumerate(self.layers) if layer in layers]
        maps = self.network.forward_intermediates(  # type: ignore[operator]
            x,
            indices=wanted,
            norm=self.patch is not None,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return {self.layers[position]: map_ for position, map_ in zip(wanted, maps, strict=True)}


@cache
def timm_architecture(name: str) -> TimmArchitecture:
    """The network `timm:MODEL`.

    Raises:
        SpecError: timm is not installed, does not know the model, or cannot give its layers as
            maps of images of any size.
    """
    try:
        import timm
    except ImportError as error:
        raise SpecError(f"backbone {name}: needs timm; pip install 'hpsearch[timm]'") from error
    model = name.removeprefix(OF_TIMM)
    if not timm.is_model(model):
        raise SpecError(
            f"backbone {name}: timm {timm.__version__} has no such model; timm.list_models() "
            "names those that it has"
        )
    about: Any = timm.get_pretrained_cfg(model)
    refused = f"backbone {name}: its layers cannot be had as maps of images of any size"
    try:
        with torch.device("meta"):  # its shape alone
            network = _created(name, dynamic=about.fixed_input_size)
            stages = [(info["num_chs"], info["reduction"]) for info in network.feature_info]
            network.prune_intermediate_layers([len(stages) - 1], prune_norm=False)
    except Exception as error:  # each model says in its own way what it cannot do
        raise SpecError(printable(f"{refused} ({error}); take another network")) from error
    is_transformer = about.fixed_input_size
    if is_transformer and len({stride for _, stride in stages}) > 1:  # Swin and its like
        raise SpecError(f"{refused}; take another network")
    kind = "b" if is_transformer else "s"
    names = [f"{kind}{number}" for number in range(1, len(stages) + 1)]
    return TimmArchitecture(
        name,
        {layer: channels for layer, (channels, _) in zip(names, stages, strict=True)},
        {layer: stride for layer, (_, stride) in zip(names, stages, strict=True)},
        pixel_mean=about.mean,
        pixel_std=about.std,
        patch=stages[0][1] if is_transformer else None,
        weights_name=f"timm {model}.{about.tag}",
    )


def _created(name: str, *, dynamic: bool, pretrained: bool = False) -> Any:
    """Timm's model without its classifier; `dynamic` for one that was made for one size."""
    import timm

    any_size: dict[str, Any] = {"dynamic_img_size": True} if dynamic else {}
    return timm.create_model(
        name.removeprefix(OF_TIMM), pretrained=pretrained, num_classes=0, **any_size
    )
