"""Write a model as one graph, check it, and say beside it what it takes and gives."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from hpsearch.datasets.reading import MIN_SIDE, read_image
from hpsearch.errors import HpsearchError, SpecError
from hpsearch.io.files import remove_leftovers, write_directory_atomic
from hpsearch.io.text import printable
from hpsearch.model.export.format_names import FormatName, checked_format
from hpsearch.model.export.graph import (
    FLAG,
    INPUT,
    LARGEST,
    SCORE,
    SIZES,
    Traced,
    input_of,
    takes_grey,
    trace,
)
from hpsearch.model.model import AnyModel, AverageModel

METADATA = "metadata.json"
N_IMAGES = 10  # that a graph is checked on
TOLERANCE = 1e-3  # relative
_FORMAT = "hpsearch export 1"
_SIDES = ((48, 64), (8, 300), (640, 480), (97, 97), (33, 20), *[(120, 160)] * 5)  # px
_COARSE = 9  # px; blown up, so that resizing has something smooth to keep

Arrays = list[NDArray[Any]]
"""Images `(H, W, C)` of any sizes."""

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


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: with the graph and its metadata.
        file: the graph's name in it.
        n_checked: images that it was checked on.
        difference: the largest relative difference of their scores.
        was_there: whether an earlier run had written all of it.
    """

    folder: Path
    file: str
    n_checked: int
    difference: float
    was_there: bool = False


def export(
    model: AnyModel, folder: Path, name: FormatName, *, images: Sequence[Path] = ()
) -> Export:
    """Write the graph of a model and its metadata into `folder`, whole or not at all.

    Where an earlier run has written the same and was killed before it could say so, that is it.

    Args:
        model: on the CPU.
        folder: must not exist, or hold the same model's graph, checked on the same images.
        name: of the format.
        images: of which ten are checked; ten are drawn where there are none.

    Raises:
        SpecError: `folder` holds something else, a package is missing, or the model's detector is
            no network.
        DataError: an image cannot be read.
        HpsearchError: the graph gives other scores than the model.
    """
    chosen = GRAPH_FORMATS[checked_format(name)]
    arrays = opened_images(model, images) if images else drawn_images(model)
    if written := _written_before(model, folder, chosen.file, arrays):
        return written
    traced = trace(model)
    try:
        remove_leftovers(folder)
        with write_directory_atomic(folder) as partial:
            path = partial / chosen.file
            chosen.write(traced, path)
            difference = largest_difference(model, chosen.load(path), arrays)
            if not difference <= TOLERANCE:
                raise HpsearchError(
                    f"export: the graph's scores differ from the model's by {difference:.2g} "
                    f"(relative), more than {TOLERANCE:g}; nothing was written; please report it"
                )
            done = Export(folder, chosen.file, len(arrays), difference)
            text = json.dumps(_metadata(model, traced, path, done, _digest_of(arrays)), indent=1)
            (partial / METADATA).write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise SpecError(f"--out {printable(folder)}: exists; remove it or give another") from error
    return done


def _written_before(model: AnyModel, folder: Path, file: str, arrays: Arrays) -> Export | None:
    """The whole export of the same model, checked on the same images; None where it is not that."""
    try:
        said = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        checked = said["checked"]
        is_it = {entry.name for entry in folder.iterdir()} == {METADATA, file} and (
            said["format"] == _FORMAT
            and said["model"] == model.facts.model_dump(mode="json")
            and said["sha256"] == hashlib.sha256((folder / file).read_bytes()).hexdigest()
            and (checked["tolerance"], checked["sha256"]) == (TOLERANCE, _digest_of(arrays))
        )
        difference = float(checked["largest_relative_difference"])
    except (OSError, ValueError, LookupError, TypeError):  # none, or not what we write
        return None
    return Export(folder, file, len(arrays), difference, was_there=True) if is_it else None


