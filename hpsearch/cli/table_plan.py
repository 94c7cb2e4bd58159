"""The plan of a table: what would be trained, on what, and about how long."""

import json as json_format
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

from hpsearch.cache import cache_dir
from hpsearch.cli.reproduction import Reproduction
from hpsearch.cli.screen import Screen
from hpsearch.tables.study import TableStudy

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from hpsearch.tables.plan import StudyPlan

_WHAT = {
    True: "search: configurations x folds, on disk; final: trainings still to do, at most; and "
    "four short reference rows a study",
    False: "final: trainings still to do, of those of the published configuration",
}
"""What the columns say where something is searched, and where nothing is."""
_UNITS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))


def print_plan(name: str, studies: Sequence[TableStudy], asked: Reproduction) -> None:
    """Print the plan of the studies of the table `name`; nothing is trained or written."""
    from hpsearch.engine import plan_workers
    from hpsearch.tables.plan import RULE, plan_studies

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
            _data(plan),
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


def _data(plan: "StudyPlan") -> str:
    count = "" if plan.images is None else f": {plan.images:,}"
    return " ".join(filter(None, [plan.dataset, plan.normal_class])) + count


def _duration(seconds: float) -> str:
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"
