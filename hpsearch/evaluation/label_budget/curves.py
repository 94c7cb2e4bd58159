"""What the choices with few labelled anomalies were worth on the test images.

Source: the paper's Fig. 4 and its section 4.5: for each number of types and of examples, draw that
many labelled anomalies several times, choose by the cross-validated AUC with only those, and look
the test AUC of the chosen configuration up. No image is scored again.

`advice` and `claim` say what that means, in a sentence.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from hpsearch.errors import DataError
from hpsearch.evaluation.auroc import FloatArray
from hpsearch.evaluation.delong import placements
from hpsearch.evaluation.label_budget.cells import BudgetCell, Draws
from hpsearch.evaluation.label_budget.simulation import Choices, Question, Simulation
from hpsearch.evaluation.stored_scores import StoredScores

_LEVEL = 0.95
_CLAIMED = (1, 20, 0.02)  # types, examples, and how far below the best (paper, section 4.5)
_NOTHING = 0.0005  # of regret: shown as 0.000, nobody labels images for it

Models = Literal["final", "folds"]
"""Whose test figure: of models trained on all normals, or the mean over those of the folds."""


class HeldOut:
    """Test AUCs of all configurations, on what a draw of labelled anomalies leaves to test on.

    Args:
        scores: stored scores with at least one normal and one anomaly among the test images.
        models: whose figure.

    Attributes:
        borrowed: labelled anomalies come from the test images, and a draw then leaves out what
            `hpsearch.protocol.labels.evaluation_roles` leaves out.

    Raises:
        DataError: the test images lack a class.
    """

    def __init__(self, scores: StoredScores, models: Models) -> None:
        labels = scores.table["label"].to_numpy()[scores.test]
        if not {0, 1} <= set(labels):
            raise DataError("test images: a test AUC needs normal and anomalous ones; add some")
        self.anomalies = scores.test[labels == 1]
        self._placed = _test_placements(scores, labels, models)
        self.borrowed = bool(np.isin(scores.pool, scores.test).any())
        self._groups = pd.factorize(scores.table["group"].iloc[self.anomalies])[0]

    def overall(self) -> FloatArray:
        """AUC `(C,)` over all test anomalies, NaN where there is no model."""
        means: FloatArray = self._placed.mean(axis=1)
        return means

    def aurocs(self, draws: Draws, type_of: NDArray[np.int64]) -> FloatArray | None:
        """AUC `(C, R)` on what each draw leaves, NaN where there is no model.

        Args:
            draws: of anomalies of the pool.
            type_of: `(A,)` number of the type of each anomaly of the pool.

        Returns:
            None where a draw leaves no anomaly to test on.
        """
        if not self.borrowed:
            return np.repeat(self.overall()[:, None], len(draws.selected), axis=1)
        # Which test anomalies (R, A), here the pool, a draw may be tested on.
        rows = np.arange(len(draws.selected))[:, None]
        touched = np.zeros((len(rows), self._groups.max() + 1), dtype=bool)
        touched[rows, self._groups[draws.selected]] = True
        seen_type = np.zeros((len(rows), type_of.max() + 1), dtype=bool)
        seen_type[rows, draws.types] = True
        free = ~touched[:, self._groups]
        unseen = free & ~seen_type[:, type_of]
        left = np.where(unseen.any(axis=1, keepdims=True), unseen, free)
        counts = left.sum(axis=1)
        return self._placed @ left.T / counts if counts.all() else None


@dataclass(frozen=True)
class Point:
    """What a cell is worth; all figures are of test AUCs over its draws.

    Attributes:
        cell: numbers of types and examples.
        mean, std: of the chosen configuration's, std None for a single draw.
        low, high: ends of the 95 % t interval of the mean, None for a single draw. It speaks of the
            draws, not of other test images.
        regret: how far the mean is below that of the best configuration of each draw.
        chosen: number of trial and how often it was chosen, most often first.
    """

    cell: BudgetCell
    mean: float
    std: float | None
    low: float | None
    high: float | None
    regret: float
    chosen: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class BudgetCurves:
    """The figure as numbers.

    Attributes:
        points: by types and then by examples.
        models: whose test figures they are.
        best, worst: the highest and lowest test AUC of the configurations with a model, over all
            test anomalies.
        n_models: how many configurations have one.
        n_configurations: how many there are to choose from.
        n_types: types of anomalies that the draws are made from.
        n_normal, n_anomaly: test images.
        borrowed: labelled anomalies come from the test images; the figure of a draw then leaves
            out what they touch, and may lie above `best`.
        question: what was asked.
        left_out: anomalies that are not drawn, for they share a group with normals trained on.
        n_heads: configurations that are trained on labelled anomalies, which no draw chooses from:
            other labels would be other trainings.
    """

    points: tuple[Point, ...]
    models: Models
    best: float
    worst: float
    n_models: int
    n_configurations: int
    n_types: int
    n_normal: int
    n_anomaly: int
    borrowed: bool
    question: Question
    left_out: int = 0
    n_heads: int = 0

    def at(self, n_types: int, n_examples: int) -> Point | None:
        """The point of a combination, None where it was not asked for or cannot be had."""
        wanted = (n_types, n_examples)
        fits = (p for p in self.points if (p.cell.n_types, p.cell.n_examples) == wanted)
        return next(fits, None)


def needed_models(simulation: Simulation, scores: StoredScores) -> list[int]:
    """Configurations, counted from 0, whose final models the figure needs, ascending.

    They are those chosen, and those that are best and worst by the models of the folds, which
    stand for the best and the worst of the grid.
    """
    by_folds = HeldOut(scores, "folds").overall()
    extremes = {int(by_folds.argmax()), int(by_folds.argmin())}
    chosen = (set(choices.configurations.tolist()) for choices in simulation.choices)
    return sorted(extremes.union(*chosen))


def budget_curves(simulation: Simulation, scores: StoredScores, models: Models) -> BudgetCurves:
    """Look up what the choices were worth on the test images.

    Raises:
        DataError: the test images lack a class, or no draw leaves an anomaly to test on.
        ValueError: a chosen configuration has no final model.
    """
    held_out = HeldOut(scores, models)
    by_cell = (
        (each, held_out.aurocs(each.draws, simulation.type_of)) for each in simulation.choices
    )
    points = tuple(_point(each, test, scores) for each, test in by_cell if test is not None)
    if not points:
        raise DataError(
            "test anomalies: a draw leaves none to test on, for it is taken from the test images; "
            "ask for fewer --examples, or add anomalies to the training side"
        )
    overall = held_out.overall()
    return BudgetCurves(
        points=points,
        models=models,
        best=float(np.nanmax(overall)),
        worst=float(np.nanmin(overall)),
        n_models=int(np.isfinite(overall).sum()),
        n_configurations=len(scores.trials),
        n_types=len(simulation.type_names),
        n_normal=len(scores.test) - len(held_out.anomalies),
        n_anomaly=len(held_out.anomalies),
        borrowed=held_out.borrowed,
        question=simulation.question,
    )


def _point(choices: Choices, test: FloatArray, scores: StoredScores) -> Point:
    chosen = choices.configurations
    aurocs = test[chosen, np.arange(len(chosen))]
    if np.isnan(aurocs).any():
        raise ValueError("a chosen configuration has no final model")
    n, mean = len(aurocs), float(aurocs.mean())
    std, low, high = None, None, None
    if n > 1:
        std = float(aurocs.std(ddof=1))
        half = stats.t.ppf((1 + _LEVEL) / 2, n - 1) * std / np.sqrt(n)
        low, high = float(max(0.0, mean - half)), float(min(1.0, mean + half))
    counts = np.bincount(chosen, minlength=len(scores.trials))
    often = [int(number) for number in np.argsort(-counts, kind="stable") if counts[number]]
    return Point(
        cell=choices.cell,
        mean=mean,
        std=std,
        low=low,
        high=high,
        regret=float((np.nanmax(test, axis=0) - aurocs).mean()),
        chosen=tuple((scores.trials[number].number, int(counts[number])) for number in often),
    )


def advice(curves: BudgetCurves, *, n_types: int, n_examples: int) -> str:
    """What the choice loses with about as many labels as there are, and what more would bring.

    Args:
        curves: what was computed.
        n_types, n_examples: the labels that there are; the nearest point is taken.
    """
    here = min(
        curves.points,
        key=lambda point: (
            abs(point.cell.n_types - n_types),
            abs(point.cell.n_examples - n_examples),
            point.cell.n_examples,
        ),
    )
    lost = f"with {named(here)} the choice loses {here.regret:.3f} of test AUC on average"
    if here.regret < _NOTHING:
        return f"with {named(here)} the choice is as good as the best; no more are needed"
    better = [
        point
        for point in curves.points
        if point.cell.n_types >= here.cell.n_types
        and point.cell.n_examples >= here.cell.n_examples
        and point.cell.n_eligible == here.cell.n_eligible  # or it would speak of other types
        and point.regret < here.regret - _NOTHING
    ]
    if not better:
        return f"{lost}; more labels, up to those asked about, would not help"
    # The most help for the fewest new labels: half of what can be gained, or the best there is.
    target = (here.regret + min(point.regret for point in better)) / 2
    enough = [point for point in better if point.regret <= target]
    cheapest = min(enough, key=lambda point: (point.cell.n_examples, point.cell.n_types))
    return f"{lost}; {named(cheapest)} would lose {cheapest.regret:.3f}"


def claim(curves: BudgetCurves) -> str:
    """Whether the paper's claim holds here: 20 examples of one type choose within 0.02."""
    n_types, n_examples, within = _CLAIMED
    point = curves.at(n_types, n_examples)
    if point is None:
        return f"no {n_examples} examples of one type can be had here, so the claim is not tested"
    below = point.regret
    holds = "is within" if below <= within else f"is {below - within:.3f} more than"
    return (
        f"with {named(point)} the mean test AUC is {point.mean:.3f}, {below:.3f} below the best of "
        f"the grid: this {holds} the paper's {within}"
    )


def named(point: Point) -> str:
    """Such as `20 examples of 1 type`."""
    examples = "example" if point.cell.n_examples == 1 else "examples"
    types = "type" if point.cell.n_types == 1 else "types"
    return f"{point.cell.n_examples} {examples} of {point.cell.n_types} {types}"


def _test_placements(scores: StoredScores, labels: NDArray[np.int64], models: Models) -> FloatArray:
    """Placements `(C, A)` of the test anomalies among the test normals; NaN without a model."""

    def placed(of_test: FloatArray) -> FloatArray:
        return placements(of_test[labels == 1], of_test[labels == 0])

    if models == "folds":
        each = [[placed(fold) for fold in folds] for folds in scores.fold_test_scores]
        means: FloatArray = np.mean(each, axis=1)
        return means
    nothing = np.full(int((labels == 1).sum()), np.nan)
    rows = zip(scores.final_test_scores, scores.has_final, strict=True)
    return np.stack([placed(row) if has else nothing for row, has in rows])
