"""A table on the screen: ours beside the paper's, what the paper reports, and where it is from.

The plan of a table: what would be trained, on what, and about how long.
"""

import json as json_format
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

from hpsearch.cli.listeners import one_line
from hpsearch.cli.reproduction import Reproduction
from hpsearch.cli.screen import Screen
from hpsearch.evaluation.auroc import interval_words
from hpsearch.io.cache import cache_dir
from hpsearch.paper.contents import PaperTable, TableStudy
from hpsearch.paper.lines import Figure, Line
from hpsearch.paper.numbers import Metric, PaperNumber
from hpsearch.paper.running import Outcome

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from hpsearch.paper.plan import StudyPlan


_UNITS: Mapping[Metric, str] = {
    "auroc_percent": "test ROC AUC in %",
    "training_minutes": "minutes of a final training and its scoring",
}
_INTERVALS: Mapping[Metric, str] = {
    "auroc_percent": "interval: 95 %, bootstrap over groups",
    "training_minutes": "interval: shortest and longest training",
}
_NONE = "-"


def print_table(
    table: PaperTable, lines: Sequence[Line], outcomes: Sequence[Outcome], departures: Sequence[str]
) -> None:
    """Print the lines, what they are not, and the directories that they come from."""
    console = Screen()
    console.print()
    console.print(_ours(table, [line for line in lines if line.status != "reported"]))
    for text in _closing(departures, outcomes):
        console.print(text, soft_wrap=True)
    for title, reported in _by_heading(table, lines).items():
        console.print(_reported(title, reported))


def _ours(table: PaperTable, lines: Sequence[Line]) -> Table:
    what = ", published configurations" if table.published else ""
    shown = Table(
        title=f"Table {table.number}{what}: {_UNITS[table.metric]}",
        caption="± standard deviation over the final trainings; "
        f"{_INTERVALS[table.metric]}; diff.: ours less the paper's",
        collapse_padding=True,  # so that it fits 80 columns
        pad_edge=False,
    )
    shown.add_column("data", max_width=len("camelyon16"))
    shown.add_column("variant", max_width=len("weakly-supervised,"))
    for column in ("ours", "interval", "paper", "diff."):
        shown.add_column(column, no_wrap=True)
    for line in lines:
        paper, difference = _paper(line.paper), _NONE
        if line.difference is not None:
            difference = f"{line.difference:+.1f}"
        shown.add_row(_data(line), line.variant, *_figure(line), paper, difference)
    return shown


def _data(line: Line) -> str:
    mean = f"mean of {len(line.classes)} classes" if len(line.classes) > 1 else ""
    return " ".join([line.dataset, mean or " ".join(line.classes)]).strip()


def _figure(line: Line) -> tuple[str, str]:
    if line.ours is None:
        return ("no images here" if line.status == "absent" else line.status), _NONE
    return _value(line.ours), interval_words(line.ours.low, line.ours.high, decimals=1)


def _value(figure: Figure) -> str:
    return f"{figure.value:.1f}" + ("" if figure.std is None else f" ± {figure.std:.1f}")


def _paper(number: PaperNumber | None) -> str:
    if number is None:
        return _NONE
    return f"{number.value:.1f}" + ("" if number.std is None else f" ± {number.std:.1f}")


def _closing(departures: Sequence[str], outcomes: Sequence[Outcome]) -> list[str]:
    """What the table is not, and of each study where it lies or why it has no figure."""
    texts = []
    if departures:
        texts += ["Not the paper's figures:", *(f"  - {text}" for text in departures)]
    for outcome in outcomes:
        name = outcome.folder.path
        if outcome.absent:
            texts.append(f"{name.name}: not run: {outcome.absent}")
        elif outcome.failure:
            texts.append(f"{name.name}: failed: {outcome.failure}")
        for criterion, answer in outcome.answers.items():
            test, tasks = answer.test, outcome.tasks(criterion)
            texts.append(
                f"{name} ({criterion}): {one_line(answer.searched)}; "
                f"{test.n_normal:,} normal and {test.n_anomaly:,} anomalous test images; "
                f"tasks {' '.join(task.name for task in tasks)}"
            )
    return texts


