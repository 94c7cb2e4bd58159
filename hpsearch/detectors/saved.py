"""What a detector saves of its fitted model: one file of tensors, which cannot run code."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from hpsearch.backbones.safe_tensors import read_tensors, write_tensors
from hpsearch.errors import WeightsError
from hpsearch.files import printable

FILE = "model.safetensors"


def save_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors, of any device, as `model.safetensors` into a new folder."""
    write_tensors(folder / FILE, {key: value.detach().cpu() for key, value in tensors.items()})


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors that `save_tensors` wrote, on the CPU.

    Raises:
        WeightsError: the file is missing or damaged, or holds values that are not finite.
    """
    try:
        tensors = read_tensors(folder / FILE)
    except (OSError, SafetensorError) as error:
        raise damaged(folder, f"is missing or damaged ({error})") from error
    for key, value in tensors.items():
        if not torch.isfinite(value).all():
            raise damaged(folder, f"holds values in {key!r} that are not finite")
    return tensors


def damaged(folder: Path, what: str) -> WeightsError:
    """The error of a saved model, to be raised."""
    told = " ".join(what.split())
    return WeightsError(
        printable(f"model {folder / FILE}: {told[:300]}; train it again, or copy it anew")
    )
