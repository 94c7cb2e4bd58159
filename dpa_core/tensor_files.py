"""Tensors that others may have written: nothing is read or computed before what is said of it fits.

The one rule for files of weights, statistics and checkpoints: name, shape and type of every tensor
stand in the header of a safetensors file and are checked there, then the values are read, then
they must be finite.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from dpa_core.errors import TensorFileError

MAX_TENSOR_BYTES = 8 * 1024**3  # of a file; VGG-19 with its classifier has 0.6 GB

FLOATS = (torch.float16, torch.bfloat16, torch.float32)
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Form:
    """What a tensor must be, or is.

    Attributes:
        shape: its lengths; None for any from 1 on.
        dtypes: the types that it may have.
    """

    shape: tuple[int | None, ...]
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)


def check_size(path: Path) -> None:
    """Refuse what is no file, and one that is larger than any of ours.

    Raises:
        OSError: there is nothing.
        TensorFileError: it is so.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise TensorFileError("is not a file")
    if size > MAX_TENSOR_BYTES:
        raise TensorFileError(f"has more than {MAX_TENSOR_BYTES >> 30} GB")


def read_header(path: Path) -> dict[str, Form]:
    """Shape and type of every tensor of a safetensors file; no value is read.

    Raises:
        OSError: the file cannot be opened.
        safetensors.SafetensorError: it is damaged; as TensorFileError: it is too large, or holds
            a type that none of ours have.
    """
    check_size(path)
    forms: dict[str, Form] = {}
    with safe_open(path, framework="pt") as stored:
        for name in stored.keys():  # noqa: SIM118 - not a mapping
            about = stored.get_slice(name)
            if about.get_dtype() not in _TYPES:
                raise TensorFileError(f"{name!r} is of type {about.get_dtype()}")
            forms[name] = Form(tuple(about.get_shape()), (_TYPES[about.get_dtype()],))
    return forms


def read_tensors(path: Path, expected: Mapping[str, Form] | None = None) -> dict[str, Tensor]:
    """Tensors of a safetensors file, on the CPU.

    Args:
        path: of the file.
        expected: the names that it must hold, each in its form; others are not read. None reads
            all of them as they are.

    Raises:
        OSError: the file cannot be opened.
        safetensors.SafetensorError: it is damaged; as TensorFileError: it breaks the rule.
    """
    header = read_header(path)
    wanted = header if expected is None else expected
    for name, form in wanted.items():
        check_form(name, header.get(name), form)
    with safe_open(path, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in wanted}
    for name, value in tensors.items():
        check_finite(name, value)
    return tensors


def check_form(name: str, found: Form | None, expected: Form) -> None:
    """Refuse a tensor of another form, or none.

    Raises:
        TensorFileError: it is so.
    """
    if found is None:
        raise TensorFileError(f"lacks {name!r}")
    if not set(found.dtypes) <= set(expected.dtypes):
        types = " or ".join(str(dtype).removeprefix("torch.") for dtype in expected.dtypes)
        got = ", ".join(str(dtype).removeprefix("torch.") for dtype in found.dtypes)
        raise TensorFileError(f"{name!r} must be {types}, got {got}")
    if len(found.shape) != len(expected.shape) or any(
        length == 0 if rule is None else length != rule
        for length, rule in zip(found.shape, expected.shape, strict=True)
    ):
        rule = ", ".join("any" if length is None else str(length) for length in expected.shape)
        raise TensorFileError(f"{name!r} must have shape ({rule}), got {found.shape}")


def check_finite(name: str, value: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        TensorFileError: there are some.
    """
    if not torch.isfinite(value).all():
        raise TensorFileError(f"{name!r} holds values that are not finite")