def _digest_of(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _metadata(
    model: AnyModel, traced: Traced, path: Path, done: Export, digest: str
) -> Mapping[str, Any]:
    window = model.preprocessings[0].window
    if window == "dicom":
        values = "grey, 0 to 255, after the window that each DICOM file names"
    elif window is not None:
        values = "grey, as the file holds them; the window is applied inside"
    else:
        values = "grey, 0 to 255" if traced.channels == 1 else "red, green, blue, 0 to 255"
    return {
        "format": _FORMAT,
        "file": done.file,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "input": {
            "name": INPUT,
            "dtype": str(traced.dtype).removeprefix("torch."),
            "shape": [*SIZES, traced.channels],
            "sides_px": [MIN_SIDE, LARGEST],
            "values": values,
        },
        "outputs": {
            SCORE: "float32 (batch,), higher = more anomalous",
            **(
                {FLAG: "bool (batch,), score above the threshold"} if FLAG in traced.outputs else {}
            ),
        },
        "checked": {
            "images": done.n_checked,
            "sha256": digest,
            "largest_relative_difference": done.difference,
            "tolerance": TOLERANCE,
        },
        "model": model.facts.model_dump(mode="json"),
    }


def drawn_images(model: AnyModel, *, seed: int = 0) -> Arrays:
    """Ten coloured or grey blots of several sizes `(H, W, C)`, as the model's graph takes them."""
    preprocess = input_of(model)
    rng = np.random.default_rng(seed)

    def blots(height: int, width: int) -> NDArray[Any]:
        coarse = Image.fromarray(rng.integers(0, 256, (_COARSE, _COARSE, 3), dtype=np.uint8))
        smooth = coarse.resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.array(smooth)[:, :, : preprocess.channels]
        if takes_grey(model):
            pixels = np.broadcast_to(pixels[:, :, :1], pixels.shape)
        if preprocess.limits is None:
            return np.ascontiguousarray(pixels)
        low, high = preprocess.limits
        beyond = 0.1 * (high - low)  # what is outside of the window counts too
        shares = pixels.astype(np.float32) / 255
        return low - beyond + shares * (high - low + 2 * beyond)

    return [blots(*sides) for sides in _SIDES]


def opened_images(model: AnyModel, files: Sequence[Path]) -> Arrays:
    """The first ten of the user's own images, as the model's graph takes them.

    Raises:
        DataError: one cannot be read.
        SpecError: the graph takes values before the model's window, which files of 8 bits lack.
    """
    preprocess = input_of(model)
    if preprocess.limits is not None:
        raise SpecError("images: the graph of a model with a window is checked on drawn ones alone")
    mode = "L" if preprocess.channels == 1 else "RGB"
    window = model.preprocessings[0].window
    images = (read_image(path, window=window).convert(mode) for path in files[:N_IMAGES])
    return [np.array(image).reshape(image.height, image.width, -1) for image in images]


def largest_difference(model: AnyModel, scores: Scores, images: Arrays) -> float:
    """Largest relative difference between a graph's scores and the model's.

    That of an average is relative to its unit where a score is smaller: it is 0 for normal images.

    Args:
        model: whose graph it is.
        scores: of the graph, given images of one size at a time.
        images: `(H, W, C)` each.
    """
    expected = np.concatenate([model.score(batch) for batch in _batches(images)])
    found = np.concatenate([scores(batch) for batch in _batches(images)]).astype(np.float64)
    least = 1.0 if isinstance(model, AverageModel) else np.finfo(np.float32).tiny
    return float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), least)))


def _batches(images: Arrays) -> Iterator[NDArray[Any]]:
    for _, same in groupby(images, key=np.shape):
        yield np.stack(list(same))


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


GRAPH_FORMATS: Mapping[FormatName, Format] = {
    "torch": Format("model.pt2", _write_torch, _load_torch),
    "onnx": Format("model.onnx", _write_onnx, _load_onnx),
}
