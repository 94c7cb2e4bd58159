"""What a detector saves of its fitted model: one file of tensors, which cannot run code."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from dpa_core.errors import TensorFileError
from dpa_core.tensor_files import Form, read_header, read_tensors
from hpsearch.detectors.backbones.weight_files import write_tensors
from hpsearch.errors import WeightsError
from hpsearch.io.text import printable

FILE = "model.safetensors"
"""What `save_tensors` writes."""


def save_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors, of any device, as `model.safetensors` into a new folder."""
    write_tensors(folder / FILE, {key: value.detach().cpu() for key, value in tensors.items()})


def load_tensors(folder: Path, expected: Mapping[str, Form] | None = None) -> dict[str, Tensor]:
    """The tensors that `save_tensors` wrote, on the CPU.

    Args:
        folder: that was written.
        expected: the tensors that it must hold, no others, each in its form; checked before any is
            read. None takes all of them as they are.

    Raises:
        WeightsError: the file is missing, damaged or not of this configuration, or holds values
            that are not finite.
    """
    with _reading(folder):
        tensors = read_tensors(folder / FILE, expected)
        others = read_header(folder / FILE).keys() - tensors.keys()
        if others:
            raise TensorFileError(f"holds {min(others)!r}, which has no use")
        return tensors


def saved_forms(folder: Path) -> dict[str, Form]:
    """Shape and type of each tensor that `save_tensors` wrote; no value is read.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    with _reading(folder):
        return read_header(folder / FILE)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except TensorFileError as error:
        raise damaged(folder, f"is not of this configuration: {error}") from error
    except (OSError, SafetensorError) as error:
        raise damaged(folder, f"is missing or damaged ({error})") from error


def forms_of(folder: Path, build: Callable[[], nn.Module], *, prefix: str) -> dict[str, Form]:
    """What the weights of a network must be, by the configuration that builds it.

    Raises:
        WeightsError: the configuration is impossible.
    """
    try:
        with torch.device("meta"):  # shapes alone, for they may be absurd
            weights = build().state_dict()
    except (RuntimeError, TypeError, OverflowError) as error:
        raise damaged(folder, f"has an impossible configuration ({error})") from error
    return {f"{prefix}{key}": Form(tuple(v.shape), (v.dtype,)) for key, v in weights.items()}


def damaged(folder: Path, what: str) -> WeightsError:
    """The error of a saved model, to be raised."""
    told = " ".join(what.split())
    return WeightsError(
        printable(f"model {folder / FILE}: {told[:300]}; train it again, or copy it anew")
    )
