"""The choices of a study, made again with fewer or more labelled anomalies."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hpsearch.errors import SpecError
from hpsearch.evaluation.auroc import FloatArray
from hpsearch.evaluation.delong import placements
from hpsearch.evaluation.label_budget.cells import BudgetCell, Draws, Orders, plan_cells
from hpsearch.evaluation.stored_scores import StoredScores
from hpsearch.protocol.labels import AnomalyUse

_DECIMALS = 12  # below them equal values may differ by the order in which they were summed


@dataclass(frozen=True)
class Question:
    """What is asked of a study.

    Attributes:
        types, examples: numbers of labelled types and of examples in all, None for the usual ones.
        repeats: draws at each combination.
        seed: of the draws.

    Raises:
        SpecError: repeats below 1.
    """

    types: tuple[int, ...] | None = None
    examples: tuple[int, ...] | None = None
    repeats: int = 7
    seed: int = 0

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise SpecError(f"--repeats: {self.repeats} is too few; ask for at least 1")


@dataclass(frozen=True, eq=False)
class Choices:
    """What every draw at one cell chooses.

    Attributes:
        cell: numbers of types and examples.
        draws: the labelled anomalies.
        configurations: `(R,)` which of the study's configurations, counted from 0.
    """

    cell: BudgetCell
    draws: Draws
    configurations: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Simulation:
    """The choices at all cells, and the number `(A,)` of the type of each anomaly of the pool."""

    question: Question
    choices: tuple[Choices, ...]
    type_of: NDArray[np.int64]
    type_names: tuple[str, ...]


def simulate(scores: StoredScores, question: Question, anomalies: AnomalyUse) -> Simulation:
    """Draw labelled anomalies and choose by them, by the study's own rule for its folds.

    Raises:
        UserError: the data does not hold what is asked for.
    """
    types = scores.table["anomaly_type"].to_numpy(dtype=object)[scores.pool]
    sizes = np.unique(types, return_counts=True)[1].tolist()
    n_folds = 1 if anomalies == "shared" else len(scores.normals)
    cells = plan_cells(sizes, types=question.types, examples=question.examples, n_folds=n_folds)
    orders = Orders(
        types,
        repeats=question.repeats,
        seed=question.seed,
        deepest=max(cell.share for cell in cells),
    )
    placed = pool_placements(scores)
    choices = []
    for cell in cells:
        draws = orders.draw(cell)
        values = cross_validated(placed, draws.selected, anomalies)
        chosen = np.argmax(values, axis=0)  # the earliest of several that are equal
        choices.append(Choices(cell, draws, chosen))
    return Simulation(question, tuple(choices), orders.type_of, tuple(orders.names))


def pool_placements(scores: StoredScores) -> FloatArray:
    """Placements `(C, F, A)` of the pool's anomalies among the normals of each fold."""
    placed = np.empty_like(scores.pool_scores)
    for fold, normals in enumerate(scores.normal_scores):
        for number, own in enumerate(normals):
            placed[number, fold] = placements(scores.pool_scores[number, fold], own)
    return placed


def cross_validated(
    placed: FloatArray, selected: NDArray[np.int64], anomalies: AnomalyUse
) -> FloatArray:
    """Mean AUC over folds `(C, R)` with only the selected anomalies.

    Args:
        placed: placements `(C, F, A)`.
        selected: `(R, s)` places in the pool, as `Draws` has them.
        anomalies: whether every fold scores all of them or each its own part, as
            `hpsearch.protocol.labels.labelled_for_fold` has it.
    """
    n_folds = placed.shape[1]
    values = np.zeros((len(placed), len(selected)))
    for fold in range(n_folds):
        part = selected if anomalies == "shared" else selected[:, fold::n_folds]
        n_draws, size = part.shape
        starts = np.arange(n_draws + 1) * size
        members = sparse.csr_array(
            (np.ones(part.size), part.ravel(), starts), shape=(n_draws, placed.shape[2])
        )
        values += (members @ placed[:, fold].T).T / size
    means: FloatArray = np.round(values / n_folds, _DECIMALS)
    return means
