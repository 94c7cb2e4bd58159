"""Weights of a VGG from a file that a user gives: checked, as float32, without running its code."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from dpa_core.features import LayerStatistics, VGGArchitecture
from hpsearch.backbones.safe_tensors import read_tensors, statistics_of
from hpsearch.errors import WeightsError
from hpsearch.files import printable

_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32)
_MEND = "give a state dict with torchvision's keys, as .pth, .pt or .safetensors"


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
    stored = _read(path)
    if not all(isinstance(key, str) and isinstance(stored[key], Tensor) for key in stored):
        raise _bad(path, "holds other things than tensors", _MEND)
    given = {
        key if key.startswith("features.") else f"features.{key}": stored[key] for key in stored
    }
    shapes = _shapes(architecture)
    present = [key for key in shapes if key in given]
    up_to_deepest = list(shapes)[: 1 + list(shapes).index(present[-1])] if present else shapes
    for key in up_to_deepest:
        if key not in given:
            raise _bad(path, f"{key!r} is missing", f"give weights of {architecture.name}")
    weights = {key: _checked(path, key, given[key], shapes[key]) for key in present}
    return weights, statistics_of(stored)


def _read(path: Path) -> Mapping[Any, Any]:
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise _bad(path, what, "name a .pth, .pt or .safetensors file")
        if path.suffix.lower() == ".safetensors":
            return read_tensors(path)
        if path.suffix.lower() in (".pth", ".pt"):
            return _unpickle(path)
    except OSError as error:
        raise _bad(path, f"cannot be read ({error.strerror})", "mend its permissions") from error
    except SafetensorError as error:
        raise _bad(path, f"is damaged ({error})", "copy or download it again") from error
    raise _bad(path, f"has the suffix {path.suffix!r}", _MEND)


def _unpickle(path: Path) -> Mapping[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on a pickle that it then refuses
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
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
    return stored


def _shapes(architecture: VGGArchitecture) -> dict[str, torch.Size]:
    with torch.device("meta"):  # shapes alone: nothing is allocated or initialised
        features = architecture.build(architecture.layers[-1])
    return {f"features.{key}": value.shape for key, value in features.state_dict().items()}


def _checked(path: Path, key: str, value: Tensor, shape: torch.Size) -> Tensor:
    if value.dtype not in _PRECISIONS or value.layout is not torch.strided:
        what = f"{key!r} must be dense float16, bfloat16 or float32, got {value.dtype}"
        raise _bad(path, what, _MEND)
    if value.shape != shape:
        what = f"{key!r} must have shape {tuple(shape)}, got {tuple(value.shape)}"
        raise _bad(path, what, "give weights of that architecture")
    if not torch.isfinite(value).all():
        raise _bad(path, f"{key!r} holds values that are not finite", "copy or download it again")
    return value.detach().float()


def _bad(path: Path, what: str, mend: str) -> WeightsError:
    return WeightsError(printable(f"backbone weights {path}: {what}; {mend}"))
