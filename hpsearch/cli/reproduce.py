"""`hpsearch reproduce`: a table or figure of the paper, its studies run or resumed, and stored."""

import json as json_format
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpsearch.cli import run_options as options
from hpsearch.cli.label_budget import print_curves, report_json, trainer, write_report
from hpsearch.cli.listeners import listener_for
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
from hpsearch.cli.run import DEFAULT_DETECTOR, OWN_DATA, QUICKSTART, default_study
from hpsearch.cli.screen import say
from hpsearch.cli.table_print import print_plan, print_table, print_table4
from hpsearch.config.spec import DatasetSpec, StudySpec, build_spec, merged, read_study
from hpsearch.errors import SpecError
from hpsearch.evaluation.label_budget.curves import claim
from hpsearch.evaluation.label_budget.simulation import Question
from hpsearch.evaluation.label_budget.study_curves import study_curves
from hpsearch.io.cache import cache_dir
from hpsearch.paper.ablation import table4_studies
from hpsearch.paper.contents import (
    PAPER_TABLES,
    PaperTable,
    Part,
    TableData,
    TableStudy,
    table_parts,
    table_study,
)
from hpsearch.paper.numbers import load_paper_numbers
from hpsearch.paper.published import published_study

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from hpsearch.paper.running import Where

_WHOLE_GRID = {"search": {"sampler": "grid", "n_trials": None, "pruner": "none"}}
DEFAULT_DATASET: str = DatasetSpec.model_fields["name"].default
SHARED_PREFIX = "paper"
"""Of the studies of `PAPER_TABLES`, of which some answer two tables."""
PUBLISHED_PREFIX = "published"
"""Of the same with `--published`."""
_BY_CLASS = tuple(name for name, table in PAPER_TABLES.items() if table.by_class)


@dataclass(frozen=True)
class Reproduction:
    """The options of the command, read.

    Attributes:
        dataset: a registered name, a manifest or a folder; the default where none was named.
        named: whether the user named it; where not, a table of several data sets takes its own.
        classes: the normal classes that are wanted, None for all.
        settings: of a study, laid over all others.
        prefix: of the names of run directories; the one of that very name gets the table.
        rows: numbers of the wanted rows, None for all.
        scale: of the steps of every training, None for full size.
        runs: folder of run directories.
        device, workers: where to train, and how many processes.
        json: print for machines.
        plan: say what would be trained, and train nothing.
        published: train what the authors published, and search nothing.
    """

    dataset: str
    named: bool
    classes: tuple[str, ...] | None
    settings: Mapping[str, Any]
    prefix: str
    rows: tuple[int, ...] | None
    scale: float | None
    runs: Path
    device: str
    workers: int | None
    json: bool
    plan: bool
    published: bool

    @property
    def where(self) -> "Where":
        """Where its studies run."""
        return {
            "runs": self.runs,
            "cache_dir": cache_dir(),
            "device": self.device,
            "workers": self.workers,
        }


def plan(name: str, studies: Sequence[TableStudy], asked: Reproduction) -> None:
    """Print what the studies of the table or figure `name` would train; nothing is written."""
    # These import torch, which takes seconds.
    from hpsearch.paper.plan import plan_studies
    from hpsearch.search.engine import plan_workers

    workers = plan_workers(asked.device, asked.workers)
    plans = plan_studies(studies, runs=asked.runs, cache_dir=cache_dir(), at_once=workers.count)
    print_plan(name, plans, json=asked.json)


def fig4(asked: Reproduction) -> bool:
    """Run the study, train the models that its draws choose, and write the figure."""
    from hpsearch.study.scale import scaled

    spec = fig4_spec(asked)
    if asked.scale is not None:
        spec = scaled(spec, asked.scale)
    if asked.plan:
        plan("fig4", [TableStudy(spec, (spec.search.criterion,), "fig4")], asked)
        if not asked.json:
            say("and one final model each of the configurations that draws choose, at most all")
        return True
    from hpsearch.study.run import run_study

    with listener_for(json=asked.json) as listener:
        ran = run_study(spec, listener=listener, **asked.where)
        curves = study_curves(
            ran.folder,
            Question(seed=spec.search.seed),
            train=trainer(ran.folder, listener, asked.device, asked.workers),
            progress=listener.progress,
        )
    report = write_report(ran.folder, curves, "fig4")
    if asked.json:
        said = report_json(ran.folder, curves, report) | {"claim": claim(curves)}
        print(json_format.dumps({"figure": "fig4", "scale": asked.scale or 1.0} | said))
    else:
        print_curves(ran.folder, curves, report)
        say(claim(curves))
    return True


