"""What a study of a table found."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

from hpsearch.estimate import Estimate
from hpsearch.space import Params


@dataclass(frozen=True)
class Answer:
    """A chosen configuration, and how good its final trainings are.

    Attributes:
        params: the configuration.
        searched: its values on the axes that were searched, here or by the authors.
        test: test ROC AUC, the mean over the final trainings.
        runs: the same of each of them.
        tasks: digests of the final trainings.
        seconds: of all trainings behind it, of the search and of the final ones; answers of one
            study share its search.
        final_seconds: of each final training and its scoring.
        devices: where the final trainings ran, each once.
    """

    params: Params
    searched: Params
    test: Estimate
    runs: tuple[float, ...]
    tasks: tuple[str, ...]
    seconds: float
    final_seconds: tuple[float, ...]
    devices: tuple[str, ...]

    @property
    def std(self) -> float | None:
        """Sample standard deviation of the test ROC AUC over the final trainings."""
        return spread(self.runs)


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation, None for fewer than two values."""
    return stdev(values) if len(values) > 1 else None
