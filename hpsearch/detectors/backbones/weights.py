"""Weights of a VGG from a file that a user gives: checked, as float32, without running its code.

Channel statistics lie beside the weights in a safetensors file, as tensors of their own.
"""

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
from dpa_core.features import LayerStatistics, VGGArchitecture
from dpa_core.tensor_files import (
    FLOATS,
    Form,
    check_finite,
    check_form,
    check_size,
    read_header,
)
from dpa_core.tensor_files import read_tensors as read_tensors
from hpsearch.errors import WeightsError
from hpsearch.io.files import atomic_path, printable

STATISTICS = "statistics."


def statistics_tensors(statistics: LayerStatistics) -> dict[str, Tensor]:
    """The statistics as tensors `statistics.<layer>.mean` and `statistics.<layer>.std`."""
    tensors: dict[str, Tensor] = {}
    for layer, (mean, std) in statistics.items():
        tensors |= {f"{STATISTICS}{layer}.mean": mean, f"{STATISTICS}{layer}.std": std}
    return tensors


def statistics_forms(architecture: VGGArchitecture, layers: Iterable[str]) -> dict[str, Form]:
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


_FEATURES = "features."
_MEND = "give a state dict with torchvision's keys, best as .safetensors, or as .pth or .pt"


def read_weights(
    path: Path, architecture: VGGArchitecture
) -> tuple[dict[str, Tensor], LayerStatistics | None]:
    """Convolution weights, and the channel statistics of a safetensors file that has them.

    The file may hold the whole network (`features.*` and `classifier.*`), `features.*` alone, or
    `N.weight` without that prefix. It may end early, before layers that are not asked for.

    Returns:
        float32 tensors under the keys `features.N.weight` and `features.N.bias`; statistics.

    Raises:
        WeightsError: the file is missing, unreadable, damaged, holds code or something else than
            a state dict, or its tensors leave a gap, have another shape, or are not finite.
    """
    try:
        return _read(path, architecture)
    except TensorFileError as error:
        raise _bad(path, str(error), f"give weights of {architecture.name}") from error
    except OSError as error:
        raise _bad(path, f"cannot be read ({error.strerror})", "mend its permissions") from error
    except SafetensorError as error:
        raise _bad(path, f"is damaged ({error})", "copy or download it again") from error


def _read(
    path: Path, architecture: VGGArchitecture
) -> tuple[dict[str, Tensor], LayerStatistics | None]:
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise _bad(path, what, "name a .pth, .pt or .safetensors file")
    kind = path.suffix.lower()
    if kind == ".safetensors":
        header = read_header(path)
        forms = _expected(header, architecture)
        stored = read_tensors(path, forms)
    elif kind in (".pth", ".pt"):
        check_size(path)
        tensors = _unpickle(path)
        header = {key: Form(tuple(value.shape), (value.dtype,)) for key, value in tensors.items()}
        forms = _expected(header, architecture)
        stored = {key: _checked(key, tensors[key], form) for key, form in forms.items()}
    else:
        raise _bad(path, f"has the suffix {path.suffix!r}", _MEND)
    weights = {
        key if key.startswith(_FEATURES) else f"{_FEATURES}{key}": value.detach().float()
        for key, value in stored.items()
        if not key.startswith(STATISTICS)
    }
    return weights, statistics_of(stored)


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


def _expected(header: Mapping[str, Form], architecture: VGGArchitecture) -> dict[str, Form]:
    """What is read of a file: the weights up to its deepest layer, and the statistics it has.

    Raises:
        TensorFileError: a layer before the deepest is missing.
    """
    with torch.device("meta"):  # shapes alone: nothing is allocated or initialised
        features = architecture.build(architecture.layers[-1])
    shapes = {f"{_FEATURES}{key}": value.shape for key, value in features.state_dict().items()}
    named = {key: key if key in header else key.removeprefix(_FEATURES) for key in shapes}
    present = [key for key in shapes if named[key] in header]
    deepest = list(shapes).index(present[-1]) if present else len(shapes) - 1
    forms: dict[str, Form] = {}
    for key in list(shapes)[: deepest + 1]:
        if named[key] not in header:
            raise TensorFileError(f"{key!r} is missing")
        forms[named[key]] = Form(tuple(shapes[key]), FLOATS)
    statistics = statistics_forms(architecture, architecture.layers)
    return forms | {key: form for key, form in statistics.items() if key in header}


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
        raise _bad(path, what, _MEND) from error
    except Exception as error:
        # The reader of a damaged archive may raise anything; whatever it is, the file is at fault.
        raise _bad(
            path, f"is damaged ({type(error).__name__})", "copy or download it again"
        ) from error
    if not isinstance(stored, Mapping):
        raise _bad(path, f"holds a {type(stored).__name__}, not a state dict", _MEND)
    if not all(isinstance(key, str) and isinstance(stored[key], Tensor) for key in stored):
        raise _bad(path, "holds other things than tensors", _MEND)
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