def _by_heading(table: PaperTable, lines: Sequence[Line]) -> dict[str, list[Line]]:
    """What the paper alone reports, in the tables that it is shown in."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        if line.status == "reported":
            over = f"{line.dataset}, " if line.classes else ""
            found.setdefault(f"reported by the paper, not run: {over}{table.name}", []).append(line)
    return found


def _reported(title: str, lines: Sequence[Line]) -> Table:
    """A row a method, a column a data set or a class."""
    shown = Table(title=title)
    columns = list(dict.fromkeys(" ".join(line.classes) or line.dataset for line in lines))
    for column in ("method", *columns):
        shown.add_column(column)
    cells: dict[str, dict[str, str]] = {}
    for line in lines:
        method = f"{line.method} {line.variant}".strip()
        cells.setdefault(method, {})[" ".join(line.classes) or line.dataset] = _paper(line.paper)
    for method, row in cells.items():
        shown.add_row(method, *(row.get(column, _NONE) for column in columns))
    return shown


_WHAT = {
    True: "search: configurations x folds, on disk; final: trainings still to do, at most; and "
    "four short reference rows a study",
    False: "final: trainings still to do, of those of the published configuration",
}
"""What the columns say where something is searched, and where nothing is."""
_UNITS_OF_TIME = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))


def print_plan(name: str, studies: Sequence[TableStudy], asked: Reproduction) -> None:
    """Print the plan of the studies of the table `name`; nothing is trained or written."""
    from hpsearch.paper.plan import RULE, plan_studies
    from hpsearch.search.engine import plan_workers

    workers = plan_workers(asked.device, asked.workers)
    plans = plan_studies(studies, runs=asked.runs, cache_dir=cache_dir(), at_once=workers.count)
    total = sum(plan.seconds for plan in plans)
    if asked.json:
        records = [asdict(plan) for plan in plans]
        print(json_format.dumps({"table": name, "plan": records, "seconds": total, "rule": RULE}))
        return
    console = Screen()
    console.print(_table(name, plans))
    lines = [f"nothing was trained; what is to be done takes about {_duration(total)}"]
    places = dict.fromkeys(f"data {plan.dataset}: {plan.data}" for plan in plans)
    lines.extend(places)
    if any(plan.basis == "rule of thumb" for plan in plans):
        lines.append(RULE)
    for line in lines:
        console.print(line, soft_wrap=True)


def _table(name: str, plans: Sequence["StudyPlan"]) -> Table:
    table = Table(
        title=f"plan of {name}",
        caption=f"{_WHAT[any(plan.folds for plan in plans)]}; time: by stored seconds of the study "
        "itself or of its neighbours, or by a rule of thumb",
    )
    for column in ("study", "images", "search", "steps", "final", "time", "by"):
        table.add_column(column, overflow="fold")
    for plan in plans:
        table.add_row(
            plan.name,
            _images_of(plan),
            _search(plan),
            f"{'to ' if plan.folds else ''}{plan.max_steps:,}",
            str(plan.to_finish) if plan.folds else f"{plan.to_finish} of {plan.n_runs}",
            _duration(plan.seconds),
            plan.basis if plan.seconds else "-",
        )
    return table


def _search(plan: "StudyPlan") -> str:
    if not plan.folds:
        return "none"
    return f"{plan.configurations} x {plan.folds}, {plan.on_disk} there"


def _images_of(plan: "StudyPlan") -> str:
    count = "" if plan.images is None else f": {plan.images:,}"
    return " ".join(filter(None, [plan.dataset, plan.normal_class])) + count


def _duration(seconds: float) -> str:
    for unit, length in _UNITS_OF_TIME:
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"
