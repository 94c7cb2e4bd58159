"""Networks of torchvision by its names, and its files of weights."""

import socket
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dpa_core.features import Chain
from hpsearch.detectors.backbones.library_networks import LibraryArchitecture
from hpsearch.errors import SpecError, WeightsError
from hpsearch.io.text import printable

OF_TORCHVISION = "torchvision:"  # before torchvision's names
_TIMEOUT = 10.0  # seconds without an answer from the server
_SIDE = 256  # px of the image by which strides are measured

# Those whose modules follow one another as they were registered, with maps `(N, C, H, W)` between.
_FAMILIES = (
    *("resnet", "resnext", "wide_resnet", "vgg", "efficientnet", "convnext"),
    *("mobilenet", "densenet", "shufflenet"),
)


@dataclass(frozen=True)
class TorchvisionArchitecture(LibraryArchitecture):
    """A network of convolutions; its layers `s1`, `s2`, ... are what comes before each halving.

    Attributes:
        modules: names of its modules, from the images on.
        ends: how many modules each layer takes, by its name.
    """

    modules: tuple[str, ...]
    ends: dict[str, int]

    def depth(self, layer: str) -> int:
        """How many modules it takes to compute `layer`."""
        return self.ends[self.known(layer)]

    def build(self, deepest: str) -> Chain:
        """The modules down to `deepest`, freshly initialised."""
        network = _created(self.name)
        modules = [network.get_submodule(name) for name in self.modules[: self.depth(deepest)]]
        return Chain(modules, self.ends)

    def published_key(self, key: str) -> str:
        """Torchvision's."""
        position, _, rest = key.partition(".")
        return f"{self.modules[int(position)]}.{rest}"


@cache
def torchvision_architecture(name: str) -> TorchvisionArchitecture:
    """The network `torchvision:MODEL`.

    Raises:
        SpecError: torchvision does not know the model, or it is no plain sequence of convolutions.
    """
    # Only here: importing torchvision's models takes longer than torch itself.
    from torchvision import models

    model = name.removeprefix(OF_TORCHVISION)
    if model not in models.list_models(models) or not model.startswith(_FAMILIES):
        raise SpecError(
            f"backbone {name}: must be a model of torchvision.models of the families "
            f"{', '.join(_FAMILIES)}"
        )
    with torch.device("meta"):  # its shape alone
        network = _created(name).eval()
        under = "features." if hasattr(network, "features") else ""
        modules: list[str] = []
        shapes: list[tuple[int, int]] = []  # channels and side after each of them
        x = torch.empty(1, 3, _SIDE, _SIDE)
        for child, module in (network.features if under else network).named_children():
            if isinstance(module, nn.AdaptiveAvgPool2d | nn.Linear):
                break
            x = module(x)
            modules.append(f"{under}{child}")
            shapes.append((x.shape[1], x.shape[3]))
    ends = [
        done
        for done, (_, side) in enumerate(shapes, start=1)
        if side < _SIDE and (done == len(shapes) or shapes[done][1] < side)
    ]
    names = [f"s{number}" for number in range(1, len(ends) + 1)]
    transforms = models.get_model_weights(model).DEFAULT.transforms()
    return TorchvisionArchitecture(
        name,
        {layer: shapes[end - 1][0] for layer, end in zip(names, ends, strict=True)},
        {layer: _SIDE // shapes[end - 1][1] for layer, end in zip(names, ends, strict=True)},
        pixel_mean=tuple(transforms.mean),
        pixel_std=tuple(transforms.std),
        modules=tuple(modules),
        ends=dict(zip(names, ends, strict=True)),
    )


def torchvision_weights(name: str, model: str) -> tuple[Path, str]:
    """The file of a model's weights, downloaded with a progress bar when it is missing.

    Args:
        name: of the backbone, for messages.
        model: torchvision's name.

    Returns:
        the file in torchvision's cache; what torchvision calls these weights.

    Raises:
        WeightsError: it is missing and cannot be downloaded; the message names the ways out.
    """
    from torchvision.models import get_model_weights

    weights = get_model_weights(model).DEFAULT
    path = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    if not path.is_file():
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT)
        try:
            weights.get_state_dict(
                progress=True, check_hash=True, map_location="cpu", weights_only=True
            )
        except (OSError, HTTPException, RuntimeError) as error:
            raise WeightsError(
                printable(
                    f"backbone {name}: its weights cannot be downloaded ({error}); on a connected "
                    f"machine torchvision downloads {weights.url}: let it, and put that file into "
                    f"{path.parent}, or give --backbone-weights FILE, or take --backbone lite0, or "
                    "--backbone vgg-mini"
                )
            ) from error
        finally:
            socket.setdefaulttimeout(before)
    return path, f"torchvision {weights}"


def _created(name: str) -> Any:
    from torchvision.models import get_model

    return get_model(name.removeprefix(OF_TORCHVISION), weights=None)
