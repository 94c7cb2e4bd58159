"""`hpsearch label-budget`: how many labelled anomalies does this data need?"""

import json as json_format
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from optuna.trial import FrozenTrial
from rich.table import Table

from hpsearch.cli import run_options as options
from hpsearch.cli.listeners import listener_for
from hpsearch.cli.options import DEFAULT_RUNS, JsonOption, RunArgument, RunsOption
from hpsearch.cli.screen import Screen, say
from hpsearch.config.spec import MAX_SEED
from hpsearch.errors import SpecError
from hpsearch.evaluation.label_budget.curves import BudgetCurves, advice
from hpsearch.evaluation.label_budget.simulation import Question
from hpsearch.evaluation.label_budget.study_curves import (
    Train,
    curve_records,
    study_curves,
    write_curves,
)
from hpsearch.io.cache import cache_dir
from hpsearch.search.events import Listener
from hpsearch.storage.run_dir import RunDir, find_study

_NAME = "label_budget"
_OFTEN = 3  # configurations that a line names
_MODELS = {
    "final": "models trained on all normals",
    "folds": "the models of the folds (mean), each trained on a part of the normals",
}


def label_budget(
    run: RunArgument = None,
    types: Annotated[
        str | None, typer.Option(help="Numbers of labelled types, e.g. 1,2,4.")
    ] = None,
    examples: Annotated[
        str | None, typer.Option(help="Numbers of labelled anomalies in all, e.g. 1,5,20.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Random draws at each combination.")] = 7,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the draws.")] = 0,
    no_train: Annotated[
        bool,
        typer.Option("--no-train", help="Take the folds' models where final ones are missing."),
    ] = False,
    device: options.DeviceOption = "auto",
    workers: options.WorkersOption = None,
    runs: RunsOption = DEFAULT_RUNS,
    json: JsonOption = False,
) -> None:
    """Choose again with fewer or more labelled anomalies, and show what each number buys.

    Nothing is searched again: the choices are made from stored scores (the paper's Fig. 4).
    """
    question = Question(_numbers("--types", types), _numbers("--examples", examples), repeats, seed)
    folder = find_study(run, runs)
    with listener_for(json=json) as listener:
        train = None if no_train else trainer(folder, listener, device, workers)
        curves = study_curves(folder, question, train=train, progress=listener.progress)
    report = write_report(folder, curves, _NAME)
    labels = folder.spec().labels
    last = advice(curves, n_types=labels.n_anomaly_types, n_examples=labels.n_examples)
    if json:
        print(json_format.dumps(report_json(folder, curves, report) | {"advice": last}))
    else:
        print_curves(folder, curves, report)
        say(last)


@dataclass(frozen=True)
class Report:
    """Where the figure and its numbers were written.

    Attributes:
        html: page of the figure.
        csv: its numbers.
    """

    html: Path
    csv: Path


def trainer(folder: RunDir, listener: Listener, device: str, workers: int | None) -> Train:
    """Trains final models that are missing; importing torch waits until one is."""

    def train(trials: Sequence[FrozenTrial]) -> None:
        from hpsearch.study.finish import train_final_models

        train_final_models(
            folder,
            trials,
            cache_dir=cache_dir(),
            listener=listener,
            device=device,
            workers=workers,
        )

    return train


def write_report(folder: RunDir, curves: BudgetCurves, name: str) -> Report:
    """Write `report/<name>.html` and `report/<name>.csv` in the run directory."""
    from hpsearch.reports.budget_figure import budget_drawing
    from hpsearch.reports.render import write_drawing

    place = folder.report
    report = Report(place / f"{name}.html", place / f"{name}.csv")
    write_curves(report.csv, curves)
    write_drawing(report.html, budget_drawing(curves, folder.path.name))
    return report


def report_json(folder: RunDir, curves: BudgetCurves, report: Report) -> dict[str, Any]:
    """The whole answer as plain values."""
    return {
        "study": folder.path.name,
        "models": curves.models,
        "best": curves.best,
        "worst": curves.worst,
        "n_models": curves.n_models,
        "n_configurations": curves.n_configurations,
        "seed": curves.question.seed,
        "points": curve_records(curves),
        "html": str(report.html.absolute()),
        "csv": str(report.csv.absolute()),
    }


def print_curves(folder: RunDir, curves: BudgetCurves, report: Report) -> None:
    """Print the points as a table, and what its figures are."""
    table = Table(
        title=f"{folder.path.name}: test ROC AUC of what few labels choose",
        caption=f"mean ± standard deviation over {curves.question.repeats} draws; interval: 95 %, "
        "t, of that mean; lost: against the best configuration; chosen: trial x times",
    )
    for column in ("types", "examples", "AUC", "interval", "lost", "chosen"):
        table.add_column(column, no_wrap=column != "chosen")
    for point in curves.points:
        chosen = [f"{trial} x{times}" for trial, times in point.chosen]
        if len(chosen) > _OFTEN:
            chosen[_OFTEN:] = [f"{len(chosen) - _OFTEN} more"]
        table.add_row(
            str(point.cell.n_types),
            str(point.cell.n_examples),
            f"{point.mean:.3f}" + ("" if point.std is None else f" ± {point.std:.3f}"),
            "-" if point.low is None else f"{point.low:.3f} - {point.high:.3f}",
            f"{point.regret:.3f}",
            ", ".join(chosen),
        )
    console = Screen()
    console.print()
    console.print(table)
    for line in _remarks(curves):
        console.print(line, soft_wrap=True)
    say(f"figure: {report.html}", f"numbers: {report.csv}")


def _remarks(curves: BudgetCurves) -> list[str]:
    lines = [
        f"figures are of {_MODELS[curves.models]}, on {curves.n_normal} normal and "
        f"{curves.n_anomaly} anomalous test images",
        f"best {curves.best:.3f}, worst {curves.worst:.3f} of the {curves.n_models} of "
        f"{curves.n_configurations} configurations that have such models",
    ]
    few = [point.cell for point in curves.points if point.cell.n_eligible < curves.n_types]
    if few:
        words = ", ".join(
            f"{cell.n_examples} of {cell.n_types} type{'' if cell.n_types == 1 else 's'} "
            f"(from {cell.n_eligible})"
            for cell in few
        )
        lines.append(f"drawn from the types that hold enough, not all {curves.n_types}: {words}")
    if curves.left_out:
        lines.append(
            f"{curves.left_out} anomalies are never drawn: they share a group with normals that "
            "models were trained on"
        )
    if curves.n_heads:
        lines.append(
            f"{curves.n_heads} configurations are left out: they are trained on the labelled "
            "anomalies, so that a draw of others would be other trainings"
        )
    if curves.borrowed:
        lines.append(
            "labelled anomalies come from the test images: what a draw uses, and types that it has "
            "seen, leave its figure"
        )
    return lines


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise SpecError(f"{option} {text!r:.60}: write whole numbers, e.g. 1,2,4") from None