def paper_study(dataset: str) -> str:
    """The shipped study of the paper's method for a data set."""
    study = default_study(dataset)
    return f"{study}-{DEFAULT_DETECTOR}" if study == OWN_DATA else study


def fig4_spec(asked: Reproduction) -> StudySpec:
    """The study of the data set with every point of its grid; the quickstart's where embedded."""
    study = QUICKSTART if asked.dataset == DEFAULT_DATASET else paper_study(asked.dataset)
    settings = merged(merged(read_study(study), asked.settings), _WHOLE_GRID)
    return build_spec(settings, {"study_name": asked.prefix})


def table4(asked: Reproduction) -> bool:
    """Run, print and store the table, or print its plan; False where a row has no figure."""
    studies = table4_studies(
        read_study(paper_study(asked.dataset)),
        asked.settings,
        prefix=asked.prefix,
        numbers=asked.rows,
    )
    # These import torch, which takes seconds.
    from hpsearch.paper.table4 import as_table_study, run_table4, table4_record, write_table4
    from hpsearch.study.scale import scaled

    if asked.scale is not None:
        studies = [replace(study, spec=scaled(study.spec, asked.scale)) for study in studies]
    if asked.plan:
        plan("table4", [as_table_study(study) for study in studies], asked)
        return True
    with listener_for(json=asked.json) as listener:
        rows = run_table4(studies, listener=listener, **asked.where)
    path = asked.runs / asked.prefix / "table4.csv"
    write_table4(path, rows)
    if asked.json:
        records = [table4_record(row) for row in rows]
        table = {"table": "table4", "dataset": asked.dataset, "scale": asked.scale or 1.0}
        print(json_format.dumps(table | {"rows": records, "csv": str(path.absolute())}))
    else:
        print_table4(rows, dataset=asked.dataset, scale=asked.scale)
        say(f"table: {path}")
    return all(row.answer for row in rows)


def reproduce_table(table: PaperTable, asked: Reproduction) -> bool:
    """Run, print and store the table, or print its plan; False where a study failed.

    A data set whose images are not there is no failure: its lines say so.
    """
    if asked.settings["dataset"].get("root") and not asked.named:
        raise SpecError(f"--root: is of one data set of {table.name}; name it with --dataset")
    names = [asked.dataset] if asked.named else list(table.datasets)
    parts = table_parts(table, names, asked.classes)
    if asked.published:  # of what the labelled anomalies chose
        table = replace(table, criteria=("weak",), published=True)
    studies = _table_studies(table, asked, parts)
    if asked.plan:
        plan(table.name, studies, asked)
        return True
    return _run_table(table, asked, parts, studies)


def _table_studies(
    table: PaperTable, asked: Reproduction, parts: Sequence[Part]
) -> list[TableStudy]:
    """The study of each part, at the scale that was asked for."""
    options = dict(asked.settings)
    if not asked.named:  # then each part names its own
        options["dataset"] = {}
    of_part = published_study if asked.published else table_study
    studies = []
    for part in parts:
        study = read_study(paper_study(part.dataset))
        data = TableData(part.dataset, data_name(part.dataset), study)
        studies.append(of_part(table, part, data, options, prefix=asked.prefix))
    if asked.scale is None:
        return studies
    from hpsearch.study.scale import scaled

    return [replace(study, spec=scaled(study.spec, asked.scale)) for study in studies]


def _run_table(
    table: PaperTable,
    asked: Reproduction,
    parts: Sequence[Part],
    studies: Sequence[TableStudy],
) -> bool:
    # These import torch, which takes seconds.
    from hpsearch.paper.lines import departures, line_record, table_lines, write_lines
    from hpsearch.paper.running import run_studies

    with listener_for(json=asked.json) as listener:
        outcomes = run_studies(studies, listener=listener, **asked.where)
    lines = table_lines(table, parts, outcomes, load_paper_numbers())
    said = departures(outcomes, asked.settings, scale=asked.scale)
    path = asked.runs / asked.prefix / f"{table.name}.csv"
    write_lines(path, table, lines, runs=asked.runs)
    if asked.json:
        records = [line_record(table, line, runs=asked.runs) for line in lines]
        whole = {
            "table": table.name,
            "published": asked.published,
            "scale": asked.scale or 1.0,
            "departures": said,
        }
        folders = {"csv": str(path.absolute()), "runs": str(asked.runs.absolute())}
        print(json_format.dumps(whole | {"lines": records} | folders))
    else:
        print_table(table, lines, outcomes, said)
        say(f"table: {path}")
    return not any(outcome.failure for outcome in outcomes)


REPRODUCIBLE: Mapping[str, Callable[[Reproduction], bool]] = {
    "fig4": fig4,
    "table4": table4,
    **{name: partial(reproduce_table, table) for name, table in PAPER_TABLES.items()},
}


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
