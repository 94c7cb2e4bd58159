import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from dpa_core.errors import TensorFileError
from dpa_core.tensor_files import MAX_TENSOR_BYTES, Form, read_header, read_tensors

FORMS = {"weight": Form((3, 5)), "normals": Form((None, 2), (torch.float64,))}
TENSORS = {"weight": torch.ones(3, 5), "normals": torch.zeros(4, 2, dtype=torch.float64)}


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file by hand, which may lie."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def test_what_is_expected_is_read_and_nothing_else(file: Path) -> None:
    assert read_header(file)["weight"] == Form((3, 5), (torch.float32,))
    found = read_tensors(file, {"weight": FORMS["weight"]})
    assert found.keys() == {"weight"}
    assert torch.equal(found["weight"], TENSORS["weight"])
    assert read_tensors(file).keys() == read_tensors(file, FORMS).keys() == TENSORS.keys()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"weight": torch.ones(5, 3)}, r"'weight' must have shape \(3, 5\), got \(5, 3\)"),
        ({"weight": torch.ones(15)}, r"must have shape \(3, 5\), got \(15,\)"),
        ({"weight": torch.ones(3, 5).bfloat16()}, "must be float32, got bfloat16"),
        ({"weight": torch.ones(3, 5, dtype=torch.int64)}, "must be float32, got int64"),
        ({"weight": torch.ones(3, 5, dtype=torch.complex64)}, "'weight' is of type C64"),
        ({"weight": torch.full((3, 5), torch.nan)}, "'weight' holds values that are not finite"),
        ({"weight": torch.full((3, 5), torch.inf)}, "'weight' holds values that are not finite"),
        ({"normals": torch.zeros(0, 2, dtype=torch.float64)}, r"shape \(any, 2\), got \(0, 2\)"),
        ({"normals": torch.zeros(4, dtype=torch.float64)}, r"shape \(any, 2\), got \(4,\)"),
    ],
)
def test_another_form_is_refused(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    save_file(TENSORS | changed, tmp_path / "a.safetensors")
    with pytest.raises(TensorFileError, match=says):
        read_tensors(tmp_path / "a.safetensors", FORMS)


def test_a_tensor_that_is_missing_is_named(tmp_path: Path) -> None:
    save_file({"weight": TENSORS["weight"]}, tmp_path / "a.safetensors")
    with pytest.raises(TensorFileError, match="lacks 'normals'"):
        read_tensors(tmp_path / "a.safetensors", FORMS)


HUGE = {"weight": {"dtype": "F32", "shape": [10**5, 2 * 10**5], "data_offsets": [0, 8 * 10**10]}}
LIES = {
    "nothing": b"",
    "half a length": b"\x08\0\0",
    "a header longer than the file": raw({}, length=2**40),
    "a header of 200 MB": raw({}, length=2 * 10**8),
    "a shape of 80 GB": raw(HUGE, b"\0" * 60),
    "a shape that overflows": raw(
        {"weight": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 60]}}, b"\0" * 60
    ),
    "offsets outside the file": raw(
        {"weight": {"dtype": "F32", "shape": [3, 5], "data_offsets": [60, 120]}}, b"\0" * 60
    ),
    "no JSON": struct.pack("<Q", 4) + b"\xff\xfe{]",
    "a list": raw([]),
    "a pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x04eval\x94.",
}


@pytest.mark.parametrize("content", LIES.values(), ids=LIES)
def test_a_header_that_lies_is_damage(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    for expected in (None, {"weight": FORMS["weight"]}):
        with pytest.raises(SafetensorError):
            read_tensors(tmp_path / "a.safetensors", expected)


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_truncated(kept: int, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(SafetensorError):
        read_tensors(file, FORMS)


def test_a_file_larger_than_any_of_ours_is_not_opened(file: Path) -> None:
    os.truncate(file, MAX_TENSOR_BYTES + 1)  # takes no disk: it is a hole
    with pytest.raises(TensorFileError, match="has more than 8 GB"):
        read_tensors(file)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_not_opened(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a.safetensors")
    with pytest.raises(TensorFileError, match="is not a file"):
        read_tensors(tmp_path / "a.safetensors")
