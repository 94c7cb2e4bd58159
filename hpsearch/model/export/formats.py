"""The files that a graph can be written to, and how each is run again for the check."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from hpsearch.model.export.format_names import FormatName
from hpsearch.model.export.graph import INPUT, SCORE, SIZES, Traced

Scores = Callable[[NDArray[Any]], NDArray[Any]]
"""Of images `(N, H, W, C)`, `(N,)`."""


@dataclass(frozen=True)
class Format:
    """How one kind of file is written and run.

    Attributes:
        file: its name.
        write: the graph to a path.
        load: the file back, as what scores images on the CPU.
    """

    file: str
    write: Callable[[Traced, Path], None]
    load: Callable[[Path], Scores]


def _write_torch(traced: Traced, path: Path) -> None:
    torch.export.save(traced.program, path)


def _load_torch(path: Path) -> Scores:
    network = torch.export.load(path).module()

    @torch.inference_mode()
    def scores(images: NDArray[Any]) -> NDArray[Any]:
        found: torch.Tensor = network(torch.from_numpy(images))[0]
        return found.numpy()

    return scores


def _write_onnx(traced: Traced, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own translations
        exported = torch.onnx.export(
            traced.program,
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=list(traced.outputs),
            dynamic_shapes=(dict(enumerate(SIZES)),),
        )
    assert exported is not None  # it is None for a path only
    exported.save(str(path), external_data=False)


def _load_onnx(path: Path) -> Scores:
    from onnxruntime import InferenceSession  # optional, and refused where it is missing

    session = InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def scores(images: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = session.run([SCORE], {INPUT: images})[0]
        return found

    return scores


FORMATS: Mapping[FormatName, Format] = {
    "torch": Format("model.pt2", _write_torch, _load_torch),
    "onnx": Format("model.onnx", _write_onnx, _load_onnx),
}
