"""The values of two axes against each other, such as the bottleneck and the layer."""

from statistics import fmean
from typing import NamedTuple

from optuna.trial import FrozenTrial

from hpsearch.config.space import DETECTOR, describe
from hpsearch.reports.document import Table, Text
from hpsearch.reports.drawing import Cells, Drawing
from hpsearch.reports.study_data import CRITERION_NAMES, StudyData
from hpsearch.storage.trials import facts_of

# The bottleneck and what is compared behind it, of the detectors that come with the package.
_ROWS = ("latent_dim", "latent_res")
_COLUMNS = ("layers", "layer")


class HeatCell(NamedTuple):
    """The best trial at one row and column.

    Attributes:
        trial: its number.
        value: the mean over its folds.
        low, high: of its lowest and highest fold.
        n_trials: among which it is the best.
    """

    trial: int
    value: float
    low: float
    high: float
    n_trials: int


class Heat(NamedTuple):
    """The best values at the choices of two axes.

    Attributes:
        row_axes, column_axis: names of axes.
        rows, columns: names of what was tried on them.
        cells: by row and column; a pair that no trial has tried has none.
        value_name: what a value is.
    """

    row_axes: tuple[str, ...]
    column_axis: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], HeatCell]
    value_name: str


def heat_axes(varied: tuple[str, ...], ranking: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The axes of the rows and that of the columns.

    The detector where there are several, and layer; bottleneck and layer where they vary; else the
    most important of the others.

    Args:
        varied: the axes that vary, at least one.
        ranking: the same from the most important down, or some of them.
    """
    order = [*ranking, *(axis for axis in varied if axis not in ranking)]
    if DETECTOR in varied:
        columns = (*_COLUMNS[::-1], *(axis for axis in varied if axis != DETECTOR))
        return (DETECTOR,), next(axis for axis in columns if axis in varied)
    column = next((axis for axis in _COLUMNS if axis in varied), order[0])
    rows = tuple(axis for axis in _ROWS if axis in varied)
    others = tuple(axis for axis in order if axis != column)
    return rows or others[:1], column


def heat(data: StudyData, row_axes: tuple[str, ...], column_axis: str) -> Heat:
    """The best of the trials at each place, over whatever else varies."""
    groups: dict[tuple[str, str], list[FrozenTrial]] = {}
    for trial in data.trials:
        place = (_name(data, trial, row_axes), str(data.choice(trial, column_axis)))
        groups.setdefault(place, []).append(trial)
    cells = {}
    for place, trials in groups.items():
        top = max(
            trials, key=lambda trial: (facts_of(trial).criteria[data.criterion], -trial.number)
        )
        folds = facts_of(top).fold_values[data.criterion]
        cells[place] = HeatCell(top.number, fmean(folds), min(folds), max(folds), len(trials))
    rows = _in_order(data, row_axes)
    columns = tuple(place.partition("=")[2] for place in _in_order(data, (column_axis,)))
    return Heat(
        row_axes,
        column_axis,
        rows,
        columns,
        cells,
        CRITERION_NAMES[data.criterion],
    )


def heat_drawing(found: Heat) -> Drawing:
    """The values as shades, each number written on its own."""
    places = [[found.cells.get((row, column)) for column in found.columns] for row in found.rows]
    cells = Cells(
        [row or "all" for row in found.rows],
        [f"{found.column_axis}={column}" for column in found.columns],
        [[cell and cell.value for cell in row] for row in places],
        [
            [f"{cell.value:.3f}\n{cell.low:.3f} – {cell.high:.3f}" if cell else "" for cell in row]
            for row in places
        ],
        found.value_name,
    )
    return Drawing((cells,))


def heat_block(found: Heat | None) -> Table | Text:
    """The heat table, its numbers written in the cells."""
    if found is None:
        return Text("Value by axis: there is one configuration, so nothing to compare.")
    values = [cell.value for cell in found.cells.values()]
    low, spread = min(values), (max(values) - min(values)) or 1.0
    places = [[found.cells.get((row, column)) for column in found.columns] for row in found.rows]
    name, axes = found.value_name, " and ".join((*found.row_axes, found.column_axis))
    texts = [
        [
            f"{cell.value:.3f}\n({cell.low:.3f} – {cell.high:.3f})\ntrial {cell.trial}"
            if cell
            else "not tried"
            for cell in cells
        ]
        for cells in places
    ]
    return Table(
        f"{name[0].upper()}{name[1:]}, mean over the folds (lowest – highest fold): the best trial "
        f"at each {axes}. The stronger a shade, the higher the value.",
        (
            " / ".join(found.row_axes) or "",
            *(f"{found.column_axis}={one}" for one in found.columns),
        ),
        tuple((row or "all", *cells) for row, cells in zip(found.rows, texts, strict=True)),
        tuple(
            tuple(None if cell is None else (cell.value - low) / spread for cell in cells)
            for cells in places
        ),
    )


def _name(data: StudyData, trial: FrozenTrial, axes: tuple[str, ...]) -> str:
    return describe({axis: data.choice(trial, axis) for axis in axes})


def _in_order(data: StudyData, axes: tuple[str, ...]) -> tuple[str, ...]:
    """Names of what was tried on the axes, numbers by their size."""

    def key(trial: FrozenTrial) -> list[tuple[float, str]]:
        values = [data.choice(trial, axis) for axis in axes]
        return [
            (float(value), "") if isinstance(value, (int, float)) else (0.0, value)
            for value in values
        ]

    names = {_name(data, trial, axes): key(trial) for trial in data.trials}
    return tuple(sorted(names, key=lambda name: names[name]))
