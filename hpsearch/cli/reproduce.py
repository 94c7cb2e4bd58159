"""`hpsearch reproduce`: a table or figure of the paper, its studies run or resumed."""

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from hpsearch.cli import run_options as options
from hpsearch.cli.options import (
    DEFAULT_RUNS,
    DatasetOption,
    JsonOption,
    NormalClassOption,
    RootOption,
    RunsOption,
    data_name,
    parse_axes,
)
from hpsearch.cli.reproduction import Reproduction
from hpsearch.cli.run import DEFAULT_DETECTOR
from hpsearch.cli.table4 import table4
from hpsearch.errors import SpecError
from hpsearch.spec import DatasetSpec

REPRODUCIBLE: Mapping[str, Callable[[Reproduction], bool]] = {"table4": table4}
DEFAULT_DATASET: str = DatasetSpec.model_fields["name"].default


def reproduce(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help=f"One of {', '.join(REPRODUCIBLE)}.")],
    dataset: DatasetOption = DEFAULT_DATASET,
    root: RootOption = None,
    normal_class: NormalClassOption = None,
    rows: Annotated[str | None, typer.Option(help="Rows, e.g. 1,3,10, where not all.")] = None,
    scale: options.ScaleOption = None,
    n_anomaly_types: options.TypesOption = None,
    n_examples: options.ExamplesOption = None,
    backbone: options.BackboneOption = None,
    backbone_weights: options.WeightsOption = None,
    axis: options.AxisOption = None,
    study_name: Annotated[
        str | None, typer.Option(help="What the names of the run directories begin with.")
    ] = None,
    seed: options.SeedOption = None,
    batch_size: options.BatchOption = None,
    n_runs: options.FinalRunsOption = None,
    device: options.DeviceOption = "auto",
    workers: options.WorkersOption = None,
    runs: RunsOption = DEFAULT_RUNS,
    json: JsonOption = False,
) -> None:
    """Run or resume the studies of a table of the paper on a data set, and print the table.

    The same command goes on where it was stopped. Exit code 1 where a study failed.
    """
    if what not in REPRODUCIBLE:
        there = ", ".join(REPRODUCIBLE)
        raise SpecError(f"reproduce {what!r:.60}: not there yet; what can be reproduced: {there}")
    name = dataset or DEFAULT_DATASET
    given = options.settings_of({**context.params, "dataset": name, "study_name": None})
    if axis:
        given["space"] = parse_axes(axis, DEFAULT_DETECTOR)
    asked = Reproduction(
        dataset=name,
        settings=given,
        prefix=study_name or default_prefix(what, name, normal_class, scale),
        rows=parse_rows(rows),
        scale=scale,
        runs=runs,
        device=device,
        workers=workers,
        json=json,
    )
    if not REPRODUCIBLE[what](asked):
        raise typer.Exit(1)


def default_prefix(what: str, dataset: str, normal_class: str | None, scale: float | None) -> str:
    """What run directories are called, e.g. `table4-digits-3-x0.01`."""
    parts = [what, data_name(dataset), normal_class, f"x{scale:g}" if scale else None]
    return "-".join(part for part in parts if part)


def parse_rows(text: str | None) -> tuple[int, ...] | None:
    """The numbers in `1,3,10`.

    Raises:
        SpecError: something else is in it.
    """
    if text is None:
        return None
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise SpecError(f"--rows {text!r:.60}: write numbers of rows, e.g. 1,3,10") from None
