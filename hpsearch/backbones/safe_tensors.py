"""Safetensors files: how channel statistics lie in them beside weights."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from dpa_core.features import LayerStatistics, VGGArchitecture
from dpa_core.tensor_files import FLOATS, Form
from dpa_core.tensor_files import read_tensors as read_tensors
from hpsearch.files import atomic_path

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
