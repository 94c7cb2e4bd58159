"""Which test images are shown, from their scores alone (the paper's Fig. 5, and its errors)."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpsearch.splits import Positions

Kind = Literal["most_normal", "most_anomalous", "false_alarm", "miss"]

EACH = 4


class Choice(NamedTuple):
    """An image, by its row of the image table."""

    kind: Kind
    position: int
    score: float


def choose_examples(
    scores: NDArray[np.float64], normals: Positions, anomalies: Positions, *, each: int = EACH
) -> tuple[Choice, ...]:
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
        Choice(kind, int(position), float(scores[position]))
        for kind, positions in rows.items()
        for position in positions
    )
