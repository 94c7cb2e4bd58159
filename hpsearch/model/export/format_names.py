"""The formats that a model is exported to, and what each needs installed."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Literal, get_args

from hpsearch.errors import SpecError

FormatName = Literal["onnx", "torch"]
FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)

_PACKAGES: Mapping[FormatName, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "torch": (),
}


def checked_format(name: str) -> FormatName:
    """The format of that name, before anything is computed for it.

    Raises:
        SpecError: there is none, or a package that it needs is missing.
    """
    known = next((known for known in FORMAT_NAMES if known == name), None)
    if known is None:
        raise SpecError(f"--format {name!r:.40}: must be one of {', '.join(FORMAT_NAMES)}")
    missing = [package for package in _PACKAGES[known] if find_spec(package) is None]
    if missing:
        raise SpecError(
            f"--format {name}: needs {', '.join(missing)}; pip install 'hpsearch[export]'"
        )
    return known
