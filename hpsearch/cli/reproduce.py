"""`hpsearch reproduce`: a table or figure of the paper, its studies run or resumed."""

from collections.abc import Callable, Mapping
from functools import partial
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
from hpsearch.cli.reproduction import Reproduction, fig4, reproduce_table, table4
from hpsearch.cli.run import DEFAULT_DETECTOR
from hpsearch.config.spec import DatasetSpec
from hpsearch.errors import SpecError
from hpsearch.paper.contents import PAPER_TABLES

REPRODUCIBLE: Mapping[str, Callable[[Reproduction], bool]] = {
    "fig4": fig4,
    "table4": table4,
    **{name: partial(reproduce_table, table) for name, table in PAPER_TABLES.items()},
}
DEFAULT_DATASET: str = DatasetSpec.model_fields["name"].default
SHARED_PREFIX = "paper"
"""Of the studies of `PAPER_TABLES`, of which some answer two tables."""
PUBLISHED_PREFIX = "published"
"""Of the same with `--published`."""
_BY_CLASS = tuple(name for name, table in PAPER_TABLES.items() if table.by_class)


def reproduce(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help=f"One of {', '.join(REPRODUCIBLE)}.")],
    dataset: DatasetOption = None,
    root: RootOption = None,
    normal_class: NormalClassOption = None,
    classes: Annotated[
        str | None, typer.Option(help="Normal classes, e.g. car,ship, where not all.")
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="Rows of table4, e.g. 1,3,10, where not all.")
    ] = None,
    scale: options.ScaleOption = None,
    n_anomaly_types: options.TypesOption = None,
    n_examples: options.ExamplesOption = None,
    backbone: options.BackboneOption = None,
    backbone_weights: options.WeightsOption = None,
    backbone_statistics: options.StatisticsOption = None,
    axis: options.AxisOption = None,
    study_name: Annotated[
        str | None, typer.Option(help="What the names of the run directories begin with.")
    ] = None,
    seed: options.SeedOption = None,
    max_steps: options.StepsOption = None,
    batch_size: options.BatchOption = None,
    n_runs: options.FinalRunsOption = None,
    device: options.DeviceOption = "auto",
    workers: options.WorkersOption = None,
    runs: RunsOption = DEFAULT_RUNS,
    json: JsonOption = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be trained, and train nothing.")
    ] = False,
    published: Annotated[
        bool,
        typer.Option("--published", help="Train what the authors published; search nothing."),
    ] = False,
) -> None:
    """Run or resume the studies of a table or figure of the paper, and show it beside the paper's.

    The same command goes on where it was stopped. Exit code 1 where a study failed.
    """
    if what not in REPRODUCIBLE:
        there = ", ".join(REPRODUCIBLE)
        raise SpecError(f"reproduce {what!r:.60}: not there yet; what can be reproduced: {there}")
    if rows is not None and what != "table4":
        raise SpecError(f"--rows: is for table4, not {what}; leave it out")
    if classes is not None and what not in _BY_CLASS:
        raise SpecError(f"--classes: is for {', '.join(_BY_CLASS)}, not {what}; leave it out")
    if normal_class is not None and what in _BY_CLASS:
        raise SpecError(f"--normal-class: {what} takes each class in turn; use --classes")
    if published:
        if what not in PAPER_TABLES:
            raise SpecError(
                f"--published: is for {', '.join(PAPER_TABLES)}, not {what}; leave it out"
            )
        for option in options.DRAW:  # how to search, where nothing is searched
            if context.params.get(option) is not None:
                raise SpecError(
                    f"--{option.replace('_', '-')}: with --published no labels are used; "
                    "leave it out"
                )
    name = dataset or DEFAULT_DATASET
    given = options.settings_of({**context.params, "dataset": name, "study_name": None})
    if axis:
        given["space"] = parse_axes(axis, DEFAULT_DETECTOR)
    asked = Reproduction(
        dataset=name,
        named=dataset is not None,
        classes=parse_classes(classes),
        settings=given,
        prefix=study_name or default_prefix(what, name, normal_class, scale, published=published),
        rows=parse_rows(rows),
        scale=scale,
        runs=runs,
        device=device,
        workers=workers,
        json=json,
        plan=plan,
        published=published,
    )
    if not REPRODUCIBLE[what](asked):
        raise typer.Exit(1)


def default_prefix(
    what: str,
    dataset: str,
    normal_class: str | None,
    scale: float | None,
    *,
    published: bool = False,
) -> str:
    """What run directories are called, e.g. `table4-digits-3-x0.01`, or `paper-x0.01`."""
    data = [what, data_name(dataset), normal_class]
    shared = [PUBLISHED_PREFIX if published else SHARED_PREFIX]
    parts = [*(shared if what in PAPER_TABLES else data), f"x{scale:g}" if scale else None]
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


def parse_classes(text: str | None) -> tuple[str, ...] | None:
    """The names in `car,ship`, each once.

    Raises:
        SpecError: a name is empty or comes twice.
    """
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise SpecError(f"--classes {text!r:.60}: write different names, e.g. car,ship")
    return names
