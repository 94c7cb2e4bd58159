"""Files of weights and channel statistics: names, shapes and values are checked, code is never run.

A file of weights may be the user's: it is read as float32 into the keys of the network that is
built. Channel statistics lie beside the weights in a safetensors file, as tensors of their own.
"""

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dpa_core.errors import TensorFileError
from dpa_core.features import Architecture, LayerStatistics, needed_weights
from dpa_core.tensor_files import (
    FLOATS,
    Form,
    check_finite,
    check_form,
    check_size,
    read_header,
    read_tensors,
)
from hpsearch.errors import WeightsError
from hpsearch.io.files import atomic_path
from hpsearch.io.text import printable

STATISTICS = "statistics."  # before the keys of channel statistics
FEATURES = "features."  # before those of weights, as torchvision has them
_ACCEPTED = "give a state dict with the published keys, best as .safetensors, or as .pth or .pt"


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
    weights = {f"{FEATURES}{key}": stored[name].detach().float() for key, name in names.items()}
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
    shapes = weight_shapes(architecture, architecture.layers[-1])
    found = {
        key: alias
        for key in shapes
        for alias in (architecture.published_key(key), key, f"{FEATURES}{key}")
        if alias in header
    }
    deepest = max(map(list(shapes).index, found), default=len(shapes) - 1)
    names: dict[str, str] = {}
    for key in list(shapes)[: deepest + 1]:
        if key not in found:
            raise TensorFileError(f"'{FEATURES}{key}' is missing")
        names[key] = found[key]
    forms = {name: Form(tuple(shapes[key]), FLOATS) for key, name in names.items()}
    statistics = statistics_forms(architecture, architecture.layers)
    return names, forms | {key: form for key, form in statistics.items() if key in header}


def weight_shapes(architecture: Architecture, deepest: str) -> dict[str, torch.Size]:
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
