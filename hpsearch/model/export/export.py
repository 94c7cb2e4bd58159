"""Write a model as one graph, check it, and say beside it what it takes and gives."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsearch.datasets.reading import MIN_SIDE
from hpsearch.errors import HpsearchError, SpecError
from hpsearch.io.files import printable, remove_leftovers, write_directory_atomic
from hpsearch.model.export.check import TOLERANCE, drawn_images, largest_difference, opened_images
from hpsearch.model.export.format_names import FormatName, checked_format
from hpsearch.model.export.formats import FORMATS
from hpsearch.model.export.graph import FLAG, INPUT, LARGEST, SCORE, SIZES, Traced, trace
from hpsearch.model.model import Model

METADATA = "metadata.json"


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: with the graph and its metadata.
        file: the graph's name in it.
        n_checked: images that it was checked on.
        difference: the largest relative difference of their scores.
    """

    folder: Path
    file: str
    n_checked: int
    difference: float


def export(model: Model, folder: Path, name: FormatName, *, images: Sequence[Path] = ()) -> Export:
    """Write the graph of a model and its metadata into `folder`, whole or not at all.

    Args:
        model: on the CPU.
        folder: must not exist.
        name: of the format.
        images: of which ten are checked; ten are drawn where there are none.

    Raises:
        SpecError: `folder` exists, a package is missing, or the model's detector is no network.
        DataError: an image cannot be read.
        HpsearchError: the graph gives other scores than the model.
    """
    chosen = FORMATS[checked_format(name)]
    pictures = opened_images(model, images) if images else drawn_images(model)
    traced = trace(model)
    try:
        remove_leftovers(folder)
        with write_directory_atomic(folder) as partial:
            path = partial / chosen.file
            chosen.write(traced, path)
            difference = largest_difference(model, chosen.load(path), pictures)
            if not difference <= TOLERANCE:
                raise HpsearchError(
                    f"export: the graph's scores differ from the model's by {difference:.2g} "
                    f"(relative), more than {TOLERANCE:g}; nothing was written; please report it"
                )
            done = Export(folder, chosen.file, len(pictures), difference)
            text = json.dumps(_metadata(model, traced, path, done), indent=1)
            (partial / METADATA).write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise SpecError(f"--out {printable(folder)}: exists; remove it or give another") from error
    return done


def _metadata(model: Model, traced: Traced, path: Path, done: Export) -> Mapping[str, Any]:
    return {
        "format": "hpsearch export 1",
        "file": done.file,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "input": {
            "name": INPUT,
            "dtype": str(traced.dtype).removeprefix("torch."),
            "shape": [*SIZES, traced.channels],
            "sides_px": [MIN_SIDE, LARGEST],
            "values": _values(model, traced),
        },
        "outputs": {
            SCORE: "float32 (batch,), higher = more anomalous",
            **(
                {FLAG: "bool (batch,), score above the threshold"} if FLAG in traced.outputs else {}
            ),
        },
        "checked": {
            "images": done.n_checked,
            "largest_relative_difference": done.difference,
            "tolerance": TOLERANCE,
        },
        "model": model.facts.model_dump(mode="json"),
    }


def _values(model: Model, traced: Traced) -> str:
    window = model.facts.preprocessing.window
    if window == "dicom":
        return "grey, 0 to 255, after the window that each DICOM file names"
    if window is not None:
        return "grey, as the file holds them; the window is applied inside"
    return "grey, 0 to 255" if traced.channels == 1 else "red, green, blue, 0 to 255"
