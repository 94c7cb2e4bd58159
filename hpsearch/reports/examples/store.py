"""Example pictures on disk: `final/<trial>/examples/{index.json, *.png}`; read without torch.

Which test images they show is decided by scores alone (the paper's Fig. 5, and its errors).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpsearch.errors import StudyError
from hpsearch.protocol.folds import Positions

Kind = Literal["most_normal", "most_anomalous", "false_alarm", "miss"]

EACH = 4


class Chosen(NamedTuple):
    """An image that is to be drawn.

    Attributes:
        kind: why it was chosen.
        position: its row of the image table.
        score: of the first final model.
    """

    kind: Kind
    position: int
    score: float


def choose_examples(
    scores: NDArray[np.float64], normals: Positions, anomalies: Positions, *, each: int = EACH
) -> tuple[Chosen, ...]:
    """The normals that score lowest and highest, and the anomalies that score highest and lowest.

    An image is chosen once; where there are few, the clear cases come first.

    Args:
        scores: `(N,)`, of all rows of the image table; only those at the positions are read.
        normals, anomalies: rows of test images.
        each: images of a kind at most.
    """
    rising = normals[np.argsort(scores[normals], kind="stable")]
    falling = anomalies[np.argsort(-scores[anomalies], kind="stable")]
    rows: Mapping[Kind, Positions] = {
        "most_normal": rising[:each],
        "most_anomalous": falling[:each],
        "false_alarm": rising[each:][::-1][:each],
        "miss": falling[each:][::-1][:each],
    }
    return tuple(
        Chosen(kind, int(position), float(scores[position]))
        for kind, positions in rows.items()
        for position in positions
    )


INDEX = "index.json"


@dataclass(frozen=True)
class Example:
    """A test image as the detector saw it, and the heat over it.

    Attributes:
        kind: why it is shown.
        image_id, anomaly_type: of the image table; the type of a normal is empty.
        score: of the first final training.
        image, overlay: file names in the folder; no overlay where the detector has no maps.
    """

    kind: Kind
    image_id: str
    anomaly_type: str
    score: float
    image: str
    overlay: str | None


def write_index(folder: Path, made_of: str, examples: Sequence[Example]) -> None:
    """Say what the pictures in `folder` are.

    Args:
        folder: of the pictures.
        made_of: what they depend on, see `hpsearch.reports.examples.make`.
        examples: in the order in which they are shown.
    """
    facts = {"made_of": made_of, "examples": [asdict(example) for example in examples]}
    (folder / INDEX).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def read_examples(folder: Path, made_of: str) -> tuple[Example, ...] | None:
    """The examples in `folder`, None where there are none or those of an earlier model.

    Raises:
        StudyError: the index is damaged, or a picture is gone.
    """
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["made_of"] != made_of:
            return None
        examples = tuple(Example(**values) for values in facts["examples"])
        for example in examples:
            for name in (example.image, example.overlay):
                if name is not None and (Path(name).name != name or not (folder / name).is_file()):
                    raise ValueError(f"no picture {name!r:.80}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path}: damaged ({error}); delete its directory") from error
    return examples
