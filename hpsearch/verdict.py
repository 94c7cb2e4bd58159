"""What the labelled anomalies decided, and which other configurations it could have been."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LeftOutType:
    """A labelled type that the others chose for: `auroc` of their choice on it, and the `best`."""

    name: str
    n_anomalies: int
    trial: int
    auroc: float
    best: float


@dataclass(frozen=True)
class Verdict:
    """What was chosen by the labelled anomalies.

    Attributes:
        trial: number of the chosen trial.
        sentence: the choice explained.
        tied: numbers of the trials that cannot be told from the best, the highest value first.
        left_out_types: each labelled type left out of the choice in turn; empty for a single type.
    """

    trial: int
    sentence: str
    tied: tuple[int, ...]
    left_out_types: tuple[LeftOutType, ...]
