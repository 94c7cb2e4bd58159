"""Figures of the search: its history, which axes decide, each trial's choices, the losses.

Optuna draws history and importance too; they are drawn here all the same.

- `optuna.visualization` puts trials of other programs and retried ones among ours; a copy of the
  study without them would number the trials anew.
- It takes names of axes for HTML, and says nothing of a trial's choices.
- Its matplotlib twin changes the style of every figure of the process (`plt.style.use`).
- The shares of importance are Optuna's own: PED-ANOVA, which draws nothing and needs no seed.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.exceptions import ExperimentalWarning
from optuna.importance import get_param_importances

from hpsearch.config.space import DETECTOR
from hpsearch.evaluation.selection import varied_axes
from hpsearch.reports.document import Figure, Table, Text
from hpsearch.reports.drawing import (
    COLOURS,
    DASHES,
    NEUTRAL,
    Axis,
    Bars,
    Drawing,
    Line,
    Mark,
    Note,
    Rule,
)
from hpsearch.reports.study_data import CRITERION_NAMES, StudyData
from hpsearch.storage.trials import trials_of


class History(NamedTuple):
    """Completed trials by number.

    Attributes:
        numbers: `(C,)`.
        values: `(C,)`, by the study's criterion.
        best: `(C,)`, the highest so far.
        configurations: `(C,)`.
        states: how many trials count as what.
        value_name: what a value is.
    """

    numbers: tuple[int, ...]
    values: NDArray[np.float64]
    best: NDArray[np.float64]
    configurations: tuple[str, ...]
    states: dict[str, int]
    value_name: str


def search_history(data: StudyData) -> History:
    """The value of each trial and the best so far."""
    values = np.array([trial.value for trial in data.trials], dtype=np.float64)
    return History(
        numbers=tuple(trial.number for trial in data.trials),
        values=values,
        best=np.maximum.accumulate(values),
        configurations=tuple(data.configuration(trial) for trial in data.trials),
        states={state: count for state, count in trials_of(data.study).counts.items() if count},
        value_name=CRITERION_NAMES[data.criterion],
    )


def history_figure(history: History) -> Figure:
    """A point a trial, and a line for the best so far."""
    top = int(history.values.argmax())
    states = ", ".join(f"{count} {state}" for state, count in sorted(history.states.items()))
    rows = list(zip(history.numbers, history.values, history.configurations, strict=True))
    best = Line(
        history.numbers,
        history.best,
        "best so far",
        COLOURS[1],
        "dash",
        has_steps=True,
        hover=[f"best so far: {value:.3f}" for value in history.best],
    )
    trials = Line(
        history.numbers,
        history.values,
        "trial",
        dash=None,
        marker="circle",
        hover=[f"trial {number}: {value:.3f}\n{words}" for number, value, words in rows],
    )
    return Figure(
        name="history",
        caption=f"Value of each trial and the best so far. Trials: {states}.",
        alt=f"{len(history.values)} trials; the highest value, {history.values[top]:.3f}, is that "
        f"of trial {history.numbers[top]}.",
        drawing=Drawing((best, trials), Axis("trial", is_whole=True), Axis(history.value_name)),
        numbers=Table(
            "Value of each completed trial",
            ("trial", history.value_name, "configuration"),
            tuple((str(number), f"{value:.4f}", words) for number, value, words in rows),
        ),
    )


_FEWEST = 4  # trials: of fewer, the best tenth against the rest says nothing
_FEW = 20


class Importance(NamedTuple):
    """Which axes decide the value.

    Attributes:
        shares: of the axes that vary, which add up to 1, highest first.
        n_trials: that tell.
    """

    shares: dict[str, float]
    n_trials: int


def axis_importance(data: StudyData) -> Importance | None:
    """PED-ANOVA (arXiv 2304.10255) of the axes that vary; None where trials cannot tell.

    Of a study of several detectors, of the axes of the winner's.
    """
    detector = data.result.params.get(DETECTOR)
    trials = [trial for trial in data.trials if trial.params.get(DETECTOR) == detector]
    axes = [
        axis for axis in varied_axes(trials[0]) if len({trial.params[axis] for trial in trials}) > 1
    ]
    if len(trials) < _FEWEST or len({trial.value for trial in trials}) < 2 or not axes:
        return None
    own = optuna.create_study(direction="maximize")
    own.add_trials(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        shares = get_param_importances(own, params=axes)
    return Importance(shares, len(trials)) if sum(shares.values()) > 0 else None


def importance_block(importance: Importance | None) -> Figure | Text:
    """A bar an axis, or why there is none."""
    if importance is None:
        return Text(
            "Importance of the axes: not told, for there are too few different trials or axes."
        )
    shares = importance.shares
    few = importance.n_trials < _FEW
    ranking = ", ".join(f"{axis} {share:.2f}" for axis, share in shares.items())
    bars = Bars(list(shares), list(shares.values()), [f"{share:.2f}" for share in shares.values()])
    return Figure(
        name="importance",
        caption=f"Importance of each axis for the value (PED-ANOVA), of {importance.n_trials} "
        f"trials{'; so few are a hint at best' if few else ''}.",
        alt=f"From the most important axis down: {ranking}.",
        drawing=Drawing((bars,), Axis("share of importance"), height=120 + 36 * len(shares)),
        numbers=Table(
            "Importance of each axis",
            ("axis", "share"),
            tuple((axis, f"{share:.3f}") for axis, share in shares.items()),
        ),
    )


_APART = 0.05  # lines through one choice, in heights of the figure
# name, colour, width in px: told apart by the width too
_STYLES = (
    ("other trials", NEUTRAL, 1.0),
    ("best quarter", COLOURS[0], 2.0),
    ("best", COLOURS[1], 4.0),
)


class ParallelLines(NamedTuple):
    """Lines of C trials over A axes.

    Attributes:
        axes: names `(A,)`.
        choices: of each axis, its choices from the lowest place to the highest.
        places: `(C, A + 1)`, from 0 to 1; the last is that of the value.
        values: `(C,)`.
        rank: `(C,)`, an index of 0 to 2: other, best quarter, best.
        value_name: what a value is.
    """

    axes: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    places: NDArray[np.float64]
    values: NDArray[np.float64]
    rank: NDArray[np.intp]
    value_name: str


def parallel_lines(data: StudyData) -> ParallelLines:
    """Each completed trial as a line through its choices on the axes that vary to its value."""
    values = np.array([trial.value for trial in data.trials], dtype=np.float64)
    order = np.argsort(np.argsort(-values, kind="stable"))
    shift = _APART * (0.5 - order / max(1, len(values) - 1))
    choices, columns = [], []
    for axis in data.varied:
        chosen = [data.choice(trial, axis) for trial in data.trials]
        tried = sorted(set(chosen), key=_by_number)
        columns.append(_places(len(tried))[[tried.index(choice) for choice in chosen]] + shift)
        choices.append(tuple(map(str, tried)))
    spread = float(np.ptp(values)) or 1.0
    columns.append((values - values.min()) / spread)
    rank = np.where(order == 0, 2, np.where(order < len(values) / 4, 1, 0))
    return ParallelLines(
        tuple(data.varied),
        tuple(choices),
        np.stack(columns, axis=1),
        values,
        rank,
        CRITERION_NAMES[data.criterion],
    )


def parallel_block(lines: ParallelLines) -> Figure | Text:
    """The lines, or why there are none."""
    if not lines.axes:
        return Text("There is one configuration, so nothing to compare.")
    best = lines.places[int(lines.rank.argmax())]
    named = ", ".join(
        f"{axis} {choices[int(np.rint(place * (len(choices) - 1)))]}"
        for axis, choices, place in zip(lines.axes, lines.choices, best[:-1], strict=True)
    )
    rows: list[tuple[str, ...]] = []
    for column, (axis, choices) in enumerate(zip(lines.axes, lines.choices, strict=True)):
        nearest = np.rint(lines.places[:, column] * (len(choices) - 1)).astype(int)
        for index, choice in enumerate(choices):
            values = lines.values[nearest == index] if len(choices) > 1 else lines.values
            rows.append(
                (axis, choice, str(len(values)), f"{values.mean():.3f}", f"{values.max():.3f}")
            )
    return Figure(
        name="parallel",
        caption="Each trial as a line through its choices to its value.",
        alt=f"The best trial goes through {named}.",
        drawing=_parallel_drawing(lines),
        numbers=Table(
            "Mean value of the trials at each choice",
            ("axis", "choice", "trials", "mean value", "highest value"),
            tuple(rows),
        ),
    )


def _parallel_drawing(lines: ParallelLines) -> Drawing:
    columns = np.arange(len(lines.axes) + 1, dtype=np.float64)
    marks: list[Mark] = []
    for rank, (name, colour, width) in enumerate(_STYLES):
        # One line with a gap after each trial, so that the legend has one entry.
        those = lines.places[lines.rank == rank]
        if not len(those):
            continue
        gap = np.full((len(those), 1), np.nan)
        x = np.tile(np.append(columns, np.nan), len(those))
        marks.append(Line(x, np.hstack([those, gap]).ravel(), name, colour, width=width))
    for column, choices in enumerate(lines.choices):
        marks.append(Rule(column, is_upright=True))
        places = _places(len(choices))
        marks += [Note(column, y, choice) for y, choice in zip(places, choices, strict=True)]
    marks.append(Rule(columns[-1], is_upright=True))
    marks += [
        Note(columns[-1], y, f"{value:.3f}")
        for y, value in ((0.0, lines.values.min()), (1.0, lines.values.max()))
    ]
    names = (*lines.axes, lines.value_name)
    return Drawing(
        marks,
        Axis(
            ticks=dict(zip(columns, names, strict=True)),
            limits=(-0.1, len(lines.axes) + 0.35),
            has_grid=False,
        ),
        Axis(limits=(-0.08, 1.08), is_hidden=True),
    )


def _places(n_choices: int) -> NDArray[np.float64]:
    """Where the choices of an axis are, from 0 to 1."""
    return np.linspace(0, 1, n_choices) if n_choices > 1 else np.array([0.5])


def _by_number(choice: object) -> tuple[bool, float, str]:
    number = isinstance(choice, (int, float))
    return (not number, float(choice) if isinstance(choice, (int, float)) else 0.0, str(choice))


class LearningCurve(NamedTuple):
    """Losses of a training at its validations.

    Attributes:
        name: of the training.
        steps: `(V,)`.
        losses: `(V,)`, of normals that were held out; of the training batches where none were.
        held_out: which of the two.
        best_step: whose weights were kept.
    """

    name: str
    steps: NDArray[np.float64]
    losses: NDArray[np.float64]
    held_out: bool
    best_step: int


def learning_curves(data: StudyData) -> tuple[LearningCurve, ...]:
    """A curve a training of the winner that took steps: its folds, then those on all normals."""
    named = [(f"fold {number}", run) for number, run in enumerate(data.folds)]
    named += [(f"final {number}", run) for number, run in enumerate(data.finals, start=1)]
    curves = []
    for name, run in named:
        if not len(run.curve):
            continue
        losses = run.curve["held_out_loss"].to_numpy(dtype=np.float64)
        held_out = bool(np.isfinite(losses).any())
        if not held_out:
            losses = run.curve["train_loss"].to_numpy(dtype=np.float64)
        kept = np.isfinite(losses)
        steps = run.curve["step"].to_numpy(dtype=np.float64)
        curves.append(LearningCurve(name, steps[kept], losses[kept], held_out, run.best_step))
    return tuple(curves)


def learning_block(curves: Sequence[LearningCurve]) -> Figure | Text:
    """The curves, or why there are none."""
    if not curves:
        return Text("Learning curves: there are none, for this detector takes no gradient steps.")
    lines = [
        Line(
            one.steps,
            one.losses,
            one.name,
            COLOURS[number % len(COLOURS)],
            "solid" if one.held_out else DASHES[1 + number % (len(DASHES) - 1)],
            marker="circle" if one.held_out else None,
            hover=[
                f"{one.name}, step {step:g}: {loss:.4g}"
                for step, loss in zip(one.steps, one.losses, strict=True)
            ],
        )
        for number, one in enumerate(curves)
    ]
    last = ", ".join(f"{one.name} {one.losses[-1]:.3g}" for one in curves)
    return Figure(
        name="learning",
        caption="Loss of the winner's trainings. Solid lines with circles: normals held out of a "
        "fold; the others: training batches, of trainings that hold nothing out.",
        alt=f"Loss at the end: {last}.",
        drawing=Drawing(lines, Axis("step"), Axis("loss")),
        numbers=Table(
            "Trainings of the winner",
            ("training", "loss of", "validations", "first loss", "lowest loss", "step kept"),
            tuple(
                (
                    one.name,
                    "held-out normals" if one.held_out else "training batches",
                    str(len(one.steps)),
                    f"{one.losses[0]:.4g}",
                    f"{one.losses.min():.4g}",
                    str(one.best_step),
                )
                for one in curves
            ),
        ),
    )
