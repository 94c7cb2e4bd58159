"""`hpsearch reproduce table4`: the ablation of the paper, ten numbered rows."""

import json as json_format
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.table import Table

from hpsearch.cli.listeners import listener_for, one_line
from hpsearch.cli.reproduction import Reproduction
from hpsearch.cli.run import default_study
from hpsearch.cli.screen import Screen, say
from hpsearch.cli.table_print import print_plan
from hpsearch.config.spec import read_study
from hpsearch.evaluation.auroc import interval_words
from hpsearch.io.cache import cache_dir
from hpsearch.paper.ablation import table4_studies

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from hpsearch.paper.table4 import RowResult

NAME = "table4"


def table4(asked: Reproduction) -> bool:
    """Run, print and store the table, or print its plan; False where a row has no figure."""
    studies = table4_studies(
        read_study(default_study(asked.dataset)),
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
        print_plan(NAME, [as_table_study(study) for study in studies], asked)
        return True
    with listener_for(json=asked.json) as listener:
        rows = run_table4(
            studies,
            runs=asked.runs,
            cache_dir=cache_dir(),
            listener=listener,
            device=asked.device,
            workers=asked.workers,
        )
    path = asked.runs / asked.prefix / f"{NAME}.csv"
    write_table4(path, rows)
    if asked.json:
        records = [table4_record(row) for row in rows]
        table = {"table": NAME, "dataset": asked.dataset, "scale": asked.scale or 1.0}
        print(json_format.dumps(table | {"rows": records, "csv": str(path.absolute())}))
    else:
        _print(asked, rows)
        say(f"table: {path}")
    return all(row.answer for row in rows)


def _print(asked: Reproduction, rows: Sequence["RowResult"]) -> None:
    console = Screen()
    console.print()
    console.print(_table(asked, rows))
    for row in rows:
        number = f"({row.row.number})"
        if row.failure:
            line = f"{number} failed: {row.failure}"
        else:
            tasks = " ".join(task.name for task in row.tasks)
            line = f"{number} {row.folder}: tasks {tasks}"
        console.print(line, soft_wrap=True)


def _table(asked: Reproduction, rows: Sequence["RowResult"]) -> Table:
    scale = f", steps x {asked.scale:g}" if asked.scale else ""
    table = Table(
        title=f"{NAME} on {asked.dataset}{scale}: test ROC AUC in %",
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
            one_line(row.answer.searched),
            f"{row.answer.seconds:.0f}",
        )
    return table
