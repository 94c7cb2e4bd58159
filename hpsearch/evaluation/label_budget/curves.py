"""What the choices with few labelled anomalies were worth on the test images.

Source: the paper's Fig. 4 and its section 4.5: for each number of types and of examples, draw that
many labelled anomalies several times, choose by the cross-validated AUC with only those, and look
the test AUC of the chosen configuration up. No image is scored again.

What the curves mean for someone who must decide whether to label more, in a sentence.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from hpsearch.errors import DataError
from hpsearch.evaluation.label_budget.cells import Cell
from hpsearch.evaluation.label_budget.held_out import HeldOut, Models
from hpsearch.evaluation.label_budget.simulation import Choices, Question, Simulation
from hpsearch.evaluation.stored_scores import FloatArray, StoredScores

_LEVEL = 0.95


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

    cell: Cell
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
    found = ((each, held_out.aurocs(each.draws, simulation.type_of)) for each in simulation.choices)
    points = tuple(_point(each, test, scores) for each, test in found if test is not None)
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
    low, high = _interval(aurocs)
    counts = np.bincount(chosen, minlength=len(scores.trials))
    often = [int(number) for number in np.argsort(-counts, kind="stable") if counts[number]]
    return Point(
        cell=choices.cell,
        mean=float(aurocs.mean()),
        std=float(aurocs.std(ddof=1)) if len(aurocs) > 1 else None,
        low=low,
        high=high,
        regret=float((np.nanmax(test, axis=0) - aurocs).mean()),
        chosen=tuple((scores.trials[number].number, int(counts[number])) for number in often),
    )


def _interval(aurocs: FloatArray) -> tuple[float | None, float | None]:
    """The t interval of the mean, within [0, 1]."""
    n = len(aurocs)
    if n < 2:
        return None, None
    half = stats.t.ppf((1 + _LEVEL) / 2, n - 1) * np.std(aurocs, ddof=1) / np.sqrt(n)
    mean = np.mean(aurocs)
    return float(max(0.0, mean - half)), float(min(1.0, mean + half))


_CLAIMED = (1, 20, 0.02)  # types, examples, and how far below the best (paper, section 4.5)
_NOTHING = 0.0005  # of regret: shown as 0.000, nobody labels images for it


def advice(curves: BudgetCurves, *, n_types: int, n_examples: int) -> str:
    """What the choice loses with about as many labels as there are, and what more would bring.

    Args:
        curves: what was computed.
        n_types, n_examples: the labels that there are; the nearest point is taken.
    """
    here = _nearest(curves, n_types, n_examples)
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
    there = min(enough, key=lambda point: (point.cell.n_examples, point.cell.n_types))
    return f"{lost}; {named(there)} would lose {there.regret:.3f}"


def claim(curves: BudgetCurves) -> str:
    """Whether the paper's claim holds here: 20 examples of one type choose within 0.02."""
    n_types, n_examples, within = _CLAIMED
    point = curves.at(n_types, n_examples)
    if point is None:
        return f"no {n_examples} examples of one type can be had here, so the claim is not tested"
    below = point.regret
    verdict = "is within" if below <= within else f"is {below - within:.3f} more than"
    return (
        f"with {named(point)} the mean test AUC is {point.mean:.3f}, {below:.3f} below the best of "
        f"the grid: this {verdict} the paper's {within}"
    )


def named(point: Point) -> str:
    """Such as `20 examples of 1 type`."""
    examples = "example" if point.cell.n_examples == 1 else "examples"
    types = "type" if point.cell.n_types == 1 else "types"
    return f"{point.cell.n_examples} {examples} of {point.cell.n_types} {types}"


def _nearest(curves: BudgetCurves, n_types: int, n_examples: int) -> Point:
    return min(
        curves.points,
        key=lambda point: (
            abs(point.cell.n_types - n_types),
            abs(point.cell.n_examples - n_examples),
            point.cell.n_examples,
        ),
    )
