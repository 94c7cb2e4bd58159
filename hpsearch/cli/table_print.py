"""Tables of the paper on the screen, ours beside the paper's, and what they would still train."""

import json as json_format
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

from hpsearch.cli.screen import Screen
from hpsearch.config.space import describe
from hpsearch.evaluation.auroc import interval_words
from hpsearch.paper.contents import PaperTable
from hpsearch.paper.numbers import Metric, PaperNumber

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from hpsearch.paper.lines import Measured, TableLine
    from hpsearch.paper.plan import StudyPlan
    from hpsearch.paper.running import Outcome
    from hpsearch.paper.table4 import RowResult

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
    table: PaperTable,
    lines: Sequence["TableLine"],
    outcomes: Sequence["Outcome"],
    departures: Sequence[str],
) -> None:
    """Print the lines, what they are not, and the directories that they come from."""
    console = Screen()
    console.print()
    console.print(_ours(table, [line for line in lines if line.status != "reported"]))
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
                f"{name} ({criterion}): {describe(answer.searched)}; "
                f"{test.n_normal:,} normal and {test.n_anomaly:,} anomalous test images; "
                f"tasks {' '.join(task.name for task in tasks)}"
            )
    for text in texts:
        console.print(text, soft_wrap=True)
    reported: dict[str, list[TableLine]] = {}  # in the tables that the paper shows it in
    for line in lines:
        if line.status == "reported":
            over = f"{line.dataset}, " if line.classes else ""
            title = f"reported by the paper, not run: {over}{table.name}"
            reported.setdefault(title, []).append(line)
    for title, those in reported.items():
        console.print(_reported(title, those))


def _ours(table: PaperTable, lines: Sequence["TableLine"]) -> Table:
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
        classes = " ".join(line.classes)
        if len(line.classes) > 1:
            classes = f"mean of {len(line.classes)} classes"
        ours, interval = _value(line.ours), _NONE
        if line.ours is None:
            ours = "no images here" if line.status == "absent" else line.status
        else:
            interval = interval_words(line.ours.low, line.ours.high, decimals=1)
        shown.add_row(
            f"{line.dataset} {classes}".strip(),
            line.variant,
            ours,
            interval,
            _value(line.paper),
            _NONE if line.difference is None else f"{line.difference:+.1f}",
        )
    return shown


def _value(figure: "Measured | PaperNumber | None") -> str:
    if figure is None:
        return _NONE
    return f"{figure.value:.1f}" + ("" if figure.std is None else f" ± {figure.std:.1f}")


def _reported(title: str, lines: Sequence["TableLine"]) -> Table:
    """A row a method, a column a data set or a class."""
    shown = Table(title=title)
    columns = list(dict.fromkeys(" ".join(line.classes) or line.dataset for line in lines))
    for column in ("method", *columns):
        shown.add_column(column)
    cells: dict[str, dict[str, str]] = {}
    for line in lines:
        method = f"{line.method} {line.variant}".strip()
        cells.setdefault(method, {})[" ".join(line.classes) or line.dataset] = _value(line.paper)
    for method, row in cells.items():
        shown.add_row(method, *(row.get(column, _NONE) for column in columns))
    return shown


def print_table4(rows: Sequence["RowResult"], *, dataset: str, scale: float | None) -> None:
    """Print the rows of Table 4, and the directories that they come from."""
    scaled = f", steps x {scale:g}" if scale else ""
    table = Table(
        title=f"table4 on {dataset}{scaled}: test ROC AUC in %",
        caption="± standard deviation over the final trainings; interval: 95 %, bootstrap over "
        "groups; seconds of training, search and final (rows of one study share its search)",
    )
    for column in ("row", "ROC AUC", "interval", "configuration", "seconds"):
        table.add_column(column, no_wrap=column in ("ROC AUC", "interval"))
    for row in rows:
        name = f"({row.row.number}) {row.row.name}"
        if row.answer is None:
            table.add_row(name, "failed", "-", "-", "-")
            continue
        test, std = row.answer.test, row.answer.std
        spread = "" if std is None else f" ± {100 * std:.1f}"
        table.add_row(
            name,
            f"{100 * test.auroc:.1f}{spread}",
            interval_words(*(end and 100 * end for end in (test.low, test.high)), decimals=1),
            describe(row.answer.searched),
            f"{row.answer.seconds:.0f}",
        )
    console = Screen()
    console.print()
    console.print(table)
    for row in rows:
        line = f"({row.row.number}) failed: {row.failure}"
        if not row.failure:
            tasks = " ".join(task.name for task in row.tasks)
            line = f"({row.row.number}) {row.folder}: tasks {tasks}"
        console.print(line, soft_wrap=True)


_WHAT = {
    True: "search: configurations x folds, on disk; final: trainings still to do, at most; and "
    "four short reference rows a study",
    False: "final: trainings still to do, of those of the published configuration",
}
"""What the columns say where something is searched, and where nothing is."""
_UNITS_OF_TIME = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))


def print_plan(name: str, plans: Sequence["StudyPlan"], *, json: bool) -> None:
    """Print what the studies of the table `name` would train, on what, and about how long."""
    from hpsearch.paper.plan import RULE

    total = sum(plan.seconds for plan in plans)
    if json:
        records = [asdict(plan) for plan in plans]
        print(json_format.dumps({"table": name, "plan": records, "seconds": total, "rule": RULE}))
        return
    table = Table(
        title=f"plan of {name}",
        caption=f"{_WHAT[any(plan.folds for plan in plans)]}; time: by stored seconds of the study "
        "itself or of its neighbours, or by a rule of thumb",
    )
    for column in ("study", "images", "search", "steps", "final", "time", "by"):
        table.add_column(column, overflow="fold")
    for plan in plans:
        count = "" if plan.images is None else f": {plan.images:,}"
        table.add_row(
            plan.name,
            " ".join(filter(None, [plan.dataset, plan.normal_class])) + count,
            f"{plan.configurations} x {plan.folds}, {plan.on_disk} there" if plan.folds else "none",
            f"{'to ' if plan.folds else ''}{plan.max_steps:,}",
            str(plan.to_finish) if plan.folds else f"{plan.to_finish} of {plan.n_runs}",
            _duration(plan.seconds),
            plan.basis if plan.seconds else "-",
        )
    console = Screen()
    console.print(table)
    lines = [f"nothing was trained; what is to be done takes about {_duration(total)}"]
    lines += dict.fromkeys(f"data {plan.dataset}: {plan.data}" for plan in plans)
    if any(plan.basis == "rule of thumb" for plan in plans):
        lines.append(RULE)
    for line in lines:
        console.print(line, soft_wrap=True)


def _duration(seconds: float) -> str:
    for unit, length in _UNITS_OF_TIME:
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"
